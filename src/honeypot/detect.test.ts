// Detection on first bytes built by hand after each protocol's specification: every sample is its own protocol and no other,
// whole, in any first part, and on any port.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { detect, detectable } from './detect.ts';
import { responders } from './responders/registry.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const zeros = (count: number): string => '00'.repeat(count);

const samples: readonly (readonly [protocol: string, name: string, bytes: Buffer])[] = [
  ['tls', 'TLS 1.0 record, ClientHello', Buffer.concat([hex('16030100c8010000c40303'), Buffer.alloc(194, 7)])],
  ['tls', 'record of version 3.3', Buffer.concat([hex('160303002f0100002b0303'), Buffer.alloc(41, 1)])],
  [
    'sslv2',
    'version 2 hello',
    Buffer.concat([hex('802e 01 0002 0015 0000 0010 0700c0 0500800300800100800800800600404002'), Buffer.alloc(19, 9)]),
  ],
  ['http', 'GET', text('GET / HTTP/1.1\r\nHost: a\r\n\r\n')],
  ['http', 'POST to the Docker API', text('POST /v1.24/containers/create HTTP/1.1\r\nContent-Length: 0\r\n\r\n')],
  ['http', 'OPTIONS', text('OPTIONS / HTTP/1.0\r\n\r\n')],
  ['http', 'CONNECT', text('CONNECT example.org:443 HTTP/1.1\r\n\r\n')],
  ['http', 'version 0.9', text('GET /\r\n')],
  ['http', 'an exploit with blanks', text('GET /shell?cd /tmp; wget x HTTP/1.1\r\n\r\n')],
  ['http', 'line ends before it', text('\r\n\r\nGET /nice HTTP/1.0\r\n\r\n')],
  ['http2', 'preface', text('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
  ['rtsp', 'OPTIONS', text('OPTIONS rtsp://192.0.2.1/ RTSP/1.0\r\nCSeq: 1\r\n\r\n')],
  ['rtsp', 'OPTIONS with a path', text('OPTIONS / RTSP/1.0\r\n\r\n')],
  ['rtsp', 'DESCRIBE', text('DESCRIBE rtsp://192.0.2.1/live RTSP/1.0\r\nCSeq: 2\r\n\r\n')],
  ['sip', 'OPTIONS', text('OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm;branch=foo\r\n\r\n')],
  ['sip', 'REGISTER', text('REGISTER sip:192.0.2.1 SIP/2.0\r\nTo: <sip:100@192.0.2.1>\r\n\r\n')],
  ['json-rpc', 'stratum', text('{"id":1,"method":"mining.subscribe","params":[]}\n')],
  ['json-rpc', 'Ethereum', text('{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":1}')],
  ['ssh', 'version', text('SSH-2.0-Go\r\n')],
  ['vnc', 'client version', text('RFB 003.008\n')],
  ['telnet', 'WILL, DO', hex('fffd03fffb18fffb1f')],
  ['ftp', 'USER', text('USER anonymous\r\n')],
  ['ftp', 'FEAT', text('FEAT\r\n')],
  ['smtp', 'EHLO', text('EHLO scanner.example\r\n')],
  ['smtp', 'HELO in lower case', text('helo x\r\n')],
  ['pop3', 'CAPA', text('CAPA\r\n')],
  ['imap', 'tagged', text('a001 CAPABILITY\r\n')],
  ['imap', 'login', text('A1 LOGIN root toor\r\n')],
  ['redis', 'RESP', text('*1\r\n$4\r\nINFO\r\n')],
  ['redis', 'inline', text('CONFIG GET *\r\n')],
  ['redis', 'PING', text('PING\r\n')],
  ['memcached', 'stats', text('stats\r\n')],
  ['memcached', 'set', text('set a 0 0 1\r\nb\r\n')],
  ['memcached', 'binary', hex(`800b000000000000 00000000 00000001 ${zeros(8)}`)],
  [
    'mysql',
    'response to a greeting not waited for',
    Buffer.concat([hex(`55000001 85a60f00 00000001 21 ${zeros(23)}`), text('root\0'), Buffer.alloc(48, 3)]),
  ],
  [
    'mssql',
    'PRELOGIN',
    hex('1201002f00000100 00001a00060100200001020021000103002200040400260001ff 090000000000 00 00 00000000 00'),
  ],
  ['postgres', 'SSLRequest', hex('0000000804d2162f')],
  ['postgres', 'StartupMessage', Buffer.concat([hex('0000001700030000'), text('user\0postgres\0\0')])],
  [
    'mongodb',
    'OP_QUERY',
    Buffer.concat([hex('3a000000 01000000 00000000 d4070000 00000000'), text('admin.$cmd\0'), Buffer.alloc(27, 0)]),
  ],
  ['mongodb', 'OP_MSG', Buffer.concat([hex('21000000 02000000 00000000 dd070000 00000000 00'), Buffer.alloc(12, 0)])],
  ['mqtt', '3.1.1', Buffer.concat([hex('10130004'), text('MQTT'), hex('0402003c0007'), text('scanner')])],
  ['mqtt', '3.1', Buffer.concat([hex('10140006'), text('MQIsdp'), hex('0302003c0006'), text('client')])],
  ['adb', 'CNXN', hex('434e584e 00000001 00100000 07000000 32020000 bcb1a7b1')],
  ['socks5', 'one method', hex('050100')],
  ['socks5', 'two methods', hex('05020002')],
  ['socks4', 'CONNECT', hex('04010050c0000201 00')],
  ['socks4', '4a', Buffer.concat([hex('0401005000000001'), text('user\0example.org\0')])],
  ['smb', 'version 1', Buffer.concat([hex('00000054ff534d4272'), Buffer.alloc(79, 0)])],
  ['smb', 'version 2', Buffer.concat([hex('00000040fe534d42'), Buffer.alloc(60, 0)])],
  ['smb', 'NetBIOS session', Buffer.concat([hex('8100004420'), Buffer.alloc(67, 0x43)])],
  ['rdp', 'cookie', Buffer.concat([hex('0300002a25e00000000000'), text('Cookie: mstshash=hello\r\n'), hex('0100080003000000')])],
  ['rdp', 'negotiation alone', hex('030000130ee000000000000100080003000000')],
  ['rdp', 'bare', hex('0300000b06e00000000000')],
  ['s7', 'TSAPs', hex('0300001611e00000000100c0010ac1020100c2020102')],
  ['dcerpc', 'bind', Buffer.concat([hex('05000b03100000004800000001000000'), Buffer.alloc(56, 0)])],
  ['rmi', 'StreamProtocol', hex('4a524d4900024b')],
  ['java-object', 'serialised', hex('aced0005737200')],
  ['ajp', 'CPing', hex('123400010a')],
  ['ajp', 'forward request', Buffer.concat([hex('1234002002020008'), text('HTTP/1.1'), Buffer.alloc(20, 0)])],
  ['t3', 'hello', text('t3 12.2.1\nAS:255\nHL:19\nMS:10000000\n\n')],
  ['jdwp', 'handshake', text('JDWP-Handshake')],
  ['iiop', 'request', hex('47494f5001000000')],
  ['smart-install', 'version query', hex('000000010000000100000004000000080000000100000000')],
  ['dns', 'version.bind', Buffer.concat([hex('001e0006010000010000000000000776657273696f6e0462696e640000100003')])],
  ['dns', 'status', hex('000c000010000000000000000000')],
  ['ldap', 'bind', hex('300c020101600702010304008000')],
  ['ldap', 'root search', hex('3025020101632004000a01000a0100020100020100010100870b6f626a656374436c6173733000')],
  ['sunrpc', 'null call', hex(`80000028 72fe1d13 00000000 00000002 000186a0 00000002 00000000 ${zeros(16)}`)],
  ['modbus', 'read holding registers', hex('000100000006010300000001')],
  ['modbus', 'identification', hex('5a4700000005002b0e0100')],
  ['fastcgi', 'BEGIN_REQUEST', hex('01010001000800000001000000000000')],
  ['amqp', 'header', hex('414d515000000901')],
  ['zookeeper', 'ruok', text('ruok')],
  ['zookeeper', 'stat', text('stat\n')],
  [
    'oracle-tns',
    'CONNECT',
    Buffer.concat([hex('005a0000010000000136012c00000800 7fff7f08000000 01 0020 003a'), Buffer.alloc(60, 0x28)]),
  ],
  ['ethernet-ip', 'ListIdentity', hex(`6300 ${zeros(22)}`)],
  ['iec-104', 'STARTDT', hex('680407000000')],
  ['dnp3', 'request link status', hex('056405c90000000036 4c')],
  ['bittorrent', 'handshake', text('\x13BitTorrent protocol\0\0\0\0\0\0\0\0')],
  ['teamviewer', 'hello', hex('172410040000000000')],
];

const nameOf = (bytes: Buffer, hint?: string, complete = true): string => {
  const detection = detect(bytes, hint, complete);
  return detection.verdict === 'match' ? detection.protocol : detection.verdict;
};

describe('detection', () => {
  for (const [protocol, name, bytes] of samples)
    test(`${protocol}: ${name}`, () => {
      assert.equal(nameOf(bytes), protocol, 'whole and complete');
      // Without knowing that no more will come, it may wait for more but not be mistaken.
      assert.ok([protocol, 'more'].includes(nameOf(bytes, undefined, false)));
    });

  test('every name that can be given has a sample', () => {
    const shown = new Set(samples.map(([protocol]) => protocol));
    assert.deepEqual(
      detectable.filter((protocol) => !shown.has(protocol)),
      [],
    );
  });

  test('the port’s usual protocol does not change what is unmistakable', () => {
    const shared = new Set(['ftp', 'pop3', 'smtp', 'redis', 'imap']);
    for (const [protocol, name, bytes] of samples)
      for (const hint of ['http', 'ssh', 'mysql', 'telnet', 'memcached', 'smtp', 'ftp', 'pop3'])
        if (!shared.has(protocol) || hint === protocol)
          assert.equal(nameOf(bytes, hint), protocol, `${protocol} (${name}) on a port of ${hint}`);
  });

  test('words several protocols share go by the port', () => {
    assert.equal(nameOf(text('USER root\r\n'), 'pop3'), 'pop3');
    assert.equal(nameOf(text('USER root\r\n'), 'ftp'), 'ftp');
    assert.equal(nameOf(text('AUTH secret\r\n'), 'redis'), 'redis');
    assert.equal(nameOf(text('AUTH TLS\r\n'), 'ftp'), 'ftp');
    assert.equal(nameOf(text('AUTH LOGIN\r\n'), 'smtp'), 'smtp');
    assert.equal(nameOf(text('QUIT\r\n')), 'none');
  });

  test('a first part is never taken for another protocol while more may come', () => {
    for (const [protocol, name, bytes] of samples)
      for (let length = 1; length < Math.min(bytes.length, 64); length += 1) {
        const found = nameOf(bytes.subarray(0, length), undefined, false);
        // Words without a line end, and lengths not yet known, may look like nothing; never like something else.
        assert.ok([protocol, 'more', 'none'].includes(found), `${length} bytes of ${protocol} (${name}) look like ${found}`);
      }
  });

  test('nothing is none', () => {
    for (const bytes of [
      text('hello\r\n'),
      text('\r\n\r\n'),
      hex('00'),
      hex('f0f1f2f3'),
      text('xyz 123'),
      Buffer.alloc(64, 0),
      Buffer.alloc(300, 0xfe),
    ])
      assert.equal(nameOf(bytes), 'none', bytes.toString('hex'));
    assert.equal(nameOf(Buffer.alloc(0)), 'more');
  });

  test('any bytes at all: an answer, the same every time, and a decision when complete', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, complete) => {
        const buffer = Buffer.from(bytes);
        const first = nameOf(buffer, undefined, complete);
        assert.equal(nameOf(buffer, undefined, complete), first);
        if (complete && bytes.length > 0) assert.notEqual(first, 'more');
      }),
      { numRuns: 3000 },
    );
  });

  test('random bytes are rarely taken for something', () => {
    let taken = 0;
    const seen: Record<string, number> = {};
    let state = 12345;
    const random = (): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state >>> 24;
    };
    for (let round = 0; round < 20_000; round += 1) {
      const found = nameOf(Buffer.from(Array.from({ length: 64 }, random)));
      if (found !== 'none') {
        taken += 1;
        seen[found] = (seen[found] ?? 0) + 1;
      }
    }
    assert.ok(taken < 200, `${taken} of 20,000: ${JSON.stringify(seen)}`);
  });

  test('what is detected is answered', () => {
    const recordedOnly = new Set([
      'tls',
      'sslv2',
      'java-object',
      'iiop',
      'oracle-tns',
      'ethernet-ip',
      'iec-104',
      'dnp3',
      'bittorrent',
      'teamviewer',
    ]);
    for (const protocol of detectable) assert.equal(responders.has(protocol), !recordedOnly.has(protocol), protocol);
  });
});
