import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RecencyMap } from './recency-map.ts';

test('it holds what a Map would whose keys are taken out and put in again when they are set', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('set', 'delete', 'shed'), fc.nat(8), fc.nat())), (steps) => {
      const map = new RecencyMap<number, number>();
      const model = new Map<number, number>();
      for (const [what, key, value] of steps) {
        if (what === 'set') {
          map.set(key, value);
          model.delete(key);
          model.set(key, value);
        } else if (what === 'delete') assert.equal(map.delete(key), model.delete(key));
        else if (map.oldest) {
          model.delete(map.oldest[0]);
          map.delete(map.oldest[0]);
        }
        assert.deepEqual([...map], [...model]);
        assert.deepEqual([map.size, map.get(key), map.oldest], [model.size, model.get(key), [...model][0]]);
      }
    }),
  );
});

test('shedding the oldest costs the same after half a million', () => {
  const map = new RecencyMap<number, number>();
  const round = (from: number): number => {
    const started = performance.now();
    for (let key = from; key < from + 50_000; key += 1) {
      if (map.size >= 10_000 && map.oldest) map.delete(map.oldest[0]);
      map.set(key, key);
    }
    return performance.now() - started;
  };
  const first = round(0);
  let last = 0;
  for (let index = 1; index <= 10; index += 1) last = round(index * 50_000);
  assert.equal(map.size, 10_000);
  assert.ok(last < 5 * first + 100, `${first} ms, then ${last} ms`);
});
