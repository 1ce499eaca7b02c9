// What reports ask, counted beforehand: sums of a partition's first rows by day, source and key, written in one transaction
// with how many rows they are of. Rows are only ever added behind those, so sums are never wrong, only behind; questions add
// the rest themselves (duckdb-relations.ts).

import type { DuckDBConnection } from '@duckdb/node-api';
import { dayMicros, halfHourMicros } from './day.ts';
import { aggregateTables } from './duckdb-aggregate-schema.ts';
import type { DuckDbDatabase, Partition } from './duckdb-database.ts';
import type { RowCounts } from './duckdb-query.ts';
import { halfBit, pairSubjects, rawPairs, rawTouches, sharedFacts } from './duckdb-relations.ts';
import { renderSharedSums, sharedTextCode } from './duckdb-shared-keys.ts';

export const noRows: RowCounts = { sessions: 0, probes: 0, targets: 0, insights: 0 };
export const sumOf = ({ sessions, probes, targets, insights }: RowCounts): number => sessions + probes + targets + insights;
const tables = ['sessions', 'probes', 'targets', 'insights'] as const;

/** A partition that has come to rest is summed again in one run when so many rows stand behind its sums. */
const restingRows = 20_000;

/** Of the engine's memory, for a pair whose source is put in a list: those it cannot put on disk meanwhile. */
const listedBytes = 256;

interface State {
  rows: RowCounts;
  summed: RowCounts;
  runs: number;
}

export class DuckDbAggregates {
  readonly #database: DuckDbDatabase;
  readonly #growingRows: number;
  readonly #listedAtOnce: number;
  readonly #states = new Map<string, State>();

  /**
   * `growingRows`: rows behind a growing partition's sums that make it worth summing them. `memoryBytes`: what the engine has.
   */
  constructor(database: DuckDbDatabase, growingRows: number, memoryBytes: number) {
    this.#database = database;
    this.#growingRows = growingRows;
    this.#listedAtOnce = Math.max(100_000, Math.floor(memoryBytes / listedBytes));
  }

