// The tables of one partition of the embedded store and how records become rows and rows summaries. No connection, no
// transaction: that is duckdb-store.ts; conditions are duckdb-query.ts.

import type { DuckDBAppender } from '@duckdb/node-api';
import type { Fact } from '../model/fact.ts';
import type { Credential, SessionRecord, SynDetails, TlsDetails } from '../model/session.ts';
import { aggregateTables, renewAggregates } from './duckdb-aggregate-schema.ts';
import { insightTables } from './duckdb-insight-schema.ts';
import { appendBytes, appendKey, appendText, type RowBytes } from './duckdb-row.ts';
import type { SessionSummary } from './store.ts';

export const schemaVersion = 7;

const sessionColumns = `id VARCHAR, sequence UINTEGER, start BIGINT, ended BIGINT, outcome VARCHAR, transport VARCHAR,
  source VARCHAR, source_key UHUGEINT, source_port USMALLINT, destination VARCHAR, destination_key UHUGEINT,
  destination_port USMALLINT, source_reliable BOOLEAN, source_mac VARCHAR, diversion VARCHAR, service VARCHAR,
  persona VARCHAR, agent VARCHAR, protocol VARCHAR, user_name VARCHAR, password VARCHAR, tags VARCHAR,
  bytes_in BIGINT, bytes_out BIGINT, truncated BOOLEAN, chunk_count UINTEGER, payload_hash VARCHAR, preview BLOB,
  syn VARCHAR, tls_version VARCHAR, tls_server_name VARCHAR, tls_ja3 VARCHAR, tls_ja4 VARCHAR, tls_alpn VARCHAR,
  writer VARCHAR, recorded_at BIGINT, packed BLOB, in_body VARCHAR, out_body VARCHAR,
  connect_micros BIGINT, first_byte_micros BIGINT, credentials VARCHAR, facts VARCHAR`;

/**
 * `sessions` holds those that ended, one row each, written once. `open_records` is a log: the newest row of an id is its
 * state. `pieces` holds the chunks of sessions that took several records. No index: identifiers sort by time, so the
 * engine's row-group statistics find them.
 */
