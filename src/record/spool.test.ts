// An agent's spool: what is recorded arrives once, whatever is killed when; it never outgrows its bound, and says what it dropped.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sampleSession } from '../../test/support/sample-records.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { type SessionOutcome, type SessionStart, takenBackSequence } from '../model/session.ts';
import { MemoryStore } from './memory-store.ts';
import { SessionRecorder } from './session-recorder.ts';
import { Spool, type SpoolOptions } from './spool.ts';
import { decodeSpoolBatch } from './spool-batch.ts';
import { SpoolReplay } from './spool-replay.ts';

const everything = { limit: 10_000 };

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-spool-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function open(context: TestContext, directory: string, more: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = await Spool.open({ directory, maxBytes: 2 ** 30, clock: systemClock, log: silentLog, ...more });
  context.after(() => spool.close());
  return spool;
}

const start = (port: number): SessionStart => ({
  start: systemClock(),
  transport: 'tcp',
  source: { ip: '192.0.2.1', port },
  destination: { ip: '198.51.100.1', port: 23 },
  sourceReliable: true,
  diversion: 'branch',
  service: 'catch-all',
});

const recorderOf = (spool: Spool): SessionRecorder =>
  new SessionRecorder({ journal: spool, limits: { sessionBytes: 1_000_000 }, flushMs: 2, clock: systemClock });

/** What the centre does with a batch: take each record once. */
async function take(store: MemoryStore, batch: Uint8Array): Promise<void> {
  const records = decodeSpoolBatch(batch);
  assert.ok(records);
  await store.apply(
    records.map(({ event }) => event),
    {},
  );
}

async function replayAll(spool: Spool, store: MemoryStore, maxBytes = 20_000): Promise<number> {
  let batches = 0;
  await spool.flush();
  for (;;) {
    const piece = await spool.next(maxBytes);
    if (!piece) return batches;
    await take(store, piece.batch.bytes());
    await spool.acknowledge(piece);
    batches += 1;
  }
}

const outcomes = async (store: MemoryStore): Promise<Record<number, SessionOutcome>> =>
  Object.fromEntries((await store.sessions(everything)).map(({ source, outcome }) => [source.port, outcome]));

test('everything recorded arrives in order, and is forgotten once it is acknowledged', async (context) => {
  const directory = scratch(context);
  const spool = await open(context, directory, { segmentBytes: 64 * 1024 });
  const recorder = recorderOf(spool);
  for (let port = 1; port <= 300; port += 1) {
    const handle = recorder.open(start(port));
    handle.chunk('in', Buffer.alloc(1000, port));
    handle.close('client-closed');
    if (port % 50 === 0) {
      recorder.flush();
      await spool.flush();
    }
  }
  assert.equal(spool.state().records, 301);
  assert.ok(readdirSync(join(directory, 'agent')).length > 4);
  const store = new MemoryStore();
  assert.ok((await replayAll(spool, store)) > 10);
  const sessions = await store.sessions(everything);
  assert.equal(sessions.length, 300);
  assert.ok(sessions.every(({ outcome, bytesIn }) => outcome === 'client-closed' && bytesIn === 1000));
  assert.deepEqual([spool.state().records, spool.state().bytes, spool.state().oldest], [0, 0, undefined]);
  assert.equal(readdirSync(join(directory, 'agent')).filter((name) => name.endsWith('.wj')).length, 1);
  assert.equal((await store.systemEvents(everything)).length, 1, 'that the agent began is told too');
});

/** As a kill leaves the directory: whatever the kernel has of its files, and nobody who holds the lock. */
function killed(context: TestContext, directory: string): string {
  const copy = scratch(context);
  cpSync(directory, copy, { recursive: true, filter: (source) => !source.endsWith('/lock') });
  return copy;
}

test('killed at any point, nothing is lost or doubled, and what was open ends as interrupted, once', async (context) => {
  const directory = scratch(context);
  const spool = await open(context, directory, { segmentBytes: 64 * 1024 });
  const recorder = recorderOf(spool);
  const handles = Array.from({ length: 40 }, (_, index) => recorder.open(start(index + 1)));
  for (const [index, handle] of handles.entries()) {
    handle.chunk('in', Buffer.alloc(5000, index));
    recorder.flush();
    if (index >= 20) handle.close('idle');
  }
  recorder.flush();
  await spool.flush();
  const copies: string[] = [killed(context, directory)];
  // Sent, not acknowledged; acknowledged; some acknowledged and others sent.
  const sent = new MemoryStore();
  let pieces = 0;
  for (;;) {
    const piece = await spool.next(12_000);
    if (!piece) break;
    await take(sent, piece.batch.bytes());
    if (pieces % 3 === 0) copies.push(killed(context, directory));
    await spool.acknowledge(piece);
    if (pieces % 3 === 1) copies.push(killed(context, directory));
    pieces += 1;
  }
  copies.push(killed(context, directory));
  assert.ok(copies.length > 8, `${copies.length} copies`);
  for (const copy of copies) {
    // The centre has what was sent before the kill, and in the worst case all of it.
    const again = await open(context, copy, { segmentBytes: 64 * 1024 });
    await replayAll(again, sent);
    await again.close();
    const ended = await outcomes(sent);
    for (let port = 1; port <= 40; port += 1) assert.equal(ended[port], port <= 20 ? 'interrupted' : 'idle', `${copy}: ${port}`);
    const third = await open(context, copy, { segmentBytes: 64 * 1024 });
    await third.flush();
    const piece = await third.next(1_000_000);
    assert.deepEqual(
      decodeSpoolBatch(piece?.batch.bytes() ?? new Uint8Array(0))?.map(({ event }) => event.kind),
      ['system'],
      'ended once: only that it began is new',
    );
    await third.close();
  }
  const sessions = await sent.sessions(everything);
  assert.equal(sessions.length, 40);
  for (const { id } of sessions) {
    const bytes = (await sent.session(id))?.chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0);
    assert.equal(bytes, 5000);
  }
});

