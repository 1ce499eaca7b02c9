// Whatever attackers send: facts stay bounded, safe to show and the same every time, and cost no more than the length of the input.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { factView } from '../../../test/support/fact-view.ts';
import { extractFacts } from './extract-facts.ts';
import { factLimit } from './fact-list.ts';

/** Pieces of everything the scanners look for, so that chance meets their corners. */
const fragments = fc.array(
  fc.oneof(
    fc.constantFrom(
      ...[
        'GET ',
        ' HTTP/1.1\r\n',
        '\r\n\r\n',
        'Content-Length: 9\r\n',
        'http://',
        '192.0.2.1',
        '/x',
        ';',
        '|',
        '&',
        '`',
        '$(',
        ')',
        '${',
      ],
      ...[
        'jndi:',
        'ldap:',
        '}',
        '::-',
        'lower:',
        'wget ',
        'curl -O ',
        'tftp -g -r ',
        'ftpget ',
        'powershell -enc ',
        '%',
        '%25',
        '%u00',
        '+',
      ],
      ...[
        '\\u00',
        '&#',
        '&amp;',
        '<a b="',
        '<![CDATA[',
        '--Z',
        'boundary=Z',
        '{"a":',
        '["',
        '"]',
        'YWJjZGVmZ2hpamtsbW5vcA==',
        '/dev/tcp/',
        'md5',
      ],
      ...['SSH-2.0-', '\xff\xfa', '\xff\xf0', 'AUTH ', 'LOGIN ', 'PASS ', '\n', '\0', ' ', '"', "'", '://', '@', ':', '[', ']'],
    ),
    fc.string({ maxLength: 8 }),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  ),
  { maxLength: 60 },
);

test('anything at all: bounded, safe to show, the same every time', () => {
  const protocols = ['http', 'telnet', 'ssh', 'adb', 'ftp', 'smtp', 'imap', 'redis', 'socks5', 'socks4', 'dns', undefined];
  fc.assert(
    fc.property(fragments, fc.constantFrom(...protocols), fc.boolean(), (parts, protocol, udp) => {
      const one = factView(parts.join(''), { protocol, transport: udp ? 'udp' : 'tcp' }, 'login: password: password:');
      const found = extractFacts(one, []);
      assert.deepEqual(extractFacts(one, []), found);
      assert.ok(found.length <= factLimit);
      assert.equal(new Set(found.map(({ kind, value }) => `${kind} ${value}`)).size, found.length);
      for (const { value } of found) {
        assert.ok(value.length > 0 && value.length <= 2048);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: that there is none is what is tested
        assert.doesNotMatch(value, /[\u0000-\u001f\u007f-\u009f\u202e]/);
      }
    }),
    { numRuns: 3000 },
  );
});

test('what is repeated to the limit costs no more than its length', () => {
  const repeat = (text: string): string => text.repeat(Math.ceil(65_536 / text.length)).slice(0, 65_536);
  const cost = (text: string, protocol?: string): number => {
    const one = factView(text, { protocol });
    const begun = process.cpuUsage();
    extractFacts(one, []);
    const { user, system } = process.cpuUsage(begun);
    return (user + system) / 1000;
  };
  const units = [
    '${',
    '${${',
    '}',
    '${a',
    '://',
    'http://',
    'http://a',
    'jndi:',
    'jndi:ldap:',
    '%',
    '%25',
    '%2525',
    '\\',
    '\\u',
    '&',
    '&#',
    '<',
    '<a ',
    '(',
    ')',
    '"',
    "'",
    '`',
    '$(',
    ';',
    '|',
    ' ',
    'a',
    'A',
    '/',
    '=',
    'wget ',
    'wget -',
    '"wget a.b',
    'md5',
    'md5 ',
    '\r\n',
    '\n',
    '\xff',
    '\xff\xfa',
    '/dev/tcp/',
    'YWFh/',
    'GET / HTTP/1.1\r\n\r\n',
    '--Z\r\n\r\n',
    'a=b&',
    'pass=b&',
    '[[',
    '{"a":',
    'AUTH ',
    'AUTH LOGIN\n',
    'x\n',
    '5\r\n',
    '$IFS',
  ];
  for (const unit of units)
    for (const [lead, protocol] of [
      ['', undefined],
      ['', 'telnet'],
      ['', 'smtp'],
      ['', 'redis'],
      ['GET /?a=', 'http'],
      ['POST / HTTP/1.1\r\n\r\n', 'http'],
      ['POST / HTTP/1.1\r\n\r\n<', 'http'],
      ['POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n', 'http'],
      ['POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=Z\r\n\r\n', 'http'],
    ] as const) {
      const whole = cost(`${lead}${repeat(unit)}`, protocol);
      // A quadratic walk over 64 KiB takes seconds.
      assert.ok(whole < 400, `${JSON.stringify(lead + unit)} as ${protocol}: ${whole} ms`);
    }
});
