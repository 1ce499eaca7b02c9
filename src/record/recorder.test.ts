// From a writer's journal to the store: nothing older than 200 ms is lost to kill -9, nothing is doubled by replays,
// sessions of a dead writer end as interrupted.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Insights } from '../model/insight.ts';
import type { SessionStart } from '../model/session.ts';
import { JournalWriter } from './journal-writer.ts';
import { MemoryStore } from './memory-store.ts';
import { type RecordAnalysis, Recorder, type RecorderOptions } from './recorder.ts';
import { SessionRecorder } from './session-recorder.ts';
import { spoolWriter } from './spool-batch.ts';
import type { SessionSummary, Store } from './store.ts';

const everything = { limit: 10_000 };

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-recorder-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function until(condition: () => boolean | Promise<boolean>, what: string, limitMs = 10_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function run(
  context: TestContext,
  dataDirectory: string,
  store: Store,
  more: Partial<RecorderOptions> = {},
): Promise<Recorder> {
  const recorder = new Recorder({
    dataDirectory,
    store,
    retention: { days: 36_500, sizeBytes: 1e12 },
    clock: systemClock,
    log: silentLog,
    gatherMs: 5,
    ...more,
  });
  context.after(() => recorder.close());
  await recorder.start();
  return recorder;
}

function gateway(context: TestContext, dataDirectory: string) {
  const journal = new JournalWriter({
    directory: join(dataDirectory, 'journal', 'gateway'),
    clock: systemClock,
    log: silentLog,
    flushMs: 2,
  });
  context.after(() => journal.close());
  const sessions = new SessionRecorder({ journal, limits: { sessionBytes: 100_000 }, flushMs: 2, clock: systemClock });
  return { journal, sessions };
}

const start = (port: number): SessionStart => ({
  start: systemClock(),
  transport: 'tcp',
  source: { ip: '192.0.2.1', port },
  destination: { ip: '198.51.100.1', port: 23 },
  sourceReliable: true,
  diversion: 'dmz',
  service: 'catch-all',
});

const noInsights: Insights = { sessions: [], verdicts: [], families: [], places: [] };

test('events of all writers reach the store and then the live listeners', async (context) => {
  const data = scratch(context);
  const { sessions } = gateway(context, data);
  const store = new MemoryStore();
  const live: WeirEvent[] = [];
  await run(context, data, store, { onEvents: (events) => live.push(...events) });
  const handle = sessions.open(start(1));
  handle.chunk('in', Buffer.from('root\n'));
  handle.close('client-closed');
  await until(() => live.some((event) => event.kind === 'session'), 'the session on the live stream');
  const [session] = await store.sessions(everything);
  assert.equal(session.outcome, 'client-closed');
  assert.match(session.writer ?? '', /^gateway#1$/);
  await until(async () => (await store.systemEvents(everything)).length === 2, 'both process-started events');
});

test('a failing store is tried again and nothing is lost or doubled', async (context) => {
  const data = scratch(context);
  const { sessions } = gateway(context, data);
  const store = new MemoryStore();
  const apply = store.apply.bind(store);
  let failures = 3;
  store.apply = async (events, checkpoint) => {
    failures -= 1;
    // The second failure comes after the batch went in: the answer was lost.
    if (failures === 1) await apply(events, checkpoint);
    if (failures >= 0) throw new WeirError('disk-full', 'no room');
    return apply(events, checkpoint);
  };
  const recorder = await run(context, data, store);
  for (let port = 1; port <= 50; port += 1) sessions.open(start(port)).close('idle');
  await until(async () => (await store.sessions(everything)).length === 50 && failures < 0, 'all sessions');
  await until(async () => (await recorder.status()).storeError === undefined, 'recovery');
});

test('a store that cannot say which sessions are open is asked again, and what was read meanwhile is not lost', async (context) => {
  const data = scratch(context);
  const { sessions } = gateway(context, data);
  const store = new MemoryStore();
  const openSessions = store.openSessions.bind(store);
  let failures = 2;
  store.openSessions = async () => {
    failures -= 1;
    if (failures >= 0) throw new WeirError('store-unavailable', 'out of memory');
    return openSessions();
  };
  for (let port = 1; port <= 50; port += 1) sessions.open(start(port)).close('idle');
  const recorder = await run(context, data, store);
  for (let port = 51; port <= 60; port += 1) sessions.open(start(port)).close('idle');
  await until(async () => (await store.sessions(everything)).length === 60, 'all sessions');
  await until(async () => (await recorder.status()).storeError === undefined, 'recovery');
  assert.ok(failures < 0);
});

test('what is not in the store yet is behind, whatever it waits for', async (context) => {
  const data = scratch(context);
  const { sessions } = gateway(context, data);
  for (let port = 1; port <= 50; port += 1) sessions.open(start(port)).close('idle');
  const store = new MemoryStore();
  const gates: (() => void)[] = [];
  let shut = true;
  const gate = (): Promise<void> => new Promise((resolve) => (shut ? gates.push(resolve) : resolve()));
  const open = (): void => {
    shut = false;
    for (const resolve of gates.splice(0)) resolve();
  };
  context.after(open);
  const apply = store.apply.bind(store);
  store.apply = async (...batch) => {
    await gate();
    await apply(...batch);
  };
  const recorder = await run(context, data, store, {
    analysis: { begin: gate, analyse: async (events) => ({ events, insights: noInsights }), late: () => undefined },
  });
  await until(async () => (await recorder.status()).lagBytes > 0, 'what the journal has is behind');
  let stored = 0;
  let waits = 0;
  while (stored < 50) {
    await until(() => gates.length > 0, 'something waits');
    stored = (await store.sessions(everything)).length;
    if (stored < 50) assert.ok((await recorder.status()).lagBytes > 0, `${stored} of 50 are stored and nothing is behind`);
    waits += 1;
    gates.shift()?.();
    await until(async () => gates.length > 0 || (await recorder.status()).lagBytes === 0, 'the next wait');
    stored = (await store.sessions(everything)).length;
  }
  assert.ok(waits >= 2, 'for analysis to begin, and for the store');
  open();
});

test('kill -9 of a writer under load: no session older than 200 ms is missing, none is doubled, open ones are interrupted', async (context) => {
  const data = scratch(context);
  const directory = join(data, 'journal', 'gateway');
  const store = new MemoryStore();
  const recorder = await run(context, data, store, { gatherMs: 1 });
  const program = fileURLToPath(new URL('../../test/support/journal-load.js', import.meta.url));
  let base = 0;
  for (let round = 0; round < 5; round += 1) {
    const child = spawn(process.execPath, [program, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    const said: { ended: number; at: number }[] = [];
    let rest = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) said.push({ ended: Number(line.split(' ')[0]), at: Number(line.split(' ')[1]) });
    });
    const enough = 1000 + round * 777;
    await until(() => (said.at(-1)?.ended ?? 0) >= enough, 'the load');
    const killed = Date.now();
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('exit', resolve));
    const sure = said.filter(({ at }) => at <= killed - 200).at(-1)?.ended ?? 0;
    assert.ok(sure > 0);
    // A new writer: the torn tail is cut and what was open can no longer go on.
    const next = new JournalWriter({ directory, clock: systemClock, log: silentLog });
    await next.close();
    await until(
      async () => (await recorder.status()).lagBytes === 0 && (await store.openSessions()).length === 0,
      'the end of the journal',
    );
    const sessions = await allSessions(store);
    const numbers = new Set(sessions.map(({ persona }) => Number(persona)));
    for (let number = 0; number < sure; number += 1) assert.ok(numbers.has(number), `session ${number} of ${sure}`);
    for (const session of sessions) {
      const expected = Number(session.persona) % 100 === 99 ? 'interrupted' : 'client-closed';
      // A session may have been opened and not yet closed on record at the kill.
      if (session.outcome !== expected) assert.equal(session.outcome, 'interrupted');
    }
    const ids = new Set(sessions.map(({ id }) => id));
    assert.equal(ids.size, sessions.length);
    base += sessions.length;
    store.clear();
  }
  assert.ok(base > 1000);
  assert.equal((await recorder.status()).damagedBytes, 0);
});

