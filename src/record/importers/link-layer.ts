// Where the IP packet is in a captured frame. Pure; nothing is read past the frame's end.
// Sources: the LINKTYPE registry (draft-ietf-opsawg-pcaplinktype), IEEE 802.1Q and 802.2, packet(7) for Linux cooked captures,
// RFC 1661 and 1662 (PPP), RFC 2516 (PPPoE), RFC 3032 (MPLS), linux/netfilter/nfnetlink_log.h.

import { be16 } from '../../kernel/packet-header.ts';

export interface NetworkPart {
  /** Of the IP header. */
  readonly at: number;
  /** Of six bytes with the sender's hardware address; -1 where there is none. */
  readonly macAt: number;
}

/** Tags before giving up: 802.1ad has two. */
const maxTags = 4;
/** MPLS labels, and attributes of an NFLOG message, before giving up. */
const maxLabels = 8;
const maxAttributes = 32;
const [etherIpv4, etherIpv6, etherPppoe, etherMpls, etherMplsMulticast] = [0x0800, 0x86dd, 0x8864, 0x8847, 0x8848];
/** From here on the two bytes behind the addresses are a type; below they are a length (IEEE 802.3, 3.2.6). */
const firstEtherType = 0x0600;
const nflogPayload = 9;
const isTag = (type: number): boolean => type === 0x8100 || type === 0x88a8 || type === 0x9100;

/** `other`: a frame that carries something else than IP (ARP, spanning tree); undefined: not enough of it, or an unknown kind. */
export function networkPart(bytes: Buffer, start: number, end: number, linkType: number): NetworkPart | 'other' | undefined {
  switch (linkType) {
    case 1:
      return end - start < 14 ? undefined : byType(bytes, start + 12, end, start + 6);
    case 0:
    case 108:
      return end - start < 4 ? undefined : byVersion(bytes, start + 4, end, -1);
    case 9:
      return ppp(bytes, start, end, -1);
    case 50:
      // The same number stands for Cisco's framing: an address of unicast or multicast, not PPP's of all stations.
      return bytes[start] === 0x0f || bytes[start] === 0x8f ? cisco(bytes, start, end) : ppp(bytes, start, end, -1);
    case 51:
      return ppp(bytes, start + 6, end, -1);
    case 104:
      return cisco(bytes, start, end);
    case 166:
      return ppp(bytes, start + 2, end, -1);
    case 204:
      return ppp(bytes, start + 1, end, -1);
    case 239:
      return nflog(bytes, start, end);
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

export const knownLinkTypes: ReadonlySet<number> = new Set([
  0, 1, 9, 12, 14, 50, 51, 101, 104, 108, 113, 166, 204, 228, 229, 239, 276,
]);

/** At `at` is an EtherType. */
function byType(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined {
  let type = be16(bytes, at);
  let next = at + 2;
  for (let tag = 0; tag < maxTags && isTag(type); tag += 1) {
    if (next + 4 > end) return undefined;
    type = be16(bytes, next + 2);
    next += 4;
  }
  // A DSL line: six bytes of PPPoE, then what PPP carries.
  if (type === etherPppoe) return ppp(bytes, next + 6, end, macAt);
  if (type === etherMpls || type === etherMplsMulticast) return mpls(bytes, next, end, macAt);
  if (type < firstEtherType) return logicalLink(bytes, next, end, macAt);
  return ofType(type, next, macAt);
}

/** At `at` is what PPP carries, its address and control field before it or compressed away, so may be half the number. */
function ppp(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined {
  const number = at + 2 <= end && be16(bytes, at) === 0xff03 ? at + 2 : at;
  if (number + 2 > end) return undefined;
  const short = (bytes[number] & 1) === 1;
  const carried = short ? bytes[number] : be16(bytes, number);
  return carried === 0x0021 || carried === 0x0057 ? { at: number + (short ? 1 : 2), macAt } : 'other';
}

/** An address, a control field, an EtherType. */
const cisco = (bytes: Buffer, start: number, end: number): NetworkPart | 'other' | undefined =>
  start + 4 > end ? undefined : byType(bytes, start + 2, end, -1);

/** Labels up to the one marked as the last; what is behind them only it itself says. */
function mpls(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' | undefined {
  for (let label = 0; label < maxLabels; label += 1) {
    const next = at + label * 4;
    if (next + 4 > end) return undefined;
    if ((bytes[next + 2] & 1) === 1) return byVersion(bytes, next + 4, end, macAt);
  }
  return 'other';
}

/** IEEE 802.2: with SNAP's numbers an EtherType follows. */
function logicalLink(bytes: Buffer, at: number, end: number, macAt: number): NetworkPart | 'other' {
  if (at + 8 > end || be16(bytes, at) !== 0xaaaa || bytes[at + 2] !== 3) return 'other';
  return ofType(be16(bytes, at + 6), at + 8, macAt);
}

/** Two flags stand above an attribute's number, see NLA_F_NESTED in linux/netlink.h. */
const attributeNumber = 0x3f;

/** Attributes in the byte order of the machine that wrote them: their numbers fit into one byte, which tells it. */
function nflog(bytes: Buffer, start: number, end: number): NetworkPart | 'other' | undefined {
  let at = start + 4;
  for (let attribute = 0; attribute < maxAttributes && at + 4 <= end; attribute += 1) {
    const little = (bytes[at + 3] & attributeNumber) === 0;
    const length = little ? bytes.readUInt16LE(at) : be16(bytes, at);
    const type = little ? bytes[at + 2] : bytes[at + 3];
    if (length < 4) return undefined;
    if (type === nflogPayload) return byVersion(bytes, at + 4, end, -1);
    at += Math.ceil(length / 4) * 4;
  }
  return undefined;
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
