// NTLM as SMB, RDP and HTTP carry it: the challenge a Windows machine sends, and the names in the client's answer.
// Pure but for the challenge's eight random bytes. Source: MS-NLMP 2.2.1 and 2.2.2.

import { randomBytes } from 'node:crypto';
import { clip } from '../line.ts';

const signature = Buffer.from('NTLMSSP\0', 'latin1');

/** Offset of an NTLM message of `type` inside some wrapping, or -1. */
export function findNtlm(bytes: Buffer, type: 1 | 3): number {
  const at = bytes.indexOf(signature);
  return at >= 0 && bytes.length >= at + 12 && bytes.readUInt32LE(at + 8) === type ? at : -1;
}

/** A CHALLENGE message of a machine called `host` in a workgroup of its own. */
export function renderChallenge(host: string): Buffer {
  const name = host.slice(0, 15).toUpperCase();
  const wide = Buffer.from(name, 'utf16le');
  const full = Buffer.from(host.slice(0, 64), 'utf16le');
  const pair = (id: number, value: Buffer): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUInt16LE(id, 0);
    head.writeUInt16LE(value.length, 2);
    return Buffer.concat([head, value]);
  };
  const stamp = Buffer.alloc(8);
  stamp.writeBigUInt64LE((BigInt(Date.now()) + 11_644_473_600_000n) * 10_000n);
  const target = Buffer.concat([pair(2, wide), pair(1, wide), pair(4, full), pair(3, full), pair(7, stamp), Buffer.alloc(4)]);
  const head = Buffer.alloc(56);
  signature.copy(head);
  head.writeUInt32LE(2, 8);
  head.writeUInt16LE(wide.length, 12);
  head.writeUInt16LE(wide.length, 14);
  head.writeUInt32LE(56, 16);
  head.writeUInt32LE(0xe28a8215, 20);
  randomBytes(8).copy(head, 24);
  head.writeUInt16LE(target.length, 40);
  head.writeUInt16LE(target.length, 42);
  head.writeUInt32LE(56 + wide.length, 44);
  // Version 6.3.9600, NTLM revision 15.
  Buffer.from('0603802500 00000f'.replace(' ', ''), 'hex').copy(head, 48);
  return Buffer.concat([head, wide, target]);
}

/** `DOMAIN\user` of an AUTHENTICATE message at the start of `bytes`; undefined when anonymous or cut. */
export function parseAuthenticate(bytes: Buffer): string | undefined {
  if (bytes.length < 64) return undefined;
  const unicode = (bytes.readUInt32LE(60) & 1) !== 0;
  const field = (at: number): string => {
    const length = Math.min(bytes.readUInt16LE(at), 512);
    const offset = bytes.readUInt32LE(at + 4);
    if (offset + length > bytes.length) return '';
    return bytes.toString(unicode ? 'utf16le' : 'latin1', offset, offset + length);
  };
  const user = field(36);
  const domain = field(28);
  return user === '' ? undefined : clip(domain === '' ? user : `${domain}\\${user}`);
}
