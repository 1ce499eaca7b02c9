// The page is a build of its own and imports nothing of src/: tables it shares with the command line are written twice, and are
// the same.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** The literal of `const NAME: Readonly<Record<string, string>>` in a file. */
function tableOf(file: string, name: string): string {
  const text = readFileSync(path.join(home, file), 'utf8');
  const [, table] = new RegExp(`^const ${name}: Readonly<Record<string, string>> = (\\{[\\s\\S]*?^\\});$`, 'm').exec(text) ?? [];
  assert.ok(table, `${file} has no table ${name}`);
  return table;
}

for (const [name, file] of [
  ['portNames', 'src/model/port-name.ts'],
  ['outcomes', 'src/cli/wording.ts'],
] as const)
  test(`the page and ${file} have the same ${name}`, () => {
    assert.equal(tableOf('console/wording.ts', name), tableOf(file, name));
  });
