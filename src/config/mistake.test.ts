import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { editDistance, suggestion } from './mistake.ts';

test('the edit distance counts changes, and a swap of neighbours once', () => {
  for (const [a, b, distance] of [
    ['', '', 0],
    ['persona', 'persona', 0],
    ['persna', 'persona', 1],
    ['seervice', 'service', 1],
    ['prot', 'port', 1],
    ['kitten', 'sitting', 3],
  ] as const)
    assert.equal(editDistance(a, b), distance);
});

test('the edit distance is symmetric and never more than the longer word', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      const distance = editDistance(a, b);
      assert.equal(distance, editDistance(b, a));
      assert.ok(distance <= Math.max(a.length, b.length));
      assert.equal(distance === 0, a === b);
    }),
  );
});

test('a suggestion is the nearest candidate, none when nothing is near', () => {
  const keys = ['retention', 'management', 'diversions', 'data'];
  assert.equal(suggestion('retentoin', keys), 'retention');
  assert.equal(suggestion('Diversions', keys), 'diversions');
  assert.equal(suggestion('date', keys), 'data');
  assert.equal(suggestion('bindings', keys), undefined);
  assert.equal(suggestion('x'.repeat(10_000), keys), undefined);
  assert.equal(suggestion('session_bytes', ['session-bytes']), 'session-bytes');
});
