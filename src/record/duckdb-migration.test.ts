import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DuckDBInstance } from '@duckdb/node-api';
import type { WeirEvent } from '../model/event.ts';
import { everythingFound, sampleVerdict, sampleWorld } from './analysis-store-contract.ts';
import { dayStart } from './day.ts';
import { DuckDbStore } from './duckdb-store.ts';
import { openStoreForReading } from './open-store-for-reading.ts';
import { everything, sampleSession } from './store-contract.ts';

const day = dayStart('2026-03-14');
const asEvent = (session: ReturnType<typeof sampleSession>): WeirEvent => ({ kind: 'session', session });

/** Makes every partition one of format 1, as it was before relayed sessions had times, attempts were kept and analysis began. */
async function age(directory: string): Promise<number> {
  rmSync(join(directory, 'analysis.duckdb'));
  const files = readdirSync(directory).filter((name) => /^\d{4}.*\.duckdb$/.test(name));
  for (const file of files) {
    const instance = await DuckDBInstance.create(join(directory, file));
    const connection = await instance.connect();
    for (const table of ['sessions', 'open_records'])
      for (const column of ['connect_micros', 'first_byte_micros', 'credentials', 'facts'])
        await connection.run(`ALTER TABLE ${table} DROP COLUMN ${column}`);
    for (const table of ['insights', 'verdicts']) await connection.run(`DROP TABLE ${table}`);
    await connection.run('UPDATE format SET version = 1');
    connection.closeSync();
    instance.closeSync();
  }
  return files.length;
}

test('a store of the format before answers the same, and takes sessions with times', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-store-'));
  try {
    const first = await DuckDbStore.open({ dataDirectory });
    await first.apply([asEvent(sampleSession(day)), asEvent(sampleSession(day + 9, { outcome: 'open', end: undefined }))], {});
    const before = await everything(first);
    await first.close();
    assert.ok((await age(join(dataDirectory, 'store'))) > 0);
    const second = await DuckDbStore.open({ dataDirectory });
    try {
      assert.deepEqual(await everything(second), before);
      const relayed = sampleSession(day + 20, { connectMicros: 1234, firstByteMicros: 56_789 });
      const silent = sampleSession(day + 30, { connectMicros: 0, outcome: 'service-unreachable' });
      const guessed = sampleSession(day + 40, {
        credentials: [{ userName: 'root', password: 'a', accepted: false }, { password: 'b\0' }],
        facts: [{ kind: 'hassh', value: 'ec7378c1a92f5a8dde7e8b7a1ddf33d1' }],
      });
      await second.apply([asEvent(relayed), asEvent(silent), asEvent(guessed)], {});
      const three = (await second.session(guessed.id))?.session;
      assert.deepEqual([three?.credentials, three?.facts], [guessed.credentials, guessed.facts]);
      const insight = { id: guessed.id, start: guessed.start, source: guessed.source.ip, signatures: [], facts: [], family: 'f' };
      await second.apply([], {}, { sessions: [insight], verdicts: [sampleVerdict(day)], families: [], places: [] });
      assert.deepEqual(await second.insight(guessed.id, guessed.start), insight);
      assert.equal((await second.verdicts({ limit: 9 })).length, 1);
      const [one, two] = [await second.session(relayed.id), await second.session(silent.id)];
      assert.deepEqual([one?.session.connectMicros, one?.session.firstByteMicros], [1234, 56_789]);
      assert.deepEqual([two?.session.connectMicros, two?.session.firstByteMicros], [0, undefined]);
    } finally {
      await second.close();
    }
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});

for (const format of [5, 6])
  test(`a store with sums of format ${format} loses them, keeps its records, and sums them again`, async () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-store-'));
    try {
      const { events, insights } = sampleWorld(80, 5);
      const first = await DuckDbStore.open({ dataDirectory, sumRows: 10 });
      await first.apply(events, {}, insights);
      await first.settle();
      const before = await everythingFound(first);
      await first.close();
      const directory = join(dataDirectory, 'store');
      for (const file of readdirSync(directory).filter((name) => /^\d{4}.*\.duckdb$/.test(name))) {
        const instance = await DuckDBInstance.create(join(directory, file));
        const connection = await instance.connect();
        // As formats before had it, with sums that would be wrong if they were used.
        for (const table of ['agg_source', 'agg_pair', 'agg_touch', 'agg_key', 'agg_shared'])
          await connection.run(`DROP TABLE ${table}`);
        await connection.run("CREATE TABLE agg_source AS SELECT 0 AS day, '192.0.2.9' AS source, 77::BIGINT AS sessions");
        await connection.run(
          "CREATE TABLE agg_pair AS SELECT 'ports' AS subject, 0 AS day, '192.0.2.9' AS source, '1/tcp' AS key",
        );
        await connection.run(`UPDATE format SET version = ${format}`);
        connection.closeSync();
        instance.closeSync();
      }
      await assert.rejects(openStoreForReading(dataDirectory), { code: 'store-unavailable' });
      const second = await DuckDbStore.open({ dataDirectory });
      assert.deepEqual(await everythingFound(second), before, 'from records');
      await second.settle();
      assert.deepEqual(await everythingFound(second), before, 'from sums');
      await second.close();
      const reading = await openStoreForReading(dataDirectory);
      assert.deepEqual(await everythingFound(reading), before);
      await reading.close();
    } finally {
      rmSync(dataDirectory, { recursive: true, force: true });
    }
  });
