// DNS and its relatives (mDNS, NetBIOS names) over UDP: refusals the size of the question, or silence.
// Sources: RFC 1035 section 4.1, RFC 6762, RFC 1002 section 4.2.

import type { DatagramResponder } from '../datagram.ts';

/** Offset behind the first question, or -1 when the message is not a query of one question. */
export function questionEnd(payload: Buffer): number {
  if (payload.length < 17 || (payload[2] & 0x80) !== 0 || payload.readUInt16BE(4) !== 1 || payload.readUInt16BE(6) !== 0)
    return -1;
  let at = 12;
  while (at < payload.length && payload[at] !== 0) {
    if (payload[at] > 63) return -1;
    at += payload[at] + 1;
  }
  return at + 5 <= payload.length ? at + 5 : -1;
}

/** Header and question come back with RCODE 5: what a resolver says to strangers. */
export function refuse(payload: Buffer, end: number): Buffer {
  const answer = Buffer.from(payload.subarray(0, end));
  answer[2] = 0x80 | (payload[2] & 0x79);
  answer[3] = 5;
  answer.fill(0, 6, 12);
  return answer;
}

export const namingResponders: readonly DatagramResponder[] = [
  {
    protocol: 'netbios',
    ports: [137],
    recognises: (payload) => payload.length >= 50 && payload.readUInt16BE(4) === 1 && payload[12] === 0x20 && payload[45] === 0,
  },
  {
    protocol: 'mdns',
    ports: [5353],
    recognises: (payload, port) => port === 5353 && questionEnd(payload) > 0,
  },
  {
    protocol: 'dns',
    ports: [53],
    recognises: (payload) => ((payload[2] ?? 0) & 0x78) <= 0x10 && questionEnd(payload) > 0 && payload.readUInt16BE(10) <= 2,
    answer({ payload }) {
      const end = questionEnd(payload);
      return end > 0 ? refuse(payload, end) : undefined;
    },
  },
];
