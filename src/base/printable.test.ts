import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { printable, printableBytes } from './printable.ts';

// Written again, by property instead of by list: controls, formats (bidirectional, zero width) and line separators.
const harmful = /[\p{Cc}\p{Zl}\p{Zp}\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad\u061c]/u;

test('no control, bidirectional or zero-width character gets through', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      assert.doesNotMatch(printable(text), harmful);
    }),
    { numRuns: 2000 },
  );
  for (let code = 0; code <= 0xffff; code += 1)
    assert.doesNotMatch(printable(String.fromCharCode(code)), harmful, code.toString(16));
});

test('ordinary text of any script stays as it is', () => {
  for (const text of ['GET / HTTP/1.1', 'Grüße, Ελλάδα, 日本語, עברית', '🐟 in a weir']) assert.equal(printable(text), text);
});

test('terminal tricks become visible', () => {
  assert.equal(printable('\x1b[2J\x1b]0;owned\x07\r\n'), '\\x1b[2J\\x1b]0;owned\\x07\\r\\n');
  assert.equal(printable('safe\u202egpj.exe'), 'safe\\u{202e}gpj.exe');
});

test('long text is cut and says so', () => {
  assert.equal(printable('x'.repeat(50), 10), `${'x'.repeat(10)}…`);
  assert.equal(printableBytes(new Uint8Array(50).fill(0x78), 10), `${'x'.repeat(10)}…`);
});

test('bytes are ASCII afterwards and no two byte strings look alike', () => {
  const seen = new Map<string, string>();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const text = printableBytes(bytes);
      assert.match(text, /^[\x20-\x7e]*$/);
      const key = Buffer.from(bytes).toString('hex');
      assert.equal(seen.get(text) ?? key, key);
      seen.set(text, key);
    }),
    { numRuns: 3000 },
  );
  assert.equal(printableBytes(new TextEncoder().encode('a\r\n\t\\\x00')), 'a\\r\\n\\t\\\\\\x00');
});
