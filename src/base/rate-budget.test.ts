import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RateBudget } from './rate-budget.ts';

test('a burst, then the rate, never more than the burst after a rest; a clock set back stops nothing', () => {
  let now = 1_000_000;
  const budget = new RateBudget(3, 10, () => now);
  const taken = (): number => {
    let count = 0;
    while (budget.take()) count += 1;
    return count;
  };
  assert.equal(taken(), 3);
  now += 250_000;
  assert.equal(taken(), 2);
  now += 60_000_000;
  assert.equal(taken(), 3);
  now -= 30_000_000;
  assert.equal(taken(), 0);
  now += 1_000_000;
  assert.equal(taken(), 3);
});
