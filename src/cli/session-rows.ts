// Sessions as rows of a table: the columns that `sessions` and `sessions --follow` share. Pure.

import { parseMicros } from '../base/clock.ts';
import { printable, printableBytes } from '../base/printable.ts';
import type { SessionDocument } from '../record/documents.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { renderAgo, renderBytes, renderEndpoint, renderMoment } from './wording.ts';

/** What one look at a session tells: who it said it was, or its first bytes. */
export function previewOf(session: SessionDocument): string {
  const parts: string[] = [];
  if (session.user?.name !== undefined)
    parts.push(
      `${printable(session.user.name, 40)}${session.weir.password === undefined ? '' : `:${printable(session.weir.password, 40)}`}`,
    );
  if (session.tls?.client.server_name) parts.push(`sni=${printable(session.tls.client.server_name, 60)}`);
  if (session.weir.payload.preview) parts.push(printableBytes(Buffer.from(session.weir.payload.preview, 'base64')));
  if (parts.length > 0) return parts.join(' ');
  return session.weir.session.chunks === 0 && session.weir.session.outcome !== 'open' ? '(said nothing)' : '';
}

const ranks: Readonly<Record<string, number>> = { high: 0, medium: 1, low: 2, info: 3 };

/** The rules a session matched, the gravest first: two by name. */
export function marksOf({ weir }: SessionDocument): string {
  const grave = [...(weir.signatures ?? [])].sort((a, b) => ranks[a.severity] - ranks[b.severity]);
  const shown = grave.slice(0, 2).map(({ id }) => printable(id, 40));
  return `${shown.join(' ')}${grave.length > 2 ? ` +${grave.length - 2}` : ''}`;
}

/**
 * Without `now` there is no column that ages: rows printed one by one. What analysis adds has columns where `rows` have it, or
 * where they are not known yet.
 */
export function sessionColumns(
  style: Style,
  now: number | undefined,
  rows: readonly SessionDocument[] | undefined,
): Column<SessionDocument>[] {
  const marked = rows === undefined || rows.some(({ weir }) => weir.signatures !== undefined);
  const placed = rows === undefined || rows.some(({ source }) => source.geo !== undefined);
  const attention = new Set(['shed', 'interrupted', 'byte-limit']);
  return [
    { title: 'SESSION', text: ({ weir }) => printable(weir.session.id, 32), paint: style.dim },
    {
      title: 'TIME (UTC)',
      text: (row) => renderMoment(parseMicros(row['@timestamp']), now ?? parseMicros(row['@timestamp'])),
      minimum: 8,
    },
    ...(now === undefined
      ? []
      : [
          {
            title: 'AGO',
            align: 'right',
            text: (row: SessionDocument) => renderAgo(parseMicros(row['@timestamp']), now),
          } as const,
        ]),
    {
      title: 'SOURCE',
      text: ({ source, weir }) =>
        `${printable(renderEndpoint(source.ip, source.port), 64)}${weir.session.source_reliable ? '' : '?'}`,
      paint: style.cyan,
      minimum: 21,
    },
    ...(placed
      ? [{ title: 'FROM', text: ({ source }: SessionDocument) => printable(source.geo?.country_iso_code ?? '-', 4) }]
      : []),
    {
      title: 'DECOY',
      text: ({ destination, network }) =>
        printable(`${renderEndpoint(destination.ip, destination.port)}/${network.transport}`, 64),
      minimum: 21,
    },
    { title: 'PROTOCOL', text: ({ network }) => printable(network.protocol ?? '-', 20), paint: style.bold, minimum: 8 },
    { title: 'IN', align: 'right', text: ({ source }) => renderBytes(source.bytes), minimum: 6 },
    { title: 'OUT', align: 'right', text: ({ destination }) => renderBytes(destination.bytes), minimum: 6 },
    {
      title: 'END',
      text: ({ weir }) => weir.session.outcome,
      paint: (text, { weir }) =>
        weir.session.outcome === 'open'
          ? style.green(text)
          : attention.has(weir.session.outcome)
            ? style.yellow(text)
            : style.dim(text),
      minimum: 13,
    },
    ...(marked
      ? [{ title: 'MARKS', text: (row: SessionDocument) => marksOf(row) || '-', paint: style.yellow, minimum: 12 }]
      : []),
    { title: 'FIRST BYTES', text: previewOf, flexible: true },
  ];
}
