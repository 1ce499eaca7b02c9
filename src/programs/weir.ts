// The `weir` command: builds the real environment and hands over to the command line.

import { getEventListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { runCommandLine } from '../cli/command-line.ts';
import { outputOf } from '../cli/environment.ts';
import { readConfiguration } from '../config/configuration.ts';
import { readPersonas } from '../config/personas.ts';
import { actions } from './actions.ts';
import { ownInstallation } from './installation.ts';

const { root } = ownInstallation();
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const interrupt = new AbortController();
// `up` and `demo` listen to signals themselves; what follows `interrupt` ends in order, the rest at once, taking back what it made (`exit`).
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => {
    const followed = getEventListeners(interrupt.signal, 'abort').length > 0;
    interrupt.abort();
    if (!followed && process.listenerCount(signal) === 0) process.exit(128 + constants.signals[signal]);
  });

process.exitCode = await runCommandLine(process.argv.slice(2), {
  version,
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),
  cwd: process.cwd(),
  variables: process.env,
  clock: systemClock,
  signal: interrupt.signal,
  readConfiguration: (file) => readConfiguration(file, { personas: readPersonas(join(root, 'rules')) }),
  rulesDirectory: join(root, 'rules/signatures'),
  // Loaded when asked for: the engine is large, and no other verb needs it.
  openStore: async (dataDirectory) => (await import('../record/open-store-for-reading.ts')).openStoreForReading(dataDirectory),
  actions,
});
process.stdin.unref?.();
