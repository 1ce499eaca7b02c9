// `weir top SUBJECT`: rankings. By hits and by distinct sources they differ, so both figures are always shown.

import { Argument, Option } from 'commander';
import { printable, printableBytes } from '../base/printable.ts';
import { portName } from '../model/port-name.ts';
import type { TopDocument } from '../record/insight-documents.ts';
import type { AnySubject } from '../record/insight-questions.ts';
import { nothingYet } from './advice.ts';
import type { CommonOptions } from './command-context.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { renderCount } from './wording.ts';

/** By the word people type: payloads that are alike count as one; `hashes` tells them apart byte by byte. */
const subjects: Readonly<Record<string, readonly [AnySubject, string]>> = {
  ports: ['ports', 'PORT'],
  sources: ['sources', 'SOURCE'],
  destinations: ['destinations', 'DECOY'],
  protocols: ['protocols', 'PROTOCOL'],
  countries: ['countries', 'COUNTRY'],
  asns: ['asns', 'NETWORK'],
  payloads: ['families', 'PAYLOAD FAMILY'],
  hashes: ['payloads', 'PAYLOAD SHA-256'],
  credentials: ['credentials', 'CREDENTIAL'],
  users: ['users', 'USER'],
  passwords: ['passwords', 'PASSWORD'],
  signatures: ['signatures', 'SIGNATURE'],
  behaviours: ['behaviours', 'BEHAVIOUR'],
  urls: ['urls', 'URL'],
  commands: ['commands', 'COMMAND'],
  'user-agents': ['user-agents', 'USER AGENT'],
  fingerprints: ['fingerprints', 'FINGERPRINT'],
};
const barCells = 24;

function bar(value: number, greatest: number): string {
  const eighths = Math.round((value / Math.max(1, greatest)) * barCells * 8);
  const rest = eighths % 8;
  return '█'.repeat(Math.floor(eighths / 8)) + (rest ? ' ▏▎▍▌▋▊▉'[rest] : '');
}

/** What a payload family looks like. */
const exampleOf = ({ label, example }: TopDocument): string =>
  [label && printable(label, 80), example && printableBytes(Buffer.from(example, 'base64'), 64)].filter(Boolean).join(': ');

function columns(word: string, by: 'hits' | 'sources', rows: readonly TopDocument[], style: Style): Column<TopDocument>[] {
  const [subject, title] = subjects[word];
  const rank = new Map(rows.map((row, index) => [row, index + 1]));
  const greatest = Math.max(...rows.map((row) => row[by]));
  const strong = (column: 'hits' | 'sources') => (text: string) => (column === by ? style.bold(text) : text);
  return [
    { title: '#', align: 'right', text: (row) => String(rank.get(row)), paint: style.dim },
    { title, text: ({ key }) => printable(key, 200), paint: style.cyan, flexible: subject !== 'families' },
    ...(subject === 'ports' ? [{ title: 'USUALLY', text: ({ key }: TopDocument) => portName(key), paint: style.dim }] : []),
    { title: 'HITS', align: 'right', text: ({ hits }) => renderCount(hits), paint: strong('hits') },
    ...(subject === 'sources'
      ? []
      : [
          {
            title: 'SOURCES',
            align: 'right',
            text: ({ sources }: TopDocument) => renderCount(sources),
            paint: strong('sources'),
          } as const,
        ]),
    { title: '', text: (row) => bar(row[by], greatest), paint: style.cyan },
    ...(subject === 'families' ? [{ title: 'LIKE', text: exampleOf, flexible: true }] : []),
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
      'weir top payloads --since 7d',
    ]),
  )
    .addArgument(new Argument('<subject>', 'what to rank').choices(Object.keys(subjects)))
    .addOption(new Option('--by <figure>', 'what ranks').choices(['hits', 'sources']).default('hits'))
    .action((word: string, options: Options) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const rows = await reader.top(subjects[word][0], options.by, {
            ...filterTextOf(options),
            limit: options.limit ?? '20',
          });
          if (context.json) await context.printJsonLines(rows);
          else if (rows.length === 0) await context.print(nothingYet(word, isFiltered(options), context));
          else await context.printTable(columns(word, options.by, rows, context.style), rows);
          return 0;
        }),
      ),
    );
