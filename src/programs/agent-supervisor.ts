// The root half of a privileged agent: keeps netd and the agent's own process running and carries rules from one to the other.
// Reads no packet and no byte of the link; what it is told it judges first (rules-keeper.ts). Ends with the machine as it was.

import { chmod, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ControlServer, callControl } from '../api/control.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import { openLog } from '../base/log.ts';
import { readPersonas } from '../config/personas.ts';
import { NetnsLock } from '../kernel/netns-lock.ts';
import { type Account, ensureAccount, ensureDirectories } from './account.ts';
import { offeredRules } from './agent-machine.ts';
import { Child, type ChildStatus } from './child.ts';
import { ownInstallation } from './installation.ts';
import { agentSpecification, netdSpecification } from './launch.ts';
import { ensureReadableProgram } from './program-files.ts';
import { RulesKeeper } from './rules-keeper.ts';

const graceMs = { agent: 8000, netd: 3000 };
const readyMs = 60_000;
const answerMs = 600_000;
/** Putting back a hundred segments takes a slow machine that long. */
const downMs = 60_000;

export interface AgentSupervisorOptions {
  readonly data: string;
  /** For the agent's process, as they were given: `--gateway`, `--token` and so on. */
  readonly argv: readonly string[];
  /** SSH_CONNECTION of whoever started it. */
  readonly operator?: string;
  /** Waits here until it is to end. */
  readonly stop: AbortSignal;
  /** For tests; see RulesKeeperOptions. */
  readonly confirmMs?: number;
}

/** Where the unprivileged half keeps its identity, rules and spool. */
export const agentRoom = (data: string): string => join(data, 'agent');

/** Resolves when everything has ended and the machine is as it was. Throws `already-running`, `timeout` and what files do. */
export async function superviseAgent(options: AgentSupervisorOptions): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new WeirError('not-permitted', 'this half of the agent changes network rules and needs root');
  const lock = NetnsLock.take({ verb: 'agent', data: options.data });
  try {
    await supervise(options, lock);
  } finally {
    lock.release();
  }
}

async function supervise({ data, argv, operator, stop, confirmMs }: AgentSupervisorOptions, lock: NetnsLock): Promise<void> {
  const log = openLog('agent-root');
  const account = await ensureAccount();
  await ensureDirectories(data, account);
  await ensureRoom(agentRoom(data), account);
  const installation = await ensureReadableProgram(ownInstallation(), account, data);
  const lifetime = new Lifetime(log, downMs);
  const netd = (verb: string, args: unknown, timeoutMs = answerMs): Promise<unknown> =>
    callControl(join(data, 'run/netd.sock'), verb, args, timeoutMs);
  const keeper = new RulesKeeper({
    data,
    offered: join(agentRoom(data), offeredRules),
    personas: readPersonas(join(installation.root, 'rules')),
    netd,
    log,
    ...(confirmMs === undefined ? {} : { confirmMs }),
  });
  const events = {
    started: (name: string, pid: number, restarts: number): void => log.info(`${name} started`, { pid, restarts }),
    died: (name: string, pid: number, exit: string, restarts: number): void => log.warn(`${name} died`, { pid, exit, restarts }),
  };
  const launch = { installation, account, data };
  const successor = ['agent', '--privileged', '--data', data];
  const children = {
    netd: new Child(netdSpecification({ ...launch, file: await keeper.file() }, operator, successor), events, log),
    agent: new Child(agentSpecification(launch, argv), events, log),
  };
  const status = (): { processes: ChildStatus[] } => ({ processes: Object.values(children).map((child) => child.status()) });
  const stopped = new AbortController();
  let ended: () => void = () => {};
  const whenEnded = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const control = new ControlServer({
    path: join(data, 'run/up.sock'),
    mode: 0o600,
    log,
    verbs: {
      status,
      stop: async () => {
        stopped.abort();
        await whenEnded;
        return { stopped: true };
      },
    },
  });
  await control.listen();
  const door = new ControlServer({
    path: join(data, 'run/rules.sock'),
    mode: 0o600,
    log,
    verbs: {
      rules: async (args) => keeper.take(nameOf(args)),
      confirm: async () => ({ confirmed: await keeper.confirm() }),
      pending: () => netd('pending', null),
      status: async () => ({ ...status(), ...((await netd('status', null, 5000)) as object) }),
    },
  });
  await door.listen();
  await chown(join(data, 'run/rules.sock'), account.uid, 0);
  lifetime.own('rules', door);
  lifetime.onEnd('netd', () => children.netd.stop(graceMs.netd));
  lifetime.onEnd('decoys', () => netd('down', null, downMs).then(() => {}));
  lifetime.onEnd('agent', () => children.agent.stop(graceMs.agent));
  try {
    children.netd.start();
    await untilReady(join(data, 'run/netd.sock'), readyMs, AbortSignal.any([stop, stopped.signal]));
    // Sockets first, and who lives where: the agent's process takes both.
    children.agent.start();
    // One that is to enrol first waits for its gateway as long as it takes.
    await untilReady(join(data, 'run/gateway.sock'), Number.POSITIVE_INFINITY, AbortSignal.any([stop, stopped.signal]), () => {
      const { lastExit } = children.agent.status();
      if (lastExit === 'exit code 2' || lastExit === 'exit code 3')
        throw new WeirError('bad-request', 'the agent cannot start: what it says stands above');
    });
    await keeper.restore().catch((error: unknown) => {
      // Decoys that do not come back are a reason to be told of, not to stay away: rules may change.
      log.error('the rules kept are not applied again', { error: asWeirError(error).message });
    });
    const both = AbortSignal.any([stop, stopped.signal]);
    if (!both.aborted) await new Promise<void>((resolve) => both.addEventListener('abort', () => resolve(), { once: true }));
  } finally {
    log.info('ending');
    await lifetime.end();
    // `weir down` waits for this answer, and takes the namespace itself.
    lock.release();
    ended();
    await new Promise((resolve) => setImmediate(resolve));
    await control.close();
  }
}

async function ensureRoom(path: string, account: Account): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await chown(path, account.uid, account.gid);
  await chmod(path, 0o700);
}

async function untilReady(path: string, withinMs: number, stop: AbortSignal, check: () => void = () => {}): Promise<void> {
  const end = Date.now() + withinMs;
  while (!stop.aborted) {
    check();
    try {
      await callControl(path, 'ready', null, 2000);
      return;
    } catch (error) {
      const { code, message } = asWeirError(error);
      if (code !== 'not-running' && code !== 'timeout' && code !== 'system-call') throw error;
      if (Date.now() > end) throw new WeirError('timeout', `${path} does not answer: ${message}`, {}, error);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function nameOf(args: unknown): string {
  const { rules } = (args ?? {}) as { rules?: unknown };
  if (typeof rules !== 'string') throw new WeirError('bad-request', 'rules needs {rules}');
  return rules;
}
