// A private directory for what a reader's questions put on disk: gone when the reader closes, or with its process.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ReadingDirectory {
  /** Mode 0700, in the system's directory for temporary files. */
  readonly path: string;
  remove(): void;
}

/** Undefined where there is no place for it: then questions have to do with memory. */
export function openReadingDirectory(): ReadingDirectory | undefined {
  let path: string;
  try {
    path = mkdtempSync(join(tmpdir(), 'weir-reading-'));
  } catch {
    return undefined;
  }
  const remove = (): void => {
    process.off('exit', remove);
    rmSync(path, { recursive: true, force: true });
  };
  // A verb that is interrupted ends its process without closing anything.
  process.once('exit', remove);
  return { path, remove };
}
