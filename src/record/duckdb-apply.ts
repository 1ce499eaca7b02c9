// The writing half of the embedded store: one transaction per partition and batch, nothing applied twice. Knows which
// sessions are open and how far each has come; everything it knows is read back from the partitions at start.

import { createHash, type Hash } from 'node:crypto';
import type { DuckDBAppender } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import type { AlertRecord, ProbeRecord, SystemRecord } from '../model/event.ts';
import type { Insights, SessionInsight, Verdict } from '../model/insight.ts';
import { type Chunk, type SessionRecord, startsOver } from '../model/session.ts';
import type { BlobStore } from './blob-store.ts';
import { packChunks, unpackChunks } from './chunk-codec.ts';
import { DuckDbAggregates } from './duckdb-aggregates.ts';
import type { DuckDbDatabase, Partition } from './duckdb-database.ts';
import { appendNotice, appendPiece, appendProbe, appendRow, appendTargets, type Piece, type Row } from './duckdb-event-rows.ts';
import { appendFamily, appendInsight, appendPlace, appendVerdict } from './duckdb-insight-schema.ts';
import { DuckDbKnown } from './duckdb-known.ts';
import { Conditions, type PartitionSource, renderOpen } from './duckdb-query.ts';
import { keyBounds, touches } from './duckdb-relations.ts';
import { noBytes, type RowBytes } from './duckdb-row.ts';
import { readSummary, type TableName } from './duckdb-schema.ts';
import { hasFindings } from './filter-match.ts';
import { extendPreview } from './session-summary.ts';

/** A session that has not ended, as far as going on with it needs. */
interface OpenState {
  readonly partition: string;
  readonly sequence: number;
  readonly chunkCount: number;
  readonly preview: Uint8Array | undefined;
  /** Over the `in` bytes so far; undefined while there are none. */
  readonly hash: Hash | undefined;
  /** False after a restart: the bytes so far have to be read back when the session ends. */
  readonly hashed: boolean;
}

/** What one transaction does to one partition. */
export interface Work {
  readonly partition: Partition;
  readonly records: SessionRecord[];
  readonly probes: ProbeRecord[];
  readonly alerts: AlertRecord[];
  readonly system: SystemRecord[];
  readonly insights: SessionInsight[];
  readonly verdicts: Verdict[];
}

/** Starts of the first and last record of a partition. */
interface Span {
  readonly first: Micros;
  readonly last: Micros;
}

interface SessionPlan {
  readonly ended: Row[];
  readonly log: Row[];
  pieces: Piece[];
  /** Sessions whose pieces of before hold no more. */
  readonly startedOver: Set<string>;
  /** New states; undefined for sessions that ended. */
  readonly states: Map<string, OpenState | undefined>;
}

/** The log of open sessions is rewritten when it has this many rows more than four times the open sessions. */
const compactAfterRows = 50_000;

/** About 40 MB, and 60 MB. */
const keptPlaces = 500_000;
const keptFamilies = 50_000;

/** A partition has come to rest when nothing was added for so long. */
const restMs = 60_000;

export class DuckDbApplier {
  readonly #database: DuckDbDatabase;
  readonly #blobs: BlobStore;
  readonly aggregates: DuckDbAggregates;
  readonly known: DuckDbKnown;
  readonly #open = new Map<string, OpenState>();
  readonly #openCounts = new Map<string, number>();
  readonly #logRows = new Map<string, number>();
  /** When something was last added to a partition, by performance.now(). */
  readonly #touchedAt = new Map<string, number>();
  /** Of imports: a day's says what its partition holds. */
  readonly #spans = new Map<string, Span>();
  /** Ended sessions in all partitions. */
  endedSessions = 0;
  /** Latest start of any session. */
  newestStart: Micros = 0;

  constructor(database: DuckDbDatabase, blobs: BlobStore, sumRows: number, memoryBytes: number) {
    this.#database = database;
    this.#blobs = blobs;
    this.known = new DuckDbKnown(database);
    this.aggregates = new DuckDbAggregates(database, sumRows, memoryBytes);
  }

  get openSessions(): number {
    return this.#open.size;
  }

  openIn(partition: string): number {
    return this.#openCounts.get(partition) ?? 0;
  }

