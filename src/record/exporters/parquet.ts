// Sessions as a Parquet file, for analytic tools: Elastic Common Schema names, one column a field. The engine writes it beside
// everything else, in a directory of its own that is gone afterwards; the file is given out when it is whole.

import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DuckDBAppender, DuckDBInstance, DuckDBTimestampTZValue, LIST, listValue, VARCHAR } from '@duckdb/node-api';
import type { Micros } from '../../base/clock.ts';
import { asStoreError } from '../duckdb-database.ts';
import { communityId } from './community-id.ts';
import type { SessionCells } from './csv.ts';

type Value = string | number | boolean | readonly string[] | undefined;
type ColumnType = 'VARCHAR' | 'BIGINT' | 'INTEGER' | 'BOOLEAN' | 'VARCHAR[]' | 'TIMESTAMPTZ';
type Column = readonly [name: string, type: ColumnType, value: (cells: SessionCells) => Value];

/** Times are in microseconds, durations in nanoseconds as ECS has them. */
const columns: readonly Column[] = [
  ['@timestamp', 'TIMESTAMPTZ', ({ session }) => session.start],
  ['event.id', 'VARCHAR', ({ session }) => session.id],
  ['event.dataset', 'VARCHAR', () => 'weir.session'],
  ['event.end', 'TIMESTAMPTZ', ({ session }) => session.end],
  ['event.duration', 'BIGINT', ({ session: { start, end } }) => end && (end - start) * 1000],
  ['source.ip', 'VARCHAR', ({ session }) => session.source.ip],
  ['source.port', 'INTEGER', ({ session }) => session.source.port],
  ['source.mac', 'VARCHAR', ({ session }) => session.sourceMac],
  ['source.bytes', 'BIGINT', ({ session }) => session.bytesIn],
  ['source.geo.country_iso_code', 'VARCHAR', ({ place }) => place?.country],
  ['source.as.number', 'BIGINT', ({ place }) => place?.asn],
  ['source.as.organization.name', 'VARCHAR', ({ place }) => place?.organization],
  ['destination.ip', 'VARCHAR', ({ session }) => session.destination.ip],
  ['destination.port', 'INTEGER', ({ session }) => session.destination.port],
  ['destination.bytes', 'BIGINT', ({ session }) => session.bytesOut],
  ['network.transport', 'VARCHAR', ({ session }) => session.transport],
  ['network.protocol', 'VARCHAR', ({ session }) => session.protocol],
  [
    'network.community_id',
    'VARCHAR',
    ({ session: { transport, source, destination } }) => communityId(transport, source, destination),
  ],
  ['tls.client.server_name', 'VARCHAR', ({ session }) => session.tls?.serverName],
  ['tls.client.ja3', 'VARCHAR', ({ session }) => session.tls?.ja3],
  ['tls.client.ja4', 'VARCHAR', ({ session }) => session.tls?.ja4],
  ['user.name', 'VARCHAR', ({ session }) => session.userName],
  ['weir.session.password', 'VARCHAR', ({ session }) => session.password],
  ['weir.session.outcome', 'VARCHAR', ({ session }) => session.outcome],
  ['weir.session.source_reliable', 'BOOLEAN', ({ session }) => session.sourceReliable],
  ['weir.diversion', 'VARCHAR', ({ session }) => session.diversion],
  ['weir.service', 'VARCHAR', ({ session }) => session.service],
  ['weir.persona', 'VARCHAR', ({ session }) => session.persona],
  ['weir.agent', 'VARCHAR', ({ session }) => session.agent],
  ['weir.payload.sha256', 'VARCHAR', ({ session }) => session.payloadHash],
  ['weir.payload.truncated', 'BOOLEAN', ({ session }) => session.truncated],
  ['weir.payload.family', 'VARCHAR', ({ insight }) => insight?.family],
  ['weir.signatures', 'VARCHAR[]', ({ insight }) => insight?.signatures.map(({ rule }) => rule) ?? []],
  ['threat.technique.id', 'VARCHAR[]', ({ insight }) => [...new Set(insight?.signatures.flatMap((hit) => hit.techniques))]],
  ['weir.tags', 'VARCHAR[]', ({ session }) => session.tags ?? []],
];

const texts = LIST(VARCHAR);
/** Rows the engine takes over at once, and that stand together in the file. */
const rowsAtOnce = 5000;
const rowGroup = 50_000;
const pieceBytes = 256 * 1024;

function append(to: DuckDBAppender, type: ColumnType, value: Value): void {
  if (value === undefined) to.appendNull();
  else if (type === 'TIMESTAMPTZ') to.appendTimestampTZ(new DuckDBTimestampTZValue(BigInt(Math.trunc(value as Micros))));
  else if (type === 'BIGINT') to.appendBigInt(BigInt(Math.trunc(value as number)));
  else if (type === 'INTEGER') to.appendInteger(value as number);
  else if (type === 'BOOLEAN') to.appendBoolean(value as boolean);
  else if (type === 'VARCHAR') to.appendVarchar(value as string);
  else to.appendList(listValue([...(value as readonly string[])]), texts);
}

/**
 * The file in pieces of bytes, once all rows are in it: a reader that is slow holds a file, not the store. What it takes on disk
 * is in the system's directory for temporary files. Throws `disk-full`, and what `rows` throws.
 */
export async function* renderParquet(rows: AsyncIterable<SessionCells>): AsyncGenerator<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), 'weir-parquet-'));
  try {
    const file = join(directory, 'sessions.parquet');
    await writeFile(directory, file, rows).catch((error) => {
      throw asStoreError(error);
    });
    yield* createReadStream(file, { highWaterMark: pieceBytes });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeFile(directory: string, file: string, rows: AsyncIterable<SessionCells>): Promise<void> {
  const instance = await DuckDBInstance.create(join(directory, 'rows.duckdb'), {
    threads: '1',
    memory_limit: '96MiB',
    temp_directory: join(directory, 'tmp'),
    checkpoint_threshold: '16MiB',
    preserve_insertion_order: 'false',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  try {
    const connection = await instance.connect();
    try {
      await connection.run(`CREATE TABLE sessions (${columns.map(([name, type]) => `"${name}" ${type}`).join(', ')})`);
      let appender = await connection.createAppender('sessions');
      let count = 0;
      for await (const cells of rows) {
        for (const [, type, value] of columns) append(appender, type, value(cells));
        appender.endRow();
        count += 1;
        if (count % rowsAtOnce !== 0) continue;
        appender.closeSync();
        appender = await connection.createAppender('sessions');
      }
      appender.closeSync();
      const path = file.replaceAll("'", "''");
      await connection.run(`COPY sessions TO '${path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE ${rowGroup})`);
    } finally {
      connection.closeSync();
    }
  } finally {
    instance.closeSync();
  }
}
