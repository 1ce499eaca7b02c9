// `weir agents` and its parts: who there is, a token for a new one, an end, a proof that the way is whole, another version. What the
// running gateway answers is made readable here.

import type { Command } from 'commander';
import { parseMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { AgentToken } from '../model/agent.ts';
import { agentColumns } from './agent-rows.ts';
import { testAgents } from './agent-test.ts';
import { upgradeAgents } from './agent-upgrade.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { type Run, type Verb, verbCommand } from './verb.ts';
import { renderInstant } from './wording.ts';

async function list(context: CommandContext): Promise<number> {
  const { agents, reasons } = await context.environment.actions.agents.report(context.action);
  if (context.json) {
    await context.printJsonLines(agents);
    return 0;
  }
  if (agents.length === 0) await context.print('no agents: `weir agents add NAME` makes a token for the first');
  else await context.printTable(agentColumns(context), agents);
  for (const reason of reasons) await context.note(printable(reason, 500));
  for (const agent of agents)
    for (const reason of agent.reasons) await context.note(`${printable(agent.name, 40)}: ${printable(reason, 500)}`);
  return 0;
}

const unitsInMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90m`, `24h`, `7d`. Throws `bad-request`. */
function parseExpiryMs(text: string): number {
  const match = /^(\d{1,5})([mhd])$/.exec(text.trim());
  if (!match)
    throw new WeirError('bad-request', `--expires: '${printable(text, 40)}' is not a time`, { next: 'write 90m, 24h or 7d' });
  return Number(match[1]) * unitsInMs[match[2]];
}

const commandOf = ({ gateways, token }: AgentToken): string =>
  `weir agent --gateway ${gateways[0] ?? 'HOST:PORT'} --token ${token}`;

async function add(names: readonly string[], options: { readonly expires?: string }, context: CommandContext): Promise<number> {
  const expiresInMs = options.expires === undefined ? undefined : parseExpiryMs(options.expires);
  const made = await context.environment.actions.agents.add(names, expiresInMs, context.action);
  const { bold, dim } = context.style;
  if (context.json) await context.printJsonLines(made.map((one) => ({ ...one, command: commandOf(one) })));
  else
    for (const one of made) {
      const until = renderInstant(parseMicros(one.expires)).slice(0, 16);
      await context.print(
        [
          dim(`On the machine that is to be ${one.name}, once, until ${until} UTC:`),
          '',
          `  ${bold(printable(commandOf(one), 1000))}`,
          ...(made.length > 1 ? [''] : ['', dim('The token alone, for a file or a form:'), '', `  ${printable(one.token, 200)}`]),
        ].join('\n'),
      );
    }
  const gateways = made[0]?.gateways ?? [];
  if (gateways.length === 0)
    await context.note(
      'nothing listens for agents yet: add `agents: { listen: 0.0.0.0:7443 }` to weir.yaml and run `weir apply`',
    );
  else if (gateways.length > 1)
    await context.note(`this machine is also ${gateways.slice(1, 6).join(', ')}: use what the agent can reach`);
  for (const { name, again, unused } of made) {
    if (again) await context.note(`${name} has enrolled before: its certificate holds until this token's was seen`);
    if (unused) await context.note(`weir.yaml has nothing for it yet: add a diversion with \`agent: ${name}\``);
  }
  return 0;
}

const removals = {
  revoked: 'revoked: its link has ended and its certificate opens nothing; remove it again to forget it',
  withdrawn: 'withdrawn: its token opens nothing, and it never came',
  forgotten: 'forgotten',
} as const;

async function remove(names: readonly string[], context: CommandContext): Promise<number> {
  for (const name of names) {
    const was = await context.environment.actions.agents.remove(name, context.action);
    if (context.json) await context.printJson({ name, was });
    else await context.print(`${printable(name, 40)} is ${removals[was]}`);
  }
  return 0;
}

/** Options may stand before or after the part's name: commander gives those all verbs have to `agents` itself. */
function parts(run: Run): Command[] {
  return [
    verbCommand('add', 'a one-time token for an agent, and what to type on its machine', [
      'weir agents add branch-1',
      'weir agents add branch-1 --expires 7d --json',
    ])
      .argument('<names...>', 'as diversions in weir.yaml call them: a-z, 0-9 and -')
      .option('--expires <time>', 'how long the token is good: 90m, 24h (the default), 7d')
      .action((names: string[], _: unknown, command: Command) =>
        run(command.optsWithGlobals(), (context) => add(names, command.opts(), context)),
      ),
    verbCommand('remove', 'revoke an agent, now; once more: forget it', ['weir agents remove branch-1'])
      .argument('<names...>', 'as weir agents lists them')
      .action((names: string[], _: unknown, command: Command) =>
        run(command.optsWithGlobals(), (context) => remove(names, context)),
      ),
    verbCommand('test', 'each agent touches its own decoys; the record proves the way; exit code 1 when one is broken', [
      'weir agents test',
      'weir agents test branch-1 --json',
    ])
      .argument('[names...]', 'without: all')
      .option('--within <seconds>', 'until the record has to be there (10)')
      .action((names: string[], _: unknown, command: Command) =>
        run(command.optsWithGlobals(), (context) => testAgents(names, command.opts(), context)),
      ),
    verbCommand('upgrade', "bring agents to this gateway's version; what does not report goes back by itself", [
      'weir agents upgrade branch-1',
      'weir agents upgrade --all --stage 10',
      'weir agents upgrade --stop',
    ])
      .argument('[names...]', 'as weir agents lists them')
      .option('--all', 'every agent')
      .option('--stage <count>', 'so many at a time; without: one, then a tenth, then the rest')
      .option('--within <seconds>', 'for each stage, until all of it works with the new version (60)')
      .option('--force', 'also agents that are newer, that have this version, or that are in bad health')
      .option('--program <file>', 'another file that weir agent build made')
      .option('--stop', 'ask nobody more; those that were asked go on')
      .action((names: string[], _: unknown, command: Command) =>
        run(command.optsWithGlobals(), (context) => upgradeAgents(names, command.opts(), context)),
      ),
  ];
}

export const agentsVerb: Verb = (run) => {
  const command = verbCommand('agents', 'machines that hand their ports to this gateway', [
    'weir agents',
    'weir agents add branch-1',
    'weir agents test',
  ]).action((options: CommonOptions) => run(options, list));
  for (const part of parts(run)) command.addCommand(part);
  return command;
};
