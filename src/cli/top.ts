// `weir top SUBJECT`: rankings. By hits and by distinct sources they differ, so both figures are always shown.

import { Argument, Option } from 'commander';
import { printable } from '../base/printable.ts';
import type { TopRow, TopSubject } from '../record/store.ts';
import { nothingYet } from './advice.ts';
import type { CommonOptions } from './command-context.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { portName, renderCount } from './wording.ts';

const subjects: readonly TopSubject[] = ['ports', 'sources', 'destinations', 'protocols', 'payloads', 'credentials'];
const keyTitles: Readonly<Record<TopSubject, string>> = {
  ports: 'PORT',
  sources: 'SOURCE',
  destinations: 'DECOY',
  protocols: 'PROTOCOL',
  payloads: 'PAYLOAD SHA-256',
  credentials: 'CREDENTIAL',
};
const barCells = 24;

function bar(value: number, greatest: number): string {
  const eighths = Math.round((value / Math.max(1, greatest)) * barCells * 8);
  const rest = eighths % 8;
  return '█'.repeat(Math.floor(eighths / 8)) + (rest ? ' ▏▎▍▌▋▊▉'[rest] : '');
}

function columns(subject: TopSubject, by: 'hits' | 'sources', rows: readonly TopRow[], style: Style): Column<TopRow>[] {
  const rank = new Map(rows.map((row, index) => [row, index + 1]));
  const greatest = Math.max(...rows.map((row) => row[by]));
  const strong = (column: 'hits' | 'sources') => (text: string) => (column === by ? style.bold(text) : text);
  return [
    { title: '#', align: 'right', text: (row) => String(rank.get(row)), paint: style.dim },
    { title: keyTitles[subject], text: ({ key }) => printable(key, 200), paint: style.cyan, flexible: true },
    ...(subject === 'ports' ? [{ title: 'USUALLY', text: ({ key }: TopRow) => portName(key), paint: style.dim }] : []),
    { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits), paint: strong('hits') },
    ...(subject === 'sources'
      ? []
      : [
          {
            title: 'SOURCES',
            align: 'right',
            text: ({ sources }: TopRow) => renderCount(sources),
            paint: strong('sources'),
          } as const,
        ]),
    { title: '', text: (row) => bar(row[by], greatest), paint: style.cyan },
  ];
}

interface Options extends CommonOptions, FilterOptions {
  readonly by: 'hits' | 'sources';
}

export const topVerb: Verb = (run) =>
  withFilter(
    verbCommand('top', 'rankings: by hits or by distinct sources', [
      'weir top ports --by sources --since 1d',
      'weir top credentials --protocol telnet',
    ]),
  )
    .addArgument(new Argument('<subject>', 'what to rank').choices(subjects))
    .addOption(new Option('--by <figure>', 'what ranks').choices(['hits', 'sources']).default('hits'))
    .action((subject: TopSubject, options: Options) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const rows = await reader.top(subject, options.by, { ...filterTextOf(options), limit: options.limit ?? '20' });
          if (context.json) await context.printJsonLines(rows);
          else if (rows.length === 0) await context.print(nothingYet(subject, isFiltered(options), context));
          else await context.printTable(columns(subject, options.by, rows, context.style), rows);
          return 0;
        }),
      ),
    );
