// `weir up`: checks, shows the plan, starts the three programs, applies, and stays in the foreground until it is told
// to stop; then the machine is as it was. Supervision is supervisor.ts; what is planned is netd's.

import { readFileSync } from 'node:fs';
import { chown } from 'node:fs/promises';
import { join } from 'node:path';
import { ControlServer, callControl } from '../api/control.ts';
import { renderMicros, systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { openLog } from '../base/log.ts';
import type { ActionContext, ApplyOptions } from '../cli/actions.ts';
import { RecorderReader } from '../cli/reader.ts';
import { type NetnsHolder, NetnsLock } from '../kernel/netns-lock.ts';
import type { Configuration } from '../model/configuration.ts';
import type { ProcessStatus, Status } from '../model/status.ts';
import { JournalWriter } from '../record/journal-writer.ts';
import { ensureAccount, ensureDirectories } from './account.ts';
import { BaselineSchedule, baselineCheck } from './baseline-schedule.ts';
import { ask, isInteractive } from './confirmation.ts';
import { ownInstallation } from './installation.ts';
import { ensureReadableProgram } from './program-files.ts';
import { recorderSettings, startSettings } from './settings.ts';
import { Supervisor } from './supervisor.ts';

/** What netd answers to `plan`. */
export interface PlanAnswer {
  readonly text: string;
  readonly json: unknown;
  readonly changes: number;
}

interface NetdStatus extends Pick<Status, 'annexes' | 'reasons'> {
  readonly diversions: Status['diversions'];
  readonly confirmBefore?: string;
}

/** How long a person has at the terminal when nothing was said. */
const defaultConfirmMs = 60_000;

export async function runUp(options: ApplyOptions, context: ActionContext): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new WeirError('not-permitted', 'weir up changes network rules and needs root: run it with sudo');
  const configuration = await context.environment.readConfiguration(context.configurationFile);
  // Before anything is made: a start that fails takes down what it finds.
  const lock = holdNamespace(configuration.data);
  try {
    return await superviseUp(options, context, configuration, lock);
  } finally {
    lock.release();
  }
}

function holdNamespace(data: string): NetnsLock {
  try {
    return NetnsLock.take({ verb: 'up', data });
  } catch (error) {
    const holder = asWeirError(error).details.holder as NetnsHolder | undefined;
    throw holder?.verb === 'up' && holder.data === data ? runsAlready(data) : error;
  }
}

const runsAlready = (data: string): WeirError =>
  new WeirError('already-running', `Weir runs already with ${data}`, {
    next: '`weir apply` brings changes of weir.yaml to it, `weir down` ends it; another Weir needs its own `data` and a network namespace of its own',
  });

