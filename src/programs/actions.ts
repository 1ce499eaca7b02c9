// What the verbs that change the machine do: they ask the running programs, or act alone where nothing runs.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { callControl } from '../api/control.ts';
import { systemClock } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import type { ActionContext, ActionResult, Actions, ApplyOptions } from '../cli/actions.ts';
import { NetnsLock } from '../kernel/netns-lock.ts';
import type { Configuration } from '../model/configuration.ts';
import type { Status } from '../model/status.ts';
import { DiversionController } from '../plan/controller.ts';
import { segmentTag } from '../plan/desired-segment.ts';
import { describePlan, renderPlan } from '../plan/render-plan.ts';
import { agentActions } from './agent-actions.ts';
import { agentBuild, agentStatus, runAgent } from './agent-verb.ts';
import { baselineActions } from './baseline-actions.ts';
import { runBench } from './bench/bench.ts';
import { runDemo } from './demo.ts';
import { doctorActions } from './doctor-actions.ts';
import { exposureActions } from './exposure-actions.ts';
import { runImportAction } from './import-action.ts';
import { ownInstallation } from './installation.ts';
import { packetActions } from './packet-actions.ts';
import { preflightOf } from './preflight.ts';
import { waitingKeys } from './settings.ts';
import { uninterrupted } from './uninterrupted.ts';
import { type PlanAnswer, runUp, stopRunning } from './up.ts';
import { watchTraffic } from './watch-traffic.ts';

/** Exit code of `weir plan` when something would change. */
const changesPending = 10;

function needRoot(verb: string): void {
  if (process.getuid?.() !== 0)
    throw new WeirError('not-permitted', `weir ${verb} reads and changes network rules and needs root: run it with sudo`);
}

const notRunning = (verb: string): WeirError =>
  new WeirError('not-running', `weir ${verb} speaks to a running Weir, and none runs with this data directory`, {
    next: 'start it with `weir up`',
  });

/** `command` is what the user typed, where that is not the verb netd hears. */
async function netd(data: string, verb: string, args: unknown = null, command = verb): Promise<unknown> {
  try {
    return await callControl(join(data, 'run/netd.sock'), verb, args, 600_000);
  } catch (error) {
    if (asWeirError(error).code === 'not-running') throw notRunning(command);
    throw error;
  }
}

async function dataOf(context: ActionContext): Promise<string> {
  return (await context.environment.readConfiguration(context.configurationFile)).data;
}

/** For a machine on which no netd runs: reads the kernel, or puts it back. */
const aloneController = (data: string): DiversionController =>
  new DiversionController({
    stateDirectory: join(data, 'state'),
    ports: { tcp: 29631, udp: 29632, narrow: 29633 },
    tag: segmentTag(data),
    log: silentLog,
    clock: systemClock,
    preflight: preflightOf(),
  });

/** Keys of weir.yaml that differ from what runs and that applying does not reach; none where nothing runs. */
async function waiting(configuration: Configuration): Promise<readonly string[]> {
  const running = await callControl(join(configuration.data, 'run/up.sock'), 'settings', null, 5000).catch(() => undefined);
  return running ? waitingKeys(configuration, running as Readonly<Record<string, unknown>>) : [];
}

const waitingText = (keys: readonly string[]): string =>
  keys.length === 0
    ? ''
    : `\nChanged in weir.yaml, but read at the start alone: ${keys.join(', ')}. End Weir and start it again for that.\n`;

async function plan(context: ActionContext): Promise<ActionResult> {
  needRoot('plan');
  const configuration = await context.environment.readConfiguration(context.configurationFile);
  let answer: PlanAnswer;
  try {
    answer = (await netd(configuration.data, 'plan', { file: context.configurationFile })) as PlanAnswer;
  } catch (error) {
    if (asWeirError(error).code !== 'not-running') throw error;
    const operator = context.environment.variables.SSH_CONNECTION;
    const made = await aloneController(configuration.data).plan(configuration, operator ? { sshConnection: operator } : {});
    const text = `${renderPlan(made)}\nWeir does not run: live hosts are looked for when \`weir up\` plans.\n`;
    answer = { text, json: describePlan(made), changes: made.changes.length };
  }
  const atNextStart = await waiting(configuration);
  const json = { ...(answer.json as object), atNextStart };
  return { text: answer.text + waitingText(atNextStart), json, exitCode: answer.changes > 0 ? changesPending : 0 };
}

