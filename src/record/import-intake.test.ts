// From a log to the store and again: nothing is taken twice, nothing acknowledged is lost, and the journal does not grow.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { ImportIntake, importWriter } from './import-intake.ts';
import { importInputs } from './importers/import-contract.ts';
import { MemoryStore } from './memory-store.ts';
import { Recorder } from './recorder.ts';
import { SpoolBatch } from './spool-batch.ts';
import { sampleSession } from './store-contract.ts';

const everything = { limit: 10_000 };
const log = (count: number, from = 0): string =>
  Array.from({ length: count }, (_, index) =>
    JSON.stringify({
      timestamp: new Date(Date.UTC(2026, 2, 4) + (from + index) * 1000).toISOString(),
      flow: { proto: 'tcp', src: `192.0.2.${(from + index) % 250}`, sport: 1024 + index, dst: '198.51.100.9', dport: 23 },
      payloads: [{ index: 0, timestamp: '2026-03-04T00:00:00Z', data: 'aGVsbG8=' }],
    }),
  ).join('\n');

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-intake-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function recording(
  context: TestContext,
  dataDirectory: string,
  store: MemoryStore,
): Promise<{ intake: ImportIntake; close: () => Promise<void> }> {
  const recorder = new Recorder({
    dataDirectory,
    store,
    retention: { days: 36_500, sizeBytes: 1e12 },
    clock: systemClock,
    log: silentLog,
    gatherMs: 5,
  });
  await recorder.start();
  const intake = new ImportIntake({ dataDirectory, store, clock: systemClock, log: silentLog });
  const close = async (): Promise<void> => {
    await intake.close();
    await recorder.close();
  };
  // Also where a test fails: both close once.
  context.after(close);
  return { intake, close };
}

const journalBytes = (dataDirectory: string): number => {
  const directory = join(dataDirectory, 'journal', importWriter);
  return readdirSync(directory)
    .filter((name) => name.endsWith('.wj'))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
};

test('a log is in the store once, however often it is imported; the journal does not grow', async (context) => {
  const dataDirectory = scratch(context);
  const store = new MemoryStore();
  const first = await recording(context, dataDirectory, store);
  const deliver = (batch: Uint8Array): Promise<readonly number[]> => first.intake.take(batch);
  const one = await importInputs([log(9000)], { deliver });
  assert.deepEqual([one.files[0].sessions, one.files[0].merged], [9000, 0]);
  // At once, while some of it may not be in the store yet.
  const two = await importInputs([log(9000)], { deliver });
  assert.deepEqual([two.files[0].sessions, two.files[0].merged], [0, 9000]);
  await first.intake.settled();
  assert.equal((await store.counts(everything)).sessions, 9000);
  const bytes = journalBytes(dataDirectory);
  const three = await importInputs([log(9100)], { deliver });
  assert.deepEqual([three.files[0].sessions, three.files[0].merged], [100, 9000]);
  await first.intake.settled();
  assert.ok(journalBytes(dataDirectory) - bytes < bytes / 50);
  assert.equal((await store.counts(everything)).sessions, 9100);
  await first.close();
  // Another run, after a restart.
  const second = await recording(context, dataDirectory, store);
  const four = await importInputs([log(9100)], { deliver: (batch) => second.intake.take(batch) });
  assert.deepEqual([four.files[0].sessions, four.files[0].merged], [0, 9100]);
  assert.deepEqual(second.intake.counters, { batches: 3, records: 0, known: 9100 });
  await second.close();
});

test('records that were journalled and not yet applied are known after a restart too', async (context) => {
  const dataDirectory = scratch(context);
  const store = new MemoryStore();
  // Nobody applies anything: the first batch waits in vain for the store, and is in the journal all the same.
  const alone = new ImportIntake({ dataDirectory, store, clock: systemClock, log: silentLog, patienceMs: 50 });
  await assert.rejects(
    importInputs([log(10)], { deliver: (batch) => alone.take(batch) }),
    (error) => error instanceof WeirError && error.code === 'store-unavailable',
  );
  await alone.close();
  const { intake, close } = await recording(context, dataDirectory, store);
  const imported = await importInputs([log(10)], { deliver: (batch) => intake.take(batch) });
  assert.equal(imported.files[0].sessions, 10);
  await intake.settled();
  assert.equal((await store.counts(everything)).sessions, 10);
  await close();
});

test('only imported records are taken', async (context) => {
  const dataDirectory = scratch(context);
  const { intake, close } = await recording(context, dataDirectory, new MemoryStore());
  const batch = new SpoolBatch();
  batch.add({ kind: 'session', session: sampleSession(systemClock()) });
  for (const bytes of [batch.bytes(), Buffer.from('garbage'), Buffer.alloc(9)])
    await assert.rejects(intake.take(bytes), (error) => error instanceof WeirError && error.code === 'bad-request');
  assert.deepEqual(await intake.take(new Uint8Array(0)), []);
  await close();
});
