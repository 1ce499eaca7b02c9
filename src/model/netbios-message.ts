// NetBIOS name service messages over UDP port 137: name and node status questions in (hostile), answers out. Pure.
// Sources: RFC 1001 section 14.1 (first-level encoding), RFC 1002 sections 4.2.12, 4.2.13, 4.2.17 and 4.2.18.

import { type Address, addressBytes } from './address.ts';
import { netbiosLength, netbiosName, workgroup } from './host-name.ts';

export interface NetbiosQuestion {
  readonly id: number;
  /** Without its padding, upper case; `*` asks whoever it reaches. */
  readonly name: string;
  /** The sixteenth byte: 0x00 workstation, 0x20 file server. */
  readonly suffix: number;
  readonly kind: 'name' | 'status';
}

const typeName = 0x0020;
const typeStatus = 0x0021;
const questionBytes = 50;

/** Undefined for anything but one plain question without a scope. */
export function parseNetbiosQuestion(payload: Uint8Array): NetbiosQuestion | undefined {
  if (payload.length < questionBytes) return undefined;
  const word = (at: number): number => (payload[at] << 8) | payload[at + 1];
  if ((payload[2] & 0xf8) !== 0 || word(4) !== 1 || word(6) !== 0 || word(8) !== 0 || word(10) !== 0) return undefined;
  if (payload[12] !== 32 || payload[45] !== 0 || word(48) !== 1) return undefined;
  const type = word(46);
  if (type !== typeName && type !== typeStatus) return undefined;
  const bytes = new Uint8Array(16);
  for (let index = 0; index < 16; index += 1) {
    const high = payload[13 + index * 2] - 0x41;
    const low = payload[14 + index * 2] - 0x41;
    if (high < 0 || high > 15 || low < 0 || low > 15) return undefined;
    bytes[index] = (high << 4) | low;
  }
  const name = Buffer.from(bytes.subarray(0, netbiosLength))
    .toString('latin1')
    .replace(/[ \0]+$/, '')
    .toUpperCase();
  return { id: word(0), name, suffix: bytes[15], kind: type === typeName ? 'name' : 'status' };
}

/** First-level encoding with its length byte and the empty scope: 34 bytes. `*` is padded with zeros, others with spaces. */
export function encodeNetbiosName(name: string, suffix: number): Buffer {
  const bytes = Buffer.alloc(16, name === '*' ? 0 : 0x20);
  bytes.write(name.slice(0, netbiosLength), 'latin1');
  bytes[15] = suffix;
  const encoded = Buffer.alloc(34);
  encoded[0] = 32;
  for (const [index, byte] of bytes.entries()) {
    encoded[1 + index * 2] = 0x41 + (byte >> 4);
    encoded[2 + index * 2] = 0x41 + (byte & 15);
  }
  return encoded;
}

function answer(question: NetbiosQuestion, type: number, ttlSeconds: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(question.id, 0);
  // Response, authoritative; a name is answered with the recursion bits of the question's kind (RFC 1002 4.2.13).
  head.writeUInt16BE(type === typeName ? 0x8500 : 0x8400, 2);
  head.writeUInt16BE(1, 6);
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([head, encodeNetbiosName(question.name, question.suffix), fixed, data]);
}

/** A positive name query response: the name is at this IPv4 address, a unique name of a broadcast node. 62 bytes. */
export function renderNetbiosAddress(question: NetbiosQuestion, address: Address): Buffer {
  return answer(question, typeName, 300_000, Buffer.concat([Buffer.alloc(2), addressBytes(address)]));
}

const groupName = 0x8000;
const activeName = 0x0400;

/** A node status response: the machine's names, its workgroup, and its MAC as unit identifier; statistics are zero, as Windows'. */
export function renderNetbiosStatus(question: NetbiosQuestion, host: string, mac: Uint8Array, serves: boolean): Buffer {
  const name = netbiosName(host);
  const names: readonly (readonly [name: string, suffix: number, flags: number])[] = [
    [name, 0x00, activeName],
    [workgroup, 0x00, activeName | groupName],
    ...(serves ? [[name, 0x20, activeName] as const] : []),
  ];
  const entries = names.map(([text, suffix, flags]) => {
    const bytes = Buffer.alloc(18, 0x20);
    bytes.write(text, 'latin1');
    bytes[15] = suffix;
    bytes.writeUInt16BE(flags, 16);
    return bytes;
  });
  const statistics = Buffer.alloc(46);
  statistics.set(mac.subarray(0, 6));
  return answer(question, typeStatus, 0, Buffer.concat([Buffer.from([entries.length]), ...entries, statistics]));
}
