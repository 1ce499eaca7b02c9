// Credentials in dialogues as real clients hold them, whole, letter by letter and out of order; and what must not be taken for one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameOf, tcpBits, tcpPacket, udpPacket } from '../../../test/support/capture-file.ts';
import { CredentialFinder, type SeenCredential } from './credential-finder.ts';

type Turn = readonly ['client' | 'server', string | Buffer];

const latin = (data: string | Buffer): Buffer => (typeof data === 'string' ? Buffer.from(data, 'latin1') : data);

/** Frames of a connection in which these are said. `piece`: bytes of each segment. */
function framesOf(turns: readonly Turn[], port: number, piece = 1000, shuffled = false): Buffer[] {
  const ends = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 40_000, toPort: port };
  const back = { from: ends.to, to: ends.from, fromPort: port, toPort: 40_000 };
  let mine = 1001;
  let theirs = 9001;
  const frames = [
    tcpPacket({ ...ends, flags: tcpBits.syn, sequence: 1000 }),
    tcpPacket({ ...back, flags: tcpBits.syn | tcpBits.ack, sequence: 9000, acknowledged: mine }),
  ];
  for (const [who, said] of turns) {
    const group: Buffer[] = [];
    for (let at = 0; at < latin(said).length; at += piece) {
      const data = latin(said).subarray(at, at + piece);
      const flags = tcpBits.ack | tcpBits.psh;
      if (who === 'client') group.push(tcpPacket({ ...ends, flags, sequence: mine, acknowledged: theirs, data }));
      else group.push(tcpPacket({ ...back, flags, sequence: theirs, acknowledged: mine, data }));
      if (who === 'client') mine += data.length;
      else theirs += data.length;
    }
    frames.push(...(shuffled ? group.reverse() : group));
  }
  return frames.map((packet) => frameOf(packet, 1));
}

function find(frames: readonly Buffer[]): SeenCredential[] {
  const found: SeenCredential[] = [];
  const finder = new CredentialFinder((one) => found.push(one));
  for (const [index, frame] of frames.entries()) finder.frame(frame, 0, frame.length, 1, index);
  return found;
}

const short = ({ protocol, kind, user, secret }: SeenCredential): string => `${protocol} ${kind} ${user ?? '-'} ${secret}`;
const b64 = (text: string): string => Buffer.from(text).toString('base64');
const mqtt = (...parts: string[]): Buffer => {
  const fields = parts.map((part) => Buffer.concat([Buffer.from([0, part.length]), Buffer.from(part)]));
  const body = Buffer.concat([Buffer.from('\0\x04MQTT\x04\xc2\0\x3c', 'latin1'), ...fields]);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
};
const postgres = (): Buffer => {
  const words = Buffer.from('user\0alice\0database\0shop\0\0');
  const head = Buffer.alloc(8);
  head.writeUInt32BE(words.length + 8, 0);
  head.writeUInt32BE(196_608, 4);
  return Buffer.concat([head, words]);
};
const form = 'session[user]=al%40x.org&session[password]=p%26q&go=1';

