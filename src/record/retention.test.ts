// What goes and what stays: days, segments, and never what a kept day or the reader still needs.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { dayMicros, dayStart } from './day.ts';
import { JournalReader } from './journal-reader.ts';
import { JournalWriter } from './journal-writer.ts';
import { MemoryStore } from './memory-store.ts';
import { applyRetention, planExpired, planTrim, readSegments, replayFrom, type SegmentFile } from './retention.ts';
import { sampleSession } from './store-contract.ts';

const day = dayStart('2026-03-14');
const files = (...created: number[]): SegmentFile[] =>
  created.map((at, index) => ({ writer: 'gateway', segment: index + 1, path: String(index), bytes: 100, created: at }));
const at = (segment: number) => ({ gateway: { segment, offset: 0 } });
const numbers = (list: readonly SegmentFile[]): number[] => list.map(({ segment }) => segment);

test('a segment is expired only when the next one began before the oldest kept moment, and it is applied', () => {
  assert.deepEqual(numbers(planExpired(files(10, 20, 30, 40), at(4), 30)), [1, 2]);
  assert.deepEqual(numbers(planExpired(files(10, 20, 30, 40), at(2), 30)), [1]);
  assert.deepEqual(numbers(planExpired(files(10, 20), {}, 1000)), []);
  assert.deepEqual(numbers(planExpired(files(10, 20), at(9), 1000)), [1]);
});

test('trimming takes the oldest applied segments and no more than needed', () => {
  assert.deepEqual(numbers(planTrim(files(10, 20, 30, 40), at(4), 250)), [1, 2]);
  assert.deepEqual(numbers(planTrim(files(10, 20, 30, 40), at(2), 0)), [1]);
  assert.deepEqual(numbers(planTrim(files(10, 20, 30, 40), at(4), 400)), []);
});

test('a replay starts at the last segment that can hold the first record wanted', () => {
  assert.deepEqual(replayFrom(files(10, 20, 30), 25), at(2));
  assert.deepEqual(replayFrom(files(10, 20, 30), 5), at(1));
  assert.deepEqual(replayFrom(files(10, 20, 30), 99), at(3));
});

async function filled(context: TestContext): Promise<{ journal: string; store: MemoryStore; now: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-retention-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const journal = join(directory, 'journal');
  let now = day;
  const clock = (): number => {
    now += 1;
    return now;
  };
  const writer = new JournalWriter({ directory: join(journal, 'gateway'), segmentBytes: 20_000, clock, log: silentLog });
  for (let index = 0; index < 5; index += 1) {
    now = day + index * dayMicros;
    for (let count = 0; count < 10; count += 1) {
      const bytes = new Uint8Array(5000);
      const chunks = [{ at: now, direction: 'in' as const, bytes }];
      writer.append({ kind: 'session', session: sampleSession(clock(), { chunks }) });
      await writer.flush();
    }
  }
  await writer.close();
  const store = new MemoryStore();
  const reader = new JournalReader({ directory: journal, checkpoint: {}, log: silentLog });
  for (let batch = await reader.read(); batch; batch = await reader.read()) await store.apply(batch.events, batch.checkpoint);
  await reader.close();
  return { journal, store, now };
}

test('by days: old days go from the store together with the segments only they need; kept days can be rebuilt', async (context) => {
  const { journal, store, now } = await filled(context);
  const result = await applyRetention(store, journal, await store.checkpoint(), { days: 2, sizeBytes: 1e9 }, now);
  assert.deepEqual(result.days, ['2026-03-14', '2026-03-15']);
  assert.equal(result.trimmed, false);
  assert.ok(result.segments > 0);
  const rebuilt = new MemoryStore();
  const reader = new JournalReader({ directory: journal, checkpoint: {}, log: silentLog });
  for (let batch = await reader.read(); batch; batch = await reader.read()) await rebuilt.apply(batch.events, batch.checkpoint);
  await reader.close();
  const filter = { since: day + 2 * dayMicros, limit: 1000 };
  assert.equal((await store.sessions(filter)).length, 30);
  assert.deepEqual(await rebuilt.sessions(filter), await store.sessions(filter));
});

test('by size: everything together fits afterwards, oldest first, and the newest segment stays', async (context) => {
  const { journal, store, now } = await filled(context);
  const newest = (await readSegments(journal)).at(-1)?.segment;
  const result = await applyRetention(store, journal, await store.checkpoint(), { days: 365, sizeBytes: 220_000 }, now);
  assert.ok(result.storeBytes + result.journalBytes <= 220_000, JSON.stringify(result));
  assert.equal(result.trimmed, true);
  assert.equal(result.days[0], '2026-03-14');
  assert.ok((await store.sessions({ limit: 1000 })).length >= 10);
  assert.equal((await readSegments(journal)).at(-1)?.segment, newest);
});

test('what is not in the store yet is never removed', async (context) => {
  const { journal, store, now } = await filled(context);
  const before = await readSegments(journal);
  await applyRetention(store, journal, {}, { days: 1, sizeBytes: 1 }, now);
  assert.deepEqual(await readSegments(journal), before);
});
