// `weir import`, the caller's half: opens the files with the caller's rights, starts the process that reads them without any, and
// passes on what it says.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { type ErrorCode, errorCodes, WeirError } from '../base/errors.ts';
import type { ActionContext, ImportOutcome, ImportText } from '../cli/actions.ts';
import type { ImportProgress } from '../record/importers/import-run.ts';
import { inputFlags, reasonUnreadable } from '../record/importers/input-file.ts';
import { ensureAccount, ensureDirectories } from './account.ts';
import { type ImportMessage, type ImportSettings, settingsDescriptor } from './import-messages.ts';
import { ownInstallation } from './installation.ts';
import { importCommand } from './launch.ts';
import { ensureReadableProgram } from './program-files.ts';
import { recorderSettings } from './settings.ts';

/** Each is an open descriptor. */
const mostFiles = 4000;

export async function runImportAction(
  wish: ImportText,
  onProgress: (progress: ImportProgress) => void,
  context: ActionContext,
): Promise<ImportOutcome> {
  const { files } = wish;
  if (files.length > mostFiles)
    throw new WeirError('bad-request', `${files.length} files at once are too many: at most ${mostFiles}`, {
      next: 'import them in several goes; what is there already is not taken twice',
    });
  const configuration = await context.environment.readConfiguration(context.configurationFile);
  const { data } = configuration;
  const descriptors: number[] = [];
  try {
    const unopened: Record<number, string> = {};
    for (const [index, file] of files.entries()) {
      if (file === '-') continue;
      try {
        descriptors.push(openSync(resolve(context.environment.cwd, file), inputFlags));
      } catch (error) {
        unopened[index] = reasonUnreadable(error);
      }
    }
    const settings: ImportSettings = {
      data,
      ...wish,
      unopened,
      recorder: recorderSettings(configuration),
    };
    const child = await start(settings, descriptors, files.includes('-'));
    return await follow(child, onProgress, context.environment.signal);
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

async function start(settings: ImportSettings, descriptors: readonly number[], readsInput: boolean): Promise<ChildProcess> {
  const { data } = settings;
  const isRoot = process.getuid?.() === 0;
  const account = isRoot ? await ensureAccount() : undefined;
  if (account) await ensureDirectories(data, account);
  else await makeOwn(data);
  const own = ownInstallation();
  const installation = account ? await ensureReadableProgram(own, account, data) : own;
  const { command, arguments: argv, environment } = importCommand(installation, account);
  const child = spawn(command, argv, {
    stdio: [readsInput ? 'inherit' : 'ignore', 'pipe', 'inherit', 'pipe', ...descriptors],
    env: environment,
  });
  const pipe = child.stdio[settingsDescriptor] as Writable;
  // A child that is gone before it read them says so by its exit.
  pipe.on('error', () => {});
  pipe.end(JSON.stringify(settings));
  return child;
}

/** Whoever is not root keeps records where they may. */
async function makeOwn(data: string): Promise<void> {
  try {
    await mkdir(join(data, 'journal'), { recursive: true, mode: 0o750 });
    await access(data, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new WeirError(
      'not-permitted',
      `records are kept below ${data}, which this account may not write`,
      { next: 'run the same command with sudo, or set `data` in weir.yaml to a directory of your own' },
      error,
    );
  }
}

/** Ends when the process has ended; SIGTERM to it when the caller is interrupted. */
async function follow(
  child: ChildProcess,
  onProgress: (progress: ImportProgress) => void,
  signal: AbortSignal,
): Promise<ImportOutcome> {
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    let last: ImportMessage | undefined;
    const gone = new Promise<string>((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('exit', (code, name) => resolve(name ? `signal ${name}` : `exit code ${code}`));
    });
    if (child.stdout)
      for await (const line of createInterface({ input: child.stdout })) {
        const message = JSON.parse(line) as ImportMessage;
        if (message.kind === 'progress') onProgress(message.progress);
        else last = message;
      }
    const exit = await gone;
    if (last?.kind === 'done') return last;
    if (last?.kind === 'failed') {
      const code = Object.hasOwn(errorCodes, last.code) ? (last.code as ErrorCode) : 'fault';
      throw new WeirError(code, last.message, { ...last.details });
    }
    throw new WeirError('fault', `the process that reads the files ended early: ${exit}`, {
      next: 'import the same files again: what was taken stays, and nothing is taken twice',
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
