// PostgreSQL, MySQL clients that do not wait, MongoDB, Redis, memcached, Oracle TNS, ZooKeeper.
// Sources: PostgreSQL 55.7, MySQL client/server protocol HandshakeResponse41, MongoDB wire protocol, RESP, memcached protocol.txt.

import { begins, commands, firstBytes, firstLine, isText, type Signature } from '../signature.ts';

const postgresCodes = new Set([0x00020000, 0x00030000, 0x00030002, 80877102, 80877103, 80877104]);
const mongoOperations = new Set([1, 2001, 2002, 2004, 2005, 2006, 2007, 2010, 2011, 2012, 2013]);
const anyByte = Array.from({ length: 256 }, (_, index) => index);

const memcachedWords = [
  'stats',
  'version',
  'get',
  'gets',
  'set',
  'add',
  'replace',
  'append',
  'prepend',
  'cas',
  'delete',
  'incr',
  'decr',
  'touch',
  'gat',
  'flush_all',
  'verbosity',
  'lru_crawler',
  'slabs',
  'mg',
  'ms',
  'mn',
  'me',
];

export const databaseSignatures: readonly Signature[] = [
  {
    protocol: 'postgres',
    first: [0],
    test(bytes) {
      for (let index = 1; index < Math.min(bytes.length, 2); index += 1) if (bytes[index] !== 0) return 'no';
      if (bytes.length > 4 && bytes[4] !== 0 && bytes[4] !== 4) return 'no';
      if (bytes.length < 8) return 'more';
      const length = bytes.readUInt32BE(0);
      return length >= 8 && length <= 10_000 && postgresCodes.has(bytes.readUInt32BE(4)) ? 'match' : 'no';
    },
  },
  {
    // Message length, request id, response to, operation: all little-endian.
    protocol: 'mongodb',
    first: anyByte,
    test(bytes) {
      if (bytes.length < 16) return bytes.length >= 4 && plausibleMongoLength(bytes) ? 'more' : 'no';
      return plausibleMongoLength(bytes) && mongoOperations.has(bytes.readInt32LE(12)) ? 'match' : 'no';
    },
  },
  {
    // Sequence 1 (the client answers a greeting it did not wait for), protocol 4.1, 23 zero bytes of filler.
    protocol: 'mysql',
    first: anyByte,
    test(bytes) {
      if (bytes.length < 5) return 'no';
      const length = bytes.readUIntLE(0, 3);
      if (length < 32 || length > 2048 || bytes[3] !== 1) return 'no';
      if (bytes.length > 5 && (bytes[5] & 2) === 0) return 'no';
      if (bytes.length < 36) return 'more';
      for (let index = 13; index < 32; index += 1) if (bytes[index] !== 0) return 'no';
      return 'match';
    },
  },
  {
    protocol: 'redis',
    first: [0x2a],
    test(bytes) {
      let index = 1;
      while (index < bytes.length && index < 8 && bytes[index] >= 0x30 && bytes[index] <= 0x39) index += 1;
      if (index === bytes.length) return 'more';
      if (index === 1 || bytes[index] !== 13) return 'no';
      if (index + 2 >= bytes.length) return 'more';
      return bytes[index + 1] === 10 && bytes[index + 2] === 0x24 ? 'match' : 'no';
    },
  },
  commands('memcached', memcachedWords, ['quit'], { exactCase: true }),
  {
    protocol: 'memcached',
    first: [0x80],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] > 0x3d) return 'no';
      if (bytes.length > 5 && bytes[5] !== 0) return 'no';
      if (bytes.length < 24) return bytes.length < 12 || plausibleMemcached(bytes) ? 'more' : 'no';
      return plausibleMemcached(bytes) ? 'match' : 'no';
    },
  },
  {
    protocol: 'oracle-tns',
    first: anyByte.slice(0, 16),
    test(bytes) {
      if (bytes.length < 5 || bytes[4] !== 1 || bytes.readUInt16BE(2) !== 0) return 'no';
      if (bytes.length < 10) return 'more';
      const length = bytes.readUInt16BE(0);
      const version = bytes.readUInt16BE(8);
      return length >= 34 && length <= 8192 && version >= 0x0100 && version < 0x0180 ? 'match' : 'no';
    },
  },
  ...['ruok', 'srvr', 'envi', 'mntr', 'cons', 'wchs', 'dump', 'wchp'].map((word) => begins('zookeeper', word)),
  {
    protocol: 'zookeeper',
    first: firstBytes('sc'),
    test(bytes) {
      const line = firstLine(bytes) ?? bytes.toString('latin1', 0, 8);
      if (line !== 'stat' && line !== 'conf') return 'stat'.startsWith(line) || 'conf'.startsWith(line) ? 'more' : 'no';
      return isText(bytes) ? 'match' : 'no';
    },
  },
];

function plausibleMongoLength(bytes: Buffer): boolean {
  const length = bytes.readInt32LE(0);
  return length >= 16 && length <= 48_000_000 && bytes[3] <= 2 && (bytes.length < 12 || bytes.readInt32LE(8) === 0);
}

function plausibleMemcached(bytes: Buffer): boolean {
  const key = bytes.readUInt16BE(2);
  const body = bytes.readUInt32BE(8);
  return key <= 250 && body >= key + bytes[4] && body <= 1_048_576;
}
