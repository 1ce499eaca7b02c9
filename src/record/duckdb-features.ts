// What campaigns are made from, of many sources at once: a table of the sources, and what each shares as lists of numbers, because
// a row for each entry costs more to hand over than to find. Reads only.

import type { DuckDBDataChunk } from '@duckdb/node-api';
import type { Place } from '../model/insight.ts';
import type { AnalysisStore, SourceFeatures } from './analysis-store.ts';
import { Conditions, type PartitionSource, type Sql } from './duckdb-query.ts';
import { halfBits, holders, type RelationScope, touches } from './duckdb-relations.ts';
import { besideRows, renderBeside, renderSharedLists, renderTexts } from './duckdb-shared-keys.ts';
import { type Attempts, numbersOf, SharedLists, wordsAt } from './shared-lists.ts';
import type { Filter } from './store.ts';

/** What it asks of the store. */
export interface FeatureAccess {
  ask(sql: Sql): Promise<unknown[][]>;
  visit(sql: Sql, visitor: (chunk: DuckDBDataChunk) => void): Promise<void>;
  sources(filter: Pick<Filter, 'since' | 'until' | 'diversion'>): Promise<PartitionSource[]>;
}

const halfHourLength = 500;
/** Sources whose lists are made together, in the engine's memory: each question is asked once for all of them. */
const sourcesAtOnce = 10_000;
const fewestAtOnce = 20;

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

/** Makes the table `name` of sources that share something worth comparing, those with most hits first. */
function renderSources(name: string, sources: readonly PartitionSource[], filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const limit = scope.conditions.value(filter.limit);
  const rows = touches(scope);
  return {
    text: `CREATE TEMP TABLE ${name} AS WITH weighed AS MATERIALIZED (SELECT * FROM (SELECT number, sum(sessions + packets)::BIGINT AS n
          FROM (${rows}) GROUP BY number) SEMI JOIN (${holders(scope)}) USING (number)),
        candidates AS MATERIALIZED (SELECT number, n FROM weighed WHERE n >=
          (SELECT min(n) FROM (SELECT n FROM weighed ORDER BY n DESC LIMIT ${limit})))
      SELECT (row_number() OVER (ORDER BY n DESC, source))::INTEGER AS rank, * FROM (SELECT number, any_value(source) AS source,
        min(first) AS first, max(last) AS last, any_value(n) AS n FROM (${rows}) JOIN candidates USING (number) GROUP BY number
        ORDER BY n DESC, source LIMIT ${limit})`,
    values: scope.conditions.values,
  };
}

