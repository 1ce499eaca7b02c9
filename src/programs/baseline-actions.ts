// Gives `weir baseline` the machine it runs on, its files, and a journal of its own for alerts.

import { readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { systemClock } from '../base/clock.ts';
import { ensureDirectory, readWhole, writeDurably } from '../base/durable-file.ts';
import { WeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import type { BaselineActions } from '../cli/baseline-actions.ts';
import { createCommandRunner } from '../kernel/command.ts';
import { readMachine } from '../kernel/machine/machine-reader.ts';
import { readSettings } from '../kernel/settings/settings-reader.ts';
import type { Machine } from '../model/machine.ts';
import { alertsOf } from '../netops/baseline/access-alert.ts';
import { readAccess } from '../netops/baseline/access-matrix.ts';
import { checkAccess } from '../netops/baseline/matrix-check.ts';
import { confirmRestore, privateFolder, restoreSettings, type SettingsRead } from '../netops/baseline/settings-restore.ts';
import { watchSettings } from '../netops/baseline/watch-settings.ts';
import { StateFile } from '../plan/state-file.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { pruneJournal } from './account.ts';
import { askKernel } from './route-questioner.ts';
import { uninterrupted } from './uninterrupted.ts';

/** Tens of thousands of rules make each way take milliseconds; what is left then is said. */
const timeLimitMs = 60_000;

const timeLimit = (): (() => boolean) => {
  const end = performance.now() + timeLimitMs;
  return () => performance.now() > end;
};

const readHere = (): Promise<Machine> => readMachine({ namespaces: 'all', parts: ['listeners', 'queues', 'filter', 'sysctls'] });

/** With sysctls as they were before Weir changed them: what it changed is its own to put back. */
const readerFor =
  (data: string | undefined): SettingsRead =>
  async (runner) => {
    const settings = await readSettings(runner);
    const state = data === undefined ? undefined : await new StateFile(join(data, 'state')).read(() => {}).catch(() => undefined);
    const saved = Object.entries(state?.saved.sysctls ?? {});
    const { sysctls } = settings.parts;
    if (sysctls === undefined || saved.length === 0) return settings;
    const values = new Map(saved.map(([key, value]) => [key, `${key} = ${value}`]));
    const lines = sysctls.split('\n').map((line) => values.get(line.split(' = ')[0]) ?? line);
    return { ...settings, parts: { ...settings.parts, sysctls: lines.join('\n') } };
  };

/** One short-lived writer: what it says is on disk when it returns. */
async function writeAlerts(data: string, differences: Parameters<BaselineActions['alert']>[1], at: number): Promise<void> {
  const directory = join(data, 'journal', 'baseline');
  // `weir up` makes it, with a group that lets the recorder read what is written there.
  if (!(await stat(directory).catch(() => undefined)))
    throw new WeirError('not-running', `there is no record of Weir below ${data}`, {
      next: 'name its configuration with -c; its first `weir up` makes the record',
    });
  const journal = new JournalWriter({ directory, clock: systemClock, log: openLog('baseline') });
  try {
    for (const alert of alertsOf(differences, at)) journal.append({ kind: 'alert', alert });
    if (!(await journal.flush())) throw new WeirError('disk-full', `alerts could not be written below ${directory}`);
  } finally {
    await journal.close();
    await pruneJournal(directory);
  }
}

export const baselineActions: BaselineActions = {
  readAccess: async () => readAccess(await readHere(), askKernel, timeLimit()),
  checkAccess: async (matrix) => checkAccess(matrix, await readHere(), askKernel, timeLimit()),
  readSettings: (data) => readerFor(data)(createCommandRunner()),
  watch: (options, onReading, data) => watchSettings({ ...options, read: readerFor(data) }, onReading),
  async restore(plan, folder, confirmWithinMs, data, signal) {
    // What is brought back as root was read from there.
    await privateFolder(join(dirname(folder), 'snapshots'));
    const read = readerFor(data);
    await uninterrupted(signal, () => restoreSettings(plan, folder, confirmWithinMs, { read, signal }));
  },
  confirm: confirmRestore,
  readFile: readWhole,
  async writeFile(file, text) {
    await ensureDirectory(dirname(file));
    await writeDurably(file, text);
  },
  list: (folder) => readdir(folder).catch(() => []),
  remove: (file) => rm(file, { force: true }),
  alert: writeAlerts,
};
