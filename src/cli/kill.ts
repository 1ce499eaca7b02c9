// `weir kill SELECTOR`: ends connections, busy or idle, and proves it; shows what it would do unless told --yes. The work is netops/kill.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { exitCodeOfKill, type KillItem, type KillReport, type KillResult } from '../netops/kill/kill-connections.ts';
import { describeSelector, parseSelector } from '../netops/kill/select-connections.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural } from './wording.ts';

interface Options extends CommonOptions {
  readonly netns?: string;
  readonly max?: string;
  readonly method?: string;
  readonly yes?: boolean;
}

const methods = ['auto', 'socket', 'path'] as const;

export const killVerb: Verb = (run) =>
  verbCommand('kill', 'end connections, idle ones too, and prove it; without --yes it only shows which', [
    'weir kill 10.0.0.9:5000-10.0.0.1:22',
    'weir kill peer=203.0.113.0/24 port=443 --yes',
    'weir kill container=web state=CLOSE_WAIT --max 100 --yes',
    'weir kill pid=1234 --yes --json',
  ])
    .argument(
      '<selector...>',
      'A:port-B:port, an end, or local= peer= port= lport= pport= pid= comm= uid= container= cookie= state= proto=',
    )
    .option('--netns <name>', 'only in this network namespace (default: all): a name of `ip netns`, a path, an inode or pid:123')
    .option('--max <count>', 'touch none when more match (default: 10)')
    .option('--method <name>', 'auto: the socket where it is here, else RSTs on the path; socket; path')
    .option('-y, --yes', 'do it')
    .addHelpText(
      'after',
      '\nExit codes: 0 all ended and proven, 4 nothing matched, 5 not all or not proven, 10 nothing was touched (no --yes).\nServers and your own session are never touched.\n',
    )
    .action((words: string[], options: Options) => run(options, (context) => kill(context, words, options)));

async function kill(context: CommandContext, words: readonly string[], options: Options): Promise<number> {
  const selector = parseSelector(words);
  const method = methods.find((one) => one === (options.method ?? 'auto'));
  if (!method)
    throw new WeirError('bad-request', `--method: '${printable(options.method ?? '', 40)}' is not ${methods.join(', ')}`);
  if (options.max !== undefined && !/^[1-9]\d{0,5}$/.test(options.max))
    throw new WeirError('bad-request', `--max: '${printable(options.max, 40)}' is not a number from 1 to 999999`);
  const { variables } = context.environment;
  const report = await context.environment.actions.packets.kill(
    {
      selector,
      yes: options.yes === true,
      max: Number(options.max ?? 10),
      method,
      signal: context.environment.signal,
      multiplexed: variables.TMUX !== undefined || variables.STY !== undefined,
    },
    options.netns,
    variables.SSH_CONNECTION,
  );
  const code = exitCodeOfKill(report);
  if (context.json) await context.printJson(report);
  else await show(context, report, describeSelector(selector));
  return code;
}

const whose = ({ pid, comm, container }: KillItem): string =>
  pid === undefined
    ? ''
    : `${printable(comm ?? '', 20)} (${pid})${container === undefined ? '' : ` in ${printable(container, 30)}`}`;

const columns: Column<KillItem>[] = [
  { title: 'CONNECTION', text: ({ transport, tuple }) => `${transport} ${tuple}` },
  { title: 'STATE', text: ({ state }) => state },
  { title: 'NETNS', text: ({ netns }) => netns || 'here' },
  { title: 'PROCESS', text: whose },
  { title: 'COOKIE', text: ({ cookie }) => cookie ?? '' },
  { title: 'ALSO KNOWN AS', text: ({ also }) => also ?? '' },
];

const resultColumns: Column<KillResult>[] = [
  { title: 'CONNECTION', text: ({ transport, tuple }) => `${transport} ${tuple}` },
  { title: 'METHOD', text: ({ method }) => method },
  { title: 'GONE', text: ({ verified }) => (verified ? 'proven' : 'NOT PROVEN') },
  { title: 'MS', text: ({ ms }) => String(ms) },
  { title: 'NETNS', text: ({ netns }) => netns || 'here' },
  { title: 'PROCESS', text: whose },
  { title: '', text: ({ detail }) => printable(detail ?? '', 200) },
];

async function show(context: CommandContext, report: KillReport, described: string): Promise<void> {
  const { matched, killed, refused, results, would, not_measured: unseen } = report;
  if (would.length > 0) await context.printTable(columns, would);
  if (results.length > 0) await context.printTable(resultColumns, results);
  for (const { tuple, transport, why } of refused.slice(0, 50)) await context.note(`not touched: ${transport} ${tuple}: ${why}`);
  if (refused.length > 50) await context.note(`and ${plural(refused.length - 50, 'more')}`);
  for (const what of unseen) await context.note(`not seen: ${printable(what)}`);
  if (matched === 0) await context.note(`no connection matches: ${described}`);
  else if (would.length > 0) await context.note(`${plural(would.length, 'connection')} would be ended (${described}): say --yes`);
  else await context.note(`${plural(matched, 'connection')} matched, ${killed} ended and proven gone`);
}