  /** Where a session that is open lives. */
  partitionOf(id: string): string | undefined {
    return this.#open.get(id)?.partition;
  }

  /** Reads what is open and how much there is. */
  async load(): Promise<void> {
    this.#open.clear();
    this.#openCounts.clear();
    this.#logRows.clear();
    this.#spans.clear();
    this.known.forget();
    this.endedSessions = 0;
    this.newestStart = 0;
    await this.aggregates.load();
    // The catalog knows how many rows there are: no partition's data is read for that.
    const text = `SELECT database_name, table_name, estimated_size FROM duckdb_tables() WHERE table_name IN ('sessions', 'open_records')`;
    const sizes = new Map<string, number>();
    for (const [database, table, rows] of await this.#database.rows({ text, values: [] }))
      sizes.set(`${database} ${table}`, Number(rows));
    for (const partition of this.#database.partitions) {
      const { name, catalog } = partition;
      const log = sizes.get(`${name} open_records`) ?? 0;
      this.#logRows.set(name, log);
      this.endedSessions += sizes.get(`${name} sessions`) ?? 0;
      if (partition.kind === 'import') await this.#loadSpan(partition);
      if (name === this.#database.days.at(-1)?.name) {
        for (const table of ['sessions', 'open_records']) {
          const [[newest]] = await this.#database.rows({ text: `SELECT max(start) FROM ${catalog}.${table}`, values: [] });
          this.newestStart = Math.max(this.newestStart, Number(newest ?? 0));
        }
      }
      if (log === 0) continue;
      for (const row of await this.#database.rows(renderOpen({ catalog, hasOpen: true }))) {
        const { id, sequence, chunkCount, preview } = readSummary(row);
        this.#open.set(id, { partition: name, sequence, chunkCount, preview, hash: undefined, hashed: chunkCount === 0 });
        this.#openCounts.set(name, this.openIn(name) + 1);
      }
    }
  }

  async #loadSpan({ name, catalog }: Partition): Promise<void> {
    const parts = ['sessions', 'open_records', 'probes', 'verdicts'].map((table) => `SELECT start FROM ${catalog}.${table}`);
    const text = `SELECT min(start), max(start) FROM (${parts.join(' UNION ALL ')})`;
    const [[first, last]] = await this.#database.rows({ text, values: [] });
    if (first !== null) this.#spans.set(name, { first: Number(first), last: Number(last) });
  }

  /** Undefined while nothing is in it. */
  spanOf(partition: Partition): Span | undefined {
    if (partition.kind === 'import') return this.#spans.get(partition.name);
    return { first: partition.from, last: this.#database.endOf(partition) - 1 };
  }

  /** Imports whose records may lie among these. */
  importsAround(records: readonly { readonly start: Micros }[]): Partition[] {
    if (this.#database.imports.length === 0) return [];
    const [first, last] = boundsOf(records);
    return this.#database.imports.filter(({ name }) => {
      const span = this.#spans.get(name);
      return span !== undefined && span.first <= last && span.last >= first;
    });
  }

  /** Identifiers of these imported records that are in the store, imported on whatever day. */
  async knownImports(records: readonly { readonly id: string; readonly start: Micros }[]): Promise<Set<string>> {
    const known = new Set<string>();
    const ids = this.known.uncertain(records.map(({ id }) => id));
    if (ids.length === 0) return known;
    for (const partition of this.importsAround(records))
      for (const id of await this.known.in(partition, ['sessions', 'probes'], ids)) known.add(id);
    return known;
  }

