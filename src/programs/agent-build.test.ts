// The single file: the same bytes wherever it is built, it needs nothing beside it, and it says what of others is inside.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { buildAgent } from './agent-build.ts';
import { ownInstallation } from './installation.ts';

test('the agent becomes one file, the same in every place, that runs with nothing beside it', async (context) => {
  const { root } = ownInstallation();
  const scratch = mkdtempSync(path.join(tmpdir(), 'weir-build-'));
  context.after(() => rmSync(scratch, { recursive: true, force: true }));
  const built = await buildAgent(root, path.join(scratch, 'weir-agent.mjs'));
  // Another installation: the same source elsewhere.
  const other = path.join(scratch, 'a place with another name');
  mkdirSync(path.join(other, 'node_modules'), { recursive: true });
  for (const name of ['dist/src', 'rules', 'node_modules/yaml', 'node_modules/zod'])
    cpSync(realpathSync(path.join(root, name)), path.join(other, name), { recursive: true });
  for (const name of ['package.json', 'LICENSE']) copyFileSync(path.join(root, name), path.join(other, name));
  const again = await buildAgent(other, path.join(scratch, 'again.mjs'));
  assert.equal(again.sha256, built.sha256);
  const text = readFileSync(built.file, 'utf8');
  assert.equal(text, readFileSync(again.file, 'utf8'));
  assert.ok(!text.includes(root) && !text.includes(other), 'no path of where it was built');
  assert.deepEqual(
    built.packages.map((name) => name.replace(/ [\d.]+ /, ' ')),
    ['yaml (ISC)', 'zod (MIT)'],
  );
  for (const name of ['Copyright Eemeli Aro', 'Colin McDonnell', 'Apache License']) assert.ok(text.includes(name), name);
  assert.ok(statSync(built.file).mode & 0o100);
  const empty = path.join(scratch, 'empty');
  mkdirSync(empty);
  const run = (...argv: string[]): { code: number | null; out: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [built.file, ...argv], {
      cwd: empty,
      env: { HOME: empty },
      encoding: 'utf8',
    });
    return { code: status, out: stdout + stderr };
  };
  assert.deepEqual(run('--version'), { code: 0, out: `${built.version}\n` });
  assert.match(run('--help').out, /--gateway .*\n.*--token /);
  assert.equal(run('status', '--data', empty).code, 1);
  assert.deepEqual([run('nonsense').code, run('--gateway', 'nonsense', '--data', empty).code], [2, 2]);
  const unknown = run('--gateway', '192.0.2.1:7443', '--data', empty);
  assert.equal(unknown.code, 3);
  assert.match(unknown.out, /has not enrolled.*\n {2}next: .*weir agents add/);
});
