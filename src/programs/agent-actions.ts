// `weir agents`: asks the running gateway over its control socket. What it does there is agent-verbs.ts.

import { join } from 'node:path';
import { callControl } from '../api/control.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { ActionContext, AgentActions } from '../cli/actions.ts';
import type { AgentReport, AgentToken, AgentTouches, AgentUpgrade } from '../model/agent.ts';

/** A list, or a file written. */
const shortMs = 20_000;
/** Eight decoys, each of which may take its time. */
const touchMs = 60_000;
const upgradeMs = 60_000;

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
  upgrade: async (names, stage, context) =>
    (await ask(context, 'agents-upgrade', { names, stage }, upgradeMs)) as readonly AgentUpgrade[],
};
