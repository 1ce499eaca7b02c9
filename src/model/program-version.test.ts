import assert from 'node:assert/strict';
import test from 'node:test';
import { compareVersions } from './program-version.ts';

/** Clause 11 of Semantic Versioning 2.0.0, and what surrounds it. */
const ascending = [
  '0.1.0',
  '0.9.9',
  '0.10.0',
  '1.0.0-alpha',
  '1.0.0-alpha.1',
  '1.0.0-alpha.beta',
  '1.0.0-beta',
  '1.0.0-beta.2',
  '1.0.0-beta.11',
  '1.0.0-rc.1',
  '1.0.0',
  '1.0.1',
  '2.0.0',
];

test('versions are ordered as Semantic Versioning says', () => {
  for (const [i, a] of ascending.entries())
    for (const [j, b] of ascending.entries()) assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} ${b}`);
});

test('build metadata does not count, and of what is no version nothing is said', () => {
  assert.equal(compareVersions('1.0.0+a', '1.0.0+b'), 0);
  for (const odd of ['', 'x', '1', '1.2', '1.2.3.4', '-1.0.0', `1.0.${'9'.repeat(80)}`])
    assert.equal(compareVersions(odd, '1.0.0'), 0, odd);
});
