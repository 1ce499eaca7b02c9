// Rules that take long to read: no second reading beside the first, none that is older than it may be, all who ask are answered.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeirError } from '../../base/errors.ts';
import { lookInTime, RuleReadings } from './rule-readings.ts';

function bed() {
  const begun: { finish: (found: string) => void; fail: (error: Error) => void }[] = [];
  const clock = { nowMs: 100_000 };
  const read = (): Promise<string> => new Promise((finish, fail) => void begun.push({ finish, fail }));
  return { begun, clock, readings: new RuleReadings(read, () => clock.nowMs) };
}

/** Whoever waits for a promise that is settled goes on. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('who asks while a reading is unfinished begins none, and a later moment gets the next one', async () => {
  const { begun, clock, readings } = bed();
  const first = readings.for(clock.nowMs * 1000);
  await turn();
  const asked: Promise<unknown>[] = [];
  for (let count = 0; count < 100; count += 1) {
    clock.nowMs += 250;
    asked.push(readings.for(clock.nowMs * 1000));
    await turn();
  }
  assert.equal(begun.length, 1);
  begun[0].finish('one');
  assert.deepEqual(await first, { found: 'one', begunAt: 100_000_000, endedMs: 125_000 });
  await turn();
  assert.equal(begun.length, 2, 'of rules that were there when the later ones came');
  begun[1].finish('two');
  for (const one of await Promise.all(asked)) assert.equal((one as { found: string }).found, 'two');
  assert.equal(begun.length, 2);
});

test('a reading that took long is of use when it has ended; an old one, and one from before, is read again', async () => {
  const { begun, clock, readings } = bed();
  const first = readings.for(clock.nowMs * 1000);
  await turn();
  clock.nowMs += 30_000;
  begun[0].finish('one');
  await first;
  clock.nowMs += 9000;
  assert.equal((await readings.for(100_000_000)).found, 'one');
  clock.nowMs += 2000;
  const second = readings.for(100_000_000);
  await turn();
  begun[1].finish('two');
  assert.equal((await second).found, 'two');
  clock.nowMs += 900;
  assert.equal((await readings.for(clock.nowMs * 1000)).found, 'two', 'not for every RST');
  clock.nowMs += 200;
  const third = readings.for(clock.nowMs * 1000);
  await turn();
  begun[2].finish('three');
  assert.equal((await third).found, 'three');
});

test('a reading that failed is not kept', async () => {
  const { begun, clock, readings } = bed();
  const first = readings.for(clock.nowMs * 1000);
  await turn();
  const second = readings.for(clock.nowMs * 1000);
  begun[0].fail(new WeirError('not-permitted', 'no'));
  await assert.rejects(first, { code: 'not-permitted' });
  await turn();
  begun[1].finish('two');
  assert.equal((await second).found, 'two');
});

test('what there was no time for is counted', async () => {
  let nowMs = 0;
  const seen: string[] = [];
  const look = async (one: string): Promise<void> => {
    nowMs += 40;
    seen.push(one);
  };
  assert.equal(await lookInTime(['a', 'b', 'c', 'd', 'e'], 100, look, () => nowMs), 2);
  assert.deepEqual(seen, ['a', 'b', 'c']);
  assert.equal(await lookInTime([], 0, look, () => nowMs), 0);
});
