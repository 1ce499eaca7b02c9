// The tables of numbers that behaviour searches for every event answer as a Map would, within their bounds.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NumberMap } from './number-map.ts';
import { RecentTargets } from './recent-targets.ts';
import { SourceTable } from './source-state.ts';

/** Numbers from 0 up to 1, the same each time. */
function chances(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('RecentTargets', () => {
  test('says the latest record of every target, as long as that is one of the newest', () => {
    const targets = new RecentTargets(4096, 64);
    const known = new Map<number, number>();
    const chance = chances(7);
    for (let record = 0; record < 2000; record += 1) {
      for (let told = 0; told < 30; told += 1) {
        const target = Math.floor(chance() * 200) * 2 ** 42 + Math.floor(chance() * 40);
        targets.set(target, record);
        known.set(target, record);
      }
      for (const [target, latest] of known) {
        if (record - latest >= 64) known.delete(target);
        else if (record % 97 === 0) assert.equal(targets.get(target), latest);
      }
    }
    assert.equal(targets.get(2 ** 49 + 1), -1);
    assert.ok(targets.byteLength <= 8192 * 16 + 200);
  });

  test('beyond the bound those of the oldest records go, and its memory grows no more', () => {
    const targets = new RecentTargets(256, 512);
    for (let target = 0; target < 5000; target += 1) targets.set(target, Math.floor(target / 20));
    for (let target = 4760; target < 5000; target += 1) assert.equal(targets.get(target), Math.floor(target / 20));
    assert.equal(targets.get(4000), -1);
    assert.ok(targets.byteLength <= 512 * 16 + 200);
  });
});

describe('NumberMap', () => {
  test('keeps the order of what was set, and what was set first goes for the next', () => {
    const map = new NumberMap<string>();
    for (const key of [2 ** 40, 0, 7]) map.set(key, `value ${key}`);
    map.set(0, 'other');
    assert.deepEqual([...map.values], ['value 1099511627776', 'other', 'value 7']);
    map.makeRoom(3);
    assert.deepEqual([map.get(2 ** 40), map.get(0), map.size], [undefined, 'other', 2]);
    map.delete(5);
    map.delete(7);
    map.deleteWhere((value) => value === 'nobody');
    assert.deepEqual([...map.values], ['other']);
  });
});

describe('SourceTable', () => {
  test('a source that was forgotten is another one when it comes back, whichever shortcut found it', () => {
    const table = new SourceTable(4, 2 ** 30, 8);
    const first = table.of('192.0.2.1');
    table.touched(first);
    assert.equal(table.of('192.0.2.1'), first);
    assert.equal(table.get('192.0.2.1', '192.0.2.1'), first);
    assert.notEqual(table.get('192.0.2.1 import', '192.0.2.1'), first);
    for (let index = 2; index < 20; index += 1) table.touched(table.of(`192.0.2.${index}`));
    assert.ok(table.evicted > 10);
    assert.notEqual(table.of('192.0.2.1'), first);
    assert.equal(table.of('2001:db8::1').ip, '2001:db8::1');
    assert.equal(table.of('2001:db8::1'), table.of('2001:db8::1'));
  });
});
