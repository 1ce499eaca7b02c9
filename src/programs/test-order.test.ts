// That the order of tests is of tests there are, and each file in one of its parts, once.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { aloneFiles, longFiles, planTestOrder } from './test-order.ts';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

test('what is listed is there, once, and says why it wants to be alone', () => {
  const listed = [...Object.keys(aloneFiles), ...longFiles];
  assert.deepEqual(
    listed.filter((file) => !existsSync(path.join(root, file))),
    [],
  );
  assert.equal(new Set(longFiles).size, longFiles.length);
  for (const [file, reason] of Object.entries(aloneFiles)) assert.match(reason, /\w+ \w+/, file);
});

test('every file runs once: those alone last, long ones first, those that make namespaces apart', () => {
  const [alone] = Object.keys(aloneFiles);
  const long = longFiles.filter((file) => file.startsWith('test/e2e/')).slice(0, 2);
  const built = (file: string): string => `dist/${file.replace(/\.ts$/, '.js')}`;
  const names = ['src/a.test.ts', 'src/z.test.ts', 'src/m.test.ts', 'test/e2e/aaa.test.ts', ...long.toReversed(), alone];
  const texts: Record<string, string> = { 'dist/src/m.test.js': "import '../test/support/namespace.js'" };
  const order = planTestOrder(names.map(built), (file) => texts[file] ?? '');
  assert.deepEqual(order, {
    plain: ['dist/src/a.test.js', 'dist/src/z.test.js'],
    labs: [...long.map(built), 'dist/src/m.test.js', 'dist/test/e2e/aaa.test.js'],
    alone: [built(alone)],
  });
});
