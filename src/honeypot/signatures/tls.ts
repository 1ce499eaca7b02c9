// TLS and SSL client hellos in a stream. Reading the whole hello is model/client-hello.ts.
// Sources: RFC 8446 section 5.1, RFC 6101 appendix E (the version 2 hello).

import type { Signature } from '../signature.ts';

export const tlsSignatures: readonly Signature[] = [
  {
    protocol: 'tls',
    first: [0x16],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] !== 3) return 'no';
      if (bytes.length > 2 && bytes[2] > 4) return 'no';
      if (bytes.length > 4 && (bytes.readUInt16BE(3) > 16384 + 256 || bytes.readUInt16BE(3) === 0)) return 'no';
      if (bytes.length < 6) return 'more';
      return bytes[5] === 1 ? 'match' : 'no';
    },
  },
  {
    // Two-byte header with the high bit set, CLIENT-HELLO, version 2.0 or 3.x, three lengths that add up.
    protocol: 'sslv2',
    first: Array.from({ length: 128 }, (_, index) => 0x80 | index),
    test(bytes) {
      if (bytes.length > 2 && bytes[2] !== 1) return 'no';
      if (bytes.length > 3 && bytes[3] !== 0 && bytes[3] !== 3) return 'no';
      if (bytes.length > 4 && (bytes[3] === 0 ? bytes[4] !== 2 : bytes[4] > 4)) return 'no';
      if (bytes.length < 11) return 'more';
      const total = bytes.readUInt16BE(0) & 0x7fff;
      const ciphers = bytes.readUInt16BE(5);
      const session = bytes.readUInt16BE(7);
      const challenge = bytes.readUInt16BE(9);
      if (ciphers === 0 || ciphers % 3 !== 0 || (session !== 0 && session !== 16)) return 'no';
      if (challenge < 16 || challenge > 32) return 'no';
      return total === 9 + ciphers + session + challenge ? 'match' : 'no';
    },
  },
];
