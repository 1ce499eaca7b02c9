// One Weir per network namespace: who changes the kernel in it holds an exclusive flock(2) on a file of root's that bears the
// namespace's inode. The kernel lets go of it when the holder dies, however that comes; nobody but root can take it, as anybody
// could an abstract socket or the namespace's own file. Containers that share a network but not /run do not see each other here.

import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { tryLockFile } from './libc.ts';
import { readNamespaceIdentity } from './namespace-handle.ts';

/** Who holds a namespace: `verb` as in `weir VERB`, `data` its data directory. */
export interface NetnsHolder {
  readonly verb: 'up' | 'down' | 'agent';
  readonly data: string;
}

/** Another one may remove the file it held between our opening and locking it, each time anew: so often, and no more. */
const attempts = 8;

export class NetnsLock {
  readonly #path: string;
  readonly #fd: number;
  #held = true;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /**
   * Of the namespace this process is in; does not wait, and passes to no child. Needs root. Throws `already-running` when it is
   * held, with `details.holder` (NetnsHolder and `pid`) where that has said who it is; `system-call` where `directory` takes no file.
   */
  static take(holder: NetnsHolder, directory = '/run'): NetnsLock {
    const path = join(directory, `weir-netns-${readNamespaceIdentity('/proc/self/ns/net')}.lock`);
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const fd = openLockFile(path);
      if (!tryLockFile(fd)) {
        closeSync(fd);
        throw heldBy(readHolder(path));
      }
      if (fstatSync(fd).nlink > 0) {
        note(fd, holder);
        return new NetnsLock(path, fd);
      }
      closeSync(fd);
    }
    throw heldBy(undefined);
  }

  /** Idempotent. The file goes while it is still ours, so that whoever opened it meanwhile sees that it is gone. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    try {
      unlinkSync(this.#path);
    } catch {
      // Somebody removed it; what counts is the lock.
    }
    closeSync(this.#fd);
  }
}

function openLockFile(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    throw new WeirError('system-call', `cannot hold this network namespace: ${(error as Error).message}`, { path }, error);
  }
}

function note(fd: number, { verb, data }: NetnsHolder): void {
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, JSON.stringify({ verb, pid: process.pid, data }), 0);
  } catch {
    // It holds without words too.
  }
}

/** Undefined while it is not written yet. */
function readHolder(path: string): (NetnsHolder & { readonly pid: number }) | undefined {
  try {
    const { verb, pid, data } = JSON.parse(readFileSync(path, 'utf8'));
    return { verb, pid, data };
  } catch {
    return undefined;
  }
}

function heldBy(holder: ReturnType<typeof readHolder>): WeirError {
  const who = holder ? `: weir ${holder.verb}, pid ${holder.pid}, data ${holder.data}` : '';
  return new WeirError('already-running', printable(`another Weir holds this network namespace${who}`, 1000), {
    ...(holder && { holder }),
    next:
      holder?.verb === 'down'
        ? 'try again when it has ended'
        : '`weir down` with the configuration that names its data directory ends it; to run beside it a Weir needs a network namespace of its own',
  });
}