export const createTables: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS sessions (${sessionColumns})`,
  `CREATE TABLE IF NOT EXISTS open_records (${sessionColumns})`,
  `CREATE TABLE IF NOT EXISTS pieces (id VARCHAR, first_chunk UINTEGER, packed BLOB, in_body VARCHAR, out_body VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS probes (id VARCHAR, start BIGINT, source VARCHAR, source_key UHUGEINT, diversion VARCHAR,
    packets BIGINT, body BLOB)`,
  `CREATE TABLE IF NOT EXISTS targets (id VARCHAR, start BIGINT, source VARCHAR, source_key UHUGEINT, diversion VARCHAR,
    ip VARCHAR, ip_key UHUGEINT, port USMALLINT, transport VARCHAR, kind VARCHAR, packets BIGINT)`,
  `CREATE TABLE IF NOT EXISTS alerts (id VARCHAR, start BIGINT, name VARCHAR, body BLOB)`,
  `CREATE TABLE IF NOT EXISTS system_events (id VARCHAR, start BIGINT, name VARCHAR, body BLOB)`,
  ...insightTables,
  ...aggregateTables,
  `CREATE TABLE IF NOT EXISTS format (version INTEGER)`,
];

/** What makes a partition of an earlier format one of the next, by its number. New columns stand last, as in `createTables`. */
export const migrations: Readonly<Record<number, readonly string[]>> = {
  1: ['sessions', 'open_records'].flatMap((table) =>
    ['connect_micros', 'first_byte_micros'].map((column) => `ALTER TABLE ${table} ADD COLUMN ${column} BIGINT`),
  ),
  2: ['sessions', 'open_records'].flatMap((table) =>
    ['credentials', 'facts'].map((column) => `ALTER TABLE ${table} ADD COLUMN ${column} VARCHAR`),
  ),
  3: insightTables,
  4: aggregateTables,
  5: renewAggregates,
  6: renewAggregates,
};

export const tables = [
  'sessions',
  'open_records',
  'pieces',
  'probes',
  'targets',
  'alerts',
  'system_events',
  'insights',
  'verdicts',
] as const;
export type TableName = (typeof tables)[number];

/** Columns a summary is read from, in order. */
export const summaryColumns = [
  'id',
  'sequence',
  'start',
  'ended',
  'outcome',
  'transport',
  'source',
  'source_port',
  'destination',
  'destination_port',
  'source_reliable',
  'source_mac',
  'diversion',
  'service',
  'persona',
  'agent',
  'protocol',
  'user_name',
  'password',
  'tags',
  'bytes_in',
  'bytes_out',
  'truncated',
  'chunk_count',
  'payload_hash',
  'preview',
  'syn',
  'tls_version',
  'tls_server_name',
  'tls_ja3',
  'tls_ja4',
  'tls_alpn',
  'writer',
  'recorded_at',
  'connect_micros',
  'first_byte_micros',
  'credentials',
  'facts',
].join(', ');

const json = (value: unknown): string | undefined => (value === undefined ? undefined : JSON.stringify(value));
const whole = (value: number): bigint => BigInt(Math.trunc(value));

function appendNumber(appender: DuckDBAppender, value: number | undefined): void {
  if (value === undefined) appender.appendNull();
  else appender.appendBigInt(whole(value));
}

/** What a row has beside the newest record's facts. */
export interface RowExtra {
  readonly chunkCount: number;
  readonly payloadHash: string | undefined;
  readonly preview: Uint8Array | undefined;
}

export function appendSession(appender: DuckDBAppender, session: SessionRecord, extra: RowExtra, bytes: RowBytes): void {
  appender.appendVarchar(session.id);
  appender.appendUInteger(Math.min(session.sequence, 0xffffffff));
  appender.appendBigInt(whole(session.start));
  appendNumber(appender, session.end);
  appender.appendVarchar(session.outcome);
  appender.appendVarchar(session.transport);
  appender.appendVarchar(session.source.ip);
  appendKey(appender, session.source.ip);
  appender.appendUSmallInt(session.source.port);
  appender.appendVarchar(session.destination.ip);
  appendKey(appender, session.destination.ip);
  appender.appendUSmallInt(session.destination.port);
  appender.appendBoolean(session.sourceReliable);
  appendText(appender, session.sourceMac);
  appender.appendVarchar(session.diversion);
  appender.appendVarchar(session.service);
  appendText(appender, session.persona);
  appendText(appender, session.agent);
  appendText(appender, session.protocol);
  appendText(appender, session.userName);
  appendText(appender, session.password);
  appendText(appender, json(session.tags));
  appender.appendBigInt(whole(session.bytesIn));
  appender.appendBigInt(whole(session.bytesOut));
  appender.appendBoolean(session.truncated);
  appender.appendUInteger(Math.min(extra.chunkCount, 0xffffffff));
  appendText(appender, extra.payloadHash);
  appendBytes(appender, extra.preview);
  appendText(appender, json(session.syn));
  appendText(appender, session.tls?.version);
  appendText(appender, session.tls?.serverName);
  appendText(appender, session.tls?.ja3);
  appendText(appender, session.tls?.ja4);
  appendText(appender, json(session.tls?.alpn));
  appendText(appender, session.writer);
  appendNumber(appender, session.recordedAt);
  appendBytes(appender, bytes.packed);
  appendText(appender, bytes.inBody);
  appendText(appender, bytes.outBody);
  appendNumber(appender, session.connectMicros);
  appendNumber(appender, session.firstByteMicros);
  appendText(appender, json(session.credentials));
  appendText(appender, json(session.facts));
  appender.endRow();
}

type Cell = unknown;
const text = (cell: Cell): string | undefined => (typeof cell === 'string' ? cell : undefined);
const number = (cell: Cell): number => Number(cell);
const parsed = <T>(cell: Cell): T | undefined => (typeof cell === 'string' ? (JSON.parse(cell) as T) : undefined);

/** A row of `summaryColumns`. */
export function readSummary(row: readonly Cell[]): SessionSummary {
  let index = 0;
  const next = (): Cell => row[index++];
  const optional = <K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> =>
    value === undefined ? {} : ({ [key]: value } as Record<K, V>);
  const id = next() as string;
  const sequence = number(next());
  const start = number(next());
  const ended = next();
  const outcome = next() as SessionSummary['outcome'];
  const transport = next() as SessionSummary['transport'];
  const source = { ip: next() as string, port: number(next()) };
  const destination = { ip: next() as string, port: number(next()) };
  const sourceReliable = next() === true;
  const sourceMac = text(next());
  const diversion = next() as string;
  const service = next() as string;
  const persona = text(next());
  const agent = text(next());
  const protocol = text(next());
  const userName = text(next());
  const password = text(next());
  const tags = parsed<string[]>(next());
  const bytesIn = number(next());
  const bytesOut = number(next());
  const truncated = next() === true;
  const chunkCount = number(next());
  const payloadHash = text(next());
  const preview = next();
  const syn = parsed<SynDetails>(next());
  const version = text(next());
  const serverName = text(next());
  const ja3 = text(next());
  const ja4 = text(next());
  const alpn = parsed<string[]>(next());
  const writer = text(next());
  const recordedAt = next();
  const connectMicros = next();
  const firstByteMicros = next();
  const credentials = parsed<Credential[]>(next());
  const facts = parsed<Fact[]>(next());
  const tls: TlsDetails | undefined =
    version === undefined
      ? undefined
      : { version, ja3: ja3 ?? '', ja4: ja4 ?? '', ...optional('serverName', serverName), ...optional('alpn', alpn) };
  return {
    id,
    sequence,
    start,
    ...optional('end', ended === null ? undefined : number(ended)),
    outcome,
    transport,
    source,
    destination,
    sourceReliable,
    ...optional('sourceMac', sourceMac),
    diversion,
    service,
    ...optional('persona', persona),
    ...optional('agent', agent),
    ...optional('protocol', protocol),
    ...optional('userName', userName),
    ...optional('password', password),
    ...optional('tags', tags),
    ...optional('syn', syn),
    ...optional('tls', tls),
    bytesIn,
    bytesOut,
    truncated,
    chunkCount,
    ...optional('payloadHash', payloadHash),
    ...optional('preview', preview === null ? undefined : new Uint8Array(preview as Uint8Array)),
    ...optional('writer', writer),
    ...optional('recordedAt', recordedAt === null ? undefined : number(recordedAt)),
    ...optional('connectMicros', connectMicros === null ? undefined : number(connectMicros)),
    ...optional('firstByteMicros', firstByteMicros === null ? undefined : number(firstByteMicros)),
    ...optional('credentials', credentials),
    ...optional('facts', facts),
  };
}
