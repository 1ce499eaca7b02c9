// An agent runs as any user on any system that Node runs on: whatever its executable reaches may need nothing of Linux alone, no
// native package, and few packages at all, because all of it goes into one file.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const entry = 'src/programs/agent.ts';

/** What is imported at run time: types vanish. */
function importsOf(text: string): string[] {
  const code = text.replace(/^\s*(?:import|export) type\b[^;]*;/gm, '');
  const found: string[] = [];
  for (const pattern of [
    /^\s*(?:import|export)\b[^;'"]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^\s*import\s*['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
    /\brequire\(\s*['"]([^'"]+)['"]\s*\)/g,
    /\bnew URL\(\s*['"](\.[^'"]+)['"]\s*,\s*import\.meta\.url\s*\)/g,
  ])
    for (const match of code.matchAll(pattern)) found.push(match[1]);
  return found;
}

/** Files and packages, each with who brings it in. */
function reach(from: string): { readonly files: Map<string, string>; readonly packages: Map<string, string> } {
  const files = new Map<string, string>([[from, 'the start']]);
  const packages = new Map<string, string>();
  for (const [file] of files)
    for (const specifier of importsOf(readFileSync(path.join(home, file), 'utf8'))) {
      if (specifier.startsWith('.')) {
        // Workers are named as they are once built.
        const target = path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier)).replace(/\.js$/, '.ts');
        assert.ok(existsSync(path.join(home, target)), `${file} imports ${target}`);
        if (!files.has(target)) files.set(target, file);
      } else if (!packages.has(specifier)) packages.set(specifier, file);
    }
  return { files, packages };
}

test('the agent reaches no package but these two, and no native one', () => {
  const { files, packages } = reach(entry);
  assert.ok(files.size > 100, `${files.size} files: the walk found the program`);
  const foreign = [...packages].filter(([name]) => !name.startsWith('node:') && !builtinModules.includes(name));
  assert.deepEqual(
    foreign.filter(([name]) => name !== 'yaml' && name !== 'zod'),
    [],
  );
});

test('the agent reaches nothing of the room that is Linux alone', () => {
  const { files } = reach(entry);
  // Reads /proc where there is one.
  const harmless = ['src/kernel/process-identity.ts'];
  assert.deepEqual(
    [...files].filter(([file]) => (file.startsWith('src/kernel/') && !harmless.includes(file)) || file.startsWith('src/plan/')),
    [],
  );
  for (const file of harmless) assert.doesNotMatch(readFileSync(path.join(home, file), 'utf8'), /koffi|libc/);
});

test('the agent starts no thread, and no other program but itself: its keeper does', () => {
  const { packages } = reach(entry);
  assert.deepEqual(
    [...packages].filter(([name]) => ['node:child_process', 'node:worker_threads', 'node:cluster'].includes(name)),
    [['node:child_process', 'src/programs/worker-process.ts']],
  );
  const { files } = reach('src/programs/agent-run.ts');
  assert.ok(!files.has('src/programs/worker-process.ts'), 'what hears attackers starts nothing');
});

test('the walk sees what a whole gateway brings in', () => {
  const { files, packages } = reach('src/programs/gateway.ts');
  assert.ok(packages.has('koffi') && files.has('src/kernel/libc.ts'));
});
