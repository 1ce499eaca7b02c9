// The part of the embedded store that reports ask (analysis-store.ts): each question is a few statements of
// duckdb-insight-query.ts, put together here. Writes nothing.

import { listValue } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import { parseRange } from '../model/address.ts';
import type { Behaviour, PayloadFamily, Place, SessionInsight, Verdict } from '../model/insight.ts';
import type {
  AnalysisStore,
  InsightSubject,
  RollupRow,
  RollupStep,
  SourceFeatures,
  SourcePage,
  SourceSummary,
  VerdictFilter,
} from './analysis-store.ts';
import { dayMicros, halfHourMicros } from './day.ts';
import { DuckDbBehaviourPages } from './duckdb-behaviour-pages.ts';
import { renderCounts } from './duckdb-counts.ts';
import { DuckDbDiversions } from './duckdb-diversions.ts';
import { DuckDbFeatures } from './duckdb-features.ts';
import {
  type ListSubject,
  mostFrequent,
  renderActivity,
  renderAttackers,
  renderByPorts,
  renderChosen,
  renderChosenOf,
  renderDistinct,
  renderFirsts,
  renderKnown,
  renderLists,
  renderPlaces,
  renderRawRollup,
  renderRollup,
  renderRollupKeys,
  renderRollupNew,
  renderSummedBuckets,
  renderTotals,
  renderUnsummedBuckets,
  renderVerdicts,
} from './duckdb-insight-query.ts';
import { familyColumns, insightColumns, readFamily, readInsight, readPlace, readVerdict } from './duckdb-insight-schema.ts';
import {
  pickedKeys,
  pickedRuns,
  pickedTables,
  renderPick,
  renderPickedDistinct,
  renderPickedDrop,
  renderPickedTables,
  renderPickedTotals,
} from './duckdb-picked.ts';
import { Conditions, type PartitionSource, type Sql } from './duckdb-query.ts';
import { DuckDbRanking, type RankingAccess } from './duckdb-ranking.ts';
import { isSummable, isTimeOnly } from './duckdb-relations.ts';
import { sourceNumber } from './duckdb-source-number.ts';
import type { Counts, Filter, SessionFilter, SessionSummary, TopRow, TopSubject } from './store.ts';

/** What it asks of the store. */
export interface AnalysisAccess extends Omit<RankingAccess, 'sources'> {
  sources(filter: Pick<Filter, 'since' | 'until'>): PartitionSource[];
  page<T extends { readonly id: string }>(
    filter: Filter,
    render: (source: PartitionSource, filter: Filter) => Sql,
    read: (row: unknown[]) => T | undefined,
  ): Promise<T[]>;
}

/** Most entries of a list of one source. */
const listLength = 50;
const pageActivity = 2000;
const mostAsked = 10_000;
/** Sources beyond a ranking's end that weigh as much as its last: more are told apart by the engine. */
const mostTied = 1000;

interface Total {
  readonly source: string;
  readonly firstSeen: Micros;
  readonly lastSeen: Micros;
  readonly sessions: number;
  readonly probes: number;
  readonly bytesIn: number;
}

/** How what is told of sources is asked for. */
interface SourceFacts {
  readonly distinct: (subject: 'ports' | 'destinations', ips: readonly string[]) => Sql;
  readonly list: (subject: ListSubject, ips: readonly string[]) => Sql;
}

interface Entry {
  readonly key: string;
  readonly hits: number;
}

export class DuckDbAnalysis implements AnalysisStore {
  readonly #access: AnalysisAccess;
  readonly #features: DuckDbFeatures;
  readonly #diversions: DuckDbDiversions;
  readonly #ranking: DuckDbRanking;
  readonly #behaviourPages: DuckDbBehaviourPages;
  /** Temporary tables made so far. */
  #tables = 0;

  constructor(access: AnalysisAccess) {
    this.#access = access;
    this.#diversions = new DuckDbDiversions((sql) => access.ask(sql));
    const marked = { ...access, sources: (filter: Filter) => this.#sources(filter) };
    this.#ranking = new DuckDbRanking(marked);
    this.#behaviourPages = new DuckDbBehaviourPages(access);
    this.#features = new DuckDbFeatures(marked, (ips) => this.places(ips));
  }

  #sources(filter: Pick<Filter, 'since' | 'until' | 'diversion'>): Promise<PartitionSource[]> {
    return this.#diversions.marked(this.#access.sources(filter), filter);
  }

