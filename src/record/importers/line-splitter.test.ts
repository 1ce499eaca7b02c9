import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { LineSplitter, maxLineBytes } from './line-splitter.ts';

interface Seen {
  readonly lines: [string, number][];
  readonly long: [string, number, number][];
}

function split(pieces: readonly Buffer[]): Seen {
  const seen: Seen = { lines: [], long: [] };
  const splitter = new LineSplitter({
    line: (text, number) => void seen.lines.push([text, number]),
    tooLong: (start, bytes, number) => void seen.long.push([start, bytes, number]),
  });
  for (const piece of pieces) splitter.push(piece);
  splitter.end();
  return seen;
}

/** The same, slowly and all at once. */
const expected = (text: string): [string, number][] =>
  text
    .split('\n')
    .map((line, index): [string, number] => [line.replace(/\r$/, ''), index + 1])
    .filter(([line]) => /[^ \t\n\v\f\r]/.test(line));

test('wherever the pieces end, the lines are the same', () => {
  const part = fc.constantFrom('\n', '\r\n', '\r', ' ', '\0', 'a', 'bc', '{"x":1}', 'ä€', '\n\n', '\u{1f600}');
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), fc.array(fc.nat(9), { maxLength: 60 }), (parts, sizes) => {
      const bytes = Buffer.from(parts.join(''));
      const pieces: Buffer[] = [];
      let at = 0;
      for (const size of sizes) {
        pieces.push(bytes.subarray(at, at + size));
        at += size;
      }
      pieces.push(bytes.subarray(at));
      assert.deepEqual(split(pieces).lines, expected(parts.join('')));
    }),
    { numRuns: 500 },
  );
});

test('a byte order mark is no part of the first line, and invalid UTF-8 is replaced', () => {
  const { lines } = split([Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff, 0xc3, 0x0a, 0xef, 0xbb, 0xbf, 0x62])]);
  assert.deepEqual(lines, [
    ['a\ufffd\ufffd', 1],
    ['\ufeffb', 2],
  ]);
});

test('a line of exactly the bound is kept, one byte more is not', () => {
  for (const more of [0, 1]) {
    const line = Buffer.alloc(maxLineBytes + more, 'x');
    for (const pieces of [
      [Buffer.concat([line, Buffer.from('\ny')])],
      [line.subarray(0, 5), line.subarray(5), Buffer.from('\ny')],
    ]) {
      const { lines, long } = split(pieces);
      assert.equal(lines.length, 2 - more);
      assert.deepEqual(lines.at(-1), ['y', 2]);
      assert.deepEqual(
        long.map(([start, bytes, number]) => [start.length, bytes, number]),
        more ? [[512, maxLineBytes + 1, 1]] : [],
      );
    }
  }
});

test('300 MB without a line end are one line that is too long, and take no memory', () => {
  const piece = Buffer.alloc(1 << 20, '{');
  const before = process.memoryUsage().rss;
  const { lines, long } = split(Array.from({ length: 300 }, () => piece));
  assert.deepEqual(lines, []);
  assert.deepEqual(
    long.map(([, bytes, number]) => [bytes, number]),
    [[300 << 20, 1]],
  );
  assert.ok(process.memoryUsage().rss - before < 64 << 20);
});

test('a line in pieces of one byte costs what its bytes cost', () => {
  const pieces = Array.from({ length: 100_000 }, () => Buffer.from('z'));
  assert.equal(split(pieces).lines[0][0].length, 100_000);
});
