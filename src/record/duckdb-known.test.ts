// What was looked for in vain is stored once all the same: again, beside a question under way, and after the store was opened anew.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { WeirEvent } from '../model/event.ts';
import { derivedIdentifier } from '../model/identifier.ts';
import type { SessionRecord } from '../model/session.ts';
import { dayStart } from './day.ts';
import { DuckDbKnown } from './duckdb-known.ts';
import { DuckDbStore } from './duckdb-store.ts';
import { importDiversion, importedTag } from './importers/imported-event.ts';
import { sampleSession } from './store-contract.ts';

const day = dayStart('2026-03-14');

async function openStore(context: TestContext, dataDirectory: string): Promise<DuckDbStore> {
  const store = await DuckDbStore.open({ dataDirectory });
  context.after(() => store.close());
  return store;
}

function scratch(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'weir-known-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function imported(count: number): SessionRecord[] {
  return Array.from({ length: count }, (_, index) => {
    const start = day + index * 1000;
    const id = derivedIdentifier(start, `known ${index}`);
    return sampleSession(start, { id, diversion: importDiversion, tags: [importedTag], sequence: 0 });
  });
}

const idsOf = (records: readonly { readonly id: string }[]): string[] => records.map(({ id }) => id).sort();
const apply = (store: DuckDbStore, records: readonly SessionRecord[]): Promise<void> =>
  store.apply(
    records.map((session): WeirEvent => ({ kind: 'session', session })),
    {},
  );
const stored = async (store: DuckDbStore): Promise<string[]> => idsOf(await store.sessions({ limit: 10_000 }));

test('records that were looked for in vain are stored once, however often they come', async (context) => {
  const directory = scratch(context);
  const store = await openStore(context, directory);
  const records = imported(500);
  const ids = idsOf(records);
  assert.deepEqual(await store.known(ids), new Set());
  await apply(store, [...records.slice(0, 300), ...records.slice(0, 10)]);
  await apply(store, records);
  assert.deepEqual(await stored(store), ids);
  assert.deepEqual([...(await store.known(ids))].sort(), ids);
  await apply(store, records);
  assert.deepEqual(await stored(store), ids);
  await store.close();
  const again = await openStore(context, directory);
  await apply(again, records);
  assert.deepEqual(await stored(again), ids);
});

test('what is stored while it is looked for is not taken for absent', async () => {
  const rows = async (): Promise<never[]> => {
    known.stored([{ id: 'stored' }]);
    return [];
  };
  const known: DuckDbKnown = new DuckDbKnown({ imports: [], rows, writer: undefined as never });
  assert.deepEqual(await known.anywhere([{ catalog: 'a' }], ['sessions'], ['stored', 'absent']), new Set());
  assert.deepEqual(known.uncertain(['stored', 'absent', 'new']), ['stored', 'new']);
  known.stored([{ id: 'absent' }]);
  assert.deepEqual(known.uncertain(['stored', 'absent', 'new']), ['stored', 'absent', 'new']);
});

test('an identifier may be any text', async (context) => {
  const store = await openStore(context, scratch(context));
  const odd = sampleSession(day, { id: 'two words' });
  const plain = sampleSession(day + 1, { id: 'words' });
  await apply(store, [odd, plain]);
  await apply(store, [odd, plain]);
  assert.deepEqual(await stored(store), ['two words', 'words']);
});
