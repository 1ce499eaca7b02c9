// Makes the program readable for the unprivileged account: a clone below /root, or a node in somebody's home, is
// copied once below the data directory. Root's own processes must keep running from the original: the data directory
// belongs to the account that reads attacker bytes.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { chmod, chown, copyFile, lstat, mkdir, readdir, readFile, realpath, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { WeirError } from '../base/errors.ts';
import type { Account } from './account.ts';
import type { Installation } from './launch.ts';

const run = promisify(execFile);

/** What the programs read at run time, below the installation's root; `node_modules` is chosen from the lock file. */
const rooms = ['dist/src', 'dist/console', 'dist/packed', 'console', 'rules', 'package.json', 'package-lock.json'];
const notNeeded = /\.test\.js(\.map)?$/;

/** Bytes of a copy are bounded by what an installation has; more means that something else was linked in. */
const maxFiles = 50_000;

interface SourceFile {
  /** Below the root, as it will be in the copy. */
  readonly name: string;
  readonly from: string;
  readonly stats: Stats;
}

/**
 * The installation itself when the account can run it, else a copy in `<data>/program/<hash>/` (made when it is not
 * there yet; copies of other versions are removed). Root only; idempotent. Throws `not-permitted` when the account
 * cannot reach the data directory either, `disk-full` when the copy does not fit.
 */
export async function ensureReadableProgram(installation: Installation, account: Account, data: string): Promise<Installation> {
  if (await isReadable(installation, account)) return installation;
  const files = await listFiles(installation.root);
  const node = {
    name: 'bin/node',
    from: await realpath(installation.node),
    stats: await lstat(await realpath(installation.node)),
  };
  const hash = createHash('sha256');
  for (const { name, from, stats } of [...files, node]) hash.update(`${name}\0${from}\0${stats.size}\0${stats.mtimeMs}\n`);
  const shelf = path.join(data, 'program');
  const root = path.join(shelf, hash.digest('hex').slice(0, 16));
  const staged: Installation = { node: path.join(root, 'bin/node'), root };
  if (!(await isOurs(shelf)) || !(await isOurs(root))) {
    if (!(await isOurs(shelf))) await rm(shelf, { recursive: true, force: true });
    await mkdir(shelf, { recursive: true, mode: 0o755 });
    await chown(shelf, 0, 0);
    await chmod(shelf, 0o755);
    await copyAll([...files, node], root);
  }
  for (const other of await readdir(shelf))
    if (other !== path.basename(root)) await rm(path.join(shelf, other), { recursive: true, force: true });
  if (!(await isReadable(staged, account)))
    throw new WeirError(
      'not-permitted',
      `the account with uid ${account.uid} can read neither ${installation.root} nor ${data}`,
      {
        next: `choose a data directory that others may enter (chmod o+x on its parents), or move Weir out of ${installation.root}`,
      },
    );
  return staged;
}

/** True when the account can run node and load the programs with it: tried, not guessed from mode bits. */
async function isReadable({ node, root }: Installation, { uid, gid }: Account): Promise<boolean> {
  const script = `
    const { readdirSync, readFileSync } = require('node:fs');
    for (const room of ['dist/src/programs', 'rules', 'node_modules'])
      readdirSync(process.argv[1] + '/' + room);
    for (const file of ['package.json', 'dist/src/programs/run-tests.js'])
      readFileSync(process.argv[1] + '/' + file);
    require(process.argv[1] + '/node_modules/koffi');
  `;
  try {
    await run('setpriv', ['--reuid', `${uid}`, '--regid', `${gid}`, '--clear-groups', '--', node, '-e', script, root], {
      cwd: '/',
      env: {},
      timeout: 30_000,
    });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new WeirError('tool-missing', 'setpriv is not installed', { next: 'apt-get install util-linux' }, error);
    return false;
  }
}

/** A directory that only root can have made and only root can change. */
async function isOurs(directory: string): Promise<boolean> {
  try {
    const stats = await lstat(directory);
    return stats.isDirectory() && stats.uid === 0 && (stats.mode & 0o022) === 0;
  } catch {
    return false;
  }
}

async function listFiles(root: string): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  for (const name of [...rooms, ...(await productionModules(root))]) await addFiles(root, name, files);
  return files;
}

async function addFiles(root: string, name: string, into: SourceFile[]): Promise<void> {
  let from: string;
  try {
    // A checkout may link node_modules to another one's.
    from = await realpath(path.join(root, name));
  } catch {
    return;
  }
  const stats = await lstat(from);
  if (stats.isFile()) {
    if (!notNeeded.test(name)) into.push({ name, from, stats });
  } else if (stats.isDirectory()) {
    for (const inner of (await readdir(from)).sort()) {
      // Packages inside packages have their own entries in the lock file.
      if (inner === 'node_modules') continue;
      await addFiles(root, path.join(name, inner), into);
    }
  }
  if (into.length > maxFiles) throw new WeirError('fault', `${root} holds more than ${maxFiles} files to copy`);
}

/** Folders of the packages that run-time needs, as package-lock.json marks them. */
async function productionModules(root: string): Promise<string[]> {
  const lock = JSON.parse(await readFile(path.join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { dev?: boolean }>;
  };
  return Object.entries(lock.packages)
    .filter(([name, { dev }]) => name.startsWith('node_modules/') && dev !== true)
    .map(([name]) => name);
}

async function copyAll(files: readonly SourceFile[], root: string): Promise<void> {
  const temporary = `${root}.${process.pid}.tmp`;
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true, mode: 0o755 });
    const made = new Set<string>();
    for (const { name, from, stats } of files) {
      const to = path.join(temporary, name);
      const directory = path.dirname(to);
      if (!made.has(directory)) {
        await mkdir(directory, { recursive: true });
        made.add(directory);
      }
      await copyFile(from, to, constants.COPYFILE_FICLONE);
      await chmod(to, stats.mode & 0o111 ? 0o755 : 0o644);
    }
    // The caller's umask may have taken the account's right to enter.
    await openDirectories(temporary);
    await rm(root, { recursive: true, force: true });
    await rename(temporary, root);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC' || code === 'EDQUOT')
      throw new WeirError('disk-full', `no room to copy the program to ${root}`, { next: 'make some 150 MB of room' }, error);
    throw error;
  }
}

async function openDirectories(directory: string): Promise<void> {
  await chown(directory, 0, 0);
  await chmod(directory, 0o755);
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await openDirectories(path.join(directory, entry.name));
}
