// Sessions that verdicts of some behaviours are about, newest first: what the verdicts name is put into a table, and sessions are
// looked through from the newest on, in spans of time that grow while they hold too few. Reads only.

import { identifierTime } from '../model/identifier.ts';
import { type PartitionSource, renderAbout, renderSessionsAbout, type Sql } from './duckdb-query.ts';
import { readSummary } from './duckdb-schema.ts';
import type { Filter, SessionFilter, SessionSummary } from './store.ts';

/** What it asks of the store. */
export interface BehaviourAccess {
  ask(sql: Sql): Promise<unknown[][]>;
  sources(filter: Pick<Filter, 'since' | 'until'>): PartitionSource[];
}

const firstSpanMicros = 30 * 60_000_000;

export class DuckDbBehaviourPages {
  readonly #access: BehaviourAccess;
  /** Temporary tables made so far. */
  #tables = 0;

  constructor(access: BehaviourAccess) {
    this.#access = access;
  }

  async sessions(filter: SessionFilter): Promise<SessionSummary[]> {
    // A session may go on beyond the filter's end, and a verdict about it begin there.
    const verdictsIn = this.#access.sources({});
    if (verdictsIn.length === 0) return [];
    this.#tables = (this.#tables + 1) % Number.MAX_SAFE_INTEGER;
    const about = `about_${this.#tables}`;
    try {
      await this.#access.ask(renderAbout(about, verdictsIn, filter));
      const [[last]] = await this.#access.ask({ text: `SELECT max(of_end) FROM ${about}`, values: [] });
      return last === null ? [] : await this.#newest(about, Number(last), filter);
    } finally {
      await this.#access.ask({ text: `DROP TABLE IF EXISTS ${about}`, values: [] });
    }
  }

  /** `last`: no session that begins later is of interest. */
  async #newest(about: string, last: number, filter: SessionFilter): Promise<SessionSummary[]> {
    const { limit, before } = filter;
    const cursor = before === undefined ? Number.NaN : identifierTime(before);
    const bound = Math.min(Math.floor(last) + 1, filter.until ?? Infinity, Number.isNaN(cursor) ? Infinity : cursor + 1);
    let found: SessionSummary[] = [];
    let span = firstSpanMicros;
    for (const source of this.#access.sources(filter)) {
      const first = Math.max(source.earliest, filter.since ?? Number.NEGATIVE_INFINITY);
      let until = Math.min(Math.ceil(bound), source.latest + 1);
      while (until > first && (found.length < limit || until > identifierTime(found[limit - 1].id))) {
        const since = Math.max(until - span, first);
        const rows = await this.#access.ask(renderSessionsAbout(source, about, { ...filter, since, until }));
        if (rows.length > 0) {
          found.push(...rows.map(readSummary));
          found = found.sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, limit);
        }
        until = since;
        span *= 2;
      }
    }
    return found;
  }
}
