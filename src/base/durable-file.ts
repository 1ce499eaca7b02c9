// Writes a file so that a crash leaves the old one or the new one, whole, and what was said to be written stays written.
// Works on any system Node runs on; owns nothing.

import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { WeirError } from './errors.ts';

/** Some systems cannot flush a directory; there the rename is durable by itself, or nothing can make it so. */
async function flushDirectory(path: string): Promise<void> {
  try {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (!['EISDIR', 'EPERM', 'EINVAL', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

/** Durable when it resolves. One writer per path. Throws `disk-full`, `not-permitted` or `system-call`; the old file stays. */
export async function writeDurably(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const fresh = `${path}.new`;
  try {
    await rm(fresh, { force: true });
    const handle = await open(fresh, 'wx', mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, path);
    await flushDirectory(dirname(path));
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => {});
    throw asFileError(path, 'write', error);
  }
}

/** Undefined when there is none. */
export async function readWhole(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw asFileError(path, 'read', error);
  }
}

/** For its owner alone; one that is there keeps its mode. */
export async function ensureDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw asFileError(path, 'make', error);
  }
}

function asFileError(path: string, verb: string, error: unknown): WeirError {
  const errno = (error as NodeJS.ErrnoException).code;
  const full = errno === 'ENOSPC' || errno === 'EDQUOT';
  const denied = errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS';
  return new WeirError(
    full ? 'disk-full' : denied ? 'not-permitted' : 'system-call',
    `cannot ${verb} ${path}: ${error instanceof Error ? error.message : String(error)}`,
    { path, errno, ...(full ? { next: 'free space and try again' } : {}) },
    error,
  );
}