test('it never outgrows its bound: bytes go first, then records, counted; ends of sessions come when there is room', async (context) => {
  const directory = scratch(context);
  const maxBytes = 1_000_000;
  const spool = await open(context, directory, { maxBytes, segmentBytes: 128 * 1024 });
  const recorder = recorderOf(spool);
  const early = recorder.open(start(1));
  recorder.flush();
  let offered = 1;
  const takenBack: WeirEvent = { kind: 'session', session: sampleSession(systemClock(), 1, { sequence: takenBackSequence }) };
  for (let round = 0; round < 60; round += 1) {
    for (let index = 0; index < 200; index += 1) {
      const handle = recorder.open(start(2 + offered));
      handle.chunk('in', Buffer.alloc(500, 1));
      handle.close('idle');
      offered += 1;
    }
    recorder.flush();
    await spool.flush();
  }
  // The first and only record of what was taken back: nothing of it is on disk.
  const refused = spool.state().droppedRecords;
  assert.equal(spool.append(takenBack), false);
  assert.equal(spool.state().droppedRecords, refused + 1);
  offered += 1;
  early.close('client-closed');
  recorder.flush();
  await spool.flush();
  const onDisk = readdirSync(join(directory, 'agent'))
    .filter((name) => name.endsWith('.wj'))
    .reduce((sum, name) => sum + statSync(join(directory, 'agent', name)).size, 0);
  assert.ok(onDisk < maxBytes + 10_000, `${onDisk} bytes on disk`);
  const { droppedRecords } = spool.state();
  assert.ok(droppedRecords > 0);
  const store = new MemoryStore();
  await replayAll(spool, store);
  const deadline = Date.now() + 10_000;
  while ((await outcomes(store))[1] !== 'client-closed') {
    assert.ok(Date.now() < deadline, 'the end of the early session');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await replayAll(spool, store);
  }
  const sessions = await store.sessions({ limit: 100_000 });
  assert.equal(sessions.length + droppedRecords, offered, 'what was not dropped is here');
  const bare = sessions.filter(({ truncated }) => truncated).length;
  assert.ok(bare > 100 && bare < sessions.length / 2, `${bare} of ${sessions.length} without their bytes`);
  await spool.close();
  const again = await open(context, directory, { maxBytes });
  assert.equal(again.state().droppedRecords, droppedRecords, 'the count outlives the process');
});

test('a lost, damaged or too large position means sending again, never losing', async (context) => {
  const directory = scratch(context);
  const spool = await open(context, directory);
  const recorder = recorderOf(spool);
  recorder.open(start(7)).close('idle');
  recorder.flush();
  await spool.close();
  for (const text of [
    '',
    '{',
    '[]',
    '{"segment":-1,"offset":0,"droppedRecords":0,"open":[]}',
    '{"segment":900,"offset":5,"droppedRecords":0,"open":["AAAA"]}',
  ]) {
    writeFileSync(join(directory, 'position.json'), text);
    const copy = killed(context, directory);
    const again = await open(context, copy);
    const store = new MemoryStore();
    await replayAll(again, store);
    assert.deepEqual(await outcomes(store), { 7: 'idle' }, text);
    await again.close();
  }
});

test('the replay sends while there is a link, again what was not taken, and less while attackers wait', async (context) => {
  const directory = scratch(context);
  const spool = await open(context, directory);
  const recorder = recorderOf(spool);
  for (let port = 1; port <= 500; port += 1) {
    const handle = recorder.open(start(port));
    handle.chunk('in', Buffer.alloc(2000, port));
    handle.close('idle');
  }
  recorder.flush();
  await spool.flush();
  const store = new MemoryStore();
  let linked = false;
  let calls = 0;
  let largest = 0;
  const replay = new SpoolReplay({
    spool,
    ready: () => linked,
    busy: () => true,
    log: silentLog,
    pollMs: 10,
    send: async (batch) => {
      calls += 1;
      largest = Math.max(largest, batch.length);
      // Every third answer is lost: once before, once after the centre took it.
      if (calls % 6 === 3) throw new Error('lost');
      await take(store, batch);
      if (calls % 6 === 0) throw new Error('lost');
    },
  });
  replay.start();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(calls, 0, 'nothing is sent without a link');
  linked = true;
  replay.wake();
  const deadline = Date.now() + 20_000;
  while (replay.counters.records < 501) {
    assert.ok(Date.now() < deadline, `${replay.counters.records} records`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await replay.close();
  assert.equal((await store.sessions(everything)).length, 500);
  assert.ok(replay.counters.failed > 2 && largest < 80_000, `${replay.counters.failed} failed, ${largest} bytes`);
});
