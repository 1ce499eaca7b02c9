// Streams what a filter selects, newest first, page by page: memory stays that of one page however much there is.
// What a line looks like is the format's file beside this one; where lines go is the caller's.

import type { Filter, Store } from '../store.ts';
import { renderAlert, renderLine, renderProbe, renderSession, renderSystem } from './jsonl.ts';
import { renderTcppc } from './tcppc.ts';

export const exportFormats = ['jsonl', 'tcppc'] as const;
export type ExportFormat = (typeof exportFormats)[number];

/** What `jsonl` may hold; `tcppc` knows sessions only. */
export type ExportKind = 'sessions' | 'probes' | 'alerts' | 'system';

const pageSize = 500;

/** Lines, newline included. `filter.limit` bounds the records of each kind; without it every record comes. */
export async function* exportLines(
  store: Store,
  format: ExportFormat,
  filter: Omit<Filter, 'limit'> & { readonly limit?: number },
  kinds: readonly ExportKind[] = ['sessions'],
): AsyncGenerator<string> {
  if (format === 'tcppc') {
    for await (const { id } of pages((page) => store.sessions(page), filter)) {
      const stored = await store.session(id);
      if (stored) yield renderTcppc(stored);
    }
    return;
  }
  for (const kind of kinds) {
    if (kind === 'sessions')
      for await (const row of pages((page) => store.sessions(page), filter)) yield renderLine(renderSession(row));
    if (kind === 'probes')
      for await (const row of pages((page) => store.probes(page), filter)) yield renderLine(renderProbe(row));
    if (kind === 'alerts')
      for await (const row of pages((page) => store.alerts(page), filter)) yield renderLine(renderAlert(row));
    if (kind === 'system')
      for await (const row of pages((page) => store.systemEvents(page), filter)) yield renderLine(renderSystem(row));
  }
}

async function* pages<T extends { readonly id: string }>(
  read: (filter: Filter) => Promise<T[]>,
  filter: Omit<Filter, 'limit'> & { readonly limit?: number },
): AsyncGenerator<T> {
  let left = filter.limit ?? Number.POSITIVE_INFINITY;
  let before = filter.before;
  while (left > 0) {
    const limit = Math.min(pageSize, left);
    const rows = await read({ ...filter, limit, ...(before !== undefined && { before }) });
    yield* rows;
    if (rows.length < limit) return;
    left -= rows.length;
    before = rows[rows.length - 1].id;
  }
}
