// An AF_PACKET socket that sees questions for names which go to a whole link: NetBIOS by broadcast, LLMNR and mDNS by
// multicast, IPv4 and IPv6. One descriptor for all; answers leave by it as whole frames, with a decoy's address and MAC.
// Frames are name-frame.ts. Sources: RFC 1002 section 4.2.1.1, RFC 4795 section 2, RFC 6762 section 3, RFC 1112 section 6.4.

import { addressBytes, parseAddress } from '../model/address.ts';
import { trySocketBytes } from './libc.ts';
import { type FilterInstruction, openPacketSocket, type PacketSocket } from './packet-socket.ts';

export const nameGroups = ['224.0.0.251', '224.0.0.252', 'ff02::fb', 'ff02::1:3'] as const;
const groupMacs = ['01:00:5e:00:00:fb', '01:00:5e:00:00:fc', '33:33:00:00:00:fb', '33:33:00:01:00:03'];

/**
 * Frames to a group or to all (lowest bit of the first byte) that hold UDP to port 137, 5353 or 5355: IPv4 without
 * fragments, header length as written; IPv6 without extension headers. Classic BPF on the Ethernet frame.
 */
const filter: readonly FilterInstruction[] = [
  [0x30, 0, 0, 0],
  [0x45, 0, 18, 1],
  [0x28, 0, 0, 12],
  [0x15, 0, 9, 0x0800],
  [0x30, 0, 0, 23],
  [0x15, 0, 14, 17],
  [0x28, 0, 0, 20],
  [0x45, 12, 0, 0x3fff],
  [0xb1, 0, 0, 14],
  [0x48, 0, 0, 16],
  [0x15, 8, 0, 137],
  [0x15, 7, 0, 5353],
  [0x15, 6, 7, 5355],
  [0x15, 0, 6, 0x86dd],
  [0x30, 0, 0, 20],
  [0x15, 0, 4, 17],
  [0x28, 0, 0, 56],
  [0x15, 1, 0, 5353],
  [0x15, 0, 1, 5355],
  [0x06, 0, 0, 0x40000],
  [0x06, 0, 0, 0],
];

export interface NameSocketOptions {
  readonly interface: string;
  readonly netns?: string;
  readonly bufferBytes?: number;
}

/** Needs CAP_NET_RAW. Throws `not-permitted`, `system-call` (ENODEV). */
export const openNameSocket = (options: NameSocketOptions): PacketSocket =>
  openPacketSocket({ ...options, filter, bufferBytes: options.bufferBytes ?? 1 << 20, receives: { groups: groupMacs } });

const SOL_IP = 0;
const SOL_IPV6 = 41;
const IP_ADD_MEMBERSHIP = 35;
const IPV6_ADD_MEMBERSHIP = 20;

/**
 * Says on the link (IGMP, MLD) that this machine listens to the groups, for switches that keep them from those who do not:
 * as long as `fd`, any UDP socket of the family, is open. It need not read them. A group joined already changes nothing.
 */
export function joinNameGroups(fd: number, family: 4 | 6, interfaceIndex: number): void {
  for (const text of nameGroups) {
    const address = parseAddress(text);
    if (address?.family !== family) continue;
    const bytes = addressBytes(address);
    const request = new Uint8Array(family === 4 ? 12 : 20);
    request.set(bytes, 0);
    // struct ip_mreqn: group, local address, index; struct ipv6_mreq: group, index.
    new DataView(request.buffer).setInt32(family === 4 ? 8 : 16, interfaceIndex, true);
    trySocketBytes(fd, family === 4 ? SOL_IP : SOL_IPV6, family === 4 ? IP_ADD_MEMBERSHIP : IPV6_ADD_MEMBERSHIP, request);
  }
}
