// SSH, VNC, Telnet, SOCKS, MQTT, AMQP, ADB, LDAP, ONC RPC, Smart Install, FastCGI, and DNS over TCP.
// Sources: RFC 4253 4.2, RFC 6143 7.1.1, RFC 854, RFC 1928, SOCKS4 memo, MQTT 3.1.1 3.1, RFC 4511 4.2, RFC 5531 9,
// FastCGI 1.0 section 8, RFC 1035 4.2.2, the ADB protocol description.

import { begins, isText, prefix, type Signature, type Verdict } from '../signature.ts';

const anyByte = Array.from({ length: 256 }, (_, index) => index);
const adbCommands = ['CNXN', 'OPEN', 'AUTH', 'SYNC', 'OKAY', 'CLSE', 'WRTE', 'STLS'];
/** Application tags of LDAP requests: bind, unbind, search, modify, add, delete, rename, compare, abandon, extended. */
const ldapOperations = new Set([0x60, 0x42, 0x63, 0x66, 0x68, 0x4a, 0x6c, 0x6e, 0x50, 0x77]);

function ldap(bytes: Buffer): Verdict {
  let at = 1;
  if (bytes.length <= at) return 'more';
  if (bytes[at] & 0x80) {
    const count = bytes[at] & 0x7f;
    if (count < 1 || count > 4) return 'no';
    at += count;
  }
  at += 1;
  if (bytes.length <= at) return 'more';
  if (bytes[at] !== 2) return 'no';
  if (bytes.length <= at + 1) return 'more';
  const idLength = bytes[at + 1];
  if (idLength < 1 || idLength > 4) return 'no';
  if (bytes.length <= at + 2 + idLength) return 'more';
  return ldapOperations.has(bytes[at + 2 + idLength]) ? 'match' : 'no';
}

function dnsOverTcp(bytes: Buffer): Verdict {
  if (bytes.length < 5) return 'no';
  const length = bytes.readUInt16BE(0);
  if (length < 12 || length > 1024 || (bytes[4] & 0x80) !== 0) return 'no';
  if (((bytes[4] >> 3) & 15) > 5) return 'no';
  if (bytes.length < 14) return 'more';
  const questions = bytes.readUInt16BE(6);
  if (questions > 4 || bytes.readUInt16BE(8) !== 0 || bytes.readUInt16BE(10) > 4 || bytes.readUInt16BE(12) > 4) return 'no';
  if (questions === 0) return length === 12 && bytes.length === 14 && (bytes[4] & 0x78) === 0x10 ? 'match' : 'no';
  let at = 14;
  for (let label = 0; label < 128; label += 1) {
    if (at >= bytes.length) return bytes.length >= 2 + length ? 'no' : 'more';
    if (bytes[at] === 0) break;
    if (bytes[at] > 63) return 'no';
    at += bytes[at] + 1;
  }
  return at + 5 <= 2 + length ? 'match' : 'no';
}

export const networkSignatures: readonly Signature[] = [
  begins('ssh', 'SSH-'),
  begins('vnc', 'RFB '),
  {
    protocol: 'telnet',
    first: [0xff],
    test(bytes) {
      if (bytes.length < 2) return 'more';
      return bytes[1] >= 0xf0 && bytes[1] <= 0xfe ? 'match' : 'no';
    },
  },
  {
    protocol: 'socks5',
    first: [5],
    test(bytes) {
      if (bytes.length < 2) return 'more';
      const count = bytes[1];
      if (count === 0 || count > 16) return 'no';
      for (let index = 2; index < Math.min(bytes.length, 2 + count); index += 1)
        if (bytes[index] > 9 && bytes[index] < 0x80) return 'no';
      return bytes.length < 2 + count ? 'more' : 'match';
    },
  },
  {
    protocol: 'socks4',
    first: [4],
    test(bytes) {
      if (bytes.length > 1 && bytes[1] !== 1 && bytes[1] !== 2) return 'no';
      if (bytes.length < 9) return 'more';
      const end = bytes.indexOf(0, 8);
      if (end < 0) return bytes.length > 264 || !isText(bytes.subarray(8)) ? 'no' : 'more';
      return bytes.readUInt16BE(2) > 0 && isText(bytes.subarray(8, end), 256) ? 'match' : 'no';
    },
  },
  {
    protocol: 'mqtt',
    first: [0x10],
    test(bytes) {
      let at = 1;
      while (at < bytes.length && at < 5 && bytes[at] & 0x80) at += 1;
      at += 1;
      const rest = bytes.subarray(Math.min(at, bytes.length));
      if (rest.length === 0) return 'more';
      const four = prefix(rest, Buffer.from('\0\x04MQTT', 'latin1'));
      const six = prefix(rest, Buffer.from('\0\x06MQIsdp', 'latin1'));
      return four === 'match' || six === 'match' ? 'match' : four === 'more' || six === 'more' ? 'more' : 'no';
    },
  },
  begins('amqp', 'AMQP'),
  {
    // A second line of defence against plain text: the last word of the header is the command inverted.
    protocol: 'adb',
    first: [...new Set(adbCommands.map((word) => word.charCodeAt(0)))],
    test(bytes) {
      if (bytes.length < 4) return adbCommands.some((word) => word.startsWith(bytes.toString('latin1'))) ? 'more' : 'no';
      if (!adbCommands.includes(bytes.toString('latin1', 0, 4))) return 'no';
      if (bytes.length > 4 && isText(bytes.subarray(4), 4) && bytes[4] !== 0) return 'no';
      if (bytes.length < 24) return 'more';
      return (bytes.readUInt32LE(0) ^ bytes.readUInt32LE(20)) >>> 0 === 0xffffffff ? 'match' : 'no';
    },
  },
  { protocol: 'ldap', first: [0x30], test: ldap },
  {
    // Record mark with the last-fragment bit, transaction, CALL, RPC version 2.
    protocol: 'sunrpc',
    first: [0x80],
    test(bytes) {
      if (bytes.length > 3 && bytes.readUInt32BE(0) - 0x80000000 > 8192) return 'no';
      if (bytes.length > 8 && bytes[8] !== 0) return 'no';
      if (bytes.length < 16) return bytes.length < 3 || bytes[1] === 0 ? 'more' : 'no';
      return bytes.readUInt32BE(8) === 0 && bytes.readUInt32BE(12) === 2 ? 'match' : 'no';
    },
  },
  {
    protocol: 'smart-install',
    first: [0],
    test: (bytes) => prefix(bytes, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])),
  },
  {
    protocol: 'fastcgi',
    first: [1],
    test(bytes) {
      if (bytes.length > 1 && (bytes[1] === 0 || bytes[1] > 11)) return 'no';
      if (bytes.length < 8) return 'more';
      const length = bytes.readUInt16BE(4);
      return bytes[7] === 0 && (bytes[1] !== 1 || (length === 8 && bytes[2] + bytes[3] > 0)) && length <= 16384 ? 'match' : 'no';
    },
  },
  { protocol: 'dns', first: anyByte.slice(0, 5), test: dnsOverTcp },
  begins('teamviewer', '\x17\x24\x10\x04'),
  begins('bittorrent', '\x13BitTorrent protocol'),
];
