// What the README and the unit file show must work: their configuration parses, their commands exist.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseConfiguration } from '../../src/config/configuration.ts';
import { renderMistake } from '../../src/config/mistake.ts';
import { readPersonas } from '../../src/config/personas.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const readme = readFileSync(path.join(home, 'README.md'), 'utf8');

test('every configuration the README shows is accepted', () => {
  const blocks = [...readme.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => text);
  assert.ok(blocks.length > 0);
  const personas = readPersonas(path.join(home, 'rules'));
  for (const text of blocks) {
    const result = parseConfiguration(text, 'weir.yaml', { personas });
    assert.ok('configuration' in result, 'mistakes' in result ? result.mistakes.map(renderMistake).join('\n') : '');
  }
});

test('nothing that is published names a workplace, a registry or a path of a developer', () => {
  for (const file of [
    'README.md',
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'weir',
    '.ci/run',
    'package-lock.json',
    'packaging/weir.service',
  ])
    assert.doesNotMatch(
      readFileSync(path.join(home, file), 'utf8'),
      /\/work\/|\/home\/|\/root\/(?!x)|registry\.(?!npmjs\.org)[a-z0-9-]+\.|artifactory|localhost:\d{4}\/npm/i,
      file,
    );
});
