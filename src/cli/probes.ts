// `weir probes`: packets that never became a session: scans, pings, knocks on closed ports.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { ProbeDocument } from '../record/documents.ts';
import { nothingYet } from './advice.ts';
import type { CommonOptions } from './command-context.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { type FilterOptions, filterTextOf, isFiltered, type Verb, verbCommand, withFilter } from './verb.ts';
import { plural, renderAgo, renderCount, renderMoment } from './wording.ts';

/** `10.66.0.1: 22 23 80 | 10.66.0.2: 22 | 509 more`, at most six decoys with eight ports each. */
function targetsOf({ weir }: ProbeDocument): string {
  const ports = new Map<string, string[]>();
  for (const target of weir.probe.targets) {
    const list = ports.get(target.ip) ?? [];
    ports.set(target.ip, list);
    list.push(target.transport === 'icmp' ? 'ping' : target.transport === 'udp' ? `${target.port}/udp` : String(target.port));
  }
  const shown: string[] = [];
  let rest = weir.probe.unlisted;
  for (const [ip, list] of ports) {
    if (shown.length < 6) {
      shown.push(`${printable(ip, 45)}: ${list.slice(0, 8).join(' ')}${list.length > 8 ? ` +${list.length - 8}` : ''}`);
    } else rest += list.length;
  }
  if (rest > 0) shown.push(`${renderCount(rest)} more`);
  return shown.join(' | ');
}

const kindsOf = ({ weir }: ProbeDocument): string => [...new Set(weir.probe.targets.map(({ kind }) => kind))].join(',');

const columns = (style: Style, now: number): Column<ProbeDocument>[] => [
  { title: 'TIME (UTC)', text: (row) => renderMoment(parseMicros(row['@timestamp']), now) },
  { title: 'AGO', align: 'right', text: (row) => renderAgo(parseMicros(row['@timestamp']), now) },
  { title: 'SOURCE', text: ({ source }) => printable(source.ip, 45), paint: style.cyan },
  { title: 'PACKETS', align: 'right', text: ({ source }) => renderCount(source.packets) },
  { title: 'KIND', text: kindsOf, paint: style.bold },
  { title: 'FROM', text: ({ weir }) => printable(weir.syn?.system ?? '-', 24), paint: style.dim },
  { title: 'TARGETS', text: targetsOf, flexible: true },
];

export const probesVerb: Verb = (run) =>
  withFilter(
    verbCommand('probes', 'packets that never became a session, newest first', [
      'weir probes --since 15m',
      'weir probes --source 203.0.113.9 --json',
    ]),
  ).action((options: CommonOptions & FilterOptions) =>
    run(options, (context) =>
      context.read(async (reader) => {
        const page = await reader.probes({ ...filterTextOf(options), limit: options.limit ?? '50' });
        if (context.json) await context.printJsonLines(page.items);
        else if (page.items.length === 0) await context.print(nothingYet('probes', isFiltered(options), context));
        else {
          await context.printTable(columns(context.style, context.now), page.items);
          await context.note(
            `${plural(page.items.length, 'record')}: one per source and second${page.next ? `; older ones: --before ${page.next}` : ''}`,
          );
        }
        return 0;
      }),
    ),
  );
