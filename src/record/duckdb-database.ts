// The embedded engine and its partitions: one database file per day (or part of one), attached to one engine instance.
// Opens, attaches, sets damaged files aside, detaches and deletes. What is in the tables is duckdb-store.ts.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { dayMicros, dayOf, dayStart } from './day.ts';
import type { Sql } from './duckdb-query.ts';
import { createTables, migrations, schemaVersion, tables } from './duckdb-schema.ts';

export interface Partition {
  /** `2026-11-22`, or `2026-11-22T43200000000` for a part that begins that many microseconds into the day. */
  readonly name: string;
  readonly from: Micros;
  readonly path: string;
  /** Quoted catalog name. */
  readonly catalog: string;
}

export interface DatabaseOptions {
  readonly directory: string;
  readonly memoryBytes: number;
  readonly threads: number;
  /** Nothing is written and damaged files stay where they are. */
  readonly readOnly: boolean;
}

const namePattern = /^(\d{4}-\d{2}-\d{2})(?:T(\d{1,11}))?\.duckdb$/;

function partitionOf(directory: string, name: string): Partition | undefined {
  const match = namePattern.exec(`${name}.duckdb`);
  if (!match) return undefined;
  const from = dayStart(match[1]) + Number(match[2] ?? 0);
  if (!Number.isSafeInteger(from)) return undefined;
  return { name, from, path: join(directory, `${name}.duckdb`), catalog: `"${name}"` };
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
  /** Ascending by `from`. */
  partitions: Partition[] = [];

  constructor(options: DatabaseOptions) {
    this.#options = options;
  }

  get writer(): DuckDBConnection {
    if (!this.#writer) throw new WeirError('store-unavailable', 'the store is not open');
    return this.#writer;
  }

  /** Opens the engine and every partition. Gives the partitions that are damaged and were set aside. */
  async open(): Promise<Partition[]> {
    const { directory, memoryBytes, threads, readOnly } = this.#options;
    if (!readOnly) mkdirSync(directory, { recursive: true, mode: 0o700 });
    const temporary = join(directory, 'tmp');
    if (!readOnly) rmSync(temporary, { recursive: true, force: true });
    this.#instance = await DuckDBInstance.create(':memory:', {
      threads: String(threads),
      memory_limit: `${Math.round(memoryBytes / 1024 / 1024)}MiB`,
      temp_directory: readOnly ? '' : temporary,
      max_temp_directory_size: '2GiB',
      checkpoint_threshold: '64MiB',
      preserve_insertion_order: 'false',
      autoinstall_known_extensions: 'false',
      autoload_known_extensions: 'false',
      allow_community_extensions: 'false',
    });
    this.#writer = await this.#instance.connect();
    this.#reader = await this.#instance.connect();
    this.partitions = [];
    const damaged: Partition[] = [];
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

  async #attach(partition: Partition): Promise<void> {
    const { readOnly } = this.#options;
    const path = partition.path.replaceAll("'", "''");
    await this.writer.run(`ATTACH '${path}' AS ${partition.catalog}${readOnly ? ' (READ_ONLY)' : ''}`);
    try {
      const version = await this.#formatOf(partition);
      if (version === undefined && !readOnly) {
        await this.writer.run('BEGIN');
        for (const statement of createTables) await this.writer.run(inCatalog(statement, partition.catalog));
        await this.writer.run(`INSERT INTO ${partition.catalog}.format VALUES (${schemaVersion})`);
        await this.writer.run('COMMIT');
      } else if (version !== undefined && version in migrations && !readOnly) await this.#migrate(partition, version);
      else if (version !== schemaVersion) throw new Error(`corrupt: format ${version} is not known`);
    } catch (error) {
      await this.writer.run('ROLLBACK').catch(() => {});
      await this.writer.run(`DETACH ${partition.catalog}`).catch(() => {});
      throw error;
    }
    this.partitions = [...this.partitions, partition].sort((a, b) => a.from - b.from);
  }

  /** All of it or nothing, whenever this process dies. */
  async #migrate({ catalog }: Partition, from: number): Promise<void> {
    await this.writer.run('BEGIN');
    for (let version = from; version < schemaVersion; version += 1)
      for (const statement of migrations[version]) await this.writer.run(inCatalog(statement, catalog));
    await this.writer.run(`UPDATE ${catalog}.format SET version = ${schemaVersion}`);
    await this.writer.run('COMMIT');
  }

  /** Undefined when the file has no tables yet. */
  async #formatOf({ name, catalog }: Partition): Promise<number | undefined> {
    const found = await this.rows(
      { text: `SELECT 1 FROM duckdb_tables() WHERE database_name = $1 AND table_name = 'format'`, values: [name] },
      this.writer,
    );
    if (found.length === 0) return undefined;
    const [[version]] = await this.rows({ text: `SELECT max(version) FROM ${catalog}.format`, values: [] }, this.writer);
    return version === null ? undefined : Number(version);
  }

  async #setAside(partition: Partition): Promise<void> {
    if (this.#options.readOnly) return;
    this.partitions = this.partitions.filter(({ name }) => name !== partition.name);
    await this.writer.run(`DETACH ${partition.catalog}`).catch(() => {});
    const mark = `damaged-${new Date().toISOString().replaceAll(':', '').replace('.', '')}`;
    for (const path of [partition.path, `${partition.path}.wal`]) if (existsSync(path)) renameSync(path, `${path}.${mark}`);
  }

  /** The partition a record that starts at `at` belongs to; made when its day has none. */
  async partitionFor(at: Micros): Promise<Partition> {
    const day = dayStart(dayOf(at));
    for (let index = this.partitions.length - 1; index >= 0; index -= 1) {
      const partition = this.partitions[index];
      if (partition.from <= at) {
        if (partition.from >= day) return partition;
        break;
      }
    }
    return this.#create(dayOf(at));
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
    if (this.partitions.at(-1)?.from === from || from === dayStart(day)) return;
    await this.#create(`${day}T${from - dayStart(day)}`);
  }

  /** First moment that is not the partition's. */
  endOf(partition: Partition): Micros {
    const next = this.partitions[this.partitions.indexOf(partition) + 1];
    const dayEnd = dayStart(dayOf(partition.from)) + dayMicros;
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
    this.partitions = this.partitions.filter(({ name }) => name !== partition.name);
    await this.writer.run(`DETACH ${partition.catalog}`);
    for (const path of [partition.path, `${partition.path}.wal`]) rmSync(path, { force: true });
  }

  async rows(sql: Sql, connection: DuckDBConnection | undefined = this.#reader): Promise<DuckDBValue[][]> {
    if (!connection) throw new WeirError('store-unavailable', 'the store is not open');
    const reader = await connection.runAndReadAll(sql.text, sql.values as DuckDBValue[]);
    return reader.getRowsJS() as DuckDBValue[][];
  }

  /** Reads every value of every partition; gives those that cannot be read, set aside. */
  async verify(): Promise<Partition[]> {
    const damaged: Partition[] = [];
    for (const partition of [...this.partitions]) {
      try {
        for (const table of tables) {
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
  }
}

const inCatalog = (statement: string, catalog: string): string =>
  statement.replace(/^(CREATE TABLE IF NOT EXISTS|ALTER TABLE) /, `$1 ${catalog}.`);
