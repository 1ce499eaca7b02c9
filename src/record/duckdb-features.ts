// What campaigns are made from, of many sources at once: a table of the sources, and what each shares as lists that the engine
// puts together, because a row for each entry costs more to hand over than to find. Reads only.

import type { Place } from '../model/insight.ts';
import type { AnalysisStore, SourceFeatures } from './analysis-store.ts';
import { Conditions, type PartitionSource, type Sql } from './duckdb-query.ts';
import { halfBits, holders, type Keys, pairs, type RelationScope, touches, usesSums } from './duckdb-relations.ts';
import type { Filter } from './store.ts';

/** What it asks of the store. */
export interface FeatureAccess {
  ask(sql: Sql): Promise<unknown[][]>;
  sources(filter: Pick<Filter, 'since' | 'until'>): PartitionSource[];
}

const listLength = 64;
const credentialLength = 200;
const halfHourLength = 500;
/** Sources whose lists are made together: the engine has them in memory, and they are as long as their senders like. */
const sourcesAtOnce = 2500;
const fewestAtOnce = 20;

const fingerprints: Keys = { facts: ['hassh', 'ja4', 'client', 'user-agent'], named: true };
const addresses: Keys = { facts: ['url', 'domain', 'address'] };

/** Sources with the ranks `from` to `to` of the table `name`. */
interface Batch {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

interface Row {
  readonly rank: number;
  readonly source: string;
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly hits: number;
}

const scopeOf = (sources: readonly PartitionSource[], filter: Filter): RelationScope => ({
  sources,
  filter,
  conditions: new Conditions(),
});

const ranked = ({ name, from, to }: Batch): string => `(SELECT rank, number FROM ${name} WHERE rank BETWEEN ${from} AND ${to})`;

/** Records are left out before anything is made of them; of sums, joining the table is what costs least. */
function scopeFor(sources: readonly PartitionSource[], filter: Filter, batch: Batch): RelationScope {
  const scope = scopeOf(sources, filter);
  return usesSums(scope) ? scope : { ...scope, only: `number IN (SELECT number FROM ${ranked(batch)})` };
}

/** Makes the table `name` of sources that share something worth comparing, those with most hits first. */
function renderSources(name: string, sources: readonly PartitionSource[], filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const limit = scope.conditions.value(filter.limit);
  return {
    text: `CREATE TEMP TABLE ${name} AS SELECT (row_number() OVER (ORDER BY n DESC, source))::INTEGER AS rank, number, source, first, last, n
      FROM (SELECT * FROM (SELECT number, any_value(source) AS source, min(first) AS first, max(last) AS last, sum(sessions + packets)::BIGINT AS n
          FROM (${touches(scope)}) GROUP BY number)
        SEMI JOIN (${holders(scope)}) USING (number) ORDER BY n DESC, source LIMIT ${limit})`,
    values: scope.conditions.values,
  };
}

/** Rows `rank, keys`: JSON of at most `most` keys, the most frequent first, or the earliest. */
function renderKeys(
  keys: Keys,
  order: 'hits' | 'first',
  most: number,
  sources: readonly PartitionSource[],
  filter: Filter,
  batch: Batch,
): Sql {
  const scope = scopeFor(sources, filter, batch);
  const weight = order === 'hits' ? '-sum(n)::BIGINT' : 'min(start * 64 + place)';
  return {
    text: `SELECT rank, to_json(list_transform(min({'weight': weight, 'key': key}, ${most}), lambda entry: entry.key)) FROM
      (SELECT rank, key, ${weight} AS weight FROM (${pairs(keys, scope)}) JOIN ${ranked(batch)} USING (number) WHERE key IS NOT NULL
        GROUP BY rank, key) GROUP BY rank`,
    values: scope.conditions.values,
  };
}

/** Rows `rank, day, halves`, by day: a bit for each half-hour of it. */
function renderHalves(sources: readonly PartitionSource[], filter: Filter, batch: Batch): Sql {
  const scope = scopeFor(sources, filter, batch);
  return {
    text: `SELECT rank, day, bit_or(halves) FROM (${halfBits(scope)}) JOIN ${ranked(batch)} USING (number) GROUP BY ALL ORDER BY day`,
    values: scope.conditions.values,
  };
}

const isShort = (error: unknown): boolean => /out of memory/i.test(error instanceof Error ? error.message : '');

export class DuckDbFeatures {
  readonly #access: FeatureAccess;
  readonly #places: AnalysisStore['places'];
  /** Temporary tables made so far. */
  #tables = 0;

