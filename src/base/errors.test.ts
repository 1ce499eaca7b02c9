import assert from 'node:assert/strict';
import test from 'node:test';
import { asWeirError, errorCodes, WeirError } from './errors.ts';

test('any thrown value becomes a WeirError, and one that is stays the same', () => {
  const original = new WeirError('lock-out', 'no', { line: 3 });
  assert.equal(asWeirError(original), original);
  const cause = new TypeError('x is not a function');
  const wrapped = asWeirError(cause);
  assert.equal(wrapped.code, 'fault');
  assert.equal(wrapped.cause, cause);
  assert.equal(asWeirError('text').message, 'text');
  assert.equal(asWeirError(undefined).code, 'fault');
});

test('every code says what it means', () => {
  for (const [code, meaning] of Object.entries(errorCodes)) {
    assert.match(code, /^[a-z][a-z-]*$/);
    assert.ok(meaning.length > 10);
  }
});
