// Attackers and verdicts as rows of tables: the columns that `attackers`, `attacker` and `verdicts` share. Pure.

import { parseMicros } from '../base/clock.ts';
import { printable } from '../base/printable.ts';
import type { AttackerDocument, PlaceDocument, VerdictDocument } from '../record/insight-documents.ts';
import type { Style } from './style.ts';
import type { Column } from './table.ts';
import { renderAgo, renderCount, renderDuration, renderMoment } from './wording.ts';

const listed = (values: readonly string[], most: number): string => {
  const shown = values
    .slice(0, most)
    .map((value) => printable(value, 48))
    .join(', ');
  return values.length > most ? `${shown} +${values.length - most}` : shown;
};

/** `AS64500 Example Net`; empty when it is not known. */
export function networkText(place: PlaceDocument): string {
  if (!place.as) return '';
  const { number, organization } = place.as;
  return `AS${number}${organization ? ` ${printable(organization.name, 60)}` : ''}`;
}

/** `NL, AS64500 Example Net`. */
export const placeText = (place: PlaceDocument): string =>
  [place.geo && printable(place.geo.country_iso_code, 4), networkText(place)].filter(Boolean).join(', ');

export const attackerColumns = (style: Style, now: number): Column<AttackerDocument>[] => [
  { title: 'SOURCE', text: ({ source }) => printable(source.ip, 45), paint: style.cyan },
  { title: 'IN', text: ({ source }) => printable(source.geo?.country_iso_code ?? '-', 4) },
  { title: 'LAST SEEN', text: ({ event }) => renderMoment(parseMicros(event.end), now) },
  { title: 'AGO', align: 'right', text: ({ event }) => renderAgo(parseMicros(event.end), now) },
  {
    title: 'FOR',
    align: 'right',
    text: ({ event }) => renderDuration(Math.max(0, parseMicros(event.end) - parseMicros(event.start))),
    paint: style.dim,
  },
  { title: 'SESSIONS', align: 'right', text: ({ weir }) => renderCount(weir.attacker.sessions) },
  { title: 'PROBES', align: 'right', text: ({ weir }) => renderCount(weir.attacker.probes) },
  { title: 'PORTS', align: 'right', text: ({ weir }) => renderCount(weir.attacker.ports) },
  { title: 'DECOYS', align: 'right', text: ({ weir }) => renderCount(weir.attacker.decoys) },
  { title: 'BEHAVIOUR', text: ({ weir }) => listed(weir.attacker.behaviours, 3) || '-', paint: style.bold },
  { title: 'TOOLS', text: ({ weir }) => listed(weir.attacker.tools, 2) || '-' },
  { title: 'SIGNATURES, NETWORK', text: signaturesAndNetwork, flexible: true },
];

const signaturesAndNetwork = ({ weir, source }: AttackerDocument): string =>
  [listed(weir.attacker.signatures, 3), networkText(source)].filter((text) => text !== '').join('; ') || '-';

export const paintSeverity = (style: Style, severity: string): ((text: string) => string) =>
  severity === 'high' ? style.red : severity === 'medium' ? style.yellow : style.dim;

/** `10.66.3.4:22/tcp`, `port 22/tcp`, `10.66.3.4`, or empty when it is about many. */
export function targetText({ destination, network }: VerdictDocument): string {
  const port = destination?.port === undefined ? '' : `${destination.port}${network.transport ? `/${network.transport}` : ''}`;
  const ip = destination?.ip === undefined ? '' : printable(destination.ip, 45);
  if (ip === '') return port === '' ? '' : `port ${port}`;
  return port === '' ? ip : `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;
}

export const verdictColumns = (style: Style, now: number): Column<VerdictDocument>[] => [
  { title: 'TIME (UTC)', text: (row) => renderMoment(parseMicros(row['@timestamp']), now) },
  { title: 'AGO', align: 'right', text: (row) => renderAgo(parseMicros(row.event.end), now) },
  {
    title: 'SEVERITY',
    text: ({ weir }) => weir.verdict.severity,
    paint: (text, { weir }) => paintSeverity(style, weir.verdict.severity)(text),
  },
  { title: 'BEHAVIOUR', text: ({ weir }) => printable(weir.verdict.behaviour, 40), paint: style.bold },
  { title: 'SURE', text: ({ weir }) => weir.verdict.confidence, paint: style.dim },
  { title: 'SOURCE', text: ({ source }) => printable(source.ip, 45), paint: style.cyan },
  { title: 'IN', text: ({ source }) => printable(source.geo?.country_iso_code ?? '-', 4) },
  { title: 'AT', text: (row) => targetText(row) || '-' },
  { title: 'TOOL', text: ({ weir }) => printable(weir.verdict.tool ?? '-', 24) },
  { title: 'EVIDENCE', text: ({ weir }) => evidenceText(weir.verdict.evidence), flexible: true },
];

const evidenceText = ([first, ...rest]: readonly string[]): string =>
  first === undefined ? '-' : `${printable(first, 300)}${rest.length > 0 ? ` (+${rest.length})` : ''}`;
