import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TcpStream } from './tcp-stream.ts';

function collect(limits?: ConstructorParameters<typeof TcpStream>[1]): { stream: TcpStream; heard: () => Buffer } {
  const parts: Buffer[] = [];
  const stream = new TcpStream((bytes) => parts.push(Buffer.from(bytes)), limits);
  return { stream, heard: () => Buffer.concat(parts) };
}

test('segments in any order, cut anywhere, sent twice and overlapping give the stream once, over the wrap of the numbers', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.array(fc.tuple(fc.nat(399), fc.integer({ min: 1, max: 80 })), { maxLength: 40 }),
      fc.integer(),
      (bytes, isn, extra, seed) => {
        const { stream, heard } = collect({ waitingBytes: 1 << 20, waitingSegments: 1000 });
        const pieces: [number, number][] = extra.map(([from, length]) => [from, Math.min(bytes.length, from + length)]);
        for (let at = 0; at < bytes.length; at += 37) pieces.push([at, Math.min(bytes.length, at + 37)]);
        let state = seed | 1;
        pieces.sort(() => {
          state = (Math.imul(state, 1103515245) + 12345) | 0;
          return state;
        });
        stream.begin(isn);
        for (const [from, to] of pieces) if (to > from) stream.push((isn + 1 + from) >>> 0, bytes.slice(from, to), 0);
        stream.finish((isn + 1 + bytes.length) >>> 0);
        assert.deepEqual([...heard()], [...bytes]);
        assert.equal(stream.ended, true);
        assert.equal(stream.missing, 0);
      },
    ),
  );
});

test('a gap is given up when too much waits behind it, and counted', () => {
  const { stream, heard } = collect({ waitingBytes: 100, waitingSegments: 3 });
  stream.begin(99);
  stream.push(100, Buffer.from('abc'), 1);
  for (const [index, text] of ['x', 'y', 'z', 'w'].entries()) stream.push(110 + index * 5, Buffer.from(text), 2);
  assert.equal(heard().toString(), 'abcx');
  assert.equal(stream.missing, 7);
  stream.finish(200);
  stream.flush();
  assert.equal(heard().toString(), 'abcxyzw');
  assert.equal(stream.delivered + stream.missing, 100);
  assert.equal(stream.ended, true);
});

test('hostile numbers neither throw nor make it keep more than it may', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.uint8Array({ maxLength: 60 }), fc.nat(3)), {
        maxLength: 200,
      }),
      (steps) => {
        const { stream, heard } = collect({ waitingBytes: 500, waitingSegments: 16 });
        let offered = 0;
        for (const [sequence, bytes, kind] of steps) {
          if (kind === 0) stream.begin(sequence);
          else if (kind === 1) stream.finish(sequence);
          else if (kind === 2) stream.acknowledged(sequence);
          else {
            offered += bytes.length;
            stream.push(sequence, bytes, 0);
          }
          assert.ok(stream.waitingBytes <= 500);
        }
        stream.flush();
        assert.equal(heard().length, stream.delivered);
        assert.ok(stream.delivered <= offered);
      },
    ),
  );
});

test('a FIN with data beyond it was none: nothing is hidden behind it', () => {
  const { stream, heard } = collect();
  stream.begin(0);
  stream.finish(4);
  assert.equal(stream.finished, true);
  stream.push(1, Buffer.from('abcdef'), 0);
  assert.equal(heard().toString(), 'abcdef');
  assert.equal(stream.finished, false);
  stream.push(12, Buffer.from('z'), 0);
  stream.finish(9);
  assert.equal(stream.finished, false, 'data is known beyond it already');
  stream.finish(13);
  stream.push(7, Buffer.from('ghijk'), 0);
  assert.equal(heard().toString(), 'abcdefghijkz');
  assert.equal(stream.ended, true);
});

test('who joins in the middle hears also what lies before the first segment', () => {
  const { stream, heard } = collect();
  stream.push(1000, Buffer.from('later'), 0);
  stream.push(100, Buffer.from('attack'), 0);
  stream.push(998, Buffer.from('xylater!'), 0);
  assert.equal(heard().toString(), 'laterattackxy!');
  assert.equal(stream.delivered, 14);
});

test('the receiver says which of two beginnings it took', () => {
  const { stream, heard } = collect();
  stream.begin(50_000);
  stream.beginAt(99);
  stream.push(100, Buffer.from('ab'), 0);
  stream.beginAt(70_000);
  stream.push(102, Buffer.from('c'), 0);
  assert.equal(heard().toString(), 'abc');
});

test('the receiver has what we have not: its acknowledgement closes the gap', () => {
  const { stream, heard } = collect();
  stream.begin(0);
  stream.push(1, Buffer.from('ab'), 0);
  stream.push(11, Buffer.from('k'), 0);
  stream.acknowledged(5_000_000);
  assert.equal(heard().toString(), 'ab');
  stream.acknowledged(12);
  assert.equal(heard().toString(), 'abk');
  assert.equal(stream.missing, 8);
  // Two gaps at once.
  stream.push(14, Buffer.from('n'), 0);
  stream.push(16, Buffer.from('p'), 0);
  stream.acknowledged(17);
  assert.equal(heard().toString(), 'abknp');
});
