// Where the IP packet is in a captured frame. Pure; nothing is read past the frame's end.
// Sources: the LINKTYPE registry (draft-ietf-opsawg-pcaplinktype), IEEE 802.1Q, packet(7) for Linux cooked captures.

import { be16 } from '../../kernel/packet-header.ts';

export interface NetworkPart {
  /** Of the IP header. */
  readonly at: number;
  /** Of six bytes with the sender's hardware address; -1 where there is none. */
  readonly macAt: number;
}

/** Tags before giving up: 802.1ad has two. */
const maxTags = 4;
const [etherIpv4, etherIpv6, etherPppoe] = [0x0800, 0x86dd, 0x8864];
const isTag = (type: number): boolean => type === 0x8100 || type === 0x88a8 || type === 0x9100;

/** `other`: a frame that carries something else than IP (ARP, spanning tree); undefined: not enough of it, or an unknown kind. */
export function networkPart(bytes: Buffer, start: number, end: number, linkType: number): NetworkPart | 'other' | undefined {
  switch (linkType) {
    case 1:
      return end - start < 14 ? undefined : byType(bytes, start + 12, end, start + 6);
    case 0:
    case 108:
      return end - start < 4 ? undefined : byVersion(bytes, start + 4, end, -1);
    case 12:
    case 14:
    case 101:
    case 228:
    case 229:
      return byVersion(bytes, start, end, -1);
    case 113:
      return end - start < 16 ? undefined : byType(bytes, start + 14, end, be16(bytes, start + 4) === 6 ? start + 6 : -1);
    case 276:
      if (end - start < 20) return undefined;
      return isTag(be16(bytes, start))
        ? tagged(bytes, start + 20, end, bytes[start + 11] === 6 ? start + 12 : -1)
        : ofType(be16(bytes, start), start + 20, bytes[start + 11] === 6 ? start + 12 : -1);
    default:
      return undefined;
  }
}

export const knownLinkTypes: ReadonlySet<number> = new Set([0, 1, 12, 14, 101, 108, 113, 228, 229, 276]);

/** At `at` is an EtherType. */
function byType(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined {
  let type = be16(bytes, at);
  let next = at + 2;
  for (let tag = 0; tag < maxTags && isTag(type); tag += 1) {
    if (next + 4 > end) return undefined;
    type = be16(bytes, next + 2);
    next += 4;
  }
  // A DSL line: six bytes of PPPoE, then which protocol PPP carries (RFC 2516, RFC 1661).
  if (type === etherPppoe) {
    if (next + 8 > end) return undefined;
    const carried = be16(bytes, next + 6);
    return carried === 0x0021 || carried === 0x0057 ? { at: next + 8, macAt } : 'other';
  }
  return ofType(type, next, macAt);
}

/** The same where the EtherType before said that a tag follows: at `at` is its content. */
const tagged = (bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined =>
  at + 4 > end ? undefined : byType(bytes, at + 2, end, macAt);

const ofType = (type: number, at: number, macAt: number): NetworkPart | 'other' =>
  type === etherIpv4 || type === etherIpv6 ? { at, macAt } : 'other';

/** Headers whose address family has a number of each system's own: the packet itself says. */
function byVersion(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined {
  if (at >= end) return undefined;
  const version = bytes[at] >> 4;
  return version === 4 || version === 6 ? { at, macAt } : 'other';
}
