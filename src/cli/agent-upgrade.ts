// `weir agents upgrade`: asks for a roll-out, tells on standard error how it goes, shows at the end how it is with everybody.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { AgentRollOut, AgentUpgrade } from '../model/agent.ts';
import type { AgentUpgradeWish } from './actions.ts';
import type { CommandContext } from './command-context.ts';
import type { Column } from './table.ts';
import { plural } from './wording.ts';

export interface UpgradeOptions {
  readonly all?: boolean;
  readonly stage?: string;
  readonly within?: string;
  readonly force?: boolean;
  readonly program?: string;
  readonly stop?: boolean;
}

function parseCount(option: string, text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw new WeirError('bad-request', `${option}: '${printable(text, 40)}' is not a number from 1 to 9999`);
  return Number(text);
}

function readWish(names: readonly string[], options: UpgradeOptions): AgentUpgradeWish {
  const { all = false, stage, within, force, program } = options;
  if (all === names.length > 0)
    throw new WeirError('bad-request', all ? 'name agents or say --all, not both' : 'name the agents, or say --all');
  return {
    ...(all ? {} : { names }),
    ...(stage === undefined ? {} : { stage: parseCount('--stage', stage) }),
    ...(within === undefined ? {} : { withinMs: parseCount('--within', within) * 1000 }),
    ...(force ? { force } : {}),
    ...(program === undefined ? {} : { program }),
  };
}

/** What to tell of a change, a sentence each: agents that are asked, that have it, that do not. */
export function progressLines(before: AgentRollOut | undefined, now: AgentRollOut): string[] {
  const known = new Map(before?.agents.map(({ agent, state }) => [agent, state]));
  return now.agents.flatMap(({ agent, state, stage, reason }) => {
    if (known.get(agent) === state) return [];
    const name = printable(agent, 40);
    if (state === 'offered') return [`stage ${stage} of ${now.stages}: ${name} is asked`];
    if (state === 'done') return [`${name} works with ${printable(now.version, 64)}`];
    if (state === 'failed') return [`${name} failed, nobody more is asked: ${printable(reason ?? 'no reason given', 300)}`];
    return [];
  });
}

const columns = (context: CommandContext): Column<AgentUpgrade>[] => {
  const { style } = context;
  return [
    { title: 'AGENT', text: ({ agent }) => printable(agent, 40), paint: style.bold },
    {
      title: 'UPGRADE',
      text: ({ state }) => state,
      paint: (text, { state }) => (state === 'done' || state === 'current' ? style.green(text) : style.yellow(text)),
    },
    { title: 'STAGE', text: ({ stage }) => (stage === undefined ? '-' : String(stage)) },
    { title: 'WHY', text: ({ reason }) => printable(reason ?? '-', 300), flexible: true },
  ];
};

/** Exit code 0: everybody asked for has the version now. */
export async function upgradeAgents(names: readonly string[], options: UpgradeOptions, context: CommandContext): Promise<number> {
  const { agents } = context.environment.actions;
  let last: AgentRollOut | undefined;
  const told: Promise<void>[] = [];
  const follow = (now: AgentRollOut): void => {
    for (const line of progressLines(last, now)) told.push(context.note(line));
    last = now;
  };
  if (options.stop && (names.length > 0 || options.all)) throw new WeirError('bad-request', '--stop stands alone');
  const rollOut = options.stop
    ? await agents.stopUpgrade(context.action)
    : await agents.upgrade(readWish(names, options), follow, context.action);
  await Promise.all(told);
  if (context.json) await context.printJson(rollOut);
  else await context.printTable(columns(context), rollOut.agents);
  const has = rollOut.agents.filter(({ state }) => state === 'done' || state === 'current').length;
  const asked = rollOut.agents.length;
  await context.note(`${plural(has, 'agent')} of ${asked} on version ${printable(rollOut.version, 64)}`);
  return has === asked ? 0 : 1;
}
