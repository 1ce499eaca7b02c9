import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { createIdentifier, derivedIdentifier, identifierTime } from './identifier.ts';

const at = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });

test('an identifier carries its time and sorts by it', () => {
  fc.assert(
    fc.property(at, at, (a, b) => {
      const [first, second] = [createIdentifier(a), createIdentifier(b)];
      assert.match(first, /^[0-9a-hjkmnp-tv-z]{19}$/);
      assert.equal(identifierTime(first), a);
      if (a !== b) assert.equal(first < second, a < b);
    }),
  );
});

test('a hundred thousand of one microsecond are all different', () => {
  const made = new Set(Array.from({ length: 100_000 }, () => createIdentifier(1_790_000_000_000_000)));
  assert.equal(made.size, 100_000);
});

test('a derived one is the same for the same, carries its time, and differs with what it is about', () => {
  const made = derivedIdentifier(1_790_000_000_000_000, 'tcppc\0session\0a');
  assert.match(made, /^[0-9a-hjkmnp-tv-z]{19}$/);
  assert.equal(derivedIdentifier(1_790_000_000_000_000, 'tcppc\0session\0a'), made);
  assert.equal(identifierTime(made), 1_790_000_000_000_000);
  const many = new Set(Array.from({ length: 10_000 }, (_, index) => derivedIdentifier(5, `x${index}`)));
  assert.equal(many.size, 10_000);
});

test('anything else has no time', () => {
  for (const text of ['', 'short', 'I'.repeat(19), 'u'.repeat(19), '0'.repeat(20)])
    assert.ok(Number.isNaN(identifierTime(text)), text);
});
