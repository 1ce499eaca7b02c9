// The store for one machine: DuckDB, one file per day, appended in batches (docs/decisions/0002-embedded-store.md).
// The contract, its questions, retention and repair; writing is duckdb-apply.ts, files are duckdb-database.ts.

import { join } from 'node:path';
import { type Micros, systemClock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { type Log, silentLog } from '../base/log.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../model/event.ts';
import { identifierTime } from '../model/identifier.ts';
import type { Insights, PayloadFamily, Place, SessionInsight, Verdict } from '../model/insight.ts';
import type {
  InsightSubject,
  RollupRow,
  RollupStep,
  SourceFeatures,
  SourcePage,
  SourceSummary,
  VerdictFilter,
} from './analysis-store.ts';
import { BlobStore } from './blob-store.ts';
import { DuckDbAnalysis } from './duckdb-analysis.ts';
import { DuckDbApplier } from './duckdb-apply.ts';
import { readSession, readStored } from './duckdb-bytes.ts';
import { asStoreError, DuckDbDatabase, isInvalidated, type Partition } from './duckdb-database.ts';
import { DuckDbDivider } from './duckdb-divide.ts';
import { readBody } from './duckdb-event-rows.ts';
import { type PartitionSource, renderNotices, renderOpen, renderProbes, renderSessions, type Sql } from './duckdb-query.ts';
import { readSummary } from './duckdb-schema.ts';
import type {
  Checkpoint,
  Counts,
  Filter,
  SessionFilter,
  SessionSummary,
  Store,
  StoreDamage,
  StoredSession,
  StoreSize,
  TopRow,
  TopSubject,
} from './store.ts';
import { readStoreState, type StoreState, writeStoreState } from './store-state.ts';

export interface DuckDbStoreOptions {
  /** Holds `store/` and `blobs/`. */
  readonly dataDirectory: string;
  /** What the engine may keep in memory; default 256 MiB. Larger questions go to disk. */
  readonly memoryBytes?: number;
  /** Of the engine's logs, before they go into its files: what stands in them is in memory too, up to four times as large; default 64 MiB. */
  readonly logBytes?: number;
  /** Default 1: more answer the largest rankings sooner, and make small batches wait while other programs need the processor. */
  readonly threads?: number;
  /** A day's file that grows beyond this is continued in another, so that retention by size can act within a day; default 1 GiB. */
  readonly partitionBytes?: number;
  /** Rows of a growing partition that are summed for reports together; fewer are counted by each question. Default 300,000. */
  readonly sumRows?: number;
  /** Pairs of a key and a source that a ranking counts in one statement; default: what the engine's memory holds. */
  readonly pairsAtOnce?: number;
  /** For questions while no recorder runs: nothing is written. */
  readonly readOnly?: boolean;
  readonly log?: Log;
}

/** Of memory, for a source in a list that is counted: in the engine's, and in ours. */
const pairBytes = 80;
/** Checkpoints cost more than what they free: a batch may be of many days. */
const warmPartitions = 64;
const idleCheckpointMs = 3000;
const idleCheckpointBytes = 1024 * 1024;

export class DuckDbStore implements Store {
  readonly #database: DuckDbDatabase;
  readonly #applier: DuckDbApplier;
  readonly #divider: DuckDbDivider;
  readonly #analysis: DuckDbAnalysis;
  readonly knownKeys: Store['knownKeys'] = (...asked) => this.#analysis.knownKeys(...asked);
  readonly #blobs: BlobStore;
  readonly #directory: string;
  readonly #partitionBytes: number;
  readonly #logBytes: number;
  readonly #readOnly: boolean;
  readonly #log: Log;
  #state: StoreState;
  /** Damage that no caller of `damage` has seen yet. */
  #newDamage = false;
  #turn: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  #swept = false;
  /** Partitions that may have something in memory alone, the one written longest ago first. */
  readonly #warm = new Map<string, { readonly partition: Partition; readonly bytes: number }>();
  #closed = false;

  private constructor(options: DuckDbStoreOptions) {
    this.#directory = join(options.dataDirectory, 'store');
    this.#readOnly = options.readOnly ?? false;
    this.#partitionBytes = options.partitionBytes ?? 1024 * 1024 * 1024;
    this.#log = options.log ?? silentLog;
    this.#blobs = new BlobStore(join(options.dataDirectory, 'blobs'));
    const memoryBytes = options.memoryBytes ?? 256 * 1024 * 1024;
    this.#logBytes = options.logBytes ?? 64 * 1024 * 1024;
    const [directory, readOnly] = [this.#directory, this.#readOnly];
    this.#database = new DuckDbDatabase({ directory, memoryBytes, threads: options.threads ?? 1, readOnly });
    this.#applier = new DuckDbApplier(this.#database, this.#blobs, options.sumRows ?? 300_000, memoryBytes);
    this.#divider = new DuckDbDivider(this.#database, this.#applier);
    this.#state = readStoreState(this.#directory);
    this.#analysis = new DuckDbAnalysis({
      pairsAtOnce: options.pairsAtOnce ?? Math.max(100_000, Math.floor(memoryBytes / pairBytes)),
      ask: (sql) => this.#ask(sql),
      visit: (sql, visitor) => this.#guarded(() => this.#database.visit(sql, visitor)),
      sources: (filter) => this.#sources(filter),
      page: (filter, render, read) => this.#page(filter, render, read),
    });
  }

  /**
   * Opens or makes the store. Damaged files are set aside as `*.damaged-<time>` and reported by `damage`. Throws
   * `already-running` when another process has it, `disk-full`, or `store-unavailable`.
   */
  static async open(options: DuckDbStoreOptions): Promise<DuckDbStore> {
    const store = new DuckDbStore(options);
    try {
      await store.#start(false);
    } catch (error) {
      store.#database.close();
      throw asStoreError(error);
    }
    return store;
  }

  async #start(verify: boolean): Promise<void> {
    const damaged = await this.#database.open();
    if (verify) damaged.push(...(await this.#database.verify()));
    if (damaged.length > 0) await this.#noteDamage(damaged);
    await this.#applier.load();
    for (const partition of this.#readOnly ? [] : this.#database.partitions)
      if (this.#database.walBytes(partition) > 0) await this.#keepWarm(partition);
  }

  async #noteDamage(partitions: readonly Partition[]): Promise<void> {
    const before = this.#state.damage;
    const names = partitions.map(({ name }) => name);
    const damage: StoreDamage = {
      since: Math.min(before?.since ?? Number.POSITIVE_INFINITY, ...partitions.map(({ from }) => from)),
      files: [...(before?.files ?? []), ...partitions.map(({ path }) => path)].slice(-100),
      message: `damaged and set aside: ${names.join(', ')}`,
    };
    this.#log.error('store-damaged', { partitions: names });
    this.#newDamage = true;
    this.#state = { ...this.#state, damage };
    if (!this.#readOnly) await writeStoreState(this.#directory, this.#state);
  }

  /** One operation that changes something at a time, in the order of the calls. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(async () => {
      if (this.#closed) throw new WeirError('store-unavailable', 'the store is closed');
      if (this.#readOnly) throw new WeirError('store-unavailable', 'the store is open for reading only');
      try {
        return await work();
      } catch (error) {
        throw await this.#afterFault(error);
      }
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  /** After a damaged page or an engine that gave up: opens anew and looks at everything. Gives the error to throw. */
  async #afterFault(error: unknown): Promise<WeirError> {
    const fault = asStoreError(error);
    if (this.#newDamage || (fault.code !== 'store-damaged' && !isInvalidated(error))) return fault;
    this.#log.error('the store is opened anew', { error: fault.message });
    try {
      this.#database.close();
      await this.#start(fault.code === 'store-damaged' || !/space left/i.test(fault.message));
    } catch (again) {
      return asStoreError(again);
    }
    return this.#newDamage
      ? fault
      : new WeirError(fault.code === 'disk-full' ? 'disk-full' : 'store-unavailable', fault.message, {}, error);
  }

  apply(events: readonly WeirEvent[], checkpoint: Checkpoint, insights?: Insights): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#newDamage) throw new WeirError('store-damaged', this.#state.damage?.message ?? 'damaged');
      if (insights) await this.#applier.applyCatalog(insights);
      const { droppedBefore, importsDroppedBefore } = this.#state;
      const options = { droppedBefore, importsDroppedBefore, partitionBytes: this.#partitionBytes, now: systemClock() };
      for (const work of await this.#divider.divide(events, insights, options)) {
        await this.#applier.apply(work);
        await this.#keepWarm(work.partition);
      }
      // The checkpoint follows the records: a crash in between replays records that are already in.
      const state = { ...this.#state, checkpoint };
      await writeStoreState(this.#directory, state);
      this.#state = state;
      const newest = this.#database.days.at(-1);
      if (newest && this.#database.sizeOf(newest) > this.#partitionBytes)
        await this.#database.split(this.#applier.newestStart + 1);
      await this.#applier.settleOne(false);
      this.#armIdle();
    });
  }

  /** What is not in a partition's file yet is in memory: so many bytes of the engine's logs, the rest is put into the files. */
  async #keepWarm(partition: Partition): Promise<void> {
    this.#warm.delete(partition.name);
    this.#warm.set(partition.name, { partition, bytes: this.#database.walBytes(partition) });
    let total = 0;
    for (const { bytes } of this.#warm.values()) total += bytes;
    for (const [name, { partition: coldest, bytes }] of this.#warm) {
      if (this.#warm.size <= warmPartitions && total <= this.#logBytes) break;
      this.#warm.delete(name);
      total -= bytes;
      if (this.#database.partitions.includes(coldest) && this.#database.walBytes(coldest) > 0)
        await this.#database.writer.run(`CHECKPOINT ${coldest.catalog}`);
    }
  }

  /** The engine's own log is folded into the file while nobody writes: a large one would stall a batch. */
  #armIdle(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      this.#inTurn(async () => {
        await this.#applier.tidy();
        while (!this.#closed && (await this.#applier.settleOne(false)));
        if (!this.#swept) await this.#sweep();
        this.#swept = true;
        for (const partition of [this.#database.catalog, ...this.#database.partitions]) {
          if (this.#database.walBytes(partition) < idleCheckpointBytes) continue;
          await this.#database.writer.run(`CHECKPOINT ${partition.catalog}`);
        }
      }).catch((error) => this.#log.warn('checkpointing the store failed', { error: asStoreError(error).message }));
    }, idleCheckpointMs);
    this.#idle.unref();
  }

  /** Sums everything for reports. Idempotent. */
  async settle(): Promise<void> {
    while (await this.#inTurn(() => this.#applier.settleOne(true)));
  }

  async checkpoint(): Promise<Checkpoint> {
    return this.#state.checkpoint;
  }

  async damage(): Promise<StoreDamage | undefined> {
    this.#newDamage = false;
    return this.#state.damage;
  }

  rebuilt(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#newDamage || !this.#state.damage) return;
      const { damage: _repaired, ...state } = this.#state;
      await writeStoreState(this.#directory, state);
      this.#state = state;
    });
  }

  /** Partitions that may hold records of this time, those with the latest records first. */
  #sources(filter: Pick<Filter, 'since' | 'until'>): PartitionSource[] {
    const sources: PartitionSource[] = [];
    for (const partition of this.#database.partitions) {
      const span = this.#applier.spanOf(partition);
      if (!span || (filter.until !== undefined && span.first >= filter.until)) continue;
      if (filter.since !== undefined && span.last < filter.since) continue;
      const { name, catalog } = partition;
      const hasOpen = this.#readOnly || this.#applier.openIn(name) > 0;
      sources.push({ name, catalog, hasOpen, earliest: span.first, latest: span.last, ...this.#applier.aggregates.of(name) });
    }
    return sources.sort((a, b) => b.latest - a.latest);
  }

  #ask(sql: Sql): Promise<unknown[][]> {
    return this.#guarded(() => this.#database.rows(sql));
  }

  async #guarded<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      const fault = asStoreError(error);
      // A reader found what no writer has touched: the next batch is told, and the journal gives it again.
      if (!this.#readOnly && (fault.code === 'store-damaged' || isInvalidated(error))) {
        await this.#inTurn(() => Promise.reject(error)).catch(() => {});
      }
      throw fault;
    }
  }

  /** The newest rows of all partitions; one that can have none newer than those found is not asked. */
  async #page<T extends { readonly id: string }>(
    filter: Filter,
    render: (source: PartitionSource, filter: Filter) => Sql,
    read: (row: unknown[]) => T | undefined,
  ): Promise<T[]> {
    let found: T[] = [];
    for (const source of this.#sources(filter)) {
      if (found.length >= filter.limit && source.latest < identifierTime(found[filter.limit - 1].id)) break;
      const before = found.length;
      for (const row of await this.#ask(render(source, filter))) {
        const item = read(row);
        if (item !== undefined) found.push(item);
      }
      if (before > 0 && found.length > before) found.sort((a, b) => (a.id < b.id ? 1 : -1));
      if (found.length > filter.limit) found = found.slice(0, filter.limit);
    }
    return found;
  }

  async openSessions(): Promise<SessionSummary[]> {
    return this.#page(
      { limit: Number.MAX_SAFE_INTEGER },
      (source) => (source.hasOpen ? renderOpen(source) : nothing),
      readSummary,
    );
  }

  async sessions(filter: SessionFilter): Promise<SessionSummary[]> {
    return filter.behaviours ? this.#analysis.sessionsAbout(filter) : this.#page(filter, renderSessions, readSummary);
  }

  session(id: string): Promise<StoredSession | undefined> {
    return readSession(this.#sources({}), this.#applier, (sql) => this.#ask(sql), id);
  }

  stored(sessions: readonly SessionSummary[]): AsyncIterable<StoredSession> {
    return readStored(this.#sources({}), this.#applier, (sql) => this.#ask(sql), sessions);
  }

  async probes(filter: Filter): Promise<ProbeRecord[]> {
    return this.#page(filter, renderProbes, ([body]) => {
      const event = readBody(body);
      return event?.kind === 'probe' ? event.probe : undefined;
    });
  }

  async alerts(filter: Filter): Promise<AlertRecord[]> {
    return this.#page(
      filter,
      (source, part) => renderNotices(source, 'alerts', part),
      ([body]) => {
        const event = readBody(body);
        return event?.kind === 'alert' ? event.alert : undefined;
      },
    );
  }

  async systemEvents(filter: Filter): Promise<SystemRecord[]> {
    return this.#page(
      filter,
      (source, part) => renderNotices(source, 'system_events', part),
      ([body]) => {
        const event = readBody(body);
        return event?.kind === 'system' ? event.system : undefined;
      },
    );
  }

  top(subject: TopSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    return this.#analysis.topInsights(subject, by, filter);
  }

  counts(filter: Filter): Promise<Counts> {
    return this.#analysis.counts(filter);
  }

  async known(ids: readonly string[]): Promise<Set<string>> {
    const times = ids.map(identifierTime);
    const since = times.reduce((least, at) => (at < least ? at : least), Number.POSITIVE_INFINITY);
    const until = times.reduce((most, at) => (at >= most ? at + 1 : most), Number.NEGATIVE_INFINITY);
    const kinds = ['sessions', 'open_records', 'probes', 'alerts', 'system_events'] as const;
    return this.#applier.known.anywhere(this.#sources({ since, until }), kinds, ids);
  }

  verdicts(filter: VerdictFilter): Promise<Verdict[]> {
    return this.#analysis.verdicts(filter);
  }

  insight(id: string, start: Micros): Promise<SessionInsight | undefined> {
    return this.#analysis.insight(id, start);
  }

  insights(of: readonly { readonly id: string; readonly start: Micros }[]): Promise<SessionInsight[]> {
    return this.#analysis.insights(of);
  }

  places(ips: readonly string[]): Promise<Place[]> {
    return this.#analysis.places(ips);
  }

  families(limit: number): Promise<PayloadFamily[]> {
    return this.#analysis.families(limit);
  }

  family(id: string): Promise<PayloadFamily | undefined> {
    return this.#analysis.family(id);
  }

  topInsights(subject: InsightSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    return this.#analysis.topInsights(subject, by, filter);
  }

  rollups(step: RollupStep, filter: Filter): Promise<RollupRow[]> {
    return this.#analysis.rollups(step, filter);
  }

  attackers(by: 'hits' | 'ports' | 'newest', filter: Filter): Promise<SourceSummary[]> {
    return this.#analysis.attackers(by, filter);
  }

  attacker(source: string, filter: Filter): Promise<SourcePage | undefined> {
    return this.#analysis.attacker(source, filter);
  }

  features(filter: Filter): Promise<SourceFeatures[]> {
    return this.#analysis.features(filter);
  }

  /** Bytes on disk, bodies included; `oldest` is where the oldest partition begins. */
  async size(): Promise<StoreSize> {
    let bytes = this.#blobs.bytes + this.#database.sizeOf(this.#database.catalog);
    for (const partition of this.#database.partitions) bytes += this.#database.sizeOf(partition);
    const oldest = this.#database.partitions[0]?.from;
    const sessions = this.#applier.endedSessions + this.#applier.openSessions;
    return { bytes, sessions, ...(oldest !== undefined && { oldest }) };
  }

  prune(before: Micros, sizeBytes: number): Promise<string[]> {
    return this.#inTurn(async () => {
      const dropped: string[] = [];
      for (const partition of this.#database.partitions) {
        const end = this.#database.endOf(partition);
        const { bytes } = await this.size();
        if (end > before && bytes <= sizeBytes) break;
        // What happens now is recorded in it.
        if (end > before && partition === (this.#database.days.at(-1) ?? this.#database.imports.at(-1))) continue;
        const state = { ...this.#state, ...this.#boundWithout(partition) };
        await writeStoreState(this.#directory, state);
        this.#state = state;
        const [[ended]] = await this.#database.rows({ text: `SELECT count(*) FROM ${partition.catalog}.sessions`, values: [] });
        const bodies = await this.#bodiesOf(partition);
        await this.#database.drop(partition);
        this.#applier.forget(partition.name, Number(ended));
        for (const other of this.#database.partitions) {
          if (bodies.size === 0) break;
          for (const hash of await this.#bodiesOf(other)) bodies.delete(hash);
        }
        for (const hash of bodies) await this.#blobs.remove(hash);
        dropped.push(partition.name);
      }
      if (dropped.length > 0) await this.#applier.tidyCatalog(this.#sources({}));
      return dropped;
    });
  }

  /** What must not come again once a partition is dropped. Parts of one day of importing cannot be told apart by time. */
  #boundWithout(partition: Partition): Partial<StoreState> {
    const end = this.#database.endOf(partition);
    if (partition.kind === 'day') return { droppedBefore: Math.max(this.#state.droppedBefore, end) };
    const isLast = !this.#database.imports.some(
      ({ name, from }) => name !== partition.name && from >= partition.from && from < end,
    );
    const gone = isLast && end <= systemClock() ? end : partition.from;
    return { importsDroppedBefore: Math.max(this.#state.importsDroppedBefore, gone) };
  }

  async #bodiesOf({ catalog }: Partition): Promise<Set<string>> {
    const tables = ['sessions', 'pieces'].flatMap((table) =>
      ['in_body', 'out_body'].map((column) => `SELECT ${column} AS hash FROM ${catalog}.${table} WHERE ${column} IS NOT NULL`),
    );
    const rows = await this.#database.rows({ text: tables.join(' UNION '), values: [] });
    return new Set(rows.map(([hash]) => String(hash)));
  }

  /** Removes bodies that no record refers to: those of a batch that a crash cut off. */
  async #sweep(): Promise<void> {
    const referenced = new Set<string>();
    for (const partition of this.#database.partitions) for (const hash of await this.#bodiesOf(partition)) referenced.add(hash);
    const removed = await this.#blobs.sweep(referenced);
    if (removed > 0) this.#log.info('removed bodies that no record refers to', { removed });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#turn;
    this.#closed = true;
    clearTimeout(this.#idle);
    this.#database.close();
  }
}

const nothing: Sql = { text: 'SELECT NULL WHERE false', values: [] };
