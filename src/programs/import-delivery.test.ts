// What a running recorder refuses reaches whoever imports, with what to do next.

import assert from 'node:assert/strict';
import test from 'node:test';
import { refusalOf } from './import-delivery.ts';

test('a refusal keeps its code, its message and the next step', () => {
  const error = { code: 'disk-full', message: 'the journal cannot be written', details: { next: 'make room', other: 1 } };
  const { code, message, details } = refusalOf(507, JSON.stringify({ error }));
  assert.deepEqual([code, message, details], ['disk-full', 'the journal cannot be written', { next: 'make room' }]);
});

test('an answer that is none of ours is a fault, whatever it says', () => {
  for (const body of ['', 'null', '{"error":null}', '<html>', '{"error":{"code":"toString","message":"x","details":null}}'])
    assert.equal(refusalOf(500, body).code, 'fault', body);
});
