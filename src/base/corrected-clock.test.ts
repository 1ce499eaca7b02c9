// Another's time on a machine whose clock is off, is stepped, and is put right.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CorrectedClock } from './corrected-clock.ts';

const year = 365 * 86_400e6;

test('follows the time it was told, whatever the own clock does', () => {
  let own = 1_700_000_000_000_000 + year;
  let ms = 5000;
  const pass = (byMs: number): void => {
    own += byMs * 1000;
    ms += byMs;
  };
  const clock = new CorrectedClock(
    0,
    () => own,
    () => ms,
  );
  assert.equal(clock.now(), 1_700_000_000_000_000 + year, 'nothing known: its own');
  clock.set(1_700_000_000_000_000);
  assert.equal(clock.now(), 1_700_000_000_000_000, 'a year back at once');
  assert.equal(clock.offset, year);
  pass(1000);
  own -= year;
  assert.equal(clock.now(), 1_700_000_001_000_000, 'the own clock was put right: no difference here');
  assert.equal(clock.offset, 0);
  const again = new CorrectedClock(
    year,
    () => own + year,
    () => ms,
  );
  assert.equal(again.now(), own, 'known from before');
});

test('never goes back by a little, and never says the same twice', () => {
  const own = 1_700_000_000_000_000;
  let ms = 0;
  const clock = new CorrectedClock(
    0,
    () => own,
    () => ms,
  );
  const first = clock.now();
  assert.equal(clock.now(), first + 1);
  clock.set(first - 500_000);
  assert.equal(clock.now(), first + 2);
  clock.set(first + 1);
  assert.ok(clock.now() > first + 2, 'what is within the tolerance is left');
  ms += 1000;
  assert.ok(clock.now() >= first + 400_000);
});
