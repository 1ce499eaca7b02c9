// Sessions with their bytes out of the embedded store: one by its identifier, or those of a page with few questions. Where
// the bytes are is duckdb-apply.ts; which partitions there are duckdb-store.ts.

import { identifierTime } from '../model/identifier.ts';
import type { Chunk } from '../model/session.ts';
import { type DuckDbApplier, rowBytes } from './duckdb-apply.ts';
import type { PartitionSource, Sql } from './duckdb-query.ts';
import { readSummary, summaryColumns } from './duckdb-schema.ts';
import type { SessionSummary, StoredSession } from './store.ts';

/** Together with what one session may have, the memory that one question takes. */
const batchBytes = 4 * 1024 * 1024;
const batchSessions = 500;

type Ask = (sql: Sql) => Promise<unknown[][]>;

export async function readSession(
  sources: readonly PartitionSource[],
  applier: DuckDbApplier,
  ask: Ask,
  id: string,
): Promise<StoredSession | undefined> {
  // Those first that have records of its time; an identifier without one may be anywhere.
  const at = identifierTime(id);
  const holds = ({ earliest, latest }: PartitionSource): number => (earliest <= at && at <= latest ? 0 : 1);
  for (const { catalog, hasOpen } of [...sources].sort((a, b) => holds(a) - holds(b))) {
    const bytes = 'packed, in_body, out_body';
    const parts = [`SELECT ${summaryColumns}, ${bytes}, 1 AS final FROM ${catalog}.sessions WHERE id = $1`];
    if (hasOpen) parts.push(`SELECT ${summaryColumns}, ${bytes}, 0 AS final FROM ${catalog}.open_records WHERE id = $1`);
    const text = `SELECT * FROM (${parts.join(' UNION ALL ')}) ORDER BY final DESC, sequence DESC LIMIT 1`;
    const [row] = await ask({ text, values: [id] });
    if (!row) continue;
    const session = readSummary(row);
    const [packed, inBody, outBody] = row.slice(-4);
    const pieces = await applier.readPieces(catalog, id, session.start);
    const own = await applier.unpack(rowBytes(packed, inBody, outBody), session.start);
    return { session, chunks: [...pieces.flat(), ...own] };
  }
  return undefined;
}

/** The same sessions in the same order, with their chunks; what retention dropped meanwhile has none. */
export async function* readStored(
  sources: readonly PartitionSource[],
  applier: DuckDbApplier,
  ask: Ask,
  sessions: readonly SessionSummary[],
): AsyncGenerator<StoredSession> {
  for (const batch of batches(sessions)) {
    const chunks = await readChunks(sources, applier, ask, batch);
    for (const session of batch) yield { session, chunks: chunks.get(session.id) ?? [] };
  }
}

function* batches(sessions: readonly SessionSummary[]): Generator<SessionSummary[]> {
  let batch: SessionSummary[] = [];
  let bytes = 0;
  for (const session of sessions) {
    batch.push(session);
    bytes += session.bytesIn + session.bytesOut;
    if (bytes < batchBytes && batch.length < batchSessions) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

async function readChunks(
  sources: readonly PartitionSource[],
  applier: DuckDbApplier,
  ask: Ask,
  batch: readonly SessionSummary[],
): Promise<ReadonlyMap<string, readonly Chunk[]>> {
  const starts = new Map(batch.map(({ id, start }) => [id, start]));
  const ids = [...starts.keys()].sort();
  const times = batch.map(({ start }) => start);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const found = new Map<string, Chunk[]>();
  for (const { catalog, earliest, latest } of sources) {
    if (latest < first || earliest > last) continue;
    const wanted = `id BETWEEN $1 AND $2 AND id IN (SELECT unnest(string_split($3, ',')))`;
    const bytes = 'packed, in_body, out_body';
    // A session's own row has its only chunks, or those after its pieces.
    const text = `SELECT id, first_chunk, ${bytes} FROM ${catalog}.pieces WHERE ${wanted}
      UNION ALL SELECT id, 4294967295 AS first_chunk, ${bytes} FROM ${catalog}.sessions WHERE ${wanted} AND packed IS NOT NULL
      ORDER BY id, first_chunk`;
    for (const [id, , packed, inBody, outBody] of await ask({ text, values: [ids[0], ids[ids.length - 1], ids.join(',')] })) {
      const chunks = await applier.unpack(rowBytes(packed, inBody, outBody), starts.get(String(id)) ?? 0);
      const before = found.get(String(id));
      if (before) before.push(...chunks);
      else found.set(String(id), chunks);
    }
  }
  return found;
}
