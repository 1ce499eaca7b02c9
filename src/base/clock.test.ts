import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseMicros, renderMicros, systemClock } from './clock.ts';

test('the clock never gives the same microsecond twice and never goes back', () => {
  let last = 0;
  for (let count = 0; count < 100_000; count += 1) {
    const now = systemClock();
    assert.ok(now > last && Number.isSafeInteger(now));
    last = now;
  }
});

test('a clock set back does not go back, a clock set forward is followed', (t) => {
  const now = Date.now();
  let shift = 0;
  t.mock.method(Date, 'now', () => now + shift);
  const before = systemClock();
  shift = -3_600_000;
  const back = systemClock();
  assert.ok(back > before && back < before + 1_000_000);
  shift = 3_600_000;
  assert.ok(systemClock() >= (now + shift) * 1000);
});

test('times read back from their text, to the microsecond', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Date.UTC(2254, 0) * 1000 }), (at) => {
      const text = renderMicros(at);
      assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
      assert.equal(parseMicros(text), at);
    }),
  );
  assert.equal(renderMicros(1_767_323_045_123_456), '2026-01-02T03:04:05.123456Z');
});

test('other spellings of a time', () => {
  const whole = Date.UTC(2026, 0, 2, 3, 4, 5) * 1000;
  assert.equal(parseMicros('2026-01-02T03:04:05Z'), whole);
  assert.equal(parseMicros('2026-01-02T03:04:05.5Z'), whole + 500_000);
  assert.equal(parseMicros('2026-01-02T03:04:05.123456789Z'), whole + 123_456);
  assert.equal(parseMicros('2026-01-02T04:04:05+01:00'), whole);
  for (const text of ['', 'yesterday', '2026-13-45T03:04:05Z', '2026-01-02T03:04:05'])
    assert.ok(Number.isNaN(parseMicros(text)), text);
});
