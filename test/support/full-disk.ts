// Runs a journal, a recorder and a store on a disk that becomes full and then has room again, and prints what happened as
// one JSON object. argv: a directory on a small file system of its own.

import { statfsSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { DuckDbStore } from '../../src/record/duckdb-store.ts';
import { JournalWriter } from '../../src/record/journal-writer.ts';
import { Recorder } from '../../src/record/recorder.ts';
import { SessionRecorder } from '../../src/record/session-recorder.ts';

const dataDirectory = process.argv[2];
const ballast = join(dataDirectory, 'ballast');
const rounds: unknown[] = [];

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what} ${JSON.stringify(rounds)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const journal = new JournalWriter({
  directory: join(dataDirectory, 'journal', 'gateway'),
  bufferBytes: 512 * 1024,
  segmentBytes: 1024 * 1024,
  clock: systemClock,
  log: silentLog,
});
const sessions = new SessionRecorder({ journal, limits: { sessionBytes: 100_000 }, clock: systemClock });
let store = await DuckDbStore.open({ dataDirectory });
const retention = { days: 36_500, sizeBytes: 1e12 };
let recorder = new Recorder({ dataDirectory, store, retention, clock: systemClock, log: silentLog, gatherMs: 5 });
await recorder.start();
let offered = 0;
const payload = Buffer.alloc(2000, 'A');

function offer(count: number): void {
  for (let index = 0; index < count; index += 1) {
    const handle = sessions.open({
      start: systemClock(),
      transport: 'tcp',
      source: { ip: '192.0.2.1', port: 1 + (offered % 60_000) },
      destination: { ip: '198.51.100.1', port: 23 },
      sourceReliable: true,
      diversion: 'dmz',
      service: 'catch-all',
    });
    handle.chunk('in', payload);
    handle.close('client-closed');
    offered += 1;
  }
  sessions.flush();
}

offer(100);
await until(async () => (await store.counts({ limit: 1 })).sessions === offered, 'the first sessions');

function fillDisk(): void {
  const { bavail, bsize } = statfsSync(dataDirectory);
  try {
    for (let left = bavail * bsize; left > 0; left -= 65_536)
      writeFileSync(ballast, Buffer.alloc(Math.min(65_536, left)), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

for (let round = 0; round < 2; round += 1) {
  fillDisk();
  offer(50);
  await until(() => journal.counters().diskFull, 'a full disk');
  // More than the buffer holds: some lose their bytes, some are lost; none of it silently.
  offer(3000);
  const full = journal.counters();
  unlinkSync(ballast);
  await until(() => !journal.counters().diskFull && journal.counters().pendingBytes === 0, 'recovery of the journal');
  offer(20);
  await until(async () => {
    const { sessions: stored } = await store.counts({ limit: 1 });
    return stored === offered - journal.counters().droppedRecords;
  }, 'recovery of the store');
  rounds.push({
    pendingBytes: full.pendingBytes,
    stripped: full.strippedRecords,
    dropped: full.droppedRecords,
    lastError: full.lastError,
  });
}

// The journal has records that the store has no room for.
await recorder.close();
await store.close();
for (let part = 0; part < 20; part += 1) {
  offer(100);
  await journal.flush();
}
store = await DuckDbStore.open({ dataDirectory });
recorder = new Recorder({ dataDirectory, store, retention, clock: systemClock, log: silentLog, gatherMs: 5 });
fillDisk();
await recorder.start();
await until(async () => (await recorder.status()).storeError !== undefined, 'the store to notice');
const { storeError } = await recorder.status();
unlinkSync(ballast);
await until(async () => {
  const { sessions: stored } = await store.counts({ limit: 1 });
  return stored === offered - journal.counters().droppedRecords && (await recorder.status()).storeError === undefined;
}, 'the store to go on');
const counts = await store.counts({ limit: 1 });
const truncated = (await store.sessions({ limit: 10_000 })).filter((session) => session.truncated).length;
const newestAlert = async (): Promise<unknown> => (await store.alerts({ limit: 1 }))[0]?.details.droppedRecords;
await until(async () => (await newestAlert()) === journal.counters().droppedRecords, 'the alert');
const alerts = (await store.alerts({ limit: 10 })).map(({ name, details }) => ({ name, details }));
const result = { offered, counts, truncated, counters: journal.counters(), alerts, rounds, storeError };
await recorder.close();
await journal.close();
await store.close();
process.stdout.write(JSON.stringify(result));
