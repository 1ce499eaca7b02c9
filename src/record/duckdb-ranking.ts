// Rankings of the embedded store: keys by hits or by distinct sources. Sums bound how many sources a key can have, lists of the
// sources' numbers are united for the keys that can be among the first, a part of them at a time. Reads only.

import { setImmediate } from 'node:timers/promises';
import type { DuckDBDataChunk } from '@duckdb/node-api';
import type { InsightSubject } from './analysis-store.ts';
import { DistinctNumbers } from './distinct-numbers.ts';
import { readTop, renderCandidates, renderMembers, renderSettled, renderTop } from './duckdb-insight-query.ts';
import type { PartitionSource, Sql } from './duckdb-query.ts';
import { MemberLists } from './member-lists.ts';
import type { Filter, TopRow, TopSubject } from './store.ts';

/** What it asks of the store. */
export interface RankingAccess {
  /** Sources in lists of keys that are in memory at once: more are counted in parts. */
  readonly pairsAtOnce: number;
  ask(sql: Sql): Promise<unknown[][]>;
  visit(sql: Sql, visitor: (chunk: DuckDBDataChunk) => void): Promise<void>;
  sources(filter: Pick<Filter, 'since' | 'until' | 'diversion'>): Promise<PartitionSource[]>;
}

export type RankedSubject = TopSubject | InsightSubject;

/** Keys in memory at once. */
const keysAtOnce = 100_000;
/** Others have their turn after about so many numbers. */
const numbersPerTurn = 500_000;

export class DuckDbRanking {
  readonly #access: RankingAccess;
  /** Temporary tables made so far. */
  #tables = 0;

  constructor(access: RankingAccess) {
    this.#access = access;
  }

  async top(subject: RankedSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    const sources = await this.#access.sources(filter);
    if (sources.length === 0) return [];
    return (
      (await this.#ofCandidates((name) => renderCandidates(name, sources, subject, by, filter), sources, subject, by, filter)) ??
      (await this.#access.ask(renderTop(sources, subject, by, filter))).map(readTop)
    );
  }

  /** Undefined where `render` has no candidates to shorten the ranking by. */
  async #ofCandidates(
    render: (name: string) => Sql | undefined,
    sources: readonly PartitionSource[],
    subject: RankedSubject,
    by: 'hits' | 'sources',
    filter: Filter,
  ): Promise<TopRow[] | undefined> {
    this.#tables = (this.#tables + 1) % Number.MAX_SAFE_INTEGER;
    const name = `candidates_${this.#tables}`;
    const candidates = render(name);
    if (!candidates) return undefined;
    try {
      await this.#access.ask(candidates);
      let rows = (await this.#access.ask(renderSettled(name, by, filter.limit))).map(readTop);
      const text = `SELECT coalesce(sum(most), 0)::BIGINT, count(*) FROM ${name} WHERE least < most`;
      const [[members, keys]] = await this.#access.ask({ text, values: [] });
      const slices = Math.ceil(Math.max(Number(members) / this.#access.pairsAtOnce, Number(keys) / keysAtOnce));
      for (let slice = 0; slice < slices; slice += 1) {
        const part = { candidates: name, slice, slices };
        rows.push(...(await this.#count(renderMembers(part, sources, subject, filter), part)));
        rows = rows.sort(inOrder(by)).slice(0, filter.limit);
      }
      return rows;
    } finally {
      await this.#access.ask({ text: `DROP TABLE IF EXISTS ${name}`, values: [] });
    }
  }

  async #count(
    members: Sql,
    { candidates, slice, slices }: { candidates: string; slice: number; slices: number },
  ): Promise<TopRow[]> {
    const text = `SELECT rank, key FROM ${candidates} WHERE least < most AND rank % ${slices} = ${slice}`;
    const keys = (await this.#access.ask({ text, values: [] })).map(([rank, key]) => [Number(rank), String(key)] as const);
    const lists = new MemberLists();
    await this.#access.visit(members, (chunk) => lists.add(chunk));
    const distinct = new DistinctNumbers();
    const rows: TopRow[] = [];
    let counted = 0;
    for (const [rank, key] of keys) {
      const tally = lists.tally(rank, distinct);
      if (!tally) continue;
      rows.push({ key, ...tally });
      counted += tally.sources + 1;
      if (counted < numbersPerTurn) continue;
      counted = 0;
      await setImmediate();
    }
    return rows;
  }
}

const inOrder =
  (by: 'hits' | 'sources') =>
  (a: TopRow, b: TopRow): number =>
    b[by] - a[by] || b.hits - a.hits || Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
