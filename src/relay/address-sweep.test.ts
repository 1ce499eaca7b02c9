import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decoyDirectory, decoyGroup } from '../../test/support/decoy-segment.ts';
import { isZero, parseNeighbourFrame } from '../kernel/neighbour-frame.ts';
import type { DecoyDirectory } from '../model/decoy.ts';
import { AddressSweep, type SweepTask, sweptLimit } from './address-sweep.ts';
import { macBytes } from './announcer.ts';

const mac = macBytes('02:00:00:00:99:02');
const half = { seed: 7, shares: [{ persona: 'all-open', share: 5_000 }] };

function bench(directory: DecoyDirectory, task: Partial<SweepTask> = {}) {
  const asked: number[] = [];
  const time = { now: 1_000_000_000_000, linkUp: true };
  const counts = { sweepProbes: 0, sweepUnasked: 0 };
  const sweep = new AddressSweep({
    clock: () => time.now,
    mac,
    send: (bytes) => {
      if (!time.linkUp) return false;
      const frame = parseNeighbourFrame(bytes);
      assert.ok(frame?.kind === 'arp-request' && isZero(frame.sender));
      assert.deepEqual([frame.frameMac, frame.mac], [mac, mac]);
      asked.push(Buffer.from(frame.target).readUInt32BE());
      return true;
    },
    counted: (what, count) => {
      counts[what] += count;
    },
  });
  sweep.begin({ directory, diversions: undefined, ...task });
  /** To the end, `budget` in a tick. */
  const finish = (budget: number, living = directory): void => {
    for (let tick = 0; sweep.waiting; tick += 1) {
      assert.ok(tick < 1_000_000, 'it ends');
      time.now += 50_000;
      assert.ok(sweep.tick(living, budget, Number.POSITIVE_INFINITY) <= budget);
    }
  };
  return { sweep, asked, time, counts, finish };
}

const number = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

test('every living IPv4 decoy is asked for twice, nobody else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ low: fc.nat(200), size: fc.integer({ min: 1, max: 300 }) }), { minLength: 0, maxLength: 4 }),
      fc.integer({ min: 0, max: 10_000 }),
      fc.integer({ min: 1, max: 50 }),
      (parts, share, budget) => {
        const population = { seed: 3, shares: [{ persona: 'all-open', share }] };
        const wanted: number[] = [];
        const groups = parts.map(({ low, size }, index) => {
          const first = number(`10.${index}.0.${low}`);
          const text = (value: number): string => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
          return decoyGroup([`${text(first)}-${text(first + size - 1)}`, `fd99:${index}::/120`], { population });
        });
        const directory = decoyDirectory(groups);
        for (const { ranges } of groups)
          for (let value = ranges[0].first; value <= ranges[0].last; value += 1n)
            if (directory.find({ family: 4, value })) wanted.push(Number(value));
        const { asked, finish, counts } = bench(directory);
        finish(budget);
        const order = (a: number, b: number): number => a - b;
        assert.deepEqual(asked.toSorted(order), [...wanted, ...wanted].sort(order));
        assert.deepEqual(counts, { sweepProbes: 2 * wanted.length, sweepUnasked: 0 });
      },
    ),
    { numRuns: 50 },
  );
});

test('a large range is asked in no order a bystander would take for a count, and in all its parts from the start', () => {
  const { asked, sweep, time } = bench(decoyDirectory([decoyGroup(['10.16.0.0/16'], { population: half })]));
  sweep.tick(decoyDirectory([decoyGroup(['10.16.0.0/16'], { population: half })]), 320, time.now + 1_000_000);
  assert.equal(asked.length, 320);
  for (let part = 0; part < 16; part += 1)
    assert.ok(asked.filter((value) => (value & 0xffff) >> 12 === part).length >= 10, `a sixteenth of it, ${part}`);
  assert.ok(asked.every((value, index) => index === 0 || Math.abs(value - asked[index - 1]) > 256));
});

test('more than the limit are asked for up to it, and the rest is counted', () => {
  const directory = decoyDirectory([decoyGroup(['10.16.0.0/15'])]);
  const { asked, finish, counts } = bench(directory);
  finish(1_000);
  assert.equal(asked.length, 2 * sweptLimit);
  assert.equal(new Set(asked).size, sweptLimit, 'the same ones again');
  assert.deepEqual(counts, { sweepProbes: 2 * sweptLimit, sweepUnasked: 65_536 });
});

test('those that come first are asked first and once; other diversions and own addresses not at all', () => {
  const directory = decoyDirectory([
    decoyGroup(['10.0.0.0/29']),
    decoyGroup(['10.0.1.0/29'], { diversion: 'other' }),
    decoyGroup(['10.0.2.0/29'], { kind: 'own' }),
  ]);
  const first = [number('10.0.0.5'), number('10.0.0.2')];
  const { asked, sweep, time, finish } = bench(directory, { first, diversions: new Set(['lab']) });
  assert.ok(!sweep.firstAsked);
  sweep.tick(directory, 2, time.now + 1_000_000);
  assert.deepEqual(asked, first);
  assert.ok(sweep.firstAsked);
  finish(100);
  assert.equal(asked.length, 2 + 2 * 6);
  assert.ok(asked.every((value) => value >> 3 === number('10.0.0.0') >> 3));
});

test('a second round waits a second; a link that takes nothing loses no question', () => {
  const directory = decoyDirectory([decoyGroup(['10.0.0.0/30'])]);
  const { asked, sweep, time } = bench(directory);
  const tick = (): number => sweep.tick(directory, 100, time.now + 1_000_000);
  time.linkUp = false;
  assert.equal(tick(), 0);
  time.linkUp = true;
  assert.equal(tick(), 0, 'not at every tick');
  time.now += 1_000_000;
  assert.equal(tick(), 4);
  time.now += 900_000;
  assert.equal(tick(), 0);
  time.now += 100_000;
  assert.equal(tick(), 4);
  assert.equal(new Set(asked).size, 4);
  assert.ok(!sweep.waiting);
});

test('a range where nearly nobody lives costs no more than its time in one tick', () => {
  const population = { seed: 7, shares: [{ persona: 'all-open', share: 1 }] };
  const directory = decoyDirectory([decoyGroup(['10.0.0.0/8'], { population })]);
  let looks = 0;
  const sweep = new AddressSweep({
    clock: () => {
      looks += 1;
      return looks * 1_000;
    },
    mac,
    send: () => true,
    counted: () => {},
  });
  sweep.begin({ directory, diversions: undefined });
  sweep.tick(directory, 1_000, 50_000);
  assert.ok(looks > 10 && looks <= 51, `${looks} looks at the clock`);
  assert.ok(sweep.waiting);
});
