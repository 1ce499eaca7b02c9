// What an SSH client says of itself: its version line and, from the algorithms it offers, HASSH. Pure, on hostile bytes.
// Sources: RFC 4253 sections 4.2, 6 and 7.1; HASSH: MD5 of `kex;encryption;mac;compression`, client to server.

import { createHash } from 'node:crypto';

export interface SshHello {
  readonly client: string;
  /** Absent when no algorithms came. */
  readonly hassh?: string;
  /** Where what follows the version line begins. */
  readonly next: number;
}

/** RFC 4253: a version line has at most 255 characters; lines before it may be anything. */
const lineLimit = 255;
const packetLimit = 35_000;
const kexInit = 20;

export function parseSshHello(bytes: Buffer): SshHello | undefined {
  const start = bytes.subarray(0, 1024).indexOf('SSH-');
  if (start < 0 || (start > 0 && bytes[start - 1] !== 10)) return undefined;
  const found = bytes.subarray(start, start + lineLimit + 2).indexOf(10);
  const end = found < 0 ? Math.min(bytes.length, start + lineLimit) : start + found;
  const client = bytes.toString('latin1', start, bytes[end - 1] === 13 ? end - 1 : end);
  const next = Math.min(bytes.length, found < 0 ? end : end + 1);
  const hassh = hasshOf(bytes.subarray(next));
  return { client, next, ...(hassh === undefined ? {} : { hassh }) };
}

/** Of the first packet, which is in plain text: length, padding length, message. */
function hasshOf(packet: Buffer): string | undefined {
  if (packet.length < 6 + 16) return undefined;
  const length = packet.readUInt32BE(0);
  if (length > packetLimit || length < 20 || packet[5] !== kexInit) return undefined;
  const end = Math.min(packet.length, 4 + length - packet[4]);
  const lists: string[] = [];
  // Type and cookie, then ten lists; the first eight are kex, host keys, and two each of encryption, MAC, compression.
  let at = 6 + 16;
  while (lists.length < 8) {
    if (at + 4 > end) return undefined;
    const size = packet.readUInt32BE(at);
    if (at + 4 + size > end) return undefined;
    lists.push(packet.toString('latin1', at + 4, at + 4 + size));
    at += 4 + size;
  }
  return createHash('md5').update([lists[0], lists[2], lists[4], lists[6]].join(';')).digest('hex');
}
