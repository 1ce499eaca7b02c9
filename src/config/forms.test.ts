import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { scaleShares } from './decoy-groups.ts';
import { parseDuration, parseSize, renderDuration, renderSize } from './forms.ts';

test('sizes', () => {
  for (const [text, bytes] of [
    ['20GiB', 20 * 2 ** 30],
    ['1.5KiB', 1536],
    ['500MB', 5e8],
    ['500 kB', 5e5],
    ['0B', 0],
    ['20', undefined],
    ['GiB', undefined],
    ['-1GiB', undefined],
    ['1gib', undefined],
    ['99999999999TiB', undefined],
  ] as const)
    assert.equal(parseSize(text), bytes, text);
  fc.assert(fc.property(fc.nat(), (bytes) => assert.equal(parseSize(renderSize(bytes)), bytes)));
});

test('durations', () => {
  for (const [text, ms] of [
    ['500ms', 500],
    ['1.5s', 1500],
    ['5m', 300_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
    ['5', undefined],
    ['5 minutes', undefined],
    ['s', undefined],
  ] as const)
    assert.equal(parseDuration(text), ms, text);
  fc.assert(fc.property(fc.nat(), (ms) => assert.equal(parseDuration(renderDuration(ms)), ms)));
});

test('scaled shares sum to the scaled whole and stay within one unit of their part', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 10_000 }),
      (parts, alive) => {
        const shares = Object.fromEntries(parts.map((share, index) => [`p${index}`, share]));
        const scaled = new Map(scaleShares(shares, alive).map(({ persona, share }) => [persona, share]));
        const exact = parts.reduce((sum, share) => sum + share, 0) * (alive / 10_000);
        const sum = [...scaled.values()].reduce((total, share) => total + share, 0);
        assert.ok(Math.abs(sum - exact) <= 0.5 + 1e-6);
        for (const [persona, share] of Object.entries(shares))
          assert.ok(Math.abs((scaled.get(persona) ?? 0) - (share * alive) / 10_000) < 1);
      },
    ),
  );
});
