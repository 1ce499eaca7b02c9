// The embedded store keeps the analysis part of the contract: from its records alone, and with everything summed beforehand
// that can be; sums are never wrong, whenever the process dies.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WeirEvent } from '../model/event.ts';
import { analysisStoreContract, everythingFound, insightOf, sampleFilters, sampleWorld } from './analysis-store-contract.ts';
import { dayMicros, dayStart } from './day.ts';
import { DuckDbStore } from './duckdb-store.ts';
import { MemoryStore } from './memory-store.ts';
import { everything, sampleSession } from './store-contract.ts';

async function withDirectory(use: (dataDirectory: string) => Promise<void>): Promise<void> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-store-'));
  try {
    await use(dataDirectory);
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
}

for (const [name, options] of [
  ['duckdb', {}],
  ['duckdb, summed', { sumRows: 15, pairsAtOnce: 3 }],
] as const) {
  analysisStoreContract(name, (use) =>
    withDirectory(async (dataDirectory) => {
      const store = await DuckDbStore.open({ dataDirectory, ...options });
      try {
        await use(store);
      } finally {
        await store.close();
      }
    }),
  );
}

test('sums, several of a partition, one of each, and records behind them give the same answers', () =>
  withDirectory(async (dataDirectory) => {
    const model = new MemoryStore();
    const first = sampleWorld(90, 3);
    const second = sampleWorld(50, 4);
    const apply = async (store: DuckDbStore | MemoryStore, { events, insights }: typeof first): Promise<void> => {
      for (let at = 0; at < events.length; at += 20) await store.apply(events.slice(at, at + 20), {}, insights);
    };
    await apply(model, first);
    let store = await DuckDbStore.open({ dataDirectory, sumRows: 10 });
    await apply(store, first);
    assert.deepEqual(await everythingFound(store), await everythingFound(model), 'several sums of a day');
    await store.settle();
    assert.deepEqual(await everythingFound(store), await everythingFound(model), 'one sum of a day');
    await store.close();
    // Opened again, it adds nothing to the sums any more: what follows stands behind them.
    store = await DuckDbStore.open({ dataDirectory, sumRows: 1_000_000 });
    await apply(store, second);
    await apply(model, second);
    for (const filter of sampleFilters.slice(1, 3))
      assert.deepEqual(await everythingFound(store, filter), await everythingFound(model, filter), JSON.stringify(filter));
    const day = dayStart('2026-03-14');
    for (const filter of [
      { limit: 9, until: day + dayMicros },
      { limit: 9, since: day + dayMicros },
      { limit: 9, since: day + 10, until: day + dayMicros - 10 },
    ])
      assert.deepEqual(await everything(store, filter), await everything(model, filter), JSON.stringify(filter));
    await store.close();
  }));

test('days of one diversion are answered by their sums, with what others have behind them', () =>
  withDirectory(async (dataDirectory) => {
    const model = new MemoryStore();
    const ofDay = (start: number): string => (start < dayStart('2026-03-15') ? 'lan' : 'dmz');
    const first = sampleWorld(90, 3);
    const events = first.events.map((event): WeirEvent => {
      if (event.kind === 'session') return { ...event, session: { ...event.session, diversion: ofDay(event.session.start) } };
      return event.kind === 'probe' ? { ...event, probe: { ...event.probe, diversion: ofDay(event.probe.start) } } : event;
    });
    let store = await DuckDbStore.open({ dataDirectory });
    for (const each of [store, model]) await each.apply(events, {}, first.insights);
    await store.settle();
    const filters = ['dmz', "neither's"].map((diversion) => ({ limit: 1000, diversion }));
    for (const filter of filters)
      assert.deepEqual(await everythingFound(store, filter), await everythingFound(model, filter), JSON.stringify(filter));
    await store.close();
    store = await DuckDbStore.open({ dataDirectory, sumRows: 1_000_000 });
    const second = sampleWorld(50, 4);
    for (const each of [store, model]) await each.apply(second.events, {}, second.insights);
    for (const filter of [
      { limit: 1000, diversion: 'lan' },
      { ...filters[0], since: dayStart('2026-03-15') + 12 * 3600e6 },
    ])
      assert.deepEqual(await everythingFound(store, filter), await everythingFound(model, filter), JSON.stringify(filter));
    await store.close();
  }));

test('questions with a filter need no more memory where days are many', () =>
  withDirectory(async (dataDirectory) => {
    const day = dayStart('2026-03-14');
    const days = 40;
    const first = await DuckDbStore.open({ dataDirectory });
    for (let number = 0; number < days; number += 1) {
      const sessions = Array.from({ length: 100 }, (_, index) =>
        sampleSession(day + number * dayMicros + index * 1000, { source: { ip: `192.0.2.${index}`, port: 1024 + number } }),
      );
      const insights = sessions.map((session) => insightOf(session, { facts: [{ kind: 'url', value: 'http://192.0.2.66/a' }] }));
      await first.apply(
        sessions.map((session) => ({ kind: 'session', session })),
        { gateway: { segment: 1, offset: number } },
        { sessions: insights, verdicts: [], families: [], places: [] },
      );
    }
    await first.close();
    const store = await DuckDbStore.open({ dataDirectory, memoryBytes: 128 * 1024 * 1024 });
    const filter = { transport: 'tcp', limit: 50 } as const;
    assert.equal((await store.features(filter)).length, 50);
    assert.deepEqual(
      (await store.attackers('ports', filter)).map(({ sessions }) => sessions),
      Array.from({ length: 50 }, () => days),
    );
    assert.equal((await store.features({ limit: 50 })).length, 50);
    assert.equal((await store.attackers('ports', { limit: 50 })).length, 50);
    await store.close();
  }));

test('attackers that weigh the same are in the order of their addresses, however many', () =>
  withDirectory(async (dataDirectory) => {
    const day = dayStart('2026-03-14');
    const ip = (index: number): string => `192.0.${index >> 8}.${index & 255}`;
    const sessions = Array.from({ length: 1500 }, (_, index) =>
      sampleSession(day + 5, { source: { ip: ip((index * 7) % 1500), port: 1024 + index } }),
    );
    const store = await DuckDbStore.open({ dataDirectory });
    await store.apply(
      sessions.map((session) => ({ kind: 'session', session })),
      { gateway: { segment: 1, offset: 1 } },
    );
    const first = Array.from({ length: 1500 }, (_, index) => ip(index)).sort();
    for (const by of ['hits', 'newest', 'ports'] as const)
      for (const limit of [5, 700])
        assert.deepEqual(
          (await store.attackers(by, { transport: 'tcp', limit })).map(({ source }) => source),
          first.slice(0, limit),
          `${by}, ${limit}`,
        );
    await store.close();
  }));
