// Whether kernel tests can run here, and the lab they run in.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { getuid } from 'node:process';

export * from '../../src/kernel/namespace-lab.ts';

/** Value for node:test's `skip`: false where kernel tests can run. Under WEIR_TESTS=required a lack throws instead. */
export function lacksKernelTests(): string | false {
  const reason = getuid?.() === 0 ? false : 'needs root for network namespaces';
  if (reason && process.env.WEIR_TESTS === 'required') throw new Error(`WEIR_TESTS=required, but this test ${reason}`);
  return reason;
}

/** The same for a program, or any file, that a test needs; `path` absolute, or a name looked for in PATH. */
export function lacksProgram(path: string, packageName: string): string | false {
  const places = path.startsWith('/')
    ? [path]
    : [...(process.env.PATH ?? '').split(':'), '/usr/sbin'].map((folder) => join(folder, path));
  const reason = places.some((place) => existsSync(place)) ? false : `needs the package ${packageName}`;
  if (reason && process.env.WEIR_TESTS === 'required') throw new Error(`WEIR_TESTS=required, but this test ${reason}`);
  return reason;
}
