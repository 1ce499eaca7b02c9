// What is on the link of a segment: addresses, default routes, far VTEPs, read and changed in one go by netlink. Making
// the link itself is segment-link.ts. Sources: rtnetlink(7), include/uapi/linux/if_addr.h, neighbour.h.

import { WeirError } from '../base/errors.ts';
import { type Address, addressBytes, addressFromBytes, type Family, renderAddress } from '../model/address.ts';
import type { InterfaceAddress } from '../model/configuration.ts';
import {
  loopbackIndex,
  parseOwnRoute,
  RT_TABLE_MAIN,
  RTA_GATEWAY,
  RTA_OIF,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_UNICAST,
  routeHeader,
  routeProtocol,
} from './ip-route.ts';
import {
  flagRequest,
  IFF_UP,
  IFLA_IFALIAS,
  IFLA_MTU,
  linkHeader,
  type PresentLink,
  RTM_NEWLINK,
  readLink,
} from './link-message.ts';
import { attribute, byteOf, joinBytes, longIn, longOf, parseAttributes, textOf, wordOf } from './netlink-message.ts';
import {
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  type RouteRequest,
  type RouteSocket,
  withRouteSocket,
} from './route-socket.ts';

export interface PresentWire {
  /** Absent: there is no such link. */
  readonly link?: PresentLink;
  /** Of the link; link-local ones are the kernel's own matter. */
  readonly addresses: readonly InterfaceAddress[];
  /** Next hops of default routes with our mark. */
  readonly gateways: readonly Address[];
  readonly loopbackUp: boolean;
}

/** What changes on a link, in the order in which it is done: removals, then the new. */
export interface WireChange {
  readonly removeAddresses: readonly InterfaceAddress[];
  readonly addAddresses: readonly InterfaceAddress[];
  readonly removeGateways: readonly Address[];
  readonly addGateways: readonly Address[];
  readonly removeRemotes: readonly Address[];
  readonly addRemotes: readonly Address[];
  readonly mtu?: number;
  readonly alias?: string;
  /** Takes loopback and link up. */
  readonly up: boolean;
}

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const IFA_LOCAL = 2;
const IFA_ADDRESS = 1;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_PROTO = 11;
const IFA_F_NODAD = 2;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const AF_BRIDGE = 7;
const NTF_SELF = 2;
const NUD_STATIC = 0xc0;
const RT_SCOPE_LINK = 253;

const familyNumber = (family: Family): number => (family === 4 ? 2 : 10);

/** Reads a link, its addresses and our default routes. Throws `not-found` when the namespace is gone. */
export function readWire(netns: string, name: string): PresentWire {
  return withRouteSocket(netns, (socket) => {
    const loopbackUp = readLink(socket, 'lo')?.up ?? false;
    const link = readLink(socket, name);
    if (!link) return { addresses: [], gateways: [], loopbackUp };
    const remotes = link.kind === 'vxlan' ? readRemotes(socket, link.index) : [];
    return {
      link: { ...link, remotes },
      addresses: readAddresses(socket, link.index),
      gateways: readGatewaysOf(socket, link.index),
      loopbackUp,
    };
  });
}

const zeroMac = new Uint8Array(6);

function readRemotes(socket: RouteSocket, index: number): Address[] {
  const header = joinBytes([byteOf(AF_BRIDGE), new Uint8Array(3), longOf(index), new Uint8Array(4)]);
  const remotes: Address[] = [];
  for (const { type, body } of socket.dump(RTM_GETNEIGH, [header], 'reading far VTEPs')) {
    if (type !== RTM_NEWNEIGH || longIn(body.subarray(4)) !== index) continue;
    const attributes = parseAttributes(body.subarray(12));
    const destination = attributes.get(NDA_DST);
    const mac = attributes.get(NDA_LLADDR);
    if (destination && mac && Buffer.compare(mac, zeroMac) === 0) remotes.push(addressFromBytes(destination));
  }
  return remotes;
}

function readAddresses(socket: RouteSocket, index: number): InterfaceAddress[] {
  const addresses: InterfaceAddress[] = [];
  for (const family of [4, 6] as const) {
    const header = joinBytes([byteOf(familyNumber(family)), new Uint8Array(3), longOf(index)]);
    for (const { type, body } of socket.dump(RTM_GETADDR, [header], 'reading addresses')) {
      if (type !== RTM_NEWADDR || longIn(body.subarray(4)) !== index || body[0] !== familyNumber(family)) continue;
      const attributes = parseAttributes(body.subarray(8));
      const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
      // Decoys with an address of their own are claim-link.ts's.
      if (attributes.get(IFA_PROTO)?.[0] === routeProtocol) continue;
      if (bytes && body[3] < RT_SCOPE_LINK) addresses.push({ address: addressFromBytes(bytes), prefixLength: body[1] });
    }
  }
  return addresses;
}

