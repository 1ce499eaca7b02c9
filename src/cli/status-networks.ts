// The parts of `weir status` that tell of diversions, their networks, what those stand on, and what was put right there.
// Long lists are cut for people; `--json` has them whole.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AnnexReport, DiversionStatus, NetworkStatus, RepairStatus } from '../model/status.ts';
import type { CommandContext } from './command-context.ts';
import { type Column, renderTable } from './table.ts';
import { plural, renderAgo, renderCount } from './wording.ts';

/** As many segments as fit a screen. */
const maxRows = 40;
const maxAnnexLines = 16;

const line = (text: unknown): string => printable(String(text), 1000);
const listed = (texts: readonly string[]): string =>
  `${texts.slice(0, 4).map(line).join(', ')}${texts.length > 4 ? `, ${texts.length - 4} more` : ''}`;

function table<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  what: string,
  { style, width }: CommandContext,
): string[] {
  const lines = renderTable(columns, rows.slice(0, maxRows), { paintTitle: style.dim, width });
  if (rows.length > maxRows) lines.push(style.dim(`and ${plural(rows.length - maxRows, `more ${what}`)}: --json lists all`));
  return lines;
}

export function diversionRows(diversions: readonly DiversionStatus[], context: CommandContext): string[] {
  const { style } = context;
  return table(
    [
      { title: 'DIVERSION', text: ({ name }) => line(name), paint: style.bold },
      { title: 'KIND', text: ({ kind }) => line(kind) },
      { title: 'INTERFACE', text: (row) => line(row.interface ?? row.network?.attachment ?? '-') },
      { title: 'DECOYS', align: 'right', text: ({ decoys }) => renderCount(decoys) },
      { title: 'GIVEN BACK', align: 'right', text: ({ withheld }) => String(withheld?.length ?? 0) },
      { title: 'ADDRESSES', text: ({ ranges, source }) => listed([...(source ? [source] : []), ...ranges]), flexible: true },
    ],
    diversions,
    'diversion',
    context,
  );
}

/** Where the segments live; an empty line before, nothing without segments. */
export function networkRows(diversions: readonly DiversionStatus[], context: CommandContext): string[] {
  const networks = diversions.flatMap(({ name, network }) => (network ? [{ name, ...network }] : []));
  if (networks.length === 0) return [];
  const columns: Column<{ readonly name: string } & NetworkStatus>[] = [
    { title: 'SEGMENT', text: ({ name }) => line(name), paint: context.style.bold },
    { title: 'NAMESPACE', text: ({ netns }) => line(netns) },
    { title: 'MTU', align: 'right', text: ({ mtu }) => String(mtu) },
    { title: 'GATEWAY', text: ({ gateways }) => listed(gateways ?? []) || '-' },
    { title: "WEIR'S ADDRESS", text: ({ addresses }) => listed(addresses), flexible: true },
  ];
  return ['', ...table(columns, networks, 'segment', context)];
}

/** Lines of an annex below its name; reasons that the status has said already are not said again. */
export function annexFacts(
  { name, lines, reasons }: AnnexReport,
  said: readonly string[],
  { style }: CommandContext,
): [string, string][] {
  const texts = [
    ...lines.slice(0, maxAnnexLines).map(line),
    ...(lines.length > maxAnnexLines
      ? [style.dim(`and ${plural(lines.length - maxAnnexLines, 'more line')}: --json has all`)]
      : []),
    ...reasons.filter((reason) => !said.includes(reason)).map((reason) => style.yellow(line(reason))),
  ];
  return texts.map((text, index) => [index === 0 ? line(name) : '', text]);
}

export function describeRepairs({ count, failures = 0, last }: RepairStatus, { style, now }: CommandContext): string {
  const parts = [count === 0 ? 'nothing' : plural(count, 'time')];
  if (last) {
    const ago = renderAgo(parseMicros(last.at), now);
    parts.push(`last ${ago}${ago === 'now' ? '' : ' ago'}: ${line(last.message)}`);
  }
  if (failures > 0) parts.push(style.yellow(plural(failures, 'failed attempt')));
  return parts.join(', ');
}
