// What comes in pieces is the same as a whole, and costs no more than twice that.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { ByteGatherer } from './byte-gatherer.ts';

it('gives back all pieces in order, as a copy, and begins anew', () => {
  const gatherer = new ByteGatherer();
  assert.equal(gatherer.take().length, 0);
  const piece = Buffer.from('abc');
  gatherer.add(piece);
  piece.fill(0);
  gatherer.add(Buffer.alloc(0));
  gatherer.add(Buffer.alloc(1000, 'x'));
  assert.equal(gatherer.length, 1003);
  const first = gatherer.take();
  gatherer.add(Buffer.from('next'));
  assert.equal(first.toString(), `abc${'x'.repeat(1000)}`);
  assert.equal(gatherer.take().toString(), 'next');
  assert.equal(gatherer.length, 0);
});

it('keeps a million single bytes in two megabytes', () => {
  const gatherer = new ByteGatherer();
  for (let count = 0; count < 1_000_000; count += 1) gatherer.add(Buffer.of(count & 255));
  const all = gatherer.take();
  assert.equal(all.length, 1_000_000);
  assert.ok(all.buffer.byteLength <= 2_000_000, `${all.buffer.byteLength} bytes`);
  assert.equal(all[257], 1);
});
