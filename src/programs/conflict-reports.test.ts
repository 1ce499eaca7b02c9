import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import type { AddressConflict } from '../relay/neighbour-keeper.ts';
import { ConflictReports } from './conflict-reports.ts';

const conflict = (ip: string): AddressConflict => ({
  at: 1,
  ip,
  mac: '02:00:00:00:00:09',
  interface: 'lan',
  network: 'floor-3',
  diversion: 'floor-3',
  evidence: 'arp',
});

test('one at a time, in order; one that is refused holds nobody up; beyond the bound they are counted', async () => {
  const told: string[] = [];
  let going = 0;
  let done = (): void => {};
  const ended = new Promise<void>((resolve) => {
    done = resolve;
  });
  const reports = new ConflictReports({
    log: silentLog,
    send: async ({ ip }) => {
      going += 1;
      assert.equal(going, 1);
      await new Promise(setImmediate);
      told.push(ip);
      going -= 1;
      if (ip === '4096') done();
      if (ip === '1') throw new Error('no');
    },
  });
  for (let index = 0; index < 4_100; index += 1) reports.add(conflict(String(index)));
  await ended;
  await new Promise(setImmediate);
  assert.deepEqual(
    told,
    Array.from({ length: 4_097 }, (_, index) => String(index)),
  );
  assert.deepEqual(reports.counters, { taken: 4_096, refused: 1, dropped: 3, waiting: 0 });
});
