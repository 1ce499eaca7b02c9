// The embedded store keeps the contract, survives being closed and killed, and gives damaged files up for the journal's
// records; bodies are content-addressed and go with their day.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { dayMicros, dayStart } from './day.ts';
import { DuckDbStore } from './duckdb-store.ts';
import { JournalWriter } from './journal-writer.ts';
import { openStoreForReading } from './open-store-for-reading.ts';
import { Recorder } from './recorder.ts';
import { everything, sampleSession, storeContract } from './store-contract.ts';

const day = dayStart('2026-03-14');
const all = { limit: 10_000 };
const asEvent = (session: ReturnType<typeof sampleSession>): WeirEvent => ({ kind: 'session', session });

storeContract('duckdb', async (use) => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-store-'));
  const store = await DuckDbStore.open({ dataDirectory });
  try {
    await use(store);
  } finally {
    await store.close();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-store-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function mixed(count: number): WeirEvent[] {
  const events: WeirEvent[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = day + index * 500;
    if (index % 5 === 0) events.push(asEvent(sampleSession(start, { outcome: 'open', end: undefined, writer: 'gateway#1' })));
    else events.push(asEvent(sampleSession(start, { source: { ip: `192.0.2.${index % 250}`, port: index } })));
  }
  return events;
}

test('closed and opened again it answers the same, goes on with open sessions, and knows its checkpoint', async (context) => {
  const dataDirectory = scratch(context);
  const events = mixed(200);
  const first = await DuckDbStore.open({ dataDirectory });
  await first.apply(events, { gateway: { segment: 3, offset: 99 } });
  const before = await everything(first);
  await first.close();
  const second = await DuckDbStore.open({ dataDirectory });
  context.after(() => second.close());
  assert.deepEqual(await everything(second), before);
  assert.deepEqual(await second.checkpoint(), { gateway: { segment: 3, offset: 99 } });
  const [open] = events;
  assert.ok(open.kind === 'session');
  const last = {
    ...open.session,
    sequence: 1,
    firstChunk: 1,
    outcome: 'idle' as const,
    end: day + 99,
    chunks: [{ at: day + 50, direction: 'in' as const, bytes: Buffer.from(' world') }],
  };
  await second.apply([asEvent(last)], {});
  const stored = await second.session(open.session.id);
  assert.equal(Buffer.concat(stored?.chunks.map(({ bytes }) => bytes) ?? []).toString(), 'hello world');
  const { createHash } = await import('node:crypto');
  assert.equal(stored?.session.payloadHash, createHash('sha256').update('hello world').digest('hex'));
});

test('while one process has the store another is refused; closed, it can be read', async (context) => {
  const dataDirectory = scratch(context);
  await assert.rejects(openStoreForReading(dataDirectory), { code: 'not-found' });
  const store = await DuckDbStore.open({ dataDirectory });
  await store.apply(mixed(10), {});
  const before = await everything(store);
  await store.close();
  const reading = await openStoreForReading(dataDirectory);
  assert.deepEqual(await everything(reading), before);
  await assert.rejects(reading.apply([], {}), { code: 'store-unavailable' });
  await reading.close();
});

test('a reader puts what its memory does not hold into a place of its own, and leaves nothing', async (context) => {
  const [dataDirectory, temporary, before] = [scratch(context), scratch(context), process.env.TMPDIR];
  await (await DuckDbStore.open({ dataDirectory })).close();
  process.env.TMPDIR = temporary;
  context.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  const reader = await openStoreForReading(dataDirectory);
  const [own] = readdirSync(temporary);
  assert.equal(statSync(join(temporary, own)).mode & 0o777, 0o700);
  await reader.close();
  assert.deepEqual(readdirSync(temporary), []);
});

test('a reader without a place for its questions answers those that memory holds', async (context) => {
  const [dataDirectory, before] = [scratch(context), process.env.TMPDIR];
  await (await DuckDbStore.open({ dataDirectory })).close();
  process.env.TMPDIR = join(dataDirectory, 'nowhere');
  context.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  const reader = await openStoreForReading(dataDirectory);
  assert.equal((await reader.counts({ limit: 1 })).sessions, 0);
  await reader.close();
});

test('an interrupted reader leaves nothing', async (context) => {
  const temporary = scratch(context);
  const { openReadingDirectory } = await import('./reading-directory.ts');
  const before = process.listenerCount('exit');
  process.env.TMPDIR = temporary;
  context.after(() => delete process.env.TMPDIR);
  const own = openReadingDirectory();
  assert.deepEqual(readdirSync(temporary).length, 1);
  process.listeners('exit').at(-1)?.call(process, 0);
  assert.deepEqual(readdirSync(temporary), []);
  own?.remove();
  assert.equal(process.listenerCount('exit'), before);
});

test('a body is one file by its hash, not executable, shared by sessions, gone with the last day that has it', async (context) => {
  const dataDirectory = scratch(context);
  const store = await DuckDbStore.open({ dataDirectory });
  context.after(() => store.close());
  const bytes = new Uint8Array(100_000).fill(90);
  const body = (start: number) =>
    asEvent(sampleSession(start, { chunks: [{ at: start, direction: 'in', bytes }], bytesIn: bytes.length }));
  await store.apply([body(day), body(day + 5), body(day + dayMicros)], {});
  const files = (): string[] =>
    readdirSync(join(dataDirectory, 'blobs'), { recursive: true, encoding: 'utf8' }).filter((name) => name.length > 2);
  const [file] = files();
  assert.equal(files().length, 1);
  assert.equal(file.slice(3), (await store.sessions(all))[0].payloadHash);
  assert.equal(statSync(join(dataDirectory, 'blobs', file)).mode & 0o777, 0o600);
  await store.prune(day + dayMicros, Number.POSITIVE_INFINITY);
  assert.equal(files().length, 1);
  await store.apply([asEvent(sampleSession(day + 2 * dayMicros))], {});
  await store.prune(day + 2 * dayMicros, Number.POSITIVE_INFINITY);
  assert.equal(files().length, 0);
});

test('a day that grows too large is continued in another file, and size retention acts within the day', async (context) => {
  const dataDirectory = scratch(context);
  const store = await DuckDbStore.open({ dataDirectory, partitionBytes: 1 });
  context.after(() => store.close());
  for (let part = 0; part < 4; part += 1) await store.apply([asEvent(sampleSession(day + part * 1000))], {});
  const { bytes } = await store.size();
  assert.equal((await store.sessions(all)).length, 4);
  const dropped = await store.prune(0, bytes - 1);
  assert.equal(dropped[0], '2026-03-14');
  assert.ok((await store.size()).bytes < bytes);
  assert.equal((await store.sessions(all)).length, 4 - dropped.length);
});

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function record(dataDirectory: string): Promise<{ store: DuckDbStore; recorder: Recorder }> {
  const store = await DuckDbStore.open({ dataDirectory });
  const retention = { days: 36_500, sizeBytes: 1e12 };
  const recorder = new Recorder({ dataDirectory, store, retention, clock: systemClock, log: silentLog, gatherMs: 5 });
  await recorder.start();
  await until(async () => {
    const { lagBytes, rebuilding, applied } = await recorder.status();
    return lagBytes === 0 && !rebuilding && applied > 0;
  }, 'the end of the journal');
  return { store, recorder };
}

for (const [name, damage] of [
  ['its header', (bytes: Buffer) => bytes.fill(7, 0, 4096)],
  ['a block in the middle', (bytes: Buffer) => bytes.fill(7, 12_288, bytes.length)],
  ['most of it', (bytes: Buffer) => bytes.fill(0, 100)],
] as const) {
  test(`a store that is damaged in ${name} is set aside and rebuilt from the journal with equal answers`, async (context) => {
    const dataDirectory = scratch(context);
    const journal = new JournalWriter({
      directory: join(dataDirectory, 'journal', 'gateway'),
      clock: systemClock,
      log: silentLog,
    });
    for (const event of mixed(300)) journal.append(event);
    for (let index = 0; index < 50; index += 1) journal.append(asEvent(sampleSession(day + dayMicros + index)));
    await journal.close();
    const first = await record(dataDirectory);
    await first.recorder.close();
    const before = await everything(first.store, { ...all, until: day + 10 * dayMicros });
    await first.store.close();
    const path = join(dataDirectory, 'store', '2026-03-14.duckdb');
    const bytes = readFileSync(path);
    damage(bytes);
    writeFileSync(path, bytes);
    const second = await record(dataDirectory);
    context.after(async () => {
      await second.recorder.close();
      await second.store.close();
    });
    // Damage that only a reader meets is found by asking.
    await everything(second.store).catch(() => {});
    await until(async () => {
      const names = (await second.store.systemEvents(all)).map((event) => event.name);
      return names.includes('store-rebuilt') && names.includes('store-damaged');
    }, 'both events');
    assert.deepEqual(await everything(second.store, { ...all, until: day + 10 * dayMicros }), before);
    assert.ok(readdirSync(join(dataDirectory, 'store')).some((file) => file.includes('.duckdb.damaged-')));
  });
}
