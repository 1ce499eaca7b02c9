// `weir alerts`: what a defender should look at: address conflicts, lost records, unexpected changes.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AlertDocument } from '../record/documents.ts';
import type { CommonOptions } from './command-context.ts';
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

export const alertsVerb: Verb = (run) =>
  withFilter(verbCommand('alerts', 'what somebody should look at, newest first', ['weir alerts --since 1d'])).action(
    (options: CommonOptions & FilterOptions) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const page = await reader.alerts({ ...filterTextOf(options), limit: options.limit ?? '50' });
          if (context.json) await context.printJsonLines(page.items);
          else if (page.items.length === 0)
            await context.print(isFiltered(options) ? 'no alerts match' : 'no alerts: nothing needs attention');
          else await context.printTable(columns(context.style, context.now), page.items);
          return 0;
        }),
      ),
  );