  async verdicts(filter: VerdictFilter): Promise<Verdict[]> {
    return this.#access.page(filter, (source, part) => renderVerdicts(source, { ...filter, ...part }), readVerdict);
  }

  /** Those that verdicts of `filter.behaviours` are about. */
  sessionsAbout(filter: SessionFilter): Promise<SessionSummary[]> {
    return this.#behaviourPages.sessions(filter);
  }

  async insight(id: string, start: Micros): Promise<SessionInsight | undefined> {
    return (await this.insights([{ id, start }]))[0];
  }

  async insights(of: readonly { readonly id: string; readonly start: Micros }[]): Promise<SessionInsight[]> {
    const asked = of.slice(0, mostAsked);
    const since = asked.reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY);
    const until = asked.reduce((most, { start }) => Math.max(most, start + 1), Number.NEGATIVE_INFINITY);
    const sources = asked.length === 0 ? [] : this.#access.sources({ since, until });
    if (sources.length === 0) return [];
    const ids = asked.map(({ id }) => id).sort();
    const conditions = new Conditions();
    const first = conditions.value(ids[0]);
    const last = conditions.value(ids[ids.length - 1]);
    const where = `id >= ${first} AND id <= ${last} AND id IN (SELECT unnest(${conditions.value(listValue(ids))}))`;
    const parts = sources.map(({ catalog }) => `SELECT ${insightColumns} FROM ${catalog}.insights WHERE ${where}`);
    const rows = await this.#access.ask({ text: parts.join(' UNION ALL '), values: conditions.values });
    return rows.map(readInsight);
  }

  async places(ips: readonly string[]): Promise<Place[]> {
    if (ips.length === 0) return [];
    return (await this.#access.ask(renderPlaces(ips.slice(0, mostAsked)))).map(readPlace);
  }

  async families(limit: number): Promise<PayloadFamily[]> {
    const text = `SELECT ${familyColumns} FROM "analysis".families ORDER BY first_seen DESC, id DESC LIMIT $1`;
    return (await this.#access.ask({ text, values: [limit] })).map(readFamily);
  }

  async family(id: string): Promise<PayloadFamily | undefined> {
    const text = `SELECT ${familyColumns} FROM "analysis".families WHERE id = $1`;
    const [row] = await this.#access.ask({ text, values: [id] });
    return row && readFamily(row);
  }

  /** Also of the subjects of `TopSubject`. */
  topInsights(subject: InsightSubject | TopSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    return this.#ranking.top(subject, by, filter);
  }

  async knownKeys(subject: InsightSubject | 'ports', keys: readonly string[], filter: Filter): Promise<string[]> {
    const sources = await this.#sources(filter);
    if (sources.length === 0 || keys.length === 0) return [];
    const rows = await this.#access.ask(renderKnown(sources, subject, keys.slice(0, mostAsked), filter));
    return rows.map(([key]) => String(key));
  }

  /** Of records: a part of `Store`, answered from the same sums. */
  async counts(filter: Filter): Promise<Counts> {
    const sources = await this.#sources(filter);
    if (sources.length === 0) return { sessions: 0, openSessions: 0, probes: 0, sources: 0, bytesIn: 0, alerts: 0 };
    const [row] = await this.#access.ask(renderCounts(sources, filter));
    const [sessions, openSessions, bytesIn, probes, distinct, alerts] = row.map(Number);
    return { sessions, openSessions, probes, sources: distinct, bytesIn, alerts };
  }

  async rollups(step: RollupStep, filter: Filter): Promise<RollupRow[]> {
    const sources = this.#access.sources(filter);
    if (sources.length === 0) return [];
    const rows = !isTimeOnly(filter)
      ? await this.#bucketsOf(sources, step, filter)
      : step === 'day'
        ? await this.#days(sources, filter)
        : await this.#halfHours(sources, filter);
    return rows.sort((a, b) => a.start - b.start).slice(-filter.limit);
  }

  /** From the records, but for which sources are new. */
  async #bucketsOf(sources: readonly PartitionSource[], step: RollupStep, filter: Filter): Promise<RollupRow[]> {
    const rows = await this.#access.ask(renderRawRollup(this.#access.sources({}), sources, step, filter));
    const fresh = new Map(rows.map(([bucket, , , , news]) => [Number(bucket), Number(news)]));
    return this.#withKeys(rows, sources, step, filter, fresh, true);
  }

  /** Rows `bucket, sessions, packets, sources`, with how many ports and destinations. `raw`: of records alone. */
  async #withKeys(
    rows: readonly unknown[][],
    sources: readonly PartitionSource[],
    step: RollupStep,
    filter: Filter,
    fresh: ReadonlyMap<number, number>,
    raw: boolean,
  ): Promise<RollupRow[]> {
    if (rows.length === 0) return [];
    const ports = await this.#count(renderRollupKeys(sources, step, 'ports', filter, raw));
    const destinations = await this.#count(renderRollupKeys(sources, step, 'destinations', filter, raw));
    return rows.map((row) => {
      const [bucket, sessions, probes, distinct] = row.map(Number);
      const keys = [ports.get(bucket) ?? 0, destinations.get(bucket) ?? 0] as const;
      return bucketRow(step, [bucket, sessions, probes, distinct, ...keys], fresh);
    });
  }

  async #count(sql: Sql): Promise<Map<number, number>> {
    return new Map((await this.#access.ask(sql)).map(([bucket, keys]) => [Number(bucket), Number(keys)]));
  }

  /** Days, the first and last of which the filter may cut. */
  async #days(sources: readonly PartitionSource[], filter: Filter): Promise<RollupRow[]> {
    const firsts = await this.#count(renderFirsts(this.#access.sources({}), 'day'));
    const counted = await this.#access.ask(renderRollup(sources, 'day', filter));
    const rows = await this.#withKeys(counted, sources, 'day', filter, firsts, false);
    for (const part of cutBuckets(filter, dayMicros)) {
      const cut = this.#access.sources(part);
      if (cut.length === 0) continue;
      const fresh = await this.#count(renderRollupNew(this.#access.sources({}), cut, 'day', part));
      for (const [index, row] of rows.entries()) {
        const bucket = row.start / dayMicros;
        if (part.since !== undefined && Math.floor(part.since / dayMicros) === bucket)
          rows[index] = { ...row, newSources: fresh.get(bucket) ?? 0 };
      }
    }
    return rows;
  }

  /** What one sum alone has is taken from it; half-hours that several have, or that have records beside, are counted. */
  async #halfHours(sources: readonly PartitionSource[], filter: Filter): Promise<RollupRow[]> {
    const summed = renderSummedBuckets(sources, filter);
    if (!summed) return this.#bucketsOf(sources, 'half-hour', filter);
    const beside = renderUnsummedBuckets(sources, filter);
    const toCount = new Set((beside ? await this.#access.ask(beside) : []).map(([bucket]) => Number(bucket)));
    const whole = new Map<number, number[]>();
    for (const row of await this.#access.ask(summed)) {
      const numbers = row.map(Number);
      if (whole.has(numbers[0])) toCount.add(numbers[0]);
      whole.set(numbers[0], numbers);
    }
    const firsts = await this.#count(renderFirsts(this.#access.sources({}), 'half-hour'));
    const rows = [...whole].filter(([bucket]) => !toCount.has(bucket)).map(([, row]) => bucketRow('half-hour', row, firsts));
    for (const { first, last } of spansOf(toCount)) {
      const since = Math.max(first * halfHourMicros, filter.since ?? Number.NEGATIVE_INFINITY);
      const until = Math.min((last + 1) * halfHourMicros, filter.until ?? Number.POSITIVE_INFINITY);
      const part = { ...filter, since, until };
      for (const row of await this.#bucketsOf(this.#access.sources(part), 'half-hour', part))
        if (toCount.has(row.start / halfHourMicros)) rows.push(row);
    }
    return rows;
  }

  async attackers(by: 'hits' | 'ports' | 'newest', filter: Filter): Promise<SourceSummary[]> {
    const sources = await this.#sources(filter);
    if (sources.length === 0) return [];
    if (!isSummable({ sources, filter })) return this.#pickedAttackers(sources, by, filter);
    const from = this.#fromRecords(sources, filter);
    if (by !== 'ports') {
      const rows = await this.#access.ask(renderAttackers(sources, by, filter));
      return this.#summaries(from, rows.map(readTotal));
    }
    const ranking = await this.#access.ask(renderByPorts(sources, filter));
    const ports = new Map(ranking.map(([source, keys]) => [sourceNumber(String(source)), Number(keys)]));
    const ips = ranking.map(([source]) => String(source));
    return this.#summaries(from, await this.#totals(sources, filter, ips), ports);
  }

  /** Sums do not answer for such a filter: the ranking first, then all that is told of those that are shown at once. */
  async #pickedAttackers(
    sources: readonly PartitionSource[],
    by: 'hits' | 'ports' | 'newest',
    filter: Filter,
  ): Promise<SourceSummary[]> {
    this.#tables = (this.#tables + 1) % Number.MAX_SAFE_INTEGER;
    const tables = pickedTables(`picked_${this.#tables}`);
    const { ask } = this.#access;
    try {
      const ips = await this.#choose(tables.chosen, sources, by, filter);
      if (ips?.length === 0) return [];
      for (const statement of renderPickedTables(tables)) await ask(statement);
      for (const run of pickedRuns(sources)) for (const statement of renderPick(tables, run, filter)) await ask(statement);
      const totals = (await ask(renderPickedTotals(tables))).map(readTotal);
      const place = new Map(ips?.map((ip, index) => [ip, index]));
      const first =
        ips === undefined
          ? byWeight(totals, by === 'hits' ? ({ sessions, probes }) => sessions + probes : ({ lastSeen }) => lastSeen)
          : totals.sort((a, b) => (place.get(a.source) ?? 0) - (place.get(b.source) ?? 0));
      const facts: SourceFacts = {
        distinct: (subject) => renderPickedDistinct(tables, subject),
        list: (subject, listed) =>
          subject === 'signatures' || subject === 'families'
            ? { text: mostFrequent(pickedKeys(tables, subject), listLength), values: [] }
            : renderLists(sources, subject, listLength, filter, listed),
      };
      return await this.#summaries(facts, first.slice(0, filter.limit));
    } finally {
      for (const statement of renderPickedDrop(tables)) await ask(statement);
    }
  }

  /** Makes the table of sources to look at. Gives them in their order, where it takes more than their totals to tell it. */
  async #choose(
    chosen: string,
    sources: readonly PartitionSource[],
    by: 'hits' | 'ports' | 'newest',
    filter: Filter,
  ): Promise<string[] | undefined> {
    const { ask } = this.#access;
    if (by !== 'ports') {
      await ask(renderChosen(chosen, sources, by, filter));
      const [[count]] = await ask({ text: `SELECT count(*) FROM ${chosen}`, values: [] });
      if (Number(count) <= filter.limit + mostTied) return undefined;
    }
    const ranking = by === 'ports' ? renderByPorts(sources, filter) : renderAttackers(sources, by, filter);
    const ips = (await ask(ranking)).map(([source]) => String(source));
    // A list of nothing has no type.
    if (ips.length > 0) await ask(renderChosenOf(chosen, ips));
    return ips;
  }

  #fromRecords(sources: readonly PartitionSource[], filter: Filter): SourceFacts {
    return {
      distinct: (subject, ips) => renderDistinct(sources, subject, filter, ips),
      list: (subject, ips) => renderLists(sources, subject, listLength, filter, ips),
    };
  }

  async attacker(source: string, filter: Filter): Promise<SourcePage | undefined> {
    const part = filter;
    const sources = await this.#sources(part);
    if (sources.length === 0) return undefined;
    const ips = [source];
    const totals = await this.#totals(sources, part, ips);
    if (totals.length === 0) return undefined;
    const [summary] = await this.#summaries(this.#fromRecords(sources, part), totals);
    const list = async (subject: ListSubject): Promise<TopRow[]> => {
      const found = (await this.#lists(renderLists(sources, subject, listLength, part, ips), ips)).get(source) ?? [];
      return found.map(({ key, hits }) => ({ key, hits, sources: 1 }));
    };
    const facts = await list('facts');
    const activity = await this.#access.ask(renderActivity(sources, part, ips, pageActivity));
    const range = parseRange(source.replace(/%.*$/, ''));
    const verdicts = await this.verdicts({ ...part, ...(range && !part.sources && { sources: [range] }), limit: mostAsked });
    return {
      ...summary,
      topPorts: await list('ports'),
      topDestinations: await list('destinations'),
      credentials: await list('credentials'),
      facts: facts.map(({ key, hits }) => {
        const colon = key.indexOf(':');
        return { kind: key.slice(0, colon), value: key.slice(colon + 1), hits };
      }),
      verdicts: verdicts.filter((verdict) => verdict.source === source).slice(0, listLength),
      activity: activity.map(([, half, hits]) => ({ start: Number(half) * halfHourMicros, hits: Number(hits) })),
    };
  }

  features(filter: Filter): Promise<SourceFeatures[]> {
    return this.#features.features(filter);
  }

  /** In the order of `ips`; those that nothing is known of are left out. */
  async #totals(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[]): Promise<Total[]> {
    if (ips.length === 0) return [];
    const rows = (await this.#access.ask(renderTotals(sources, filter, ips))).map(readTotal);
    const known = new Map(rows.map((row) => [row.source, row]));
    return ips.flatMap((ip) => known.get(ip) ?? []);
  }

  async #lists(sql: Sql, ips: readonly string[]): Promise<Map<string, Entry[]>> {
    const lists = new Map<string, Entry[]>();
    const named = new Map(ips.map((ip) => [sourceNumber(ip), ip]));
    for (const [number, key, hits] of await this.#access.ask(sql)) {
      const source = named.get(number as bigint) ?? '';
      const list = lists.get(source);
      const entry = { key: String(key), hits: Number(hits) };
      if (list) list.push(entry);
      else lists.set(source, [entry]);
    }
    return lists;
  }

  /** `known`: distinct ports of each, where they are known already. */
  async #summaries(facts: SourceFacts, totals: readonly Total[], known?: ReadonlyMap<bigint, number>): Promise<SourceSummary[]> {
    const ips = totals.map(({ source }) => source);
    if (ips.length === 0) return [];
    const distinct = async (subject: 'ports' | 'destinations'): Promise<Map<bigint, number>> =>
      new Map((await this.#access.ask(facts.distinct(subject, ips))).map(([number, keys]) => [number as bigint, Number(keys)]));
    const ports = known ?? (await distinct('ports'));
    const destinations = await distinct('destinations');
    const places = new Map((await this.places(ips)).map((place) => [place.ip, place]));
    const list = (subject: ListSubject) => this.#lists(facts.list(subject, ips), ips);
    const [behaviours, tools] = [await list('behaviours'), await list('tools')];
    const [signatures, families] = [await list('signatures'), await list('families')];
    return totals.map((total) => {
      const { source } = total;
      const number = sourceNumber(source);
      const place = places.get(source);
      const keys = (lists: Map<string, Entry[]>): string[] => (lists.get(source) ?? []).map(({ key }) => key);
      return {
        ...total,
        ports: ports.get(number) ?? 0,
        destinations: destinations.get(number) ?? 0,
        ...(place && { place }),
        behaviours: keys(behaviours) as Behaviour[],
        tools: keys(tools),
        signatures: keys(signatures),
        families: keys(families),
      };
    });
  }
}