  /** Reads how far each partition is summed. */
  async load(): Promise<void> {
    this.#states.clear();
    for (const partition of this.#database.partitions) await this.#loadOne(partition);
  }

  async #loadOne({ name, catalog }: Partition): Promise<void> {
    const counts = tables.map((table) => `(SELECT count(*) FROM ${catalog}.${table})`);
    const summed = tables.map((table) => `(SELECT coalesce(max(${table}), 0) FROM ${catalog}.agg_rows)`);
    const text = `SELECT ${[...counts, ...summed].join(', ')}, (SELECT count(*) FROM ${catalog}.agg_rows)`;
    const [row] = await this.#database.rows({ text, values: [] }, this.#database.writer);
    const [a, b, c, d, e, f, g, h, runs] = row.map(Number);
    this.#states.set(name, {
      rows: { sessions: a, probes: b, targets: c, insights: d },
      summed: { sessions: e, probes: f, targets: g, insights: h },
      runs,
    });
  }

  /** How many rows there are, and how many of them are summed. */
  of(partition: string): { readonly rows: RowCounts; readonly summed: RowCounts } {
    return this.#states.get(partition) ?? { rows: noRows, summed: noRows };
  }

  /** After a transaction that added rows. */
  added(partition: string, more: RowCounts): void {
    const { rows, summed, runs } = this.#states.get(partition) ?? { rows: noRows, summed: noRows, runs: 0 };
    this.#states.set(partition, {
      rows: {
        sessions: rows.sessions + more.sessions,
        probes: rows.probes + more.probes,
        targets: rows.targets + more.targets,
        insights: rows.insights + more.insights,
      },
      summed,
      runs,
    });
  }

  forget(partition: string): void {
    this.#states.delete(partition);
  }

  /** Sums what has come, when that is much. Called by the store in turn with everything else that writes. */
  async keepUp(partition: Partition): Promise<void> {
    const state = this.#states.get(partition.name);
    if (state && sumOf(state.rows) - sumOf(state.summed) >= this.#growingRows) await this.#run(partition, state, state.summed);
  }

  /** Of a partition that has come to rest: everything summed, in one run. True when there was something to do. */
  async settle(partition: Partition): Promise<boolean> {
    const state = this.#states.get(partition.name);
    if (!state || sumOf(state.rows) === 0) return false;
    const behind = sumOf(state.rows) - sumOf(state.summed);
    if (state.runs <= 1 && behind < Math.min(restingRows, this.#growingRows)) return false;
    await this.#run(partition, state, noRows);
    return true;
  }

  /** Sums the rows behind `from`; from the beginning it replaces all that was summed. */
  async #run({ name, catalog }: Partition, state: State, from: RowCounts): Promise<void> {
    const { writer } = this.#database;
    const { rows } = state;
    await writer.run('BEGIN');
    try {
      if (from === noRows) for (const statement of aggregateTables) await writer.run(replacing(statement, catalog));
      await sum(writer, catalog, from, rows, this.#listedAtOnce);
      await writer.run(
        `INSERT INTO ${catalog}.agg_rows VALUES (${rows.sessions}, ${rows.probes}, ${rows.targets}, ${rows.insights})`,
      );
      await writer.run('COMMIT');
    } catch (error) {
      await writer.run('ROLLBACK').catch(() => {});
      throw error;
    }
    this.#states.set(name, { rows, summed: rows, runs: from === noRows ? 1 : state.runs + 1 });
  }
}

const replacing = (statement: string, catalog: string): string =>
  statement.replace('CREATE TABLE IF NOT EXISTS ', `CREATE OR REPLACE TABLE ${catalog}.`);

async function sum(
  writer: DuckDBConnection,
  catalog: string,
  from: RowCounts,
  to: RowCounts,
  listedAtOnce: number,
): Promise<void> {
  const within = (table: keyof RowCounts): string => `rowid >= ${from[table]} AND rowid < ${to[table]}`;
  const count = async (rows: string): Promise<number> =>
    Number((await writer.runAndReadAll(`SELECT count(*) FROM ${rows}`)).getRowsJS()[0][0]);
  const touchesBefore = await count(`${catalog}.agg_touch`);
  const pairsBefore = await count(`${catalog}.agg_pair`);
  // Rows of this transaction have numbers beyond all others.
  const newPairs = `${catalog}.agg_pair WHERE rowid >= ${pairsBefore}`;
  const touched = rawTouches(catalog, within);
  for (const subject of pairSubjects) {
    const own = `${newPairs} AND ${subject === 'facts' ? `subject >= 'fact ' AND subject < 'fact!'` : `subject = '${subject}'`}`;
    const name = subject === 'facts' ? `concat('fact ', substr(key, 1, strpos(key, ' ') - 1))` : `'${subject}'`;
    const key = subject === 'facts' ? `substr(key, strpos(key, ' ') + 1)` : 'key';
    await writer.run(`INSERT INTO ${catalog}.agg_pair SELECT ${name} AS subject, start // ${dayMicros}, number, ${key}, sum(n), min(start * 64 + place)
      FROM (${rawPairs(subject, catalog, within)}) GROUP BY ALL ORDER BY subject, number`);
    const slices = Math.ceil((await count(own)) / listedAtOnce);
    for (let slice = 0; slice < slices; slice += 1)
      await writer.run(`INSERT INTO ${catalog}.agg_key SELECT subject, day, key, sum(n), count(*), list(number), ${subject === 'payloads' || subject === 'destinations' ? 'NULL' : sharedTextCode} FROM ${own}
        AND hash(key) % ${slices} = ${slice} GROUP BY ALL ORDER BY subject, day, key`);
  }
  const shared = ['families', ...sharedFacts.map((kind) => `fact ${kind}`)].map((subject) => `'${subject}'`).join(', ');
  // What was found may be of sessions that are still open, or that an earlier sum has: rows that no touch is in.
  await writer.run(`INSERT INTO ${catalog}.agg_source SELECT day, source, number, coalesce(s, 0), coalesce(p, 0), coalesce(b, 0), f, l,
      coalesce(ports, 0), coalesce(halves, 0), compared IS NOT NULL
    FROM (SELECT first // ${dayMicros} AS day, source, number, sum(sessions) AS s, sum(packets) AS p, sum(bytes_in) AS b, min(first) AS f,
      max(last) AS l, bit_or(${halfBit}) AS halves FROM (${touched}) GROUP BY ALL)
    LEFT JOIN (SELECT day, number, count(*) AS ports FROM ${newPairs} AND subject = 'ports' GROUP BY ALL) USING (day, number)
    FULL JOIN (SELECT DISTINCT day, number, true AS compared FROM ${newPairs} AND subject IN (${shared})) USING (day, number)
    ORDER BY day, number`);
  const slices = Math.ceil((await count(newPairs)) / listedAtOnce);
  for (let slice = 0; slice < slices; slice += 1)
    await writer.run(
      `INSERT INTO ${catalog}.agg_shared ${renderSharedSums(`${newPairs} AND hash(number) % ${slices} = ${slice}`)} ORDER BY day, number`,
    );
  await writer.run(`INSERT INTO ${catalog}.agg_touch SELECT first // ${halfHourMicros}, number, sum(sessions), sum(packets)
    FROM (${touched}) GROUP BY ALL ORDER BY ALL`);
  const distinct = (subject: 'ports' | 'destinations'): string => `SELECT bucket, count(*) AS keys FROM (SELECT DISTINCT
    start // ${halfHourMicros} AS bucket, key FROM (${rawPairs(subject, catalog, within)})) GROUP BY bucket`;
  await writer.run(`INSERT INTO ${catalog}.agg_bucket SELECT bucket, s, p, sources, coalesce(ports.keys, 0), coalesce(destinations.keys, 0)
    FROM (SELECT half AS bucket, sum(sessions) AS s, sum(packets) AS p, count(*) AS sources FROM ${catalog}.agg_touch
      WHERE rowid >= ${touchesBefore} GROUP BY half)
    LEFT JOIN (${distinct('ports')}) AS ports USING (bucket) LEFT JOIN (${distinct('destinations')}) AS destinations USING (bucket)
    ORDER BY bucket`);
}
