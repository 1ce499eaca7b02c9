// `weir agents`: asks the running gateway over its control socket. What it does there is agent-verbs.ts.

import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { callControl } from '../api/control.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { ActionContext, AgentActions } from '../cli/actions.ts';
import type { AgentReport, AgentRollOut, AgentToken, AgentTouches, AgentUpgradeOrder } from '../model/agent.ts';
import { buildAgent } from './agent-build.ts';
import { ownInstallation } from './installation.ts';

/** A list, or a file written. */
const shortMs = 20_000;
/** Eight decoys, each of which may take its time. */
const touchMs = 60_000;
/** The gateway answers within 15 s, changed or not. */
const progressMs = 30_000;

async function ask(context: ActionContext, verb: string, args: unknown, timeoutMs: number): Promise<unknown> {
  const { data } = await context.environment.readConfiguration(context.configurationFile);
  try {
    return await callControl(join(data, 'run/gateway.sock'), verb, args, timeoutMs);
  } catch (error) {
    const { code, message, details } = asWeirError(error);
    if (code === 'not-running')
      throw new WeirError('not-running', 'weir agents speaks to a running Weir, and none runs with this data directory', {
        next: 'start it with `weir up`',
      });
    if (code === 'not-permitted') throw new WeirError(code, message, { next: 'run the same command with sudo', ...details });
    throw error;
  }
}

export const agentActions: AgentActions = {
  report: async (context) => (await ask(context, 'agents', null, shortMs)) as AgentReport,
  add: async (names, expiresInMs, context) =>
    (await ask(context, 'agents-add', { names, expiresInMs }, shortMs)) as readonly AgentToken[],
  remove: async (name, context) =>
    ((await ask(context, 'agents-remove', { name }, shortMs)) as { was: 'revoked' | 'withdrawn' | 'forgotten' }).was,
  touch: async (name, context) => (await ask(context, 'agents-touch', { name }, touchMs)) as AgentTouches,
  upgrade: async ({ program, ...wish }, onProgress, context) => {
    const { text, ...named } = await programFile(program, context);
    await handOver(named, text, context);
    const order: AgentUpgradeOrder = { ...wish, sha256: named.sha256 };
    let rollOut = (await ask(context, 'agents-upgrade', order, shortMs)) as AgentRollOut;
    for (onProgress(rollOut); !rollOut.over; onProgress(rollOut))
      rollOut = (await ask(context, 'agents-upgrade-progress', { change: rollOut.change }, progressMs)) as AgentRollOut;
    return rollOut;
  },
  stopUpgrade: async (context) => (await ask(context, 'agents-upgrade-stop', null, shortMs)) as AgentRollOut,
};

interface ProgramFile {
  readonly version: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly text: Uint8Array;
}

/** The second line of what agent-build.ts makes. */
const titlePattern = /^\/\/ The agent of Weir ([0-9A-Za-z.+-]{1,64}), one file\./m;

async function programFile(file: string | undefined, { environment }: ActionContext): Promise<ProgramFile> {
  const path = file === undefined ? undefined : resolve(environment.cwd, file);
  let text: Uint8Array;
  try {
    text = path === undefined ? await builtProgram() : await readFile(path);
  } catch (error) {
    if (error instanceof WeirError) throw error;
    throw new WeirError('bad-request', `${path} cannot be read: ${(error as Error).message}`, {}, error);
  }
  const version = titlePattern.exec(Buffer.from(text.subarray(0, 400)).toString('utf8'))?.[1];
  if (version === undefined)
    throw new WeirError('bad-request', `${path} is not an agent's program`, { next: 'make one with `weir agent build -o FILE`' });
  return { version, sha256: createHash('sha256').update(text).digest('hex'), bytes: text.length, text };
}

/** The present installation's, as the bytes are the same each time. */
async function builtProgram(): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'weir-agent-'));
  try {
    const { file } = await buildAgent(ownInstallation().root, join(directory, 'weir-agent.mjs'));
    return await readFile(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A line of the control socket has room for a MiB. */
const pieceBytes = 512 * 1024;

async function handOver(program: Omit<ProgramFile, 'text'>, text: Uint8Array, context: ActionContext): Promise<void> {
  let have = 0;
  while (have < text.length) {
    const piece = Buffer.from(text.subarray(have, have + pieceBytes)).toString('base64');
    const answer = (await ask(context, 'agents-program', { ...program, offset: have, piece }, shortMs)) as { have: number };
    if (answer.have === have) throw new WeirError('fault', 'the gateway takes no more of the program', { have });
    have = answer.have;
  }
}
