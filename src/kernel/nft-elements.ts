// A fingerprint of what is in the sets and maps of our tables, read by netlink without a program: large sets are not listed
// as text each time somebody asks whether anything changed. Source: include/uapi/linux/netfilter/nf_tables.h.

import { createHash } from 'node:crypto';
import { attribute, joinBytes, parseAttributes, textIn, textOf } from './netlink-message.ts';
import { type NftFamily, ownTableFamilies, ownTableName } from './nft-ruleset.ts';
import { RouteSocket } from './route-socket.ts';

const NETLINK_NETFILTER = 12;
const subsystem = 10 << 8;
const NFT_MSG_NEWSET = subsystem | 9;
const NFT_MSG_GETSET = subsystem | 10;
const NFT_MSG_NEWSETELEM = subsystem | 12;
const NFT_MSG_GETSETELEM = subsystem | 13;
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
/** include/uapi/linux/netfilter.h: NFPROTO_INET, NFPROTO_NETDEV, NFPROTO_ARP. */
export const familyNumbers: Readonly<Record<NftFamily, number>> = { inet: 1, netdev: 5, arp: 3 };

/**
 * The same text as long as every set of ours has the same elements, in whatever order the kernel keeps them. Throws
 * `not-found` when there is no such namespace.
 */
export function readElementsFingerprint(netns: string | undefined): string {
  const socket = new RouteSocket(netns, NETLINK_NETFILTER);
  try {
    const lines: string[] = [];
    for (const family of ownTableFamilies) {
      const header = Uint8Array.of(familyNumbers[family], 0, 0, 0);
      for (const name of readSetNames(socket, header)) lines.push(`${family} ${name} ${sumElements(socket, header, name)}`);
    }
    return createHash('sha256').update(lines.sort().join('\n')).digest('hex');
  } finally {
    socket.close();
  }
}

function readSetNames(socket: RouteSocket, header: Uint8Array): string[] {
  const names: string[] = [];
  const asked = [header, attribute(NFTA_SET_TABLE, textOf(ownTableName))];
  for (const { type, body } of socket.dump(NFT_MSG_GETSET, asked, 'reading sets')) {
    if (type !== NFT_MSG_NEWSET) continue;
    const attributes = parseAttributes(body.subarray(4));
    if (textIn(attributes.get(NFTA_SET_TABLE)) === ownTableName) names.push(textIn(attributes.get(NFTA_SET_NAME)));
  }
  return names;
}

/** Count and sum of a hash of each element: independent of their order. */
function sumElements(socket: RouteSocket, header: Uint8Array, name: string): string {
  const asked = joinBytes([
    header,
    attribute(NFTA_SET_ELEM_LIST_TABLE, textOf(ownTableName)),
    attribute(NFTA_SET_ELEM_LIST_SET, textOf(name)),
  ]);
  let count = 0;
  let low = 0;
  let high = 0;
  for (const { type, body } of socket.dump(NFT_MSG_GETSETELEM, [asked], `reading the elements of ${name}`)) {
    if (type !== NFT_MSG_NEWSETELEM) continue;
    const list = parseAttributes(body.subarray(4)).get(NFTA_SET_ELEM_LIST_ELEMENTS);
    if (!list) continue;
    const view = new DataView(list.buffer, list.byteOffset, list.length);
    for (let at = 0; at + 4 <= list.length; ) {
      const size = view.getUint16(at, true);
      if (size < 4 || at + size > list.length) break;
      count += 1;
      low = (low + hash(list, at + 4, at + size, 0x811c9dc5)) >>> 0;
      high = (high + hash(list, at + 4, at + size, 0x2f0b4a51)) >>> 0;
      at += (size + 3) & ~3;
    }
  }
  return `${count} ${low.toString(16)} ${high.toString(16)}`;
}

/** FNV-1a (draft-eastlake-fnv): against accident, not malice; who could forge it could write any rule. */
function hash(bytes: Uint8Array, start: number, end: number, basis: number): number {
  let value = basis;
  for (let at = start; at < end; at += 1) value = Math.imul(value ^ bytes[at], 0x01000193);
  return value >>> 0;
}