async function allSessions(store: Store): Promise<SessionSummary[]> {
  const all: SessionSummary[] = [];
  for (;;) {
    const page = await store.sessions({ limit: 1000, ...(all.length > 0 && { before: all[all.length - 1].id }) });
    all.push(...page);
    if (page.length < 1000) return all;
  }
}

test('a damaged middle of a journal is stepped over, counted and said', async (context) => {
  const data = scratch(context);
  const { journal, sessions } = gateway(context, data);
  for (let port = 1; port <= 30; port += 1) sessions.open(start(port)).close('idle');
  sessions.close();
  await journal.close();
  const directory = join(data, 'journal', 'gateway');
  const [name] = readdirSync(directory).filter((file) => file.endsWith('.wj'));
  const bytes = readFileSync(join(directory, name));
  bytes.fill(0, bytes.length >> 1, (bytes.length >> 1) + 40);
  writeFileSync(join(directory, name), bytes);
  const store = new MemoryStore();
  const recorder = await run(context, data, store);
  await until(
    async () => (await store.systemEvents(everything)).some(({ name: event }) => event === 'journal-damaged'),
    'the event',
  );
  await until(async () => (await store.sessions(everything)).length >= 28, 'what is whole');
  const status = await recorder.status();
  assert.ok(status.damagedBytes >= 40 && status.damagedBytes < 400, String(status.damagedBytes));
});

