// Gaps between buckets: each bucket of them, or one that stands for all where they would be too many.

import assert from 'node:assert/strict';
import test from 'node:test';
import { emptyBucket, fillGaps } from './fill-gaps.ts';

const row = (start: number) => ({ ...emptyBucket(start), hits: 7 });
const starts = (rows: readonly { start: number }[]): number[] => rows.map(({ start }) => start);

test('what lies between two buckets is there, and empty', () => {
  const filled = fillGaps([row(0), row(10), row(40)], 10);
  assert.deepEqual(starts(filled), [0, 10, 20, 30, 40]);
  assert.deepEqual(
    filled.map(({ hits }) => hits),
    [7, 7, 0, 0, 7],
  );
  assert.deepEqual(fillGaps([], 10), []);
});

test('buckets side by side have nothing between them, also when there is no more room', () => {
  const filled = fillGaps([row(0), row(19_996), row(19_999), row(20_000), row(20_001)], 1);
  assert.deepEqual(
    filled.slice(-4).map(({ start, hits }) => [start, hits]),
    [
      [19_997, 0],
      [19_999, 7],
      [20_000, 7],
      [20_001, 7],
    ],
  );
});

test('ten thousand buckets, years apart, stay few, and no gap is lost', () => {
  const rows = Array.from({ length: 10_000 }, (_, index) => row(index * 1_000_000));
  const filled = fillGaps(rows, 10);
  assert.ok(filled.length <= 30_000, `${filled.length}`);
  for (const [index, { hits, start }] of filled.entries())
    if (hits > 0 && index > 0) assert.equal(filled[index - 1].hits, 0, `before ${start}`);
  assert.deepEqual(starts(filled.slice(0, 3)), [0, 10, 1_000_000]);
});
