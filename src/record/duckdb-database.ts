// The embedded engine and its partitions: one database file per day (or part of one), one per day on which something was
// imported, and one beside them for what outlives days, attached to one engine instance. Opens, attaches, sets damaged files
// aside, detaches and deletes. What is in the tables is duckdb-store.ts.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type DuckDBConnection, type DuckDBDataChunk, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { returnLargeBlocks } from '../kernel/allocator.ts';
import { dayMicros, dayOf, dayStart } from './day.ts';
import { aggregateNames } from './duckdb-aggregate-schema.ts';
import { catalogTableNames, catalogTables } from './duckdb-insight-schema.ts';
import type { Sql } from './duckdb-query.ts';
import { createTables, migrations, schemaVersion, tables } from './duckdb-schema.ts';
import { openReadingDirectory, type ReadingDirectory } from './reading-directory.ts';

export interface Partition {
  /**
   * `2026-11-22`, or `2026-11-22T43200000000` for a part that begins that many microseconds into the day. `imported-2026-11-22`
   * has what was imported on that day, whenever it happened; its second part is `imported-2026-11-22T1`.
   */
  readonly name: string;
  readonly kind: 'day' | 'import' | 'catalog';
  readonly from: Micros;
  readonly path: string;
  /** Quoted catalog name. */
  readonly catalog: string;
}

export interface DatabaseOptions {
  readonly directory: string;
  readonly memoryBytes: number;
  readonly threads: number;
  /** Nothing is written in `directory` and damaged files stay where they are. */
  readonly readOnly: boolean;
}

const namePattern = /^(imported-)?(\d{4}-\d{2}-\d{2})(?:T(\d{1,11}))?\.duckdb$/;

function partitionOf(directory: string, name: string): Partition | undefined {
  const match = namePattern.exec(`${name}.duckdb`);
  if (!match) return undefined;
  const from = dayStart(match[2]) + Number(match[3] ?? 0);
  if (!Number.isSafeInteger(from)) return undefined;
  return { name, kind: match[1] ? 'import' : 'day', from, path: join(directory, `${name}.duckdb`), catalog: `"${name}"` };
}

/** An engine error as one of ours: `disk-full`, `store-damaged`, `already-running` or `store-unavailable`. */
export function asStoreError(error: unknown): WeirError {
  if (error instanceof WeirError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as NodeJS.ErrnoException)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT' || /no space left|disk quota|ENOSPC|out of disk/i.test(message)) {
    return new WeirError('disk-full', `the store has no room: ${message}`, {}, error);
  }
  if (/could not set lock|conflicting lock/i.test(message)) {
    return new WeirError('already-running', 'another process has the store open', {}, error);
  }
  if (isDamage(message)) return new WeirError('store-damaged', message, {}, error);
  return new WeirError('store-unavailable', message, {}, error);
}

const isDamage = (message: string): boolean =>
  /corrupt|checksum|not a valid DuckDB|replaying WAL|serialization error|failed to deserialize|INTERNAL Error|invalid.*header/i.test(
    message,
  );

/** True when the engine refuses everything until it is opened anew. */
export const isInvalidated = (error: unknown): boolean =>
  /database has been invalidated|FATAL/i.test(error instanceof Error ? error.message : String(error));

