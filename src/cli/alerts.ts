// `weir alerts`: what a defender should look at: address conflicts, lost records, unexpected changes.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AlertDocument } from '../record/documents.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { follow } from './follow.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { renderAgo, renderMoment } from './wording.ts';

const paintOf = (style: Style, severity: string): ((text: string) => string) =>
  severity === 'high' ? style.red : severity === 'medium' ? style.yellow : style.dim;

const columns = (style: Style, now: number): Column<AlertDocument>[] => [
  { title: 'TIME (UTC)', text: (row) => renderMoment(parseMicros(row['@timestamp']), now) },
  { title: 'AGO', align: 'right', text: (row) => renderAgo(parseMicros(row['@timestamp']), now) },
  {
    title: 'SEVERITY',
    text: ({ weir }) => weir.alert.severity,
    paint: (text, { weir }) => paintOf(style, weir.alert.severity)(text),
  },
  { title: 'ALERT', text: ({ weir }) => printable(weir.alert.name, 40), paint: style.bold },
  { title: 'WHAT HAPPENED', text: ({ message }) => printable(message, 500), flexible: true },
];

interface Options extends CommonOptions, FilterOptions {
  readonly follow?: boolean;
}

async function list(context: CommandContext, options: Options): Promise<number> {
  return context.read(async (reader) => {
    const page = await reader.alerts({ ...filterTextOf(options), limit: options.limit ?? '50' });
    if (context.json) await context.printJsonLines(page.items);
    else if (page.items.length === 0)
      await context.print(isFiltered(options) ? 'no alerts match' : 'no alerts: nothing needs attention');
    else await context.printTable(columns(context.style, context.now), page.items);
    return 0;
  });
}

const followAlerts = (context: CommandContext, options: Options): Promise<number> =>
  follow<AlertDocument>(context, options, {
    kind: 'alert',
    of: ({ alerts = [] }) => alerts,
    earlier: async (recorder) => (await recorder.alerts({ since: options.since, limit: options.limit ?? '1000' })).items,
    key: ({ event }) => event.id,
    show: (rows, titles) => context.printTable(columns(context.style, context.now), rows, titles),
  });

export const alertsVerb: Verb = (run) =>
  withFilter(
    verbCommand('alerts', 'what somebody should look at, newest first', [
      'weir alerts --since 1d',
      'weir alerts --follow --json | while read -r alert; do mail-it "$alert"; done',
    ]),
  )
    .option('-f, --follow', 'new ones as they come; with --since first those from then on')
    .action((options: Options) =>
      run(options, (context) => (options.follow ? followAlerts(context, options) : list(context, options))),
    );
