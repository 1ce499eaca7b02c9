// A Parquet file read back has what the sessions have, by name and type; it leaves nothing behind, also when the reader goes.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DuckDBInstance } from '@duckdb/node-api';
import type { WeirEvent } from '../../model/event.ts';
import { dayStart } from '../day.ts';
import { MemoryStore } from '../memory-store.ts';
import { sampleSession } from '../store-contract.ts';
import { type ExportFilter, exportPieces } from './export.ts';

const start = dayStart('2026-03-14') + 123_456;
const hit = {
  rule: 'log4shell',
  name: 'Log4Shell',
  intention: 'exploit',
  severity: 'high',
  tags: ['java'],
  cves: [],
  techniques: ['T1190'],
  captures: {},
} as const;

async function storeOf(count: number): Promise<MemoryStore> {
  const store = new MemoryStore();
  const events: WeirEvent[] = Array.from({ length: count }, (_, index) => ({
    kind: 'session',
    session: sampleSession(start + index * 1000, {
      source: { ip: index % 2 ? '2001:db8::7' : '192.0.2.1', port: 1024 + (index % 60_000) },
      bytesIn: index,
      ...(index === 0 && { userName: "ro\0ot'\n", password: '\u00fc', tags: ['a b', '"'], sourceMac: '02:00:00:00:00:01' }),
      ...(index === 1 && { outcome: 'open' as const, end: undefined }),
    }),
  }));
  const [first] = events.map((event) => (event.kind === 'session' ? event.session : assert.fail()));
  const insight = {
    id: first.id,
    start: first.start,
    source: first.source.ip,
    signatures: [hit, hit],
    facts: [],
    family: 'f'.repeat(16),
  };
  const places = [{ ip: '192.0.2.1', country: 'NL', asn: 64_500, organization: 'Example, "B.V."' }];
  await store.apply(events, {}, { sessions: [insight], verdicts: [], families: [], places });
  return store;
}

const leftOver = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('weir-parquet-'));

/** Rows of the file as objects, oldest first. */
async function readBack(store: MemoryStore, filter: ExportFilter, select: string): Promise<Record<string, unknown>[]> {
  const directory = mkdtempSync(join(tmpdir(), 'weir-read-'));
  try {
    const parts: Uint8Array[] = [];
    for await (const piece of exportPieces(store, 'parquet', filter, start)) parts.push(Buffer.from(piece));
    const file = join(directory, 'x.parquet');
    writeFileSync(file, Buffer.concat(parts));
    const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
    const connection = await instance.connect();
    const reader = await connection.runAndReadAll(`SELECT ${select} FROM read_parquet('${file}') ORDER BY "@timestamp"`);
    const rows = reader.getRowObjectsJson();
    connection.closeSync();
    instance.closeSync();
    return rows;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test('what was recorded and found comes back by its ECS names', async () => {
  const store = await storeOf(3);
  const [first, second] = await readBack(store, {}, '*, epoch_us("@timestamp") AS at, typeof("@timestamp") AS type');
  assert.equal(first.at, String(start));
  assert.equal(first.type, 'TIMESTAMP WITH TIME ZONE');
  assert.equal(first['source.ip'], '192.0.2.1');
  assert.equal(first['source.geo.country_iso_code'], 'NL');
  assert.equal(first['source.as.organization.name'], 'Example, "B.V."');
  assert.deepEqual([first['user.name'], first['weir.session.password']], ["ro\0ot'\n", '\u00fc']);
  assert.deepEqual(
    [first['weir.tags'], first['weir.signatures']],
    [
      ['a b', '"'],
      ['log4shell', 'log4shell'],
    ],
  );
  assert.deepEqual([first['threat.technique.id'], first['weir.payload.family']], [['T1190'], 'f'.repeat(16)]);
  assert.match(String(first['network.community_id']), /^1:/);
  assert.deepEqual([second['source.ip'], second['event.end'], second['weir.signatures']], ['2001:db8::7', null, []]);
});

test('more rows than the engine takes at once, selected by filter and findings; nothing is left', async () => {
  const before = leftOver().length;
  const store = await storeOf(5003);
  const numbers = await readBack(store, {}, '"source.bytes", "@timestamp"');
  assert.equal(numbers.length, 5003);
  assert.equal(numbers[5002]['source.bytes'], '5002');
  assert.equal((await readBack(store, { family: 'f'.repeat(16) }, '"@timestamp"')).length, 1);
  assert.equal((await readBack(store, { country: 'NL', limit: 7 }, '"@timestamp"')).length, 7);
  assert.equal((await readBack(new MemoryStore(), {}, '"@timestamp"')).length, 0);
  for await (const _piece of exportPieces(store, 'parquet', { limit: 1000 }, start)) break;
  assert.equal(leftOver().length, before);
});