const cases: readonly [name: string, port: number, turns: readonly Turn[], expected: readonly string[]][] = [
  [
    'ftp',
    21,
    [
      ['server', '220 ready\r\n'],
      ['client', 'USER bob\r\n'],
      ['server', '331 ?\r\n'],
      ['client', 'PASS a b c\r\n'],
    ],
    ['ftp password bob a b c'],
  ],
  [
    'pop3',
    110,
    [
      ['server', '+OK hi\r\n'],
      ['client', 'USER bob\r\nPASS pw1\r\n'],
    ],
    ['pop3 password bob pw1'],
  ],
  [
    'apop',
    110,
    [
      ['server', '+OK <1@x>\r\n'],
      ['client', 'APOP bob c4c9334bac560ecc979e58001b3e22fb\r\n'],
    ],
    ['pop3 digest bob c4c9334bac560ecc979e58001b3e22fb'],
  ],
  [
    'imap',
    143,
    [
      ['server', '* OK\r\n'],
      ['client', 'a1 LOGIN "bo\\"b" pw2\r\n'],
    ],
    ['imap password bo"b pw2'],
  ],
  [
    'imap literals',
    143,
    [
      ['server', '* OK\r\n'],
      ['client', 'a1 LOGIN {3}\r\n'],
      ['server', '+\r\n'],
      ['client', 'bob {3}\r\n'],
      ['client', 'p w\r\n'],
    ],
    ['imap password bob p w'],
  ],
  [
    'imap plain',
    143,
    [
      ['server', '* OK\r\n'],
      ['client', 'a AUTHENTICATE PLAIN\r\n'],
      ['server', '+\r\n'],
      ['client', `${b64('\0bob\0pw3')}\r\n`],
    ],
    ['imap password bob pw3'],
  ],
  [
    'smtp plain',
    25,
    [
      ['server', '220 x ESMTP\r\n'],
      ['client', 'EHLO me\r\n'],
      ['server', '250 x\r\n'],
      ['client', `AUTH PLAIN ${b64('\0bob\0pw4')}\r\n`],
    ],
    ['smtp password bob pw4'],
  ],
  [
    'smtp login',
    587,
    [
      ['server', '220 x\r\n'],
      ['client', 'EHLO me\r\n'],
      ['client', 'AUTH LOGIN\r\n'],
      ['server', '334 VXNlcm5hbWU6\r\n'],
      ['client', `${b64('bob')}\r\n`],
      ['client', `${b64('pässe')}\r\n`],
    ],
    ['smtp password bob pässe'],
  ],
  [
    'nntp',
    119,
    [
      ['server', '200 news\r\n'],
      ['client', 'AUTHINFO USER bob\r\nAUTHINFO PASS pw5\r\n'],
    ],
    ['nntp password bob pw5'],
  ],
  ['irc', 6667, [['client', 'PASS :pw6\r\nNICK bob\r\n']], ['irc password bob pw6']],
  [
    'redis inline',
    6379,
    [
      ['client', 'AUTH pw7\r\n'],
      ['server', '+OK\r\n'],
    ],
    ['redis password - pw7'],
  ],
  ['redis', 7777, [['client', '*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$3\r\npw8\r\n']], ['redis password bob pw8']],
  [
    'http basic',
    8080,
    [['client', `GET /a?user=u&pass=p HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${b64('bob:p:w')}\r\n\r\n`]],
    ['http password bob p:w', 'http password u p'],
  ],
  [
    'http form',
    80,
    [
      [
        'client',
        `POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}GET / HTTP/1.1\r\nAuthorization: Bearer tok\r\n\r\n`,
      ],
    ],
    ['http password al@x.org p&q', 'http token - tok'],
  ],
  [
    'http json',
    80,
    [
      [
        'client',
        'POST /api HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n{"data":{"username":"bob","password":"pw\\n9"}} ',
      ],
    ],
    ['http password bob pw\n9'],
  ],
  [
    'http digest',
    80,
    [['client', 'GET / HTTP/1.1\r\nAuthorization: Digest username="bob", response="0a1b"\r\n\r\n']],
    ['http digest bob 0a1b'],
  ],
  [
    'telnet',
    2323,
    [
      ['server', Buffer.from([255, 253, 24, 255, 251, 1])],
      ['client', Buffer.from([255, 252, 24])],
      ['server', 'Debian\r\nhost login: '],
      ['client', 'bobx\x7f\r\0'],
      ['server', 'bob\r\n\r\nPassword: '],
      ['client', 'pw10\r\0'],
      ['server', '\r\n$ '],
      ['client', 'ls\r\0'],
    ],
    ['telnet password bob pw10'],
  ],
  [
    'ldap',
    389,
    [['client', Buffer.from('301a020101601502010304084f3d626f622c6f3d80067365637265740000', 'hex').subarray(0, 28)]],
    ['ldap password O=bob,o= secret'],
  ],
  [
    'socks',
    1080,
    [
      ['client', '\x05\x01\x02'],
      ['server', '\x05\x02'],
      ['client', '\x01\x03bob\x04pw11'],
    ],
    ['socks5 password bob pw11'],
  ],
  ['mqtt', 1883, [['client', mqtt('id', 'bob', 'pw12')]], ['mqtt password bob pw12']],
  [
    'postgresql',
    5432,
    [
      ['client', postgres()],
      ['server', Buffer.from('520000000800000003', 'hex')],
      ['client', Buffer.concat([Buffer.from('p\0\0\0\x09', 'latin1'), Buffer.from('pw13\0')])],
    ],
    ['postgresql password alice pw13'],
  ],
];

