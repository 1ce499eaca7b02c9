// How exact the counts are: sets of numbers against JavaScript's own, the estimate against what there was, ports exactly.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { NumberSet } from './number-set.ts';
import { PortBits, portKeyOf, portText } from './port-bits.ts';
import { SlidingCount } from './sliding-count.ts';
import { spanText } from './span-text.ts';

const filled = (values: Iterable<number>): NumberSet => {
  const set = new NumberSet();
  for (const value of values) set.add(value);
  return set;
};

test('exact up to 4,096, zero and the largest included, and united', () => {
  const numbers = fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 500 });
  fc.assert(
    fc.property(numbers, numbers, (one, other) => {
      const set = filled([...one, 0, 0xffffffff, ...one]);
      assert.equal(set.size, new Set([...one, 0, 0xffffffff]).size);
      set.addAll(filled(other));
      assert.equal(set.size, new Set([...one, ...other, 0, 0xffffffff]).size);
    }),
  );
  const full = filled(Array.from({ length: 4096 }, (_, n) => n));
  assert.ok(full.exact && full.size === 4096);
  assert.ok(full.add(5000) && !full.exact);
});

test('neighbouring addresses beyond that: within 6% of the truth, never falling, in 4 KiB', () => {
  for (const step of [1, 256, 65_537]) {
    const set = new NumberSet();
    let last = 0;
    let count = 0;
    for (const limit of [4097, 6000, 8192, 10_300, 20_000, 65_536, 300_000]) {
      for (; count < limit; count += 1) set.add((0x0a400000 + count * step) >>> 0);
      assert.ok(Math.abs(set.size - limit) <= limit * 0.06, `${set.size} of ${limit}, step ${step}`);
      assert.ok(set.size >= last);
      last = set.size;
    }
    assert.ok(set.byteLength < 4500);
    const half = filled(Array.from({ length: 200_000 }, (_, n) => (0x0a400000 + n * step) >>> 0));
    half.addAll(set);
    assert.ok(Math.abs(half.size - 300_000) <= 18_000, `united: ${half.size}`);
  }
});

test('ports of each transport are counted apart, all of them', () => {
  const bits = new PortBits();
  for (const transport of ['tcp', 'udp'] as const)
    for (let round = 0; round < 2; round += 1) for (let port = 0; port < 65_536; port += 1) bits.add(portKeyOf(port, transport));
  bits.add(portKeyOf(0, 'icmp'));
  assert.equal(bits.size, 131_073);
  assert.equal([...bits].length, 131_073);
  const united = new PortBits();
  united.add(portKeyOf(80, 'tcp'));
  united.addAll(bits);
  assert.equal(united.size, 131_073);
  assert.deepEqual([portText(portKeyOf(53, 'udp')), portText(portKeyOf(0, 'icmp'))], ['53/udp', 'ping']);
});

test('a sliding count never holds more than the window and always the last half of it', () => {
  const gaps = fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 120 });
  fc.assert(
    fc.property(gaps, (steps) => {
      const count = new SlidingCount();
      const times: number[] = [];
      let at = 1000;
      for (const step of steps) {
        at += step;
        times.push(at);
        const total = count.add(at, 1, 100);
        assert.ok(total <= times.filter((one) => one > at - 100).length, 'not more than there are');
        assert.ok(total >= times.filter((one) => one > at - 50).length, 'not less than in half of it');
        assert.ok(count.first <= at && count.first > at - 100);
      }
    }),
  );
});

test('spans as people say them', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, 'under a second'],
    [1.44, '1.4 s'],
    [59.4, '59 s'],
    [60, '1 min'],
    [192, '3 min 12 s'],
    [3600, '1 h'],
    [7500, '2 h 5 min'],
    [4 * 86_400 + 7200, '4 d 2 h'],
  ];
  for (const [seconds, text] of cases) assert.equal(spanText(seconds * 1e6), text);
});
