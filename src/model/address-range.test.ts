// The algebra of ranges against sets of single numbers, and the two ways from range to text and back.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  type AddressRange,
  overlapRanges,
  parseRange,
  rangesOverlap,
  rangeToCidrs,
  renderRange,
  subtractRanges,
  uniteRanges,
} from './address.ts';

const small = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), fc.nat(60), fc.nat(12))
  .map(([family, first, length]): AddressRange => ({ family, first: BigInt(first), last: BigInt(first + length) }));
const lists = fc.array(small, { maxLength: 12 });

const members = (ranges: readonly AddressRange[]): Set<string> => {
  const all = new Set<string>();
  for (const { family, first, last } of ranges) for (let value = first; value <= last; value += 1n) all.add(`${family} ${value}`);
  return all;
};

const isTidy = (ranges: readonly AddressRange[]): boolean =>
  ranges.every((range, index) => {
    const before = ranges[index - 1];
    return !before || before.family < range.family || (before.family === range.family && before.last + 1n < range.first);
  });

test('unite, subtract and overlap are those of sets, and tidy', () => {
  fc.assert(
    fc.property(lists, lists, (a, b) => {
      const [inA, inB] = [members(a), members(b)];
      const united = uniteRanges(a);
      assert.deepEqual(members(united), inA);
      assert.ok(isTidy(united));
      assert.deepEqual(members(subtractRanges(a, b)), new Set([...inA].filter((one) => !inB.has(one))));
      const shared = overlapRanges(a, b);
      assert.deepEqual(members(shared), new Set([...inA].filter((one) => inB.has(one))));
      assert.equal(
        shared.length > 0,
        a.some((one) => b.some((two) => rangesOverlap(one, two))),
      );
    }),
  );
});

const wide = fc
  .tuple(
    fc.constantFrom(4 as const, 6 as const),
    fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
    fc.bigInt({ min: 0n, max: 1n << 70n }),
  )
  .map(([family, value, length]): AddressRange => {
    const end = family === 4 ? 0xffffffffn : (1n << 128n) - 1n;
    const first = value & end;
    return { family, first, last: first + length > end ? end : first + length };
  });

test('blocks cover a range exactly, and text comes back as the same range', () => {
  fc.assert(
    fc.property(wide, (range) => {
      const bits = BigInt(range.family === 4 ? 32 : 128);
      let at = range.first;
      for (const { first, prefixLength } of rangeToCidrs(range)) {
        const size = 1n << (bits - BigInt(prefixLength));
        assert.equal(first.value, at);
        assert.equal(first.value % size, 0n);
        at += size;
      }
      assert.equal(at, range.last + 1n);
      assert.deepEqual(parseRange(renderRange(range)), range);
    }),
  );
});