  /** Forgets a partition that was dropped. */
  forget(partition: string, endedSessions: number): void {
    for (const [id, state] of this.#open) if (state.partition === partition) this.#open.delete(id);
    this.#openCounts.delete(partition);
    this.#logRows.delete(partition);
    this.#spans.delete(partition);
    this.aggregates.forget(partition);
    this.#touchedAt.delete(partition);
    this.endedSessions -= endedSessions;
  }

  /** One transaction; when it throws, nothing of `work` was applied. */
  async apply(work: Work): Promise<void> {
    const { name, catalog } = work.partition;
    const { writer } = this.#database;
    const plan = await this.#planSessions(work);
    const probes = await this.#fresh(work.partition, 'probes', work.probes);
    const alerts = await this.#fresh(work.partition, 'alerts', work.alerts);
    const system = await this.#fresh(work.partition, 'system_events', work.system);
    const insights = await this.#fresh(work.partition, 'insights', work.insights.filter(hasFindings));
    const verdicts = newestOf(work.verdicts);
    await writer.run('BEGIN');
    try {
      const into = async <T>(
        table: TableName,
        items: readonly T[],
        append: (to: DuckDBAppender, item: T) => void,
      ): Promise<void> => {
        if (items.length === 0) return;
        const appender = await writer.createAppender(table, 'main', name);
        for (const item of items) append(appender, item);
        appender.closeSync();
      };
      await into('sessions', plan.ended, appendRow);
      await into('open_records', plan.log, appendRow);
      await this.known.remove(catalog, 'pieces', 'id', [...plan.startedOver]);
      await into('pieces', plan.pieces, appendPiece);
      await into('probes', probes, appendProbe);
      await into('targets', probes, appendTargets);
      await into('alerts', alerts, (to, alert) => appendNotice(to, alert, { kind: 'alert', alert }));
      await into('system_events', system, (to, record) => appendNotice(to, record, { kind: 'system', system: record }));
      await into('insights', insights, appendInsight);
      await this.known.remove(
        catalog,
        'verdicts',
        'id',
        verdicts.map(({ id }) => id),
      );
      await into('verdicts', verdicts, appendVerdict);
      await writer.run('COMMIT');
    } catch (error) {
      await writer.run('ROLLBACK').catch(() => {});
      // An engine that gives up after the commit has them: who tries again has to look.
      this.known.forget();
      throw error;
    }
    this.known.stored(work.records);
    this.known.stored(probes);
    this.aggregates.added(name, {
      sessions: plan.ended.length,
      probes: probes.length,
      targets: probes.reduce((count, { targets }) => count + targets.length, 0),
      insights: insights.length,
    });
    if (work.partition.kind === 'import') this.#widen(name, [...work.records, ...work.probes, ...work.verdicts]);
    for (const [id, state] of plan.states) {
      const change = (state ? 1 : 0) - (this.#open.has(id) ? 1 : 0);
      if (change !== 0) this.#openCounts.set(name, this.openIn(name) + change);
      if (state) this.#open.set(id, state);
      else this.#open.delete(id);
    }
    this.endedSessions += plan.ended.length;
    if (work.partition.kind === 'day')
      for (const { start } of work.records) if (start > this.newestStart) this.newestStart = start;
    const rows = (this.#logRows.get(name) ?? 0) + plan.log.length;
    this.#logRows.set(name, rows);
    if (rows > compactAfterRows + 4 * this.openIn(name)) await this.#compact(work.partition);
    this.#touchedAt.set(name, performance.now());
    await this.aggregates.keepUp(work.partition);
  }

  /** Sums one partition that has come to rest, when one needs it. `now`: also one that has not rested long. */
  async settleOne(now: boolean): Promise<boolean> {
    for (const partition of this.#database.partitions) {
      const touchedAt = this.#touchedAt.get(partition.name) ?? Number.NEGATIVE_INFINITY;
      if (!now && performance.now() - touchedAt < restMs) continue;
      if (!now && partition === this.#database.days.at(-1)) continue;
      if (await this.aggregates.settle(partition)) return true;
    }
    return false;
  }

  /**
   * Families and places, one transaction: a family stays as it was first told, a place is as it was told last. Comes before
   * the records that name them; a crash in between leaves some that nothing names yet.
   */
  async applyCatalog({ families, places }: Pick<Insights, 'families' | 'places'>): Promise<void> {
    if (families.length === 0 && places.length === 0) return;
    const { writer, catalog } = this.#database;
    const newFamilies = await this.#fresh(catalog, 'families', families);
    const newPlaces = [...new Map(places.map((place) => [place.ip, place])).values()];
    await writer.run('BEGIN');
    try {
      const into = async <T>(
        table: string,
        items: readonly T[],
        append: (to: DuckDBAppender, item: T) => void,
      ): Promise<void> => {
        if (items.length === 0) return;
        const appender = await writer.createAppender(table, 'main', catalog.name);
        for (const item of items) append(appender, item);
        appender.closeSync();
      };
      await into('families', newFamilies, appendFamily);
      await this.known.remove(
        catalog.catalog,
        'places',
        'ip',
        newPlaces.map(({ ip }) => ip),
      );
      await into('places', newPlaces, appendPlace);
      await writer.run('COMMIT');
    } catch (error) {
      await writer.run('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  /**
   * Bounds families and places: beyond these numbers those go that nothing in the partitions names. Fewer may stay unnamed,
   * since analysis tells them once and may name them again.
   */
  async tidyCatalog(sources: readonly PartitionSource[]): Promise<void> {
    const scope = { sources, filter: { limit: 1 }, conditions: new Conditions() };
    for (const [table, key, most, named] of [
      ['places', 'ip', keptPlaces, `SELECT source FROM (${touches(scope)})`],
      ['families', 'id', keptFamilies, `SELECT key FROM (${keyBounds('families', scope)})`],
    ] as const) {
      const name = `${this.#database.catalog.catalog}.${table}`;
      const [[count]] = await this.#database.rows({ text: `SELECT count(*) FROM ${name}`, values: [] });
      if (Number(count) <= most) continue;
      await this.#database.writer.run(
        sources.length === 0 ? `DELETE FROM ${name}` : `DELETE FROM ${name} WHERE ${key} NOT IN (${named})`,
      );
    }
  }

  #widen(name: string, records: readonly { readonly start: Micros }[]): void {
    if (records.length === 0) return;
    const [first, last] = boundsOf(records);
    const before = this.#spans.get(name) ?? { first, last };
    this.#spans.set(name, { first: Math.min(before.first, first), last: Math.max(before.last, last) });
  }

  /** While nobody writes: rewrites logs that are mostly history. */
  async tidy(): Promise<void> {
    for (const partition of this.#database.partitions) {
      const rows = this.#logRows.get(partition.name) ?? 0;
      if (rows > 1000 && rows > 2 * this.openIn(partition.name)) await this.#compact(partition);
    }
  }

  async #compact({ name, catalog }: Partition): Promise<void> {
    await this.#database.writer.run(
      `CREATE OR REPLACE TABLE ${catalog}.open_records AS SELECT * FROM (SELECT * FROM ${catalog}.open_records
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY sequence DESC) = 1) WHERE outcome = 'open'`,
    );
    this.#logRows.set(name, this.openIn(name));
  }

  async #fresh<T extends { id: string }>(
    partition: Partition,
    table: TableName | 'families',
    records: readonly T[],
  ): Promise<T[]> {
    if (records.length === 0) return [];
    const seen = await this.known.in(partition, [table], this.known.uncertain(records.map(({ id }) => id)));
    return records.filter(({ id }) => !seen.has(id) && seen.add(id));
  }

  async #planSessions(work: Work): Promise<SessionPlan> {
    const { name, catalog } = work.partition;
    const plan: SessionPlan = { ended: [], log: [], pieces: [], startedOver: new Set(), states: new Map() };
    const unknown = work.records.filter(({ id }) => !this.#open.has(id)).map(({ id }) => id);
    const ended = await this.known.in(work.partition, ['sessions'], this.known.uncertain([...new Set(unknown)]));
    const logged = new Map<string, Row>();
    for (const record of work.records) {
      const { id } = record;
      if (ended.has(id)) continue;
      let before = plan.states.has(id) ? plan.states.get(id) : this.#open.get(id);
      if (before && record.sequence <= before.sequence) continue;
      if (before && startsOver(record, before.sequence)) {
        plan.startedOver.add(id);
        plan.pieces = plan.pieces.filter((piece) => piece.id !== id);
        before = undefined;
      }
      const preview = extendPreview(before?.preview, record.chunks);
      const chunkCount = record.firstChunk + record.chunks.length;
      const bytes = record.chunks.length > 0 ? await this.#pack(record) : noBytes;
      if (record.outcome === 'open') {
        if (bytes.packed) plan.pieces.push({ id, firstChunk: record.firstChunk, bytes });
        const hash = hashOn(before?.hash, record.chunks);
        const hashed = before ? before.hashed : record.firstChunk === 0;
        const { sequence } = record;
        plan.states.set(id, { partition: name, sequence, chunkCount, preview, hash, hashed });
        logged.set(id, { record, extra: { chunkCount, preview, payloadHash: undefined }, bytes: noBytes });
        continue;
      }
      // The only bytes of a session stand in its row; of several records' bytes each stands in a row of its own.
      const whole = (before?.chunkCount ?? record.firstChunk) === 0;
      if (bytes.packed && !whole) plan.pieces.push({ id, firstChunk: record.firstChunk, bytes });
      const hash = (before ? before.hashed : whole)
        ? hashOn(before?.hash, record.chunks)
        : await this.#rehash(catalog, record, plan);
      const payloadHash = hash?.digest('hex');
      const extra = { chunkCount, preview, payloadHash };
      plan.ended.push({ record, extra, bytes: whole ? bytes : noBytes });
      // The log has to say that it is over, unless it never said that it began.
      if (this.#open.has(id)) logged.set(id, { record, extra, bytes: noBytes });
      else logged.delete(id);
      plan.states.set(id, undefined);
      ended.add(id);
    }
    plan.log.push(...logged.values());
    return plan;
  }

  async #pack(record: SessionRecord): Promise<RowBytes> {
    const { packed, bodies } = packChunks(record.chunks, record.start);
    return {
      packed,
      inBody: bodies.in && (await this.#blobs.put(bodies.in)),
      outBody: bodies.out && (await this.#blobs.put(bodies.out)),
    };
  }

  /** The hash over bytes of which a part was recorded before this process began. */
  async #rehash(catalog: string, record: SessionRecord, plan: SessionPlan): Promise<Hash | undefined> {
    let hash: Hash | undefined;
    const stored = plan.startedOver.has(record.id) ? [] : await this.readPieces(catalog, record.id, record.start);
    for (const chunks of stored) hash = hashOn(hash, chunks);
    for (const piece of plan.pieces) {
      if (piece.id === record.id) hash = hashOn(hash, await this.unpack(piece.bytes, record.start));
    }
    return hash;
  }

  /** Chunks of a session's pieces, in order. */
  async readPieces(catalog: string, id: string, start: Micros): Promise<Chunk[][]> {
    const text = `SELECT packed, in_body, out_body FROM ${catalog}.pieces WHERE id = $1 ORDER BY first_chunk`;
    const pieces: Chunk[][] = [];
    for (const [packed, inBody, outBody] of await this.#database.rows({ text, values: [id] })) {
      pieces.push(await this.unpack(rowBytes(packed, inBody, outBody), start));
    }
    return pieces;
  }

  async unpack({ packed, inBody, outBody }: RowBytes, start: Micros): Promise<Chunk[]> {
    if (!packed) return [];
    const bodies = { in: inBody && (await this.#blobs.get(inBody)), out: outBody && (await this.#blobs.get(outBody)) };
    return unpackChunks(packed, start, { ...(bodies.in && { in: bodies.in }), ...(bodies.out && { out: bodies.out }) }) ?? [];
  }
}

function boundsOf(records: readonly { readonly start: Micros }[]): [Micros, Micros] {
  let first = Number.POSITIVE_INFINITY;
  let last = Number.NEGATIVE_INFINITY;
  for (const { start } of records) {
    if (start < first) first = start;
    if (start > last) last = start;
  }
  return [first, last];
}

/** The last of each identifier. */
const newestOf = (verdicts: readonly Verdict[]): Verdict[] => [
  ...new Map(verdicts.map((verdict) => [verdict.id, verdict])).values(),
];

export function rowBytes(packed: unknown, inBody: unknown, outBody: unknown): RowBytes {
  return {
    packed: packed instanceof Uint8Array ? packed : undefined,
    inBody: typeof inBody === 'string' ? inBody : undefined,
    outBody: typeof outBody === 'string' ? outBody : undefined,
  };
}

/** A new hash over what `before` has and the `in` bytes of `chunks`; `before` stays usable if the batch fails. */
function hashOn(before: Hash | undefined, chunks: readonly Chunk[]): Hash | undefined {
  let hash = before;
  for (const { direction, bytes } of chunks) {
    if (direction !== 'in' || bytes.length === 0) continue;
    if (hash === before) hash = before ? before.copy() : createHash('sha256');
    hash?.update(bytes);
  }
  return hash === before ? before?.copy() : hash;
}
