// Distinct numbers are counted as a set counts them, whatever they are; a table used again remembers nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DistinctNumbers } from './distinct-numbers.ts';

test('counts what a set holds, list after list', () => {
  const distinct = new DistinctNumbers();
  const number = fc.oneof(
    fc.bigInt(0n, 40n),
    fc.bigInt(0n, 0xffff_ffff_ffff_ffffn),
    fc.bigInt(0n, 9n).map((high) => high << 32n),
  );
  fc.assert(
    fc.property(fc.array(fc.array(number, { maxLength: 200 }), { maxLength: 6 }), (lists) => {
      distinct.begin(lists.reduce((sum, { length }) => sum + length, 0));
      for (const list of lists) distinct.add(new Uint32Array(BigUint64Array.from(list).buffer), 0, list.length);
      assert.equal(distinct.size, new Set(lists.flat()).size);
    }),
  );
});

test('a hundred thousand neighbours in two lists are that many, and not long to count', () => {
  const distinct = new DistinctNumbers();
  const words = new Uint32Array(BigUint64Array.from({ length: 100_000 }, (_, index) => BigInt(index)).buffer);
  distinct.begin(200_000);
  distinct.add(words, 0, 100_000);
  distinct.add(words, 500, 100_000);
  assert.equal(distinct.size, 100_000);
});