/** Those that weigh most first; of the same weight by address. */
const byWeight = (totals: Total[], weight: (total: Total) => number): Total[] =>
  totals.sort((a, b) => weight(b) - weight(a) || (a.source < b.source ? -1 : 1));

/** `numbers`: bucket, sessions, packets, sources, ports, destinations. */
function bucketRow(step: RollupStep, numbers: readonly number[], fresh: ReadonlyMap<number, number>): RollupRow {
  const [bucket, sessions, probes, sources, ports, destinations] = numbers;
  const start = bucket * (step === 'day' ? dayMicros : halfHourMicros);
  return { start, hits: sessions + probes, sessions, probes, sources, ports, destinations, newSources: fresh.get(bucket) ?? 0 };
}

/** The parts of a filter's time that are no whole buckets. */
function cutBuckets(filter: Filter, width: number): Filter[] {
  const { since, until } = filter;
  const parts: Filter[] = [];
  if (since !== undefined && since % width !== 0) {
    const end = Math.ceil(since / width) * width;
    parts.push({ ...filter, until: Math.min(end, until ?? end) });
  }
  if (until !== undefined && until % width !== 0 && (since === undefined || Math.floor(until / width) * width > since))
    parts.push({ ...filter, since: Math.floor(until / width) * width });
  return parts;
}

/** Runs of buckets that stand together, or with a gap of few between them: counting those too costs less than asking again. */
function spansOf(buckets: ReadonlySet<number>): { readonly first: number; readonly last: number }[] {
  const spans: { first: number; last: number }[] = [];
  for (const bucket of [...buckets].sort((a, b) => a - b)) {
    const span = spans.at(-1);
    if (span && bucket - span.last <= 4) span.last = bucket;
    else spans.push({ first: bucket, last: bucket });
  }
  return spans;
}

function readTotal([source, first, last, sessions, packets, bytesIn]: readonly unknown[]): Total {
  return {
    source: String(source),
    firstSeen: Number(first),
    lastSeen: Number(last),
    sessions: Number(sessions),
    probes: Number(packets),
    bytesIn: Number(bytesIn),
  };
}
