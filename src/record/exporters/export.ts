// Streams what a filter selects, newest first, page by page: memory stays that of one page however much there is.
// What a line looks like is the format's file beside this one; where lines go is the caller's.

import type { Micros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import { readMarks, readPlaces, type SessionMarks } from '../session-marks.ts';
import type { Filter, SessionFilter, SessionSummary, Store } from '../store.ts';
import { renderBlocklist } from './blocklist.ts';
import { renderAlertCef, renderSignatureCef, renderVerdictCef } from './cef.ts';
import { renderCowrie } from './cowrie.ts';
import { csvHead, renderCsv, type SessionCells } from './csv.ts';
import { renderEve } from './eve.ts';
import { gatherIndicators } from './indicators.ts';
import { renderAlert, renderLine, renderProbe, renderSession, renderSystem, renderVerdict } from './jsonl.ts';
import { renderMisp } from './misp.ts';
import { renderParquet } from './parquet.ts';
import { pieces } from './pieces.ts';
import { renderStix } from './stix.ts';
import { renderTcppc } from './tcppc.ts';

/** Each with what it holds, for `--help`. */
export const exportFormats = {
  jsonl: 'records as Elastic Common Schema documents, one a line',
  tcppc: 'sessions with their payloads, as tcppc-go writes them',
  cowrie: 'sessions as Cowrie logs them, one line for each thing that happened',
  eve: "sessions as Suricata's EVE flow lines, an alert line for each signature",
  csv: 'sessions as a table',
  parquet: 'sessions as a Parquet file, with Elastic Common Schema names',
  cef: 'verdicts, signatures and alerts as ArcSight Common Event Format',
  blocklist: 'addresses of sources that did harm, one a line',
  stix: 'indicators as a STIX 2.1 bundle',
  misp: 'indicators as one MISP event',
} as const;

export type ExportFormat = keyof typeof exportFormats;

/** What `jsonl` may hold; the others hold what they hold. */
export type ExportKind = 'sessions' | 'probes' | 'alerts' | 'verdicts' | 'system';

export const exportKinds: readonly ExportKind[] = ['sessions', 'probes', 'alerts', 'verdicts', 'system'];

/** All of a filter but its limit, which bounds the records of each kind; without it every record comes. */
export type ExportFilter = Omit<SessionFilter, 'limit'> & { readonly limit?: number };

/** Of lines; Parquet is bytes. */
export type LineFormat = Exclude<ExportFormat, 'parquet'>;

/** What hold sessions and nothing else: what analysis found in sessions can select in these alone. */
const ofSessions: readonly ExportFormat[] = ['jsonl', 'tcppc', 'cowrie', 'eve', 'csv', 'parquet'];

/**
 * An export in pieces worth sending, `made` being the present. Throws what the store throws, and `disk-full` when Parquet has no
 * room.
 */
export async function* exportPieces(
  store: Store,
  format: ExportFormat,
  filter: ExportFilter,
  made: Micros,
  kinds: readonly ExportKind[] = ['sessions'],
): AsyncGenerator<string | Uint8Array, void, void> {
  if (format === 'parquet') yield* renderParquet(cellsOf(store, filter));
  else yield* pieces(exportLines(store, format, filter, made, kinds));
}

/** Throws `bad-request` where `findings` could not select. */
export function checkFindings(findings: Partial<SessionFilter>, format: ExportFormat, kinds: readonly ExportKind[]): void {
  const [key] = Object.entries(findings).find(([, value]) => value !== undefined) ?? [];
  if (key === undefined || (ofSessions.includes(format) && kinds.every((kind) => kind === 'sessions'))) return;
  throw new WeirError('bad-request', `${key}: selects sessions, and ${format} would hold other records`, { parameter: key });
}

async function* cellsOf(store: Store, filter: ExportFilter): AsyncGenerator<SessionCells> {
  for await (const { session, marks } of judged(store, filter)) yield { session, ...marks };
}

const pageSize = 500;

/** Pieces of text that are whole lines, `made` being the present. Throws what the store throws. */
export async function* exportLines(
  store: Store,
  format: LineFormat,
  filter: ExportFilter,
  made: Micros,
  kinds: readonly ExportKind[] = ['sessions'],
): AsyncGenerator<string> {
  switch (format) {
    case 'jsonl':
      for (const kind of kinds) yield* documents(store, kind, filter);
      return;
    case 'tcppc':
      for await (const page of wholePages((part) => store.sessions(part), filter))
        for await (const stored of store.stored(page)) yield renderTcppc(stored);
      return;
    case 'cowrie':
      for await (const { session, marks } of judged(store, filter)) yield renderCowrie(session, marks.insight);
      return;
    case 'eve':
      for await (const { session, marks } of judged(store, filter)) yield renderEve(session, marks.insight);
      return;
    case 'csv':
      yield csvHead;
      for await (const { session, marks } of judged(store, filter)) yield renderCsv({ session, ...marks });
      return;
    case 'cef':
      for await (const verdict of pages((page) => store.verdicts(page), filter)) yield renderVerdictCef(verdict);
      for await (const { session, marks } of judged(store, filter))
        for (const hit of marks.insight?.signatures ?? []) yield renderSignatureCef(session, hit);
      for await (const alert of pages((page) => store.alerts(page), filter)) yield renderAlertCef(alert);
      return;
    case 'blocklist':
      yield* renderBlocklist(await gatherIndicators(store, filter), made);
      return;
    case 'stix':
      yield* renderStix(await gatherIndicators(store, filter), made);
      return;
    case 'misp':
      yield* renderMisp(await gatherIndicators(store, filter), made);
  }
}

async function* documents(store: Store, kind: ExportKind, filter: ExportFilter): AsyncGenerator<string> {
  if (kind === 'sessions')
    for await (const { session, marks } of judged(store, filter)) yield renderLine(renderSession(session, marks));
  if (kind === 'verdicts')
    for await (const page of wholePages((part) => store.verdicts(part), filter)) {
      const placeOf = await readPlaces(
        store,
        page.map(({ source }) => source),
      );
      for (const verdict of page) yield renderLine(renderVerdict(verdict, placeOf(verdict.source)));
    }
  if (kind === 'probes') for await (const row of pages((page) => store.probes(page), filter)) yield renderLine(renderProbe(row));
  if (kind === 'alerts') for await (const row of pages((page) => store.alerts(page), filter)) yield renderLine(renderAlert(row));
  if (kind === 'system')
    for await (const row of pages((page) => store.systemEvents(page), filter)) yield renderLine(renderSystem(row));
}

interface Judged {
  readonly session: SessionSummary;
  readonly marks: SessionMarks;
}

/** Sessions with what was found in them. */
async function* judged(store: Store, filter: ExportFilter): AsyncGenerator<Judged> {
  for await (const page of wholePages((part) => store.sessions(part), filter)) {
    const marksOf = await readMarks(store, page);
    for (const session of page) yield { session, marks: marksOf(session) };
  }
}

type Read<T> = (filter: Filter) => Promise<T[]>;

async function* pages<T extends { readonly id: string }>(read: Read<T>, filter: ExportFilter): AsyncGenerator<T> {
  for await (const page of wholePages(read, filter)) yield* page;
}

async function* wholePages<T extends { readonly id: string }>(read: Read<T>, filter: ExportFilter): AsyncGenerator<T[]> {
  let left = filter.limit ?? Number.POSITIVE_INFINITY;
  let before = filter.before;
  while (left > 0) {
    const limit = Math.min(pageSize, left);
    const rows = await read({ ...filter, limit, ...(before !== undefined && { before }) });
    if (rows.length > 0) yield rows;
    if (rows.length < limit) return;
    left -= rows.length;
    before = rows[rows.length - 1].id;
  }
}
