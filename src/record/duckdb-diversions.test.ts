// Which partitions a question about a diversion may answer by sums.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DuckDbDiversions } from './duckdb-diversions.ts';
import { Conditions, type PartitionSource } from './duckdb-query.ts';
import { isSummable, touches } from './duckdb-relations.ts';

const counts = { sessions: 9, probes: 9, targets: 9, insights: 9 };
const partition = (name: string): PartitionSource => ({
  name,
  catalog: `"${name}"`,
  hasOpen: false,
  earliest: 0,
  latest: 1,
  rows: counts,
  summed: counts,
});

test('a partition is looked at once for each state of its sums, and only when a diversion is asked for', async () => {
  let asked = 0;
  const diversions = new DuckDbDiversions(async () => {
    asked += 1;
    return [['dmz', 'dmz']];
  });
  assert.equal((await diversions.marked([partition('a')], {}))[0].diversions, undefined);
  assert.equal(asked, 0);
  for (let time = 0; time < 2; time += 1)
    assert.deepEqual((await diversions.marked([partition('a')], { diversion: 'dmz' }))[0].diversions, {
      least: 'dmz',
      most: 'dmz',
    });
  assert.equal(asked, 1);
  await diversions.marked([{ ...partition('a'), summed: { ...counts, probes: 10 } }], { diversion: 'dmz' });
  assert.equal(asked, 2);
});

test('sums answer where all or none of what is summed has the diversion', () => {
  const filter = { limit: 1, diversion: 'dmz' };
  const own = { ...partition('own'), diversions: { least: 'dmz', most: 'dmz' } };
  const other = { ...partition('other'), diversions: { least: 'lan', most: 'lan' } };
  const mixed = { ...partition('mixed'), diversions: { least: 'dmz', most: 'lan' } };
  assert.ok(isSummable({ sources: [own, other], filter }));
  assert.ok(!isSummable({ sources: [own, mixed], filter }));
  assert.ok(!isSummable({ sources: [own, partition('nobody looked')], filter }));
  assert.ok(!isSummable({ sources: [own], filter: { ...filter, protocol: 'ssh' } }));
  const text = touches({ sources: [own, other], filter, conditions: new Conditions() });
  assert.match(text, /"own"\.agg_source/);
  assert.doesNotMatch(text, /"other"|"own"\.sessions/);
});