  constructor(access: FeatureAccess, places: AnalysisStore['places']) {
    this.#access = access;
    this.#places = places;
  }

  async features(filter: Filter): Promise<SourceFeatures[]> {
    const sources = this.#access.sources(filter);
    if (sources.length === 0) return [];
    this.#tables = (this.#tables + 1) % Number.MAX_SAFE_INTEGER;
    const name = `compared_${this.#tables}`;
    try {
      await this.#access.ask(renderSources(name, sources, filter));
      const [[count]] = await this.#access.ask({ text: `SELECT count(*) FROM ${name}`, values: [] });
      const found: SourceFeatures[] = [];
      for (let from = 1; from <= Number(count); from += sourcesAtOnce) {
        const to = Math.min(from + sourcesAtOnce - 1, Number(count));
        for (const features of await this.#batch(sources, filter, { name, from, to })) found.push(features);
      }
      return found;
    } finally {
      await this.#access.ask({ text: `DROP TABLE IF EXISTS ${name}`, values: [] });
    }
  }

  /** In halves where the engine has not the memory for so many. */
  async #batch(sources: readonly PartitionSource[], filter: Filter, batch: Batch): Promise<SourceFeatures[]> {
    try {
      return await this.#together(sources, filter, batch);
    } catch (error) {
      const { from, to } = batch;
      if (!isShort(error) || to - from < fewestAtOnce) throw error;
      const middle = Math.floor((from + to) / 2);
      const before = await this.#batch(sources, filter, { ...batch, to: middle });
      return [...before, ...(await this.#batch(sources, filter, { ...batch, from: middle + 1 }))];
    }
  }

  async #together(sources: readonly PartitionSource[], filter: Filter, batch: Batch): Promise<SourceFeatures[]> {
    const keys = async (of: Keys, order: 'hits' | 'first' = 'hits', most = listLength): Promise<Map<number, string[]>> => {
      const rows = await this.#access.ask(renderKeys(of, order, most, sources, filter, batch));
      return new Map(rows.map(([rank, list]) => [Number(rank), JSON.parse(String(list)) as string[]]));
    };
    const rows = await this.#sources(batch);
    const places = new Map<string, Place>();
    for (const place of await this.#places(rows.map(({ source }) => source))) places.set(place.ip, place);
    const families = await keys('families');
    const credentials = await keys({ facts: ['credential'] }, 'first', credentialLength);
    const clients = await keys(fingerprints);
    const syns = await keys('syns');
    const urls = await keys(addresses);
    const halves = await this.#halves(sources, filter, batch);
    return rows.map(({ rank, ...row }) => {
      const place = places.get(row.source);
      const shapes = (syns.get(rank) ?? []).map((key) => `syn:${key}`);
      return {
        ...row,
        ...(place && { place }),
        families: families.get(rank) ?? [],
        credentials: credentials.get(rank) ?? [],
        fingerprints: [...(clients.get(rank) ?? []), ...shapes].slice(0, listLength),
        urls: urls.get(rank) ?? [],
        halfHours: (halves.get(rank) ?? []).slice(-halfHourLength),
      };
    });
  }

  async #sources({ name, from, to }: Batch): Promise<Row[]> {
    const text = `SELECT rank, source, first, last, n FROM ${name} WHERE rank BETWEEN ${from} AND ${to} ORDER BY rank`;
    return (await this.#access.ask({ text, values: [] })).map(([rank, source, first, last, n]) => ({
      rank: Number(rank),
      source: String(source),
      firstSeen: Number(first),
      lastSeen: Number(last),
      hits: Number(n),
    }));
  }

  async #halves(sources: readonly PartitionSource[], filter: Filter, batch: Batch): Promise<Map<number, number[]>> {
    const halves = new Map<number, number[]>();
    for (const [rank, day, bits] of await this.#access.ask(renderHalves(sources, filter, batch))) {
      const list = halves.get(Number(rank)) ?? [];
      for (let half = 0; half < 48; half += 1)
        if (Math.floor(Number(bits) / 2 ** half) % 2 === 1) list.push(Number(day) * 48 + half);
      halves.set(Number(rank), list);
    }
    return halves;
  }
}