async function superviseUp(
  options: ApplyOptions,
  context: ActionContext,
  configuration: Configuration,
  lock: NetnsLock,
): Promise<number> {
  const { environment } = context;
  const say = (text: string): void => void environment.stderr.write(`${text}\n`);
  const account = await ensureAccount();
  await ensureDirectories(configuration.data, account);
  const installation = await ensureReadableProgram(ownInstallation(), account, configuration.data);
  const log = openLog('up');
  const stop = new AbortController();
  let stopReason = '';
  const requestStop = (reason: string): void => {
    stopReason ||= reason;
    stop.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => requestStop(signal));

  let supervisor: Supervisor | undefined;
  let schedule: BaselineSchedule | undefined;
  const status = async (): Promise<Status> => {
    const netd = (await supervisor
      ?.netd('status', null, 2000)
      .catch((error) => ({ reasons: [`netd: ${asWeirError(error).message}`] }))) as NetdStatus | undefined;
    const baseline = schedule?.report();
    return {
      version: environment.version,
      data: configuration.data,
      processes: supervisor ? processes(supervisor) : [],
      ...netd,
      ...(baseline && {
        annexes: [...(netd?.annexes ?? []), baseline],
        reasons: [...(netd?.reasons ?? []), ...baseline.reasons],
      }),
    };
  };
  let ended: () => void = () => {};
  const whenEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const control = new ControlServer({
    path: join(configuration.data, 'run/up.sock'),
    mode: 0o600,
    log,
    verbs: {
      status,
      settings: () => startSettings(configuration),
      stop: async () => {
        requestStop('weir down');
        await whenEnded;
        return { stopped: true };
      },
    },
  });
  await control.listen().catch((error) => {
    throw asWeirError(error).code === 'already-running' ? runsAlready(configuration.data) : error;
  });
  const statusPath = join(configuration.data, 'run/status.sock');
  const statusServer = new ControlServer({ path: statusPath, mode: 0o600, log, verbs: { status } });
  await statusServer.listen();
  await chown(statusPath, account.uid, account.gid);

  const journal = new JournalWriter({ directory: join(configuration.data, 'journal/up'), clock: systemClock, log });
  supervisor = new Supervisor(
    {
      installation,
      account,
      data: configuration.data,
      ...(configuration.file ? { file: configuration.file } : {}),
      ...(environment.variables.SSH_CONNECTION ? { operator: environment.variables.SSH_CONNECTION } : {}),
      recorderSettings: JSON.stringify(recorderSettings(configuration)),
    },
    journal,
    log,
  );
  if (configuration.baseline)
    schedule = new BaselineSchedule({
      everyMs: configuration.baseline.everyMs,
      check: baselineCheck(configuration.file),
      clock: systemClock,
      events: journal,
      log,
    });
  let code = 0;
  let failure: WeirError | undefined;
  try {
    say('weir: starting');
    await supervisor.start();
    say('weir: planning (looking for live hosts before addresses are claimed)');
    const plan = (await supervisor.netd('plan', null, 300_000)) as PlanAnswer;
    await environment.stdout.write(`${plan.text}\n`);
    code = await applyPlan(plan, options, supervisor, stop.signal, say);
    if (code === 0 && !stop.signal.aborted) {
      schedule?.start();
      await announce(configuration.data, environment.stdout.write);
      await new Promise<void>((resolve) => {
        if (stop.signal.aborted) resolve();
        else stop.signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  } catch (error) {
    // A program that cannot answer because it was told to stop is no fault.
    if (!stop.signal.aborted) failure = asWeirError(error);
  }
  if (stopReason) say(`weir: stopping (${stopReason})`);
  await schedule?.stop();
  await supervisor.stop();
  await journal.close();
  // `weir down` waits for this answer, and takes the namespace itself.
  lock.release();
  ended();
  await new Promise((resolve) => setImmediate(resolve));
  await Promise.all([control.close(), statusServer.close()]);
  say('weir: stopped, the machine is as it was');
  if (failure) throw failure;
  return code;
}

/** Applies with the person's consent. Gives 0 when the plan stands, 1 when it was declined or rolled back. */
async function applyPlan(
  plan: PlanAnswer,
  options: ApplyOptions,
  supervisor: Supervisor,
  stop: AbortSignal,
  say: (text: string) => void,
): Promise<number> {
  const terminal = { input: process.stdin, output: process.stderr as NodeJS.WriteStream };
  const person = isInteractive(terminal);
  if (plan.changes > 0 && !options.yes && person) {
    const answer = await ask(terminal, 'Apply this? Type yes: ', stop);
    if (!/^y(es)?$/i.test(answer ?? '')) {
      say('weir: not applied');
      return 1;
    }
  }
  const confirmWithinMs = options.confirmWithinMs ?? (options.yes ? undefined : defaultConfirmMs);
  // Applying nothing would confirm a plan that still waits for its confirmation.
  if (plan.changes === 0) return 0;
  const began = performance.now();
  await supervisor.netd('apply', { confirmWithinMs });
  say(`weir: applied in ${Math.round(performance.now() - began)} ms`);
  if (confirmWithinMs === undefined) return 0;
  say(`weir: everything is rolled back in ${confirmWithinMs / 1000} s unless you confirm: weir confirm, or Enter here`);
  return awaitConfirmation(supervisor, confirmWithinMs, person ? terminal : undefined, stop, say);
}

async function awaitConfirmation(
  supervisor: Supervisor,
  confirmWithinMs: number,
  terminal: { input: NodeJS.ReadStream; output: NodeJS.WriteStream } | undefined,
  stop: AbortSignal,
  say: (text: string) => void,
): Promise<number> {
  const settled = new AbortController();
  const enough = AbortSignal.any([stop, settled.signal]);
  if (terminal)
    void ask(terminal, '', enough).then(async (line) => {
      if (line !== undefined && !enough.aborted) await supervisor.netd('confirm').catch(() => {});
    });
  const end = Date.now() + confirmWithinMs + 10_000;
  try {
    while (!stop.aborted && Date.now() < end) {
      const state = (await supervisor.netd('pending', null, 5000).catch(() => undefined)) as { state: string } | undefined;
      if (state?.state === 'confirmed') {
        say('weir: confirmed');
        return 0;
      }
      if (state?.state === 'rolled-back') {
        say('weir: not confirmed in time, rolled back');
        return 1;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return 1;
  } finally {
    settled.abort();
  }
}

/** Where to look, once the decoys answer. */
async function announce(data: string, write: (text: string) => Promise<void>): Promise<void> {
  const { url } = await new RecorderReader(join(data, 'run/recorder.sock')).createSignInLink();
  await write(
    `\nThe decoys answer. Watch at ${url}\n(signs in once; \`weir status\` makes a new link). Ctrl-C ends and restores.\n`,
  );
}

const processes = (supervisor: Supervisor): ProcessStatus[] => [
  { name: 'up', state: 'running', pid: process.pid, memoryBytes: residentBytes(process.pid) },
  ...supervisor.status().map(({ name, pid, state, started, restarts }) => ({
    name,
    state,
    restarts,
    ...(pid === undefined ? {} : { pid, memoryBytes: residentBytes(pid) }),
    ...(started === undefined ? {} : { since: renderMicros(started) }),
  })),
];

/** Proportional set size from smaps_rollup, so that pages shared by our processes count once; 0 when it cannot be read. */
function residentBytes(pid: number): number {
  try {
    const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
    return match ? Number(match[1]) * 1024 : 0;
  } catch {
    return 0;
  }
}

/** Tells a running instance to stop and waits for it. Throws `not-running` when there is none. */
export const stopRunning = (data: string): Promise<unknown> => callControl(join(data, 'run/up.sock'), 'stop', null, 30_000);
