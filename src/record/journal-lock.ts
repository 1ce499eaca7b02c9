// One writer per journal directory: a symbolic link `lock` that names the holder's process number and start time.
// A link needs no data block, is made atomically, and a holder that died is told from a living one.

import { readlinkSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { WeirError } from '../base/errors.ts';
import { readProcessStart } from '../kernel/process-identity.ts';

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code);

export class JournalLock {
  readonly #path: string;
  readonly #owner: string;

  private constructor(path: string, owner: string) {
    this.#path = path;
    this.#owner = owner;
  }

  /** Throws `already-running` when a living process holds it, or the system's own error (a full disk, a missing right). */
  static take(directory: string): JournalLock {
    const path = join(directory, 'lock');
    const owner = `${process.pid}:${readProcessStart(process.pid) ?? ''}:${heldHere.size}`;
    for (let attempt = 0; attempt < 8; attempt += 1) {
      try {
        symlinkSync(owner, path);
        heldHere.add(path);
        return new JournalLock(path, owner);
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const holder = readHolder(path);
      if (holder !== undefined && lives(holder, path)) {
        throw new WeirError('already-running', `another process (${holder.split(':')[0]}) writes ${directory}`, {
          directory,
          pid: Number(holder.split(':')[0]),
        });
      }
      const aside = `${path}.${process.pid}`;
      try {
        renameSync(path, aside);
        unlinkSync(aside);
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw error;
      }
    }
    throw new WeirError('already-running', `the lock of ${directory} changes hands all the time`, { directory });
  }

  release(): void {
    heldHere.delete(this.#path);
    if (readHolder(this.#path) !== this.#owner) return;
    try {
      unlinkSync(this.#path);
    } catch {
      // A lock that cannot be removed names a process that is about to end: the next one takes it over.
    }
  }
}

const heldHere = new Set<string>();

function readHolder(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function lives(holder: string, path: string): boolean {
  const [pid, started] = holder.split(':');
  if (!/^\d+$/.test(pid)) return false;
  if (Number(pid) === process.pid) return heldHere.has(path);
  // Written where start times cannot be read: whoever has the number counts as the holder.
  if (started === '') return answers(Number(pid));
  return readProcessStart(Number(pid)) === started;
}

function answers(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}
