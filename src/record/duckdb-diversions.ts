// Which diversions the summed records of each partition have. Most have one alone: a question about that diversion is answered by
// the partition's sums, one about another passes them over. Reads only.

import { sumOf } from './duckdb-aggregates.ts';
import type { PartitionSource, RowCounts, Sql } from './duckdb-query.ts';
import type { Filter } from './store.ts';

interface Known {
  readonly summed: RowCounts;
  readonly span: PartitionSource['diversions'];
}

export class DuckDbDiversions {
  readonly #ask: (sql: Sql) => Promise<unknown[][]>;
  /** By partition: what is summed never changes, there is only more of it. */
  #known = new Map<string, Known>();

  constructor(ask: (sql: Sql) => Promise<unknown[][]>) {
    this.#ask = ask;
  }

  /** The same partitions, with what is known of their diversions when the filter asks for one. */
  async marked(sources: readonly PartitionSource[], filter: Pick<Filter, 'diversion'>): Promise<PartitionSource[]> {
    if (filter.diversion === undefined) return [...sources];
    const marked: PartitionSource[] = [];
    const known = new Map<string, Known>();
    for (const source of sources) {
      const found = await this.#spanOf(source);
      if (found) known.set(source.name, found);
      marked.push({ ...source, ...(found?.span && { diversions: found.span }) });
    }
    // Of partitions that are no more, nothing is kept; of those outside the filter's time, all.
    if (this.#known.size > mostKnown) this.#known = known;
    else for (const [name, each] of known) this.#known.set(name, each);
    return marked;
  }

  async #spanOf({ name, catalog, summed }: PartitionSource): Promise<Known | undefined> {
    if (!summed || sumOf(summed) === 0) return undefined;
    const known = this.#known.get(name);
    if (known && sumOf(known.summed) === sumOf(summed)) return known;
    // Summed findings may be of sessions that are not summed yet: all sessions count.
    const rows = [
      `SELECT diversion FROM ${catalog}.sessions`,
      `SELECT diversion FROM ${catalog}.open_records`,
      `SELECT diversion FROM ${catalog}.probes WHERE rowid < ${summed.probes}`,
      `SELECT diversion FROM ${catalog}.targets WHERE rowid < ${summed.targets}`,
    ];
    const text = `SELECT min(diversion), max(diversion) FROM (${rows.join(' UNION ALL ')})`;
    const [[least, most]] = await this.#ask({ text, values: [] });
    return { summed, span: typeof least === 'string' ? { least, most: String(most) } : undefined };
  }
}

/** Years of days. */
const mostKnown = 4096;
