// Which records the store has, by their identifiers, so that nothing is stored twice. What was looked for in vain just now is
// not looked for again before it is stored.

import { type DuckDBConnection, type DuckDBListValue, listValue } from '@duckdb/node-api';
import { identifierTime } from '../model/identifier.ts';
import type { DuckDbDatabase, Partition } from './duckdb-database.ts';
import type { TableName } from './duckdb-schema.ts';

type Database = Pick<DuckDbDatabase, 'imports' | 'rows' | 'writer'>;
type Table = TableName | 'families';

/** Identifiers that are remembered to be in no partition; about 6 MB. */
const mostAbsent = 65_536;
const separator = ' ';

/** Identifiers as a parameter: as one text where that is possible, since a value of each takes longer than to look it up. */
function listed(ids: readonly string[], parameter: string): { readonly sql: string; readonly value: string | DuckDBListValue } {
  return ids.some((id) => id.includes(separator))
    ? { sql: `SELECT unnest(${parameter}) AS id`, value: listValue([...ids]) }
    : { sql: `SELECT unnest(string_split(${parameter}, '${separator}')) AS id`, value: ids.join(separator) };
}

export class DuckDbKnown {
  readonly #database: Database;
  readonly #absent = new Set<string>();
  /** What was stored while each question is under way. */
  readonly #asking = new Set<Set<string>>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Identifiers of these that one of the tables has, uncommitted rows included. */
  in(partition: Pick<Partition, 'catalog'>, tables: readonly Table[], ids: readonly string[]): Promise<Set<string>> {
    return this.#look(partition, tables, ids, this.#database.writer);
  }

  /** Of all `partitions` that may have them, beside whoever writes; what is in none is remembered. */
  async anywhere(
    partitions: readonly Pick<Partition, 'catalog'>[],
    tables: readonly Table[],
    ids: readonly string[],
  ): Promise<Set<string>> {
    const meanwhile = new Set<string>();
    this.#asking.add(meanwhile);
    try {
      const known = new Set<string>();
      for (const partition of partitions) for (const id of await this.#look(partition, tables, ids)) known.add(id);
      if (this.#absent.size + ids.length > mostAbsent) this.#absent.clear();
      if (ids.length <= mostAbsent) for (const id of ids) if (!known.has(id) && !meanwhile.has(id)) this.#absent.add(id);
      return known;
    } finally {
      this.#asking.delete(meanwhile);
    }
  }

  /** Identifiers sort by time, so the engine looks at few row groups. */
  async #look(
    { catalog }: Pick<Partition, 'catalog'>,
    tables: readonly Table[],
    ids: readonly string[],
    connection?: DuckDBConnection,
  ): Promise<Set<string>> {
    if (ids.length === 0) return new Set();
    let first = ids[0];
    let last = ids[0];
    for (const id of ids) {
      if (id < first) first = id;
      if (id > last) last = id;
    }
    const { sql, value } = listed(ids, '$3');
    const [since, until] = [identifierTime(first), identifierTime(last)];
    const imported = since <= until && this.#database.imports.some((partition) => partition.catalog === catalog);
    const parts = tables.map((table) => {
      // What is imported starts when its identifier says (import-intake.ts), and numbers are compared sooner than texts.
      const starts = imported && table !== 'verdicts' ? ` AND start >= ${since} AND start <= ${until}` : '';
      return `SELECT id FROM ${catalog}.${table} WHERE id >= $1 AND id <= $2${starts} AND id IN (FROM asked)`;
    });
    const text = `WITH asked AS MATERIALIZED (${sql}) ${parts.join(' UNION ALL ')}`;
    const rows = await this.#database.rows({ text, values: [first, last, value] }, connection);
    return new Set(rows.map(([id]) => id as string));
  }

  /** Those that `anywhere` has not just found to be in no partition. */
  uncertain(ids: readonly string[]): readonly string[] {
    return this.#absent.size === 0 ? ids : ids.filter((id) => !this.#absent.has(id));
  }

  /** After the transaction that stored them. */
  stored(records: readonly { readonly id: string }[]): void {
    for (const { id } of records) {
      this.#absent.delete(id);
      for (const meanwhile of this.#asking) meanwhile.add(id);
    }
  }

  /** The store was opened anew, or a transaction failed that may be stored all the same. */
  forget(): void {
    this.#absent.clear();
  }

  async remove(catalog: string, table: string, column: string, keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    const { sql, value } = listed(keys, '$1');
    await this.#database.writer.run(`DELETE FROM ${catalog}.${table} WHERE ${column} IN (${sql})`, [value]);
  }
}