function readGatewaysOf(socket: RouteSocket, index: number): Address[] {
  const gateways: Address[] = [];
  for (const family of [4, 6] as const)
    for (const message of socket.dump(RTM_GETROUTE, [routeHeader(family, 0, RT_TABLE_MAIN, RTN_UNICAST, 0)], 'reading routes')) {
      const route = parseOwnRoute(message, RT_TABLE_MAIN, RTN_UNICAST);
      const gateway = route?.attributes.get(RTA_GATEWAY);
      if (route?.family !== family || route.prefixLength !== 0 || !gateway) continue;
      if (longIn(route.attributes.get(RTA_OIF)) === index) gateways.push(addressFromBytes(gateway));
    }
  return gateways;
}

/** Idempotent. Throws `kernel-refused`, or `not-found` when the namespace is gone. */
export function changeWire(netns: string, name: string, change: WireChange): void {
  withRouteSocket(netns, (socket) => {
    const link = readLink(socket, name);
    if (!link) throw new WeirError('kernel-refused', `no link ${name} in ${netns}`, { netns, link: name });
    const { index } = link;
    const set = [
      ...(change.alias === undefined ? [] : [attribute(IFLA_IFALIAS, textOf(change.alias))]),
      ...(change.mtu === undefined ? [] : [attribute(IFLA_MTU, longOf(change.mtu))]),
    ];
    socket.change([
      ...change.removeGateways.map((gateway) => gatewayRequest(RTM_DELROUTE, gateway, index)),
      ...change.removeAddresses.map((address) => addressRequest(RTM_DELADDR, address, index)),
      ...change.removeRemotes.map((remote) => remoteRequest(RTM_DELNEIGH, remote, index)),
      ...(set.length > 0 ? [{ type: RTM_NEWLINK, body: [linkHeader(index), ...set], what: `link ${name}` }] : []),
      ...change.addRemotes.map((remote) => remoteRequest(RTM_NEWNEIGH, remote, index)),
      ...(change.up ? [loopbackIndex, index].map((one) => flagRequest(one, IFF_UP, true, one === index ? name : 'lo')) : []),
      ...change.addAddresses.map((address) => addressRequest(RTM_NEWADDR, address, index)),
      ...change.addGateways.map((gateway) => gatewayRequest(RTM_NEWROUTE, gateway, index)),
    ]);
  });
}

function addressRequest(type: number, { address, prefixLength }: InterfaceAddress, index: number): RouteRequest {
  const bytes = addressBytes(address);
  const header = joinBytes([Uint8Array.of(familyNumber(address.family), prefixLength, 0, 0), longOf(index)]);
  const hostBits = BigInt((address.family === 4 ? 32 : 128) - prefixLength);
  const broadcast = address.value | ((1n << hostBits) - 1n);
  const parts = [header, attribute(IFA_LOCAL, bytes), attribute(IFA_ADDRESS, bytes)];
  // The broadcast address is the kernel's then: a ping to it is not a touch of a decoy.
  if (address.family === 4 && hostBits > 1n) parts.push(attribute(IFA_BROADCAST, addressBytes({ family: 4, value: broadcast })));
  if (address.family === 6) parts.push(attribute(IFA_FLAGS, longOf(IFA_F_NODAD)));
  const what = `address ${renderAddress(address)}/${prefixLength}`;
  return type === RTM_DELADDR
    ? { type, body: parts, what, ignore: ['EADDRNOTAVAIL'] }
    : { type, flags: NLM_F_CREATE | NLM_F_REPLACE, body: parts, what };
}

function gatewayRequest(type: number, gateway: Address, index: number): RouteRequest {
  const body = [
    routeHeader(gateway.family, 0, RT_TABLE_MAIN, RTN_UNICAST, 0),
    attribute(RTA_GATEWAY, addressBytes(gateway)),
    attribute(RTA_OIF, longOf(index)),
  ];
  const what = `default route via ${renderAddress(gateway)}`;
  return type === RTM_DELROUTE
    ? { type, body, what, ignore: ['ESRCH'] }
    : { type, flags: NLM_F_CREATE | NLM_F_REPLACE, body, what };
}

/** An entry for the all-zero MAC: frames nobody has learned yet, broadcasts and multicasts go there. */
function remoteRequest(type: number, remote: Address, index: number): RouteRequest {
  const header = joinBytes([
    byteOf(AF_BRIDGE),
    new Uint8Array(3),
    longOf(index),
    wordOf(NUD_STATIC),
    byteOf(NTF_SELF),
    byteOf(0),
  ]);
  const body = [header, attribute(NDA_DST, addressBytes(remote)), attribute(NDA_LLADDR, zeroMac)];
  const what = `far VTEP ${renderAddress(remote)}`;
  return type === RTM_DELNEIGH
    ? { type, body, what, ignore: ['ENOENT'] }
    : { type, flags: NLM_F_CREATE | NLM_F_APPEND, body, what, ignore: ['EEXIST'] };
}