for (const [name, port, turns, expected] of cases)
  test(`${name}: whole, in pieces and out of order`, () => {
    const wholes = find(framesOf(turns, port));
    assert.deepEqual(wholes.map(short), expected);
    const [{ source, sourcePort, destination, destinationPort }] = wholes;
    assert.deepEqual([source, sourcePort, destination, destinationPort], ['10.0.0.1', 40_000, '10.0.0.2', port]);
    assert.deepEqual(find(framesOf(turns, port, 5, true)).map(short), expected);
  });

test('MySQL: the proof, and the password where the server asked for it in the clear', () => {
  const greeting = Buffer.concat([Buffer.from([0x4a, 0, 0, 0, 10]), Buffer.from('8.0.36\0'), Buffer.alloc(66)]);
  const login = Buffer.concat([Buffer.from([41, 0, 0, 1]), Buffer.alloc(32), Buffer.from('bob\0'), Buffer.from([4, 1, 2, 3, 4])]);
  const change = Buffer.concat([Buffer.from([22, 0, 0, 2, 0xfe]), Buffer.from('mysql_clear_password\0')]);
  const answer = Buffer.concat([Buffer.from([5, 0, 0, 3]), Buffer.from('pw14\0')]);
  const turns: Turn[] = [
    ['server', greeting],
    ['client', login],
    ['server', change],
    ['client', answer],
  ];
  for (const piece of [1000, 7])
    assert.deepEqual(find(framesOf(turns, 3306, piece)).map(short), ['mysql digest bob 01020304', 'mysql password bob pw14']);
});

test('SNMP communities of questions, not of answers', () => {
  const message = (operation: number): Buffer =>
    Buffer.from(`3013020101040670756c626963${operation.toString(16)}060201010201000`.padEnd(42, '0'), 'hex');
  const ask = { from: '10.0.0.1', to: '10.0.0.2', fromPort: 50_000, toPort: 161 };
  const found = find([frameOf(udpPacket(ask, message(0xa0)), 1), frameOf(udpPacket(ask, message(0xa2)), 1)]);
  assert.deepEqual(found.map(short), ['snmp community - pulbic']);
});

test('what is encrypted, or only looks like a login, is none', () => {
  const none: readonly [number, readonly Turn[]][] = [
    [
      443,
      [
        ['client', Buffer.from('160301020001000001', 'hex')],
        ['client', 'USER bob\r\nPASS x\r\n'],
      ],
    ],
    [
      22,
      [
        ['server', 'SSH-2.0-x\r\n'],
        ['client', 'SSH-2.0-y\r\nUSER bob\r\nPASS x\r\n'],
      ],
    ],
    [80, [['client', 'GET /pass?q=user HTTP/1.1\r\nHost: x\r\nAuthorization: Basic !!!\r\n\r\n']]],
    [389, [['client', Buffer.from('300c020101600702010304008000', 'hex')]]],
    [
      9000,
      [
        ['client', Buffer.alloc(6000, 0x41)],
        ['client', 'USER bob\r\nPASS x\r\n'],
      ],
    ],
  ];
  for (const [port, turns] of none) assert.deepEqual(find(framesOf(turns, port)).map(short), [], String(port));
});

test('any bytes at all are survived', () => {
  let state = 7;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 300; round += 1) {
    const [, port, turns] = cases[random(cases.length)];
    const frames = framesOf(turns, port, 1 + random(50));
    for (const frame of frames)
      for (let hits = random(4); hits > 0; hits -= 1) frame[14 + random(frame.length - 14)] = random(256);
    find(frames);
  }
});
