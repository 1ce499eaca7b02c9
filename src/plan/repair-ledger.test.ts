// Who keeps changing an object slows its repair down, what fails is tried again later and later, each told once.

import assert from 'node:assert/strict';
import test from 'node:test';
import type { Repair } from './annex.ts';
import { repairKey } from './repair.ts';
import { RepairLedger } from './repair-ledger.ts';

const second = 1_000_000;
const table: Repair = {
  network: 'floor-3',
  object: 'table',
  subject: 'inet weir',
  message: 'table inet weir was gone: put back',
};

function ledgerAt(perMinute = 10): { ledger: RepairLedger; pass: (seconds: number) => void } {
  let now = 1000 * second;
  const pass = (seconds: number): void => {
    now += seconds * second;
  };
  return { ledger: new RepairLedger(() => now, perMinute), pass };
}

test('an object repaired ten times within a minute is held for a minute and told once', () => {
  const { ledger, pass } = ledgerAt();
  const told = [];
  for (let count = 0; count < 10; count += 1) {
    assert.equal(ledger.isHeld(repairKey(table)), false, `repair ${count + 1}`);
    const trouble = ledger.noteRepair(table);
    if (trouble) told.push(trouble.name);
    pass(2);
  }
  assert.deepEqual(told, ['contended']);
  assert.equal(ledger.isHeld(repairKey(table)), true);
  assert.equal(ledger.isHeld(repairKey({ ...table, subject: 'netdev weir' })), false, 'another object goes on');
  assert.match(ledger.reasons()[0], /once a minute: table inet weir was gone/);

  pass(60);
  assert.equal(ledger.isHeld(repairKey(table)), false, 'let go after a minute');
  assert.equal(ledger.noteRepair(table), undefined, 'still contended, not told again');
  assert.equal(ledger.isHeld(repairKey(table)), true, 'and held for another minute');

  pass(130);
  assert.equal(ledger.noteRepair(table), undefined);
  assert.equal(ledger.isHeld(repairKey(table)), false, 'after two quiet minutes it counts from the start');
});

test('nine repairs a minute, for hours, are not contention', () => {
  const { ledger, pass } = ledgerAt();
  for (let count = 0; count < 900; count += 1) {
    assert.equal(ledger.noteRepair(table), undefined);
    pass(7);
  }
});

test('what fails is tried again after a growing while, at most a minute, and told once for each row of failures', () => {
  const { ledger, pass } = ledgerAt();
  const waits: number[] = [];
  let told = 0;
  for (let count = 0; count < 12; count += 1) {
    if (ledger.noteFailure({ ...table, message: 'no' })) told += 1;
    let waited = 0;
    while (ledger.isHeld(repairKey(table))) {
      pass(0.5);
      waited += 0.5;
    }
    waits.push(waited);
  }
  assert.deepEqual(waits, [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
  assert.equal(told, 1);
  assert.deepEqual(ledger.reasons(), ['no']);
  ledger.noteRepair(table);
  assert.deepEqual(ledger.reasons(), []);
  assert.equal(ledger.nextRetry(), undefined);
  assert.equal(ledger.noteFailure({ ...table, message: 'again' }), undefined, 'what is in the way may just be going');
  assert.equal(ledger.noteFailure({ ...table, message: 'again' })?.name, 'repair-failed', 'a new row is told anew');
});

test('when links come or go, what failed is tried again after a second at most', () => {
  const { ledger, pass } = ledgerAt();
  for (let count = 0; count < 9; count += 1) ledger.noteFailure(table);
  pass(2);
  assert.equal(ledger.isHeld(repairKey(table)), true);
  ledger.hurry('floor-4');
  assert.equal(ledger.isHeld(repairKey(table)), true, 'another network is no news');
  ledger.hurry('');
  assert.equal(ledger.isHeld(repairKey(table)), false, 'the trunk may be back');
  ledger.noteFailure(table);
  ledger.hurry('floor-3');
  assert.equal(ledger.isHeld(repairKey(table)), true, 'it was tried just now');
  pass(1);
  assert.equal(ledger.isHeld(repairKey(table)), false);
});

test('a failure that is gone at the next look is forgotten; one that was not looked at is not', () => {
  const { ledger, pass } = ledgerAt();
  const start = 1000 * second;
  ledger.noteFailure(table);
  ledger.settle(undefined, new Set(), start);
  assert.notEqual(ledger.nextRetry(), undefined, 'it was held during that look');
  pass(1);
  ledger.settle(new Set(['']), new Set(), start + second);
  assert.notEqual(ledger.nextRetry(), undefined, 'another network was looked at');
  ledger.settle(new Set(['floor-3']), new Set([repairKey(table)]), start + second);
  assert.notEqual(ledger.nextRetry(), undefined, 'it failed again');
  ledger.settle(new Set(['floor-3']), new Set(), start + second);
  assert.equal(ledger.nextRetry(), undefined);
});

test('the ledger forgets the longest untouched beyond its bound', () => {
  const { ledger } = ledgerAt(2);
  for (let count = 0; count < 5000; count += 1) ledger.noteRepair({ ...table, subject: String(count) });
  assert.equal(ledger.noteRepair({ ...table, subject: '0' }), undefined, 'forgotten: counted as the first');
  assert.equal(ledger.noteRepair({ ...table, subject: '4999' })?.name, 'contended', 'remembered: the second');
});
