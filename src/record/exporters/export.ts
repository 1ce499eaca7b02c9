// Streams what a filter selects, newest first, page by page: memory stays that of one page however much there is.
// What a line looks like is the format's file beside this one; where lines go is the caller's.

import type { AnalysisStore } from '../analysis-store.ts';
import { readMarks, readPlaces } from '../session-marks.ts';
import type { Filter, Store } from '../store.ts';
import { renderAlert, renderLine, renderProbe, renderSession, renderSystem, renderVerdict } from './jsonl.ts';
import { renderTcppc } from './tcppc.ts';

export const exportFormats = ['jsonl', 'tcppc'] as const;
export type ExportFormat = (typeof exportFormats)[number];

/** What `jsonl` may hold; `tcppc` knows sessions only. */
export type ExportKind = 'sessions' | 'probes' | 'alerts' | 'verdicts' | 'system';

export const exportKinds: readonly ExportKind[] = ['sessions', 'probes', 'alerts', 'verdicts', 'system'];

const pageSize = 500;

/** Lines, newline included. `filter.limit` bounds the records of each kind; without it every record comes. */
export async function* exportLines(
  store: Store & AnalysisStore,
  format: ExportFormat,
  filter: Omit<Filter, 'limit'> & { readonly limit?: number },
  kinds: readonly ExportKind[] = ['sessions'],
): AsyncGenerator<string> {
  if (format === 'tcppc') {
    for await (const rows of pages((page) => store.sessions(page), filter))
      for (const { id } of rows) {
        const stored = await store.session(id);
        if (stored) yield renderTcppc(stored);
      }
    return;
  }
  for (const kind of kinds) {
    if (kind === 'sessions')
      for await (const rows of pages((page) => store.sessions(page), filter)) {
        const marksOf = await readMarks(store, rows);
        for (const row of rows) yield renderLine(renderSession(row, marksOf(row)));
      }
    if (kind === 'verdicts')
      for await (const rows of pages((page) => store.verdicts(page), filter)) {
        const placeOf = await readPlaces(
          store,
          rows.map(({ source }) => source),
        );
        for (const row of rows) yield renderLine(renderVerdict(row, placeOf(row.source)));
      }
    if (kind === 'probes')
      for await (const rows of pages((page) => store.probes(page), filter))
        for (const row of rows) yield renderLine(renderProbe(row));
    if (kind === 'alerts')
      for await (const rows of pages((page) => store.alerts(page), filter))
        for (const row of rows) yield renderLine(renderAlert(row));
    if (kind === 'system')
      for await (const rows of pages((page) => store.systemEvents(page), filter))
        for (const row of rows) yield renderLine(renderSystem(row));
  }
}

async function* pages<T extends { readonly id: string }>(
  read: (filter: Filter) => Promise<T[]>,
  filter: Omit<Filter, 'limit'> & { readonly limit?: number },
): AsyncGenerator<readonly T[]> {
  let left = filter.limit ?? Number.POSITIVE_INFINITY;
  let before = filter.before;
  while (left > 0) {
    const limit = Math.min(pageSize, left);
    const rows = await read({ ...filter, limit, ...(before !== undefined && { before }) });
    yield rows;
    if (rows.length < limit) return;
    left -= rows.length;
    before = rows[rows.length - 1].id;
  }
}
