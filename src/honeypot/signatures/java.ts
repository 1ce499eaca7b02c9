// Protocols of the Java world: RMI, serialised objects, AJP13, WebLogic T3, JDWP, IIOP.
// Sources: Java RMI wire protocol 10.2, Object Serialization 6, AJPv13 specification, JDWP specification, GIOP 15.4.

import { begins, prefix, type Signature } from '../signature.ts';

export const javaSignatures: readonly Signature[] = [
  {
    protocol: 'rmi',
    first: [0x4a],
    test(bytes) {
      const verdict = prefix(bytes, Buffer.from('JRMI\0', 'latin1'));
      if (verdict !== 'match') return verdict;
      if (bytes.length < 7) return 'more';
      return bytes[6] >= 0x4b && bytes[6] <= 0x4d ? 'match' : 'no';
    },
  },
  begins('java-object', '\xac\xed\x00\x05'),
  {
    protocol: 'ajp',
    first: [0x12],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] !== 0x34) return 'no';
      if (bytes.length < 5) return 'more';
      return [2, 7, 8, 10].includes(bytes[4]) && bytes.readUInt16BE(2) > 0 && bytes.readUInt16BE(2) <= 8192 ? 'match' : 'no';
    },
  },
  begins('t3', 't3 '),
  begins('t3', 't3s '),
  begins('jdwp', 'JDWP-Handshake'),
  begins('iiop', 'GIOP\x01'),
];