test('reading the same journals again from the start changes nothing', async (context) => {
  const data = scratch(context);
  const { journal, sessions } = gateway(context, data);
  for (let port = 1; port <= 20; port += 1) {
    const handle = sessions.open(start(port));
    if (port % 2) sessions.flush();
    handle.chunk('in', Buffer.from(`payload ${port}`));
    if (port % 3) handle.close('idle');
  }
  sessions.flush();
  await journal.flush();
  const store = new MemoryStore();
  const first = await run(context, data, store);
  await until(async () => (await first.status()).lagBytes === 0 && (await store.sessions(everything)).length === 20, 'all');
  await first.close();
  const before = JSON.stringify(await store.sessions(everything));
  await store.apply([], {});
  const second = await run(context, data, store);
  await until(async () => (await second.status()).lagBytes === 0 && (await second.status()).applied > 20, 'the replay');
  assert.equal(JSON.stringify(await store.sessions(everything)), before);
});

test('sessions out of spools are not ended when their writer at the centre starts anew', async (context) => {
  const data = scratch(context);
  const store = new MemoryStore();
  const recorder = await run(context, data, store);
  const write = async (writer: string, port: number): Promise<void> => {
    const journal = new JournalWriter({ directory: join(data, 'journal', writer), clock: systemClock, log: silentLog });
    const sessions = new SessionRecorder({ journal, limits: { sessionBytes: 1000 }, clock: systemClock });
    sessions.open(start(port));
    sessions.flush();
    await journal.close();
  };
  for (const port of [1, 2]) {
    await write('gateway', port);
    await write(spoolWriter, 100 + port);
  }
  await until(async () => (await store.sessions(everything)).length === 4, 'all sessions');
  await until(async () => (await recorder.status()).interrupted > 0, 'the interrupted one');
  const outcomes = (await store.sessions(everything)).map(({ source, outcome }) => [source.port, outcome]);
  assert.deepEqual(outcomes.sort(), [
    [1, 'interrupted'],
    [101, 'open'],
    [102, 'open'],
    [2, 'open'],
  ]);
});

test('analysis sees each batch once, however often the store refuses; what it found goes in with the events and on to listeners', async (context) => {
  const data = scratch(context);
  const { sessions } = gateway(context, data);
  const store = new MemoryStore();
  const apply = store.apply.bind(store);
  const applied: (Insights | undefined)[] = [];
  let failures = 2;
  store.apply = async (events, checkpoint, insights?: Insights) => {
    failures -= 1;
    if (failures >= 0) throw new WeirError('disk-full', 'no room');
    if (events.some(({ kind }) => kind === 'session')) applied.push(insights);
    return apply(events, checkpoint, insights);
  };
  const seen: number[] = [];
  let begun = 0;
  const analysis: RecordAnalysis = {
    begin: async () => {
      begun += 1;
    },
    late: (all) => {
      late.push(all);
      return all ? { ...noInsights, places: [{ ip: '192.0.2.9', country: 'DE' }] } : undefined;
    },
    analyse: async (events) => {
      const ports = events.flatMap((event) => (event.kind === 'session' ? [event.session.source.port] : []));
      seen.push(...ports);
      if (ports.includes(2)) throw new TypeError('a defect');
      const places = [{ ip: '192.0.2.1', country: 'NL' }];
      return { events, insights: { ...noInsights, places } };
    },
  };
  const late: boolean[] = [];
  const told: Insights[] = [];
  const recorder = await run(context, data, store, {
    analysis,
    onEvents: (events, insights) => events.some(({ kind }) => kind === 'session') && told.push(insights),
  });
  sessions.open(start(1)).close('idle');
  await until(() => told.length === 1, 'the first session');
  assert.deepEqual(applied[0]?.places, [{ ip: '192.0.2.1', country: 'NL' }]);
  assert.equal(told[0], applied[0]);
  sessions.open(start(2)).close('idle');
  await until(() => told.length === 2, 'a session that analysis failed at is stored all the same');
  assert.deepEqual(told[1].places, []);
  assert.deepEqual(seen, [1, 2]);
  assert.equal(begun, 1);
  assert.equal((await recorder.status()).unlooked, 1);
  await until(() => late.length > 0, 'what waits is asked for while nothing comes');
  await recorder.close();
  assert.equal(late.at(-1), true);
  assert.deepEqual(await store.places(['192.0.2.9']), [{ ip: '192.0.2.9', country: 'DE' }]);
  assert.equal((await store.sessions(everything)).length, 2);
});
