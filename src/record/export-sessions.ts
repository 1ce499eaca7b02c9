// Pages through a store and renders whole sessions as lines of one export format, in constant memory, newest first.
// What a line looks like is exporters/; who asks is the API or, when no recorder runs, the command.

import { renderMicros } from '../base/clock.ts';
import { sessionDocument } from './documents.ts';
import type { Filter, Store, StoredSession } from './store.ts';

export const exportFormats = ['jsonl', 'tcppc'] as const;
export type ExportFormat = (typeof exportFormats)[number];

const pageRows = 500;
/** Lines are given in pieces of about this size. */
const pieceCharacters = 256 * 1024;

const renderTcppc = ({ session, chunks }: StoredSession): string =>
  JSON.stringify({
    timestamp: renderMicros(session.start),
    flow: {
      proto: session.transport,
      src: session.source.ip,
      sport: session.source.port,
      dst: session.destination.ip,
      dport: session.destination.port,
    },
    payloads: chunks
      .filter((chunk) => chunk.direction === 'in')
      .map((chunk, index) => ({ index, timestamp: renderMicros(chunk.at), data: Buffer.from(chunk.bytes).toString('base64') })),
  });

const renderers: Record<ExportFormat, (stored: StoredSession) => string> = {
  jsonl: ({ session }) => JSON.stringify(sessionDocument(session)),
  tcppc: renderTcppc,
};

/** At most `rows` sessions that pass the filter, as pieces of whole lines. The filter's own limit is the page's. */
export async function* exportLines(
  store: Store,
  format: ExportFormat,
  filter: Filter,
  rows = Number.POSITIVE_INFINITY,
): AsyncGenerator<string, void, void> {
  const render = renderers[format];
  const needsBytes = format !== 'jsonl';
  let left = rows;
  let before = filter.before;
  let piece = '';
  while (left > 0) {
    const limit = Math.min(pageRows, left);
    const page = await store.sessions({ ...filter, limit, ...(before === undefined ? {} : { before }) });
    for (const session of page) {
      const stored = needsBytes ? await store.session(session.id) : { session, chunks: [] };
      if (!stored) continue;
      piece += `${render(stored)}\n`;
      if (piece.length >= pieceCharacters) {
        yield piece;
        piece = '';
      }
    }
    left -= page.length;
    before = page.at(-1)?.id;
    if (page.length < limit) break;
  }
  if (piece !== '') yield piece;
}
