// The link of a segment: a VLAN or VXLAN device that is born in the segment's namespace while its trunk or underlay stays
// in the machine's; many at a time, no process started. What is on it is segment-wire.ts.
// Sources: rtnetlink(7), include/uapi/linux/if_link.h.

import { closeSync, openSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { addressBytes } from '../model/address.ts';
import type { VlanAttachment, VxlanAttachment } from '../model/configuration.ts';
import { describeAttachment } from '../model/segment.ts';
import {
  flagRequest,
  IFF_PROMISC,
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_MTU,
  IFLA_VLAN_ID,
  IFLA_VXLAN_ID,
  IFLA_VXLAN_LOCAL,
  IFLA_VXLAN_LOCAL6,
  IFLA_VXLAN_PORT,
  linkHeader,
  RTM_DELLINK,
  RTM_NEWLINK,
  readLink,
} from './link-message.ts';
import { attribute, byteOf, longOf, type NetlinkParts, nested, netWordOf, textOf, wordOf } from './netlink-message.ts';
import { NLM_F_CREATE, NLM_F_EXCL, type RouteRequest, RouteSocket, withRouteSocket } from './route-socket.ts';
import { changeWire } from './segment-wire.ts';

/** A device to be made. */
export interface SegmentLink {
  /** Path of the namespace in which it is born. */
  readonly netns: string;
  readonly name: string;
  /** The owner's mark, kept by the kernel; at most 255 bytes. */
  readonly alias: string;
  readonly attachment: VlanAttachment | VxlanAttachment;
  readonly mtu: number;
  /** Absent: the trunk's (VLAN), or random (VXLAN). */
  readonly mac?: string;
}

/** Forged source MACs from a far VTEP fill no more than this; the rest is flooded. */
const maxLearned = 4096;
const vxlanTtl = 64;
const IFLA_VXLAN_TTL = 5;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_LIMIT = 9;
const IFLA_NET_NS_FD = 28;

const macBytes = (mac: string): Uint8Array => Uint8Array.from(mac.split(':', 6), (byte) => Number.parseInt(byte, 16));

/**
 * Makes devices seen from `home`, the namespace of trunks and underlay (undefined: this process's). Throws
 * `kernel-refused` naming the device (`EEXIST`: somebody has the VLAN id or VNI already); others may have been made then.
 */
export function createSegmentLinks(home: string | undefined, links: readonly SegmentLink[]): void {
  if (links.length === 0) return;
  const held: number[] = [];
  const socket = new RouteSocket(home);
  try {
    const trunks = new Map<string, number>();
    const requests = links.map((link): RouteRequest => {
      const target = openNetns(link.netns);
      held.push(target);
      return {
        type: RTM_NEWLINK,
        flags: NLM_F_CREATE | NLM_F_EXCL,
        what: `link ${link.alias} (${describeAttachment(link.attachment)})`,
        body: [
          linkHeader(0),
          attribute(IFLA_IFNAME, textOf(link.name)),
          attribute(IFLA_NET_NS_FD, longOf(target)),
          ...(link.mtu > 0 ? [attribute(IFLA_MTU, longOf(link.mtu))] : []),
          ...(link.mac ? [attribute(IFLA_ADDRESS, macBytes(link.mac))] : []),
          ...attachmentParts(link.attachment, socket, trunks),
        ],
      };
    });
    socket.change(requests);
  } finally {
    socket.close();
    for (const fd of held) closeSync(fd);
  }
}

/** The end of a tunnel between two machines. */
export interface TunnelLink extends SegmentLink {
  /** `remotes` is the other end alone: what nobody was learned for goes there. */
  readonly attachment: VxlanAttachment;
}

/** As createSegmentLinks, and its far end is known at once. The link is down. */
export function createTunnelLink(home: string | undefined, link: TunnelLink): void {
  createSegmentLinks(home, [link]);
  changeWire(link.netns, link.name, {
    ...nothingOnWire,
    addRemotes: link.attachment.remotes,
    alias: link.alias,
    up: false,
  });
}

const nothingOnWire = { removeAddresses: [], addAddresses: [], removeGateways: [], addGateways: [], removeRemotes: [] };

function openNetns(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    throw new WeirError('not-found', `no network namespace at ${path}`, { path }, error);
  }
}

function attachmentParts(attachment: SegmentLink['attachment'], socket: RouteSocket, trunks: Map<string, number>): NetlinkParts {
  if (attachment.kind === 'vlan') {
    const { trunk, vlan } = attachment;
    const index = trunks.get(trunk) ?? readLink(socket, trunk)?.index;
    if (index === undefined) throw new WeirError('kernel-refused', `trunk ${trunk} is gone`, { trunk });
    trunks.set(trunk, index);
    const data = nested(IFLA_INFO_DATA, [attribute(IFLA_VLAN_ID, wordOf(vlan))]);
    return [attribute(IFLA_LINK, longOf(index)), nested(IFLA_LINKINFO, [attribute(IFLA_INFO_KIND, textOf('vlan')), data])];
  }
  const { vni, local, port } = attachment;
  const data = nested(IFLA_INFO_DATA, [
    attribute(IFLA_VXLAN_ID, longOf(vni)),
    attribute(local.family === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, addressBytes(local)),
    attribute(IFLA_VXLAN_PORT, netWordOf(port)),
    attribute(IFLA_VXLAN_TTL, byteOf(vxlanTtl)),
    attribute(IFLA_VXLAN_LEARNING, byteOf(1)),
    attribute(IFLA_VXLAN_LIMIT, longOf(maxLearned)),
  ]);
  return [nested(IFLA_LINKINFO, [attribute(IFLA_INFO_KIND, textOf('vxlan')), data])];
}

/** Removes a link in a namespace; its VLAN id or VNI is free at once. False when there was none. */
export function deleteSegmentLink(netns: string, name: string): boolean {
  return withRouteSocket(netns, (socket) => {
    const link = readLink(socket, name);
    if (!link) return false;
    // A VLAN device that is deleted promiscuous leaves its trunk so for good (Linux 6.1): the trunk counts who asked.
    if (link.promiscuous) socket.change([{ ...flagRequest(link.index, IFF_PROMISC, false, name), ignore: ['ENODEV'] }]);
    socket.change([{ type: RTM_DELLINK, body: [linkHeader(link.index)], what: `link ${name}`, ignore: ['ENODEV'] }]);
    return true;
  });
}
