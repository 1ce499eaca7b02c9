// How partitions are walked: few at a time, and each once.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type PortSet, parsePorts } from '../model/port-set.ts';
import { sampleWorld } from './analysis-store-contract.ts';
import { pickedRuns } from './duckdb-picked.ts';
import type { PartitionSource } from './duckdb-query.ts';
import { DuckDbStore } from './duckdb-store.ts';

const partition = (name: string, sessions: number): PartitionSource => ({
  name,
  catalog: `"${name}"`,
  hasOpen: false,
  earliest: 0,
  latest: 1,
  rows: { sessions, probes: 0, targets: 0, insights: 0 },
});

test('a run has few partitions and about a million sessions, or one partition that has more', () => {
  const names = (sizes: readonly number[]): string[] =>
    pickedRuns(sizes.map((size, index) => partition(`p${index}`, size))).map((run) => run.map(({ name }) => name).join(' '));
  assert.deepEqual(names([]), []);
  assert.deepEqual(names([1, 2, 3, 4, 5]), ['p0 p1 p2 p3', 'p4']);
  assert.deepEqual(names([2_000_000, 10, 999_990, 1, 600_000, 600_000]), ['p0', 'p1 p2', 'p3 p4', 'p5']);
});

test('a filter that nobody meets has no attackers, however they are ranked', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-picked-'));
  const store = await DuckDbStore.open({ dataDirectory });
  try {
    const { events, insights } = sampleWorld(40, 5);
    await store.apply(events, {}, insights);
    for (const by of ['hits', 'ports', 'newest'] as const)
      for (const filter of [{ protocol: 'spoken-by-nobody' }, { ports: parsePorts('9') as PortSet }])
        assert.deepEqual(await store.attackers(by, { limit: 10, ...filter }), [], `${by} ${JSON.stringify(filter)}`);
  } finally {
    await store.close();
    rmSync(dataDirectory, { recursive: true, force: true });
  }
});
