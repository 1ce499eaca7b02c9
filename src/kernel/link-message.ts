// One link as rtnetlink tells it, and its flags. Making links is segment-link.ts, what is on them segment-wire.ts.
// Sources: rtnetlink(7), include/uapi/linux/if_link.h, if.h.

import { WeirError } from '../base/errors.ts';
import { type Address, addressFromBytes } from '../model/address.ts';
import {
  attribute,
  joinBytes,
  longIn,
  longOf,
  type NetlinkMessage,
  parseAttributes,
  textIn,
  textOf,
  wordIn,
} from './netlink-message.ts';
import { type RouteRequest, type RouteSocket, withRouteSocket } from './route-socket.ts';

/** A device as it is. */
export interface PresentLink {
  readonly index: number;
  readonly alias: string;
  readonly mtu: number;
  readonly mac: string;
  readonly up: boolean;
  /** The flag set by hand, not the count held by captures. */
  readonly promiscuous: boolean;
  /** `vlan`, `vxlan`, `veth`; empty for a device of hardware. */
  readonly kind: string;
  readonly vlan?: number;
  readonly vni?: number;
  readonly local?: Address;
  readonly port?: number;
  /** Head-end replication of a VXLAN device. */
  readonly remotes: readonly Address[];
}

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINK = 5;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_VLAN_ID = 1;
export const IFLA_VXLAN_ID = 1;
export const IFLA_VXLAN_LOCAL = 4;
export const IFLA_VXLAN_PORT = 15;
export const IFLA_VXLAN_LOCAL6 = 17;
export const IFF_UP = 1;
export const IFF_PROMISC = 0x100;

/** struct ifinfomsg. */
export const linkHeader = (index: number, flags = 0, change = 0): Uint8Array =>
  joinBytes([new Uint8Array(4), longOf(index), longOf(flags), longOf(change)]);

/** Undefined when there is no such link. */
export function readLink(socket: RouteSocket, name: string): PresentLink | undefined {
  const message = socket.get(RTM_GETLINK, [linkHeader(0), attribute(IFLA_IFNAME, textOf(name))], `reading link ${name}`);
  return message && message.type === RTM_NEWLINK ? parseLink(message) : undefined;
}

/** Every link of a namespace, in the kernel's order. */
export const readPresentLinks = (netns: string | undefined): (PresentLink & { readonly name: string })[] =>
  withRouteSocket(netns, (socket) =>
    socket
      .dump(RTM_GETLINK, [linkHeader(0)], 'reading links')
      .filter(({ type, body }) => type === RTM_NEWLINK && body.length >= 16)
      .map((message) => ({
        ...parseLink(message),
        name: textIn(parseAttributes(message.body.subarray(16)).get(IFLA_IFNAME)),
      })),
  );

function parseLink({ body }: NetlinkMessage): PresentLink {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const flags = view.getUint32(8, true);
  const attributes = parseAttributes(body.subarray(16));
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(0));
  const kind = textIn(info.get(IFLA_INFO_KIND));
  const data = parseAttributes(info.get(IFLA_INFO_DATA) ?? new Uint8Array(0));
  const port = data.get(IFLA_VXLAN_PORT);
  const local = data.get(IFLA_VXLAN_LOCAL) ?? data.get(IFLA_VXLAN_LOCAL6);
  return {
    index: view.getInt32(4, true),
    alias: textIn(attributes.get(IFLA_IFALIAS)),
    mtu: longIn(attributes.get(IFLA_MTU)),
    mac: [...(attributes.get(IFLA_ADDRESS) ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    kind,
    ...(kind === 'vlan' ? { vlan: wordIn(data.get(IFLA_VLAN_ID)) } : {}),
    ...(kind === 'vxlan' ? { vni: longIn(data.get(IFLA_VXLAN_ID)), ...(local ? { local: addressFromBytes(local) } : {}) } : {}),
    ...(kind === 'vxlan' && port ? { port: (port[0] << 8) | port[1] } : {}),
    remotes: [],
  };
}

export const flagRequest = (index: number, flag: number, on: boolean, name: string): RouteRequest => ({
  type: RTM_NEWLINK,
  body: [linkHeader(index, on ? flag : 0, flag)],
  what: `link ${name}`,
});

/** The flag a person sets with `ip link set promisc on`. */
export function setLinkPromiscuous(netns: string | undefined, name: string, on: boolean): void {
  withRouteSocket(netns, (socket) => {
    const link = readLink(socket, name);
    if (!link) throw new WeirError('kernel-refused', `there is no link ${name}`, { link: name });
    socket.change([flagRequest(link.index, IFF_PROMISC, on, name)]);
  });
}
