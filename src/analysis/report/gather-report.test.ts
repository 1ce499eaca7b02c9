// What a report calls new, against records of which the right answer is plain.

import assert from 'node:assert/strict';
import test from 'node:test';
import { dayStart } from '../../record/day.ts';
import { MemoryStore } from '../../record/memory-store.ts';
import { sampleSession } from '../../record/store-contract.ts';
import { askReport } from './ask-report.ts';

const hour = 3600 * 1e6;

test('new since an hour of a day is new since that hour, not since midnight', async () => {
  const store = new MemoryStore();
  const day = dayStart('2026-03-14');
  const visit = (at: number, ip: string) =>
    ({ kind: 'session', session: sampleSession(day + at, { source: { ip, port: 40_000 } }) }) as const;
  await store.apply(
    [visit(2 * hour, '192.0.2.1'), visit(3 * hour, '192.0.2.2'), visit(8 * hour, '192.0.2.2'), visit(9 * hour, '192.0.2.3')],
    {},
  );
  const told = (text: Record<string, string>) => askReport(store, { to: '2026-03-15', ...text }, day + 24 * hour);
  const last = '2026-03-14T06:00:00Z';
  assert.equal((await told({ from: '2026-03-14', 'last-report': last })).news.sources, 1);
  assert.equal((await told({ from: '2026-03-14' })).news.sources, 3);
  assert.equal((await told({ from: '2026-03-14T07:00:00Z', 'new-since': '2026-03-14' })).news.sources, 3);
});
