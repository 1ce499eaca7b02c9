// RDP and S7 inside TPKT, SMB with and without a NetBIOS session, DCE/RPC, TDS.
// Sources: RFC 1006, X.224 (COTP), MS-RDPBCGR 2.2.1.1, RFC 1002 4.3, MS-SMB2 2.2.1, MS-TDS 2.2.3.1, C706 chapter 12.

import type { Signature, Verdict } from '../signature.ts';

/** The COTP connection request inside TPKT; S7 names its parameters, RDP has a cookie, a negotiation or nothing. */
function tpkt(bytes: Buffer, wanted: 'rdp' | 's7'): Verdict {
  if (bytes.length > 1 && bytes[1] !== 0) return 'no';
  if (bytes.length > 3) {
    const length = bytes.readUInt16BE(2);
    if (length < 7 || length > 4096) return 'no';
  }
  if (bytes.length < 6) return 'more';
  if (bytes[5] === 0xf0)
    return wanted === 's7' && bytes.length > 7 ? (bytes[7] === 0x32 ? 'match' : 'no') : bytes.length > 7 ? 'no' : 'more';
  if ((bytes[5] & 0xf0) !== 0xe0) return 'no';
  if (bytes.readUInt16BE(2) === 11) return wanted === 'rdp' ? 'match' : 'no';
  if (bytes.length < 12) return 'more';
  const parameter = bytes[11];
  const named = parameter === 0xc0 || parameter === 0xc1 || parameter === 0xc2;
  return named === (wanted === 's7') ? 'match' : 'no';
}

export const windowsSignatures: readonly Signature[] = [
  { protocol: 's7', first: [3], test: (bytes) => tpkt(bytes, 's7') },
  { protocol: 'rdp', first: [3], test: (bytes) => tpkt(bytes, 'rdp') },
  {
    protocol: 'smb',
    first: [0],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] > 1) return 'no';
      const magic = [0, 0x53, 0x4d, 0x42];
      for (let index = 5; index < Math.min(bytes.length, 8); index += 1) if (bytes[index] !== magic[index - 4]) return 'no';
      if (bytes.length > 4 && bytes[4] !== 0xff && bytes[4] !== 0xfe && bytes[4] !== 0xfd) return 'no';
      return bytes.length < 8 ? 'more' : 'match';
    },
  },
  {
    // NetBIOS session request: two encoded names of 34 bytes each follow.
    protocol: 'smb',
    first: [0x81],
    test(bytes) {
      const wanted = [0x81, 0, 0, 0x44, 0x20];
      for (let index = 1; index < Math.min(bytes.length, 5); index += 1) if (bytes[index] !== wanted[index]) return 'no';
      return bytes.length < 5 ? 'more' : 'match';
    },
  },
  {
    protocol: 'mssql',
    first: [0x12],
    test(bytes) {
      // AJP13 opens with 12 34; a pre-login's second byte is a status bit set.
      if (bytes.length > 1 && bytes[1] > 1) return 'no';
      if (bytes.length < 9) return 'more';
      const length = bytes.readUInt16BE(2);
      return length >= 14 && length <= 4096 && bytes[7] === 0 && bytes[8] === 0 ? 'match' : 'no';
    },
  },
  {
    // LOGIN7 without a pre-login before it.
    protocol: 'mssql',
    first: [0x10],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] > 1) return 'no';
      if (bytes.length < 16) return 'more';
      const version = bytes.readUInt32BE(12);
      return bytes.readUInt16BE(2) >= 94 &&
        bytes[7] === 0 &&
        (version & 0xffffff) >>> 16 < 0x10 &&
        bytes[15] >= 0x70 &&
        bytes[15] <= 0x75
        ? 'match'
        : 'no';
    },
  },
  {
    protocol: 'dcerpc',
    first: [5],
    test(bytes) {
      // SOCKS 5 has its count of methods here, never 0.
      if (bytes.length > 1 && bytes[1] !== 0) return 'no';
      if (bytes.length > 2 && bytes[2] !== 0x0b && bytes[2] !== 0) return 'no';
      if (bytes.length < 10) return 'more';
      const length = bytes.readUInt16LE(8);
      return (bytes[4] === 0x10 || bytes[4] === 0) && length >= 16 && length <= 8192 ? 'match' : 'no';
    },
  },
];
