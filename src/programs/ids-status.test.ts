// What a person is told of Suricata.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Status } from '../model/status.ts';
import type { IdsReport } from './ids-house.ts';
import { withIds } from './ids-status.ts';
import { mergeStatus } from './recorder-status.ts';

const system: Partial<Status> = { annexes: [{ name: 'ids', lines: ['suricata running, pid 1'], reasons: [] }] };
const report: IdsReport = {
  heard: true,
  connected: true,
  feed: { frames: 100, bytes: 1, refused: 0, shed: 0, unanswered: 0 },
  sessions: { sessions: 10, open: 0, forgotten: 0, joinedLate: 0, unshown: 0, missingChunks: 0 },
  alerts: { alerts: 4, joined: 3, unmatched: 1, hurried: 0, repeated: 0, waiting: 0 },
  journals: { damagedBytes: 0, goneSegments: 0 },
  badLines: 0,
  staleAlerts: 0,
  gaveUp: {},
  lagBytes: 0,
  hops: [],
  rules: { loaded: 31, failed: 0 },
};
const merged = (answer: Parameters<typeof withIds>[1]): Status =>
  mergeStatus(withIds(system, answer), {}, { status: {}, reasons: [] });

test('a Suricata that is well: what it was shown and said, and what could not be joined by name', () => {
  const status = merged(report);
  assert.deepEqual(status.annexes?.[0].lines, [
    'suricata running, pid 1',
    '10 sessions shown in 100 frames, 4 alerts, 3 of them joined',
    '31 rules loaded',
  ]);
  assert.deepEqual(status.drops, { 'Suricata: alerts without a session': 1 });
  assert.deepEqual([status.health, status.reasons], ['good', []]);
});

test('one that is not well says why', () => {
  const silent = merged({
    ...report,
    heard: false,
    lagBytes: 5000,
    rules: { loaded: 30, failed: 1, firstFailed: 'own.rules:2: alert' },
  });
  assert.equal(silent.health, 'degraded');
  assert.match(
    silent.reasons?.join('\n') ?? '',
    /1 Suricata rules are not usable, first own\.rules:2: alert[\s\S]*does not answer[\s\S]*5000 bytes of journal wait/,
  );
  assert.match(merged({ error: 'not-running' }).reasons?.join() ?? '', /not-running/);
  const shed = merged({ ...report, gaveUp: { 'frames its own ring dropped': 7 }, hops: [{ interface: 'eth0', lost: 3 }] });
  assert.equal(shed.drops?.['Suricata: frames its own ring dropped'], 7);
  assert.equal(shed.drops?.['Suricata: packets of hops not captured'], 3);
});

test('where it is not configured nothing is said, whatever answers', () => {
  assert.deepEqual(withIds({}, { error: 'not-running' }), {});
});
