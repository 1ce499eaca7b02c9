// Modbus/TCP and its neighbours without a magic number: last in order, told by lengths that add up.
// Sources: Modbus Messaging on TCP/IP 1.0b section 3.1.3, EtherNet/IP (CIP volume 2, 2-3), IEC 60870-5-104 section 5, DNP3.

import type { Signature } from '../signature.ts';

const anyByte = Array.from({ length: 256 }, (_, index) => index);

export const industrialSignatures: readonly Signature[] = [
  {
    // ListServices, ListIdentity, ListInterfaces, RegisterSession; status zero.
    protocol: 'ethernet-ip',
    first: [0x04, 0x63, 0x64, 0x65],
    test(bytes) {
      if (bytes.length < 24)
        return bytes.length > 1 && bytes[1] === 0 && bytes.subarray(4, 24).every((byte) => byte === 0) ? 'more' : 'no';
      return bytes[1] === 0 && bytes.readUInt16LE(2) <= 512 && bytes.readUInt32LE(8) === 0 && bytes.readUInt32LE(20) === 0
        ? 'match'
        : 'no';
    },
  },
  {
    // U-format frames: STARTDT, STOPDT, TESTFR activations.
    protocol: 'iec-104',
    first: [0x68],
    test(bytes) {
      if (bytes.length < 6) return bytes.length === 1 || bytes[1] === 4 ? 'more' : 'no';
      return bytes[1] === 4 && [0x07, 0x13, 0x43].includes(bytes[2]) && bytes.readUIntBE(3, 3) === 0 ? 'match' : 'no';
    },
  },
  {
    protocol: 'dnp3',
    first: [5],
    test(bytes) {
      if (bytes.length < 3) return bytes.length === 1 || bytes[1] === 0x64 ? 'more' : 'no';
      return bytes[1] === 0x64 && bytes[2] >= 5 ? 'match' : 'no';
    },
  },
  {
    protocol: 'modbus',
    first: anyByte,
    test(bytes) {
      if (bytes.length < 8) return bytes.length > 3 && bytes[2] === 0 && bytes[3] === 0 ? 'more' : 'no';
      const length = bytes.readUInt16BE(4);
      if (bytes.readUInt16BE(2) !== 0 || length < 2 || length > 254) return 'no';
      const code = bytes[7];
      return code > 0 && code < 0x80 && bytes.length >= 6 + length ? 'match' : code > 0 && code < 0x80 ? 'more' : 'no';
    },
  },
];