/** Rows `rank, day, halves`, by day: a bit for each half-hour of it. */
function renderHalves(sources: readonly PartitionSource[], filter: Filter, batch: Batch): Sql {
  const scope = scopeOf(sources, filter);
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
    const sources = await this.#access.sources(filter);
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
    const rows = await this.#sources(batch);
    const places = new Map<string, Place>();
    for (const place of await this.#places(rows.map(({ source }) => source))) places.set(place.ip, place);
    const shared = await this.#shared(sources, filter, batch);
    const halves = await this.#halves(sources, filter, batch);
    return rows.map(({ rank, ...row }) => {
      const place = places.get(row.source);
      return {
        ...row,
        ...(place && { place }),
        ...shared(rank),
        halfHours: newest(halves.get(rank) ?? []),
      };
    });
  }

  /** Codes first, of which there are many; texts of those that are kept, each once. */
  async #shared(
    sources: readonly PartitionSource[],
    filter: Filter,
    batch: Batch,
  ): Promise<(rank: number) => Pick<SourceFeatures, 'families' | 'fingerprints' | 'urls' | 'credentials'>> {
    const scope = scopeOf(sources, filter);
    const rows = besideRows(scope);
    const beside = rows === undefined ? undefined : `${batch.name}_beside`;
    const { values } = scope.conditions;
    try {
      if (rows !== undefined)
        await this.#access.ask({ text: `CREATE TEMP TABLE ${beside} AS ${renderBeside(rows, ranked(batch))}`, values });
      const lists = new SharedLists(batch.from, batch.to);
      const plain = scopeOf(sources, filter);
      await this.#access.visit(
        { text: renderSharedLists(plain, ranked(batch), beside), values: plain.conditions.values },
        (chunk) => lists.add(chunk),
      );
      const texts = await this.#texts(sources, filter, lists.all(), beside);
      const named = (codes: Float64Array): string[] => namedIn(texts, codes);
      return (rank) => {
        const [families, fingerprints, urls] = lists.least(rank).map(named);
        return { families, credentials: triedTexts(lists.attempts(rank), texts), fingerprints, urls };
      };
    } finally {
      if (beside !== undefined) await this.#access.ask({ text: `DROP TABLE IF EXISTS ${beside}`, values: [] });
    }
  }

  /** Of codes that are ascending. */
  async #texts(
    sources: readonly PartitionSource[],
    filter: Filter,
    codes: Float64Array,
    beside: string | undefined,
  ): Promise<ReadonlyMap<number, string>> {
    const texts = new Map<number, string>();
    if (codes.length === 0) return texts;
    const scope = scopeOf(sources, filter);
    // As one text: a value for each number takes longer than to look them up.
    const list = scope.conditions.value(codes.join(' '));
    await this.#access.visit({ text: renderTexts(scope, list, beside), values: scope.conditions.values }, (chunk) => {
      const [found, named] = [numbersOf(chunk.getColumnVector(0)), chunk.getColumnVector(1)];
      for (let row = 0; row < chunk.rowCount; row += 1) texts.set(wordsAt(found, row), String(named.getItem(row)));
    });
    return texts;
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
    await this.#access.visit(renderHalves(sources, filter, batch), (chunk) => {
      const [ranks, days] = [chunk.getColumnVector(0), chunk.getColumnVector(1)];
      const bits = numbersOf(chunk.getColumnVector(2)).halves;
      for (let row = 0; row < chunk.rowCount; row += 1) {
        const rank = Number(ranks.getItem(row));
        const list = halves.get(rank) ?? [];
        if (list.length === 0) halves.set(rank, list);
        const first = Number(days.getItem(row)) * 48;
        pushHalves(list, first, bits[2 * row]);
        pushHalves(list, first + 32, bits[2 * row + 1]);
      }
    });
    return halves;
  }
}

/** Of codes whose text nobody has any more, as when a day was dropped meanwhile, there is none. */
function namedIn(texts: ReadonlyMap<number, string>, codes: Float64Array): string[] {
  const found = new Array<string>(codes.length);
  let count = 0;
  for (let index = 0; index < codes.length; index += 1) {
    const text = texts.get(codes[index]);
    if (text === undefined) continue;
    found[count] = text;
    count += 1;
  }
  found.length = count;
  return found;
}

/** In the order they were tried; those of one moment by their texts. */
function triedTexts({ codes, together }: Attempts, texts: ReadonlyMap<number, string>): string[] {
  if (!together) return namedIn(texts, codes);
  const found: string[] = [];
  let first = 0;
  for (let at = 0; at < codes.length; at += 1) {
    if (at + 1 < codes.length && together(at, at + 1)) continue;
    const run = namedIn(texts, codes.subarray(first, at + 1));
    if (run.length > 1) run.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const text of run) found.push(text);
    first = at + 1;
  }
  return found;
}

const newest = (halves: number[]): number[] => (halves.length > halfHourLength ? halves.slice(-halfHourLength) : halves);

/** One for each bit that is set, of 32. */
function pushHalves(list: number[], first: number, bits: number): void {
  for (let rest = bits; rest !== 0; rest &= rest - 1) list.push(first + 31 - Math.clz32(rest & -rest));
}
