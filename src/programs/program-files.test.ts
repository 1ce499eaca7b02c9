// The copy for the unprivileged account, made from this very build, in folders of the test.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../base/errors.ts';
import { ensureReadableProgram } from './program-files.ts';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
// The unprivileged ids of every Debian: `nobody`, `nogroup`.
const account = { uid: 65534, gid: 65534 };
const lacks = process.getuid?.() === 0 ? false : 'needs root';
if (lacks && process.env.WEIR_TESTS === 'required') throw new Error(lacks);

const asAccount = (argv: string[]): string =>
  execFileSync('setpriv', ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--', ...argv], {
    cwd: '/',
    encoding: 'utf8',
  });

/** A folder of the test; with `hidden`, a checkout inside that no other account can read. */
function lab(t: { after(run: () => void): void }): { data: string; hidden: string } {
  const directory = mkdtempSync(path.join(tmpdir(), 'weir-program-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  const hidden = path.join(directory, 'private', 'weir with spaces');
  mkdirSync(path.join(directory, 'private'), { mode: 0o700 });
  mkdirSync(hidden);
  for (const name of ['package.json', 'package-lock.json', 'rules'])
    cpSync(path.join(root, name), path.join(hidden, name), { recursive: true });
  cpSync(path.join(root, 'dist/src'), path.join(hidden, 'dist/src'), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(hidden, 'node_modules'));
  const data = path.join(directory, 'data');
  mkdirSync(data, { mode: 0o755 });
  return { data, hidden };
}

test('a checkout that only root can read is copied once, and the account can run the copy', { skip: lacks }, async (t) => {
  const { data, hidden } = lab(t);
  const original = { node: process.execPath, root: hidden };
  const before = process.umask(0o077);
  t.after(() => process.umask(before));
  const staged = await ensureReadableProgram(original, account, data);
  assert.ok(staged.root.startsWith(path.join(data, 'program')));
  const shown = asAccount([
    staged.node,
    '--input-type=module',
    '-e',
    `const { readPersonas } = await import(${JSON.stringify(path.join(staged.root, 'dist/src/config/personas.js'))});
     console.log(readPersonas(${JSON.stringify(path.join(staged.root, 'rules'))}).personas.has('printer'))`,
  ]);
  assert.equal(shown.trim(), 'true');
  assert.equal(existsSync(path.join(staged.root, 'node_modules/typescript')), false, 'development packages stay behind');
  assert.equal(existsSync(path.join(staged.root, 'dist/src/programs/program-files.test.js')), false);

  const made = lstatSync(staged.root).ctimeMs;
  assert.deepEqual(await ensureReadableProgram(original, account, data), staged);
  assert.equal(lstatSync(staged.root).ctimeMs, made, 'the second start copies nothing');
});

test('a copy that the account could have put there is thrown away', { skip: lacks }, async (t) => {
  const { data, hidden } = lab(t);
  const original = { node: process.execPath, root: hidden };
  const staged = await ensureReadableProgram(original, account, data);
  const shelf = path.dirname(staged.root);
  renameSync(shelf, `${shelf}-aside`);
  execFileSync('cp', ['-r', `${shelf}-aside`, shelf]);
  execFileSync('chown', ['-R', '65534:65534', shelf]);
  const again = await ensureReadableProgram(original, account, data);
  assert.equal(lstatSync(again.root).uid, 0);
  assert.equal(lstatSync(path.join(again.root, 'package.json')).uid, 0);
});

test('copies of other versions go', { skip: lacks }, async (t) => {
  const { data, hidden } = lab(t);
  mkdirSync(path.join(data, 'program', 'old'), { recursive: true, mode: 0o755 });
  const staged = await ensureReadableProgram({ node: process.execPath, root: hidden }, account, data);
  assert.deepEqual(readdirSync(path.join(data, 'program')), [path.basename(staged.root)]);
});

test('a data directory that the account cannot enter is refused with the next step', { skip: lacks }, async (t) => {
  const { data, hidden } = lab(t);
  chmodSync(data, 0o700);
  await assert.rejects(
    ensureReadableProgram({ node: process.execPath, root: hidden }, account, data),
    (error) => error instanceof WeirError && error.code === 'not-permitted' && typeof error.details.next === 'string',
  );
});