async function apply(options: ApplyOptions, context: ActionContext): Promise<ActionResult> {
  needRoot('apply');
  const configuration = await context.environment.readConfiguration(context.configurationFile);
  const { data } = configuration;
  const atNextStart = await waiting(configuration);
  const planned = (await netd(data, 'plan', { file: context.configurationFile }, 'apply')) as PlanAnswer;
  if (planned.changes === 0) {
    const { state } = (await netd(data, 'pending')) as { state: string };
    const waits = 'The change before still waits: it is rolled back unless you run `weir confirm`.\n';
    return {
      text: `${planned.text}${state === 'pending' ? `\n${waits}` : ''}${waitingText(atNextStart)}`,
      json: { applied: false, ...(planned.json as object), atNextStart },
    };
  }
  await context.environment.stderr.write(planned.text);
  const confirmWithinMs = options.confirmWithinMs ?? (options.yes ? undefined : 60_000);
  await netd(data, 'apply', { confirmWithinMs });
  const text =
    confirmWithinMs === undefined
      ? 'Applied.\n'
      : `Applied. Rolled back in ${confirmWithinMs / 1000} s unless you run \`weir confirm\`.\n`;
  return {
    text: text + waitingText(atNextStart),
    json: { applied: true, confirmWithinMs: confirmWithinMs ?? null, atNextStart },
  };
}

async function down(context: ActionContext): Promise<ActionResult> {
  needRoot('down');
  const data = await dataOf(context);
  let running = true;
  try {
    await stopRunning(data);
  } catch (error) {
    if (asWeirError(error).code !== 'not-running') throw error;
    running = false;
  }
  const lock = holdToClear(data, running);
  // Whatever a crashed instance left is put back as well; on a clean machine this changes nothing.
  const { signal } = context.environment;
  try {
    if (lock)
      await uninterrupted(signal, async () => {
        try {
          await aloneController(data).down();
        } catch (error) {
          if (!signal.aborted) throw error;
          // Ctrl-C in a terminal also ends the tool that was at work.
          await aloneController(data).down();
        }
      });
  } finally {
    lock?.release();
  }
  return {
    text: running ? 'Weir is stopped, the machine is as it was.\n' : 'Weir did not run; nothing of it is left in the kernel.\n',
    json: { running, down: true },
  };
}

/** Undefined: what ran, and has put its own namespace back, was elsewhere, and in this one runs another. */
function holdToClear(data: string, ran: boolean): NetnsLock | undefined {
  try {
    return NetnsLock.take({ verb: 'down', data });
  } catch (error) {
    if (ran && asWeirError(error).code === 'already-running') return undefined;
    throw error;
  }
}

async function confirm(context: ActionContext): Promise<ActionResult> {
  const json = (await netd(await dataOf(context), 'confirm')) as { confirmed: boolean };
  return { text: json.confirmed ? 'Confirmed: the applied plan stays.\n' : 'Nothing waits for confirmation.\n', json };
}

async function rollback(context: ActionContext): Promise<ActionResult> {
  const json = (await netd(await dataOf(context), 'rollback')) as { rolledBack: boolean };
  return {
    text: json.rolledBack
      ? 'Rolled back to the state before.\n'
      : 'Nothing waits for confirmation: there is nothing to roll back.\n',
    json,
  };
}

async function status(context: ActionContext): Promise<Status | undefined> {
  const data = await dataOf(context);
  try {
    return (await callControl(join(data, 'run/up.sock'), 'status', null, 5000)) as Status;
  } catch (error) {
    if (asWeirError(error).code !== 'not-running') throw error;
    if (!existsSync(join(data, 'state/plan.json'))) return undefined;
    throw new WeirError('not-running', 'Weir does not run here and did not end in order: its rules may still be in the kernel', {
      next: '`weir up` goes on, `weir down` takes them away',
    });
  }
}

function test(patterns: readonly string[]): number {
  const { root } = ownInstallation();
  return spawnSync(join(root, 'weir'), ['test', ...patterns], { stdio: 'inherit' }).status ?? 1;
}

export const actions: Actions = {
  up: runUp,
  down,
  plan,
  apply,
  confirm,
  rollback,
  demo: runDemo,
  bench: runBench,
  test: async (patterns) => test(patterns),
  status,
  agents: agentActions,
  baseline: baselineActions,
  packets: packetActions,
  exposure: exposureActions,
  who: watchTraffic,
  agent: runAgent,
  agentStatus,
  agentBuild,
  import: runImportAction,
  doctor: doctorActions,
};
