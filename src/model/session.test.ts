// Numbers of records: who goes on for long does not start over, who took a flow back does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFirstRecord, sequenceAfter, startsOver, takenBackSequence } from './session.ts';

test('no session comes to the numbers of what was taken back, by whatever steps', () => {
  for (const step of [1, 2, 1024]) {
    let sequence = takenBackSequence - 3000;
    for (let count = 0; count < 6000; count += 1) {
      const next = sequenceAfter(sequence, step);
      assert.ok(next > sequence);
      assert.ok(!startsOver({ sequence: next, firstChunk: 0 }, sequence), `${sequence} to ${next}`);
      sequence = next;
    }
  }
  assert.equal(sequenceAfter(7), 8);
  assert.equal(sequenceAfter(takenBackSequence), takenBackSequence + 1);
});

test('what was taken back starts over with its beginning only', () => {
  assert.ok(startsOver({ sequence: takenBackSequence, firstChunk: 0 }, 9));
  assert.ok(!startsOver({ sequence: takenBackSequence, firstChunk: 3 }, takenBackSequence - 1));
  assert.ok(!startsOver({ sequence: takenBackSequence + 1, firstChunk: 0 }, takenBackSequence));
  assert.ok(isFirstRecord({ sequence: 0, firstChunk: 0 }) && isFirstRecord({ sequence: takenBackSequence, firstChunk: 0 }));
  assert.ok(!isFirstRecord({ sequence: 1, firstChunk: 0 }) && !isFirstRecord({ sequence: takenBackSequence, firstChunk: 2 }));
});