export class DuckDbDatabase {
  readonly #options: DatabaseOptions;
  #instance: DuckDBInstance | undefined;
  #writer: DuckDBConnection | undefined;
  #reader: DuckDBConnection | undefined;
  /** A reader's, for as long as it is open; nobody else may look into it. */
  #ownTemporary: ReadingDirectory | undefined;
  /** One for each day, or part of it, of records as they happened; ascending by `from`. */
  days: Partition[] = [];
  /** One for each day, or part of it, on which something was imported; ascending by `from`. */
  imports: Partition[] = [];
  /** Families and places. Damage to it is as damage to the oldest day: everything is replayed. */
  readonly catalog: Partition;

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.catalog = {
      name: 'analysis',
      kind: 'catalog',
      from: 0,
      path: join(options.directory, 'analysis.duckdb'),
      catalog: '"analysis"',
    };
  }

  /** Days and imports, the oldest first: what retention goes by. */
  get partitions(): Partition[] {
    return [...this.days, ...this.imports].sort((a, b) => a.from - b.from);
  }

  get writer(): DuckDBConnection {
    if (!this.#writer) throw new WeirError('store-unavailable', 'the store is not open');
    return this.#writer;
  }

  /** Opens the engine and every partition. Gives the partitions that are damaged and were set aside. */
  async open(): Promise<Partition[]> {
    const { directory, memoryBytes, threads, readOnly } = this.#options;
    if (!readOnly) mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Rankings take lists of numbers out of the engine, tens of megabytes for a moment.
    returnLargeBlocks();
    // A reader may not write beside the store; what its questions put on disk goes where programs put such things.
    if (readOnly) this.#ownTemporary = openReadingDirectory();
    const temporary = readOnly ? (this.#ownTemporary?.path ?? '') : join(directory, 'tmp');
    if (!readOnly) rmSync(temporary, { recursive: true, force: true });
    this.#instance = await DuckDBInstance.create(':memory:', {
      threads: String(threads),
      memory_limit: `${Math.round(memoryBytes / 1024 / 1024)}MiB`,
      temp_directory: temporary,
      max_temp_directory_size: '2GiB',
      checkpoint_threshold: '64MiB',
      preserve_insertion_order: 'false',
      // What the engine has freed goes back to the system while nobody asks, not when the next question happens to.
      allocator_background_threads: 'true',
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      allow_community_extensions: 'false',
    });
    this.#writer = await this.#instance.connect();
    this.#reader = await this.#instance.connect();
    this.days = [];
    this.imports = [];
    const damaged: Partition[] = [];
    if (!(await this.#openCatalog())) damaged.push(this.catalog);
    const names = existsSync(directory) ? readdirSync(directory).sort() : [];
    for (const file of names) {
      const partition = partitionOf(directory, file.replace(/\.duckdb$/, ''));
      if (!partition || !namePattern.test(file)) continue;
      if (!(await this.#attachWhole(partition))) damaged.push(partition);
    }
    return damaged;
  }

  /** False when the file is damaged; it is then out of the way (unless read-only). */
  async #attachWhole(partition: Partition): Promise<boolean> {
    try {
      await this.#attach(partition);
      return true;
    } catch (error) {
      if (asStoreError(error).code !== 'store-damaged') throw asStoreError(error);
      await this.#setAside(partition);
      return false;
    }
  }

  /** False when it was damaged; a new one is then in its place. */
  async #openCatalog(): Promise<boolean> {
    try {
      await this.#attachFile(this.catalog);
      await this.#createCatalog();
      return true;
    } catch (error) {
      if (asStoreError(error).code !== 'store-damaged') throw asStoreError(error);
      await this.#setAside(this.catalog);
      return false;
    }
  }

  async #createCatalog(): Promise<void> {
    if (this.#options.readOnly && existsSync(this.catalog.path)) return;
    for (const statement of catalogTables) await this.writer.run(inCatalog(statement, this.catalog.catalog));
  }

  async #attachFile(partition: Partition): Promise<void> {
    const { readOnly } = this.#options;
    const path = partition.path.replaceAll("'", "''");
    // A reader of a store that has no such file yet looks at an empty one.
    if (readOnly && !existsSync(partition.path)) await this.writer.run(`ATTACH ':memory:' AS ${partition.catalog}`);
    else await this.writer.run(`ATTACH '${path}' AS ${partition.catalog}${readOnly ? ' (READ_ONLY)' : ''}`);
  }

  async #attach(partition: Partition): Promise<void> {
    const { readOnly } = this.#options;
    await this.#attachFile(partition);
    try {
      const version = await this.#formatOf(partition);
      if (version === undefined && !readOnly) {
        await this.writer.run('BEGIN');
        for (const statement of createTables) await this.writer.run(inCatalog(statement, partition.catalog));
        await this.writer.run(`INSERT INTO ${partition.catalog}.format VALUES (${schemaVersion})`);
        await this.writer.run('COMMIT');
      } else if (version !== undefined && version in migrations) {
        if (readOnly)
          throw new WeirError('store-unavailable', `the store is of format ${version}: it has to be opened for writing once`, {
            next: '`weir up` does, or a `weir import` of anything',
          });
        await this.#migrate(partition, version);
      } else if (version !== schemaVersion) throw new Error(`corrupt: format ${version} is not known`);
    } catch (error) {
      await this.writer.run('ROLLBACK').catch(() => {});
      await this.writer.run(`DETACH ${partition.catalog}`).catch(() => {});
      throw error;
    }
    const kind = partition.kind === 'day' ? 'days' : 'imports';
    this[kind] = [...this[kind], partition].sort((a, b) => a.from - b.from);
  }

  /** All of it or nothing, whenever this process dies. */
  async #migrate({ catalog }: Partition, from: number): Promise<void> {
    await this.writer.run('BEGIN');
    for (let version = from; version < schemaVersion; version += 1)
      for (const statement of migrations[version]) await this.writer.run(inCatalog(statement, catalog));
    await this.writer.run(`UPDATE ${catalog}.format SET version = ${schemaVersion}`);
    await this.writer.run('COMMIT');
  }

  /** Undefined when the file has no tables yet. Asked of the table itself: the engine's list of tables is of all files. */
  async #formatOf({ catalog }: Partition): Promise<number | undefined> {
    try {
      const [[version]] = await this.rows({ text: `SELECT max(version) FROM ${catalog}.format`, values: [] }, this.writer);
      return version === null ? undefined : Number(version);
    } catch (error) {
      if (/table with name format does not exist/i.test(error instanceof Error ? error.message : '')) return undefined;
      throw error;
    }
  }

  async #setAside(partition: Partition): Promise<void> {
    if (this.#options.readOnly) return;
    this.#forget(partition);
    await this.writer.run(`DETACH ${partition.catalog}`).catch(() => {});
    const mark = `damaged-${new Date().toISOString().replaceAll(':', '').replace('.', '')}`;
    for (const path of [partition.path, `${partition.path}.wal`]) if (existsSync(path)) renameSync(path, `${path}.${mark}`);
    if (partition.kind !== 'catalog') return;
    await this.#attachFile(partition);
    await this.#createCatalog();
  }

  #forget({ name }: Partition): void {
    this.days = this.days.filter((partition) => partition.name !== name);
    this.imports = this.imports.filter((partition) => partition.name !== name);
  }

  /** The partition a record that starts at `at` belongs to; made when its day has none. */
  async partitionFor(at: Micros): Promise<Partition> {
    const day = dayStart(dayOf(at));
    for (let index = this.days.length - 1; index >= 0; index -= 1) {
      const partition = this.days[index];
      if (partition.from <= at) {
        if (partition.from >= day) return partition;
        break;
      }
    }
    return this.#create(dayOf(at));
  }

  /** The day that has records which start at `at`, when there is one. */
  dayAt(at: Micros): Partition | undefined {
    return this.days.find((partition) => partition.from <= at && at < this.endOf(partition));
  }

  /** The partition of what is imported at `at`: the last part of that day, or a new one behind it when that has `fullBytes`. */
  async importFor(at: Micros, fullBytes: number): Promise<Partition> {
    const day = dayOf(at);
    const parts = this.imports.filter(({ from }) => dayOf(from) === day);
    const last = parts.at(-1);
    if (last && this.sizeOf(last) <= fullBytes) return last;
    return this.#create(`imported-${day}${last ? `T${last.from - dayStart(day) + 1}` : ''}`);
  }

  async #create(name: string): Promise<Partition> {
    const partition = partitionOf(this.#options.directory, name);
    if (!partition) throw new WeirError('fault', `no partition can be named ${name}`);
    try {
      await this.#attach(partition);
    } catch (error) {
      // A half-made file on a full disk would look damaged at the next start.
      for (const path of [partition.path, `${partition.path}.wal`]) rmSync(path, { force: true });
      throw error;
    }
    return partition;
  }

  /** Begins a new part of the newest partition's day at `from`, which must lie after every record stored. */
  async split(from: Micros): Promise<void> {
    const day = dayOf(from);
    if (this.days.at(-1)?.from === from || from === dayStart(day)) return;
    await this.#create(`${day}T${from - dayStart(day)}`);
  }

  /** First moment that is not the partition's: of its records' starts, of imports that of the importing. */
  endOf(partition: Partition): Micros {
    const dayEnd = dayStart(dayOf(partition.from)) + dayMicros;
    if (partition.kind === 'import') return dayEnd;
    const next = this.days[this.days.indexOf(partition) + 1];
    return next && next.from < dayEnd ? next.from : dayEnd;
  }

  sizeOf(partition: Partition): number {
    const size = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return size(partition.path) + size(`${partition.path}.wal`);
  }

  walBytes(partition: Partition): number {
    return statSync(`${partition.path}.wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Detaches and deletes. */
  async drop(partition: Partition): Promise<void> {
    this.#forget(partition);
    await this.writer.run(`DETACH ${partition.catalog}`);
    for (const path of [partition.path, `${partition.path}.wal`]) rmSync(path, { force: true });
  }

  async rows(sql: Sql, connection: DuckDBConnection | undefined = this.#reader): Promise<DuckDBValue[][]> {
    if (!connection) throw new WeirError('store-unavailable', 'the store is not open');
    const reader = await connection.runAndReadAll(sql.text, sql.values as DuckDBValue[]);
    return reader.getRowsJS() as DuckDBValue[][];
  }

  /** As `rows`, the engine's own vectors: for lists of numbers, which take long as values. */
  async visit(sql: Sql, visitor: (chunk: DuckDBDataChunk) => void): Promise<void> {
    if (!this.#reader) throw new WeirError('store-unavailable', 'the store is not open');
    const result = await this.#reader.run(sql.text, sql.values as DuckDBValue[]);
    for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) visitor(chunk);
  }

  /** Reads every value of every partition; gives those that cannot be read, set aside. */
  async verify(): Promise<Partition[]> {
    const damaged: Partition[] = [];
    for (const partition of [this.catalog, ...this.partitions]) {
      try {
        for (const table of partition.kind === 'catalog' ? catalogTableNames : [...tables, ...aggregateNames]) {
          await this.rows({ text: `SELECT bit_xor(hash(t)) FROM ${partition.catalog}.${table} AS t`, values: [] });
        }
      } catch (error) {
        if (asStoreError(error).code !== 'store-damaged' && !isInvalidated(error)) throw error;
        damaged.push(partition);
      }
    }
    for (const partition of damaged) await this.#setAside(partition);
    return damaged;
  }

  close(): void {
    this.#reader?.closeSync();
    this.#writer?.closeSync();
    this.#instance?.closeSync();
    this.#reader = undefined;
    this.#writer = undefined;
    this.#instance = undefined;
    this.#ownTemporary?.remove();
    this.#ownTemporary = undefined;
  }
}

const inCatalog = (statement: string, catalog: string): string =>
  statement.replace(/^(CREATE TABLE IF NOT EXISTS|DROP TABLE IF EXISTS|ALTER TABLE) /, `$1 ${catalog}.`);
