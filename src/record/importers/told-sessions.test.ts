// Which sessions are known to be told: the last of them, and at the same cost however many there were.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ToldSessions } from './told-sessions.ts';

const id = (number: number): string => number.toString(16).padStart(12, '0');

test('the last 250,000 are known for sure, those of long ago are not; a million cost no more each than the first', {
  timeout: 8000,
}, () => {
  const told = new ToldSessions();
  for (let number = 0; number < 1_000_000; number += 1) told.add(id(number));
  assert.equal(told.has(id(999_999)), true);
  assert.equal(told.has(id(750_000)), true);
  assert.equal(told.has(id(0)), false);
  told.add('short');
  assert.equal(told.has('short'), false);
});
