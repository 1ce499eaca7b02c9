import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseConfiguration } from './configuration.ts';
import { exampleConfiguration, examplePersona, renderGuide } from './guide.ts';
import * as examples from './guide-examples.ts';
import { readPersonas } from './personas.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const personas = readPersonas(path.join(home, 'rules'));

test('docs/configuration.md is what the schema says', () => {
  assert.equal(readFileSync(path.join(home, 'docs/configuration.md'), 'utf8'), renderGuide(personas), 'run `npm run guide`');
});

test('every key is explained', () => {
  for (const line of renderGuide(personas).split('\n')) assert.doesNotMatch(line, /^\| \*?\*?`[a-z.-]+`.*\| +\|$/, line);
});

test('the examples are accepted', () => {
  const parts = [examplePersona, ...Object.values(examples)];
  for (const text of [exampleConfiguration, ...parts.map((part) => `version: 1\n${part}`)]) {
    const result = parseConfiguration(text, 'weir.yaml', { personas });
    assert.ok('configuration' in result, 'mistakes' in result ? JSON.stringify(result.mistakes) : '');
  }
});
