// The unprivileged account and the directories of an installation. Root only; idempotent.
// Nothing here is undone by `down`: an account without processes or files outside the data directory does nothing.

import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { WeirError } from '../base/errors.ts';

const run = promisify(execFile);

/** The account that reads attacker bytes and keeps the records. */
export const weirAccount = 'weir';
/** The account Suricata runs as: it may read nothing of the other's. */
export const idsAccountName = 'weir-ids';

/** Segments kept of each journal that root writes: one a start. */
const keptSegments = 200;

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

async function readAccount(accountName: string): Promise<Account | undefined> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n');
  const fields = lines.map((line) => line.split(':')).find(([name]) => name === accountName);
  return fields && { uid: Number(fields[2]), gid: Number(fields[3]) };
}

/** Finds the account or creates it as a system account without a shell or home. Throws `tool-missing` without useradd. */
export async function ensureAccount(accountName = weirAccount): Promise<Account> {
  const present = await readAccount(accountName);
  if (present) return present;
  try {
    await run(
      'useradd',
      ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin', accountName],
      {
        timeout: 10_000,
      },
    );
  } catch (error) {
    // Two instances may start at once: the other one's account serves as well.
    const made = await readAccount(accountName);
    if (made) return made;
    throw new WeirError(
      'tool-missing',
      `cannot create the account ${accountName}; create it with: useradd --system ${accountName}`,
      {},
      error,
    );
  }
  const made = await readAccount(accountName);
  if (!made) throw new WeirError('fault', `useradd succeeded but /etc/passwd has no ${accountName}`);
  return made;
}

/**
 * The directories below the data directory, each with its owner and mode (ARCHITECTURE.md lists them). Whatever root reads
 * or writes lies in directories only root can change: a gateway in an attacker's hands must not be able to swap them.
 * `run` has the sticky bit, so that each removes only its own sockets; what root writes for the recorder to read gets
 * group weir by the set-group-id bit.
 */
export async function ensureDirectories(data: string, account: Account): Promise<void> {
  const rooms: { path: string; mode: number; owner: 'root' | 'weir' }[] = [
    { path: '.', mode: 0o750, owner: 'root' },
    { path: 'run', mode: 0o1770, owner: 'root' },
    { path: 'state', mode: 0o700, owner: 'root' },
    { path: 'journal', mode: 0o750, owner: 'root' },
    { path: 'journal/up', mode: 0o2750, owner: 'root' },
    { path: 'journal/netd', mode: 0o2750, owner: 'root' },
    { path: 'journal/baseline', mode: 0o2750, owner: 'root' },
    { path: 'journal/gateway', mode: 0o750, owner: 'weir' },
    { path: 'journal/recorder', mode: 0o750, owner: 'weir' },
    { path: 'journal/agents', mode: 0o750, owner: 'weir' },
    { path: 'journal/import', mode: 0o750, owner: 'weir' },
    { path: 'imports', mode: 0o750, owner: 'weir' },
    { path: 'journal/ids', mode: 0o750, owner: 'weir' },
    { path: 'store', mode: 0o750, owner: 'weir' },
    { path: 'blobs', mode: 0o750, owner: 'weir' },
    { path: 'analysis', mode: 0o750, owner: 'weir' },
    { path: 'tls', mode: 0o750, owner: 'weir' },
    { path: 'agents', mode: 0o700, owner: 'weir' },
    { path: 'ids', mode: 0o700, owner: 'weir' },
  ];
  for (const { path, mode, owner } of rooms) {
    const directory = join(data, path);
    await mkdir(directory, { recursive: true, mode });
    await chown(directory, owner === 'root' ? 0 : account.uid, account.gid);
    // After chown, which clears the set-group-id bit; and mkdir's mode is subject to the umask.
    await chmod(directory, mode);
  }
  for (const writer of ['up', 'netd', 'baseline']) await pruneJournal(join(data, 'journal', writer));
}

/** Root's journals are few lines a start; the recorder, which retires the others, may not delete here. */
export async function pruneJournal(directory: string): Promise<void> {
  const segments = (await readdir(directory)).filter((file) => /^\d{10}\.wj$/.test(file)).sort();
  for (const segment of segments.slice(0, -keptSegments)) await unlink(join(directory, segment));
}
