// The questions of reports as SQL with bound values: verdicts, rankings of what analysis found, rollups, sources. Pure.
// The rules are those of memory-analysis.ts; the contract test holds them together.

import { listValue } from '@duckdb/node-api';
import { WeirError } from '../base/errors.ts';
import type { FactKind } from '../model/fact.ts';
import type { InsightSubject, RollupStep, VerdictFilter } from './analysis-store.ts';
import { dayMicros, halfHourMicros } from './day.ts';
import { placeColumns } from './duckdb-insight-schema.ts';
import { portKeysOf } from './duckdb-port-keys.ts';
import { allOf, Conditions, type PartitionSource, type Sql } from './duckdb-query.ts';
import {
  chosen,
  halfTouches,
  type Keys,
  keyBounds,
  keyMembers,
  pairs,
  portBounds,
  type RelationScope,
  summedBuckets,
  touches,
  unsummedStarts,
  usesSums,
} from './duckdb-relations.ts';
import { numberOf, sourceNumber } from './duckdb-source-number.ts';
import type { Filter, TopRow, TopSubject } from './store.ts';

const places = '"analysis".places';
const stepMicros: Readonly<Record<RollupStep, number>> = { 'half-hour': halfHourMicros, day: dayMicros };

const scopeOf = (sources: readonly PartitionSource[], filter: Filter): RelationScope => ({
  sources,
  filter,
  conditions: new Conditions(),
});

/** The same for some sources alone. */
function scopeFor(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[]): RelationScope {
  const scope = scopeOf(sources, filter);
  // As text: the range of bound integers is smaller.
  const numbers = listValue(ips.map((ip) => String(sourceNumber(ip))));
  const only = `number IN (SELECT unnest(${scope.conditions.value(numbers)})::UBIGINT)`;
  // Written out: a statement that has no record to pass over must bind no value for it. Not where a filter passes them over anyway.
  const single = ips.length === 1 && filter.sources === undefined && /^[\w.:%-]+$/.test(ips[0]);
  return { ...scope, only, ...(single && { ofSource: `source = '${ips[0]}'` }) };
}

function verdictWhere(conditions: Conditions, filter: VerdictFilter): string {
  const { behaviours } = filter;
  if (filter.protocol !== undefined || filter.service !== undefined) return 'false';
  return allOf([
    ...conditions.time(filter, 'start'),
    ...conditions.equal('transport', filter.transport),
    ...conditions.equal('diversion', filter.diversion),
    ...conditions.ports(filter, 'port'),
    ...conditions.addresses(filter.sources, 'source_key'),
    ...conditions.addresses(filter.destinations, 'destination_key'),
    ...(behaviours ? [`behaviour IN (${['NULL', ...behaviours.map((name) => conditions.value(name))].join(', ')})`] : []),
  ]);
}

/** Rows `body`, newest first. */
export function renderVerdicts(source: PartitionSource, filter: VerdictFilter): Sql {
  const conditions = new Conditions();
  const where = verdictWhere(conditions, filter);
  const limit = conditions.value(filter.limit);
  return {
    text: `SELECT body FROM ${source.catalog}.verdicts WHERE ${where} ORDER BY id DESC LIMIT ${limit}`,
    values: conditions.values,
  };
}

function verdictRows(scope: RelationScope, columns: string): string {
  const where = verdictWhere(scope.conditions, scope.filter);
  const rows = scope.sources.map(
    ({ catalog }) => `SELECT ${numberOf} AS number, ${columns} FROM ${catalog}.verdicts WHERE ${where}`,
  );
  return chosen(rows.join(' UNION ALL '), scope.only);
}

/** What a ranking is over: keys, of which `key` is made into what is shown, or rows `key, n, number` that are few. */
interface RankedKeys {
  readonly keys: Keys;
  readonly key?: string;
}
type Ranked = RankedKeys | { readonly rows: (scope: RelationScope) => string };

const bySource = (scope: RelationScope): string =>
  `SELECT any_value(source) AS source, number, sum(sessions + packets) AS n FROM (${touches(scope)}) GROUP BY number`;
const ofPlaces = (key: string): Ranked => ({
  rows: (scope) => `SELECT ${key} AS key, n, number FROM (${bySource(scope)}) JOIN ${places} ON ip = source`,
});

const ranked: Readonly<Record<TopSubject | InsightSubject, Ranked>> = {
  ports: { keys: 'ports' },
  sources: { rows: (scope) => `SELECT source AS key, n, number FROM (${bySource(scope)})` },
  destinations: { keys: 'destinations' },
  protocols: { keys: 'protocols' },
  payloads: { keys: 'payloads' },
  credentials: { keys: 'credentials' },
  countries: ofPlaces('country'),
  asns: ofPlaces(`CASE WHEN asn IS NULL THEN NULL ELSE concat('AS', asn, coalesce(' ' || organization, '')) END`),
  behaviours: { rows: (scope) => verdictRows(scope, 'behaviour AS key, hits AS n') },
  families: { keys: 'families' },
  signatures: { keys: 'signatures' },
  urls: { keys: { facts: ['url'] } },
  commands: { keys: { facts: ['command'] } },
  'user-agents': { keys: { facts: ['user-agent'] } },
  fingerprints: { keys: { facts: ['hassh', 'ja3', 'ja4', 'client'], named: true } },
  users: { keys: { facts: ['credential'] }, key: `CASE WHEN strpos(key, ':') > 0 THEN split_part(key, ':', 1) END` },
  passwords: {
    keys: { facts: ['credential'] },
    key: `CASE WHEN strpos(key, ':') > 0 THEN substr(key, strpos(key, ':') + 1) END`,
  },
};

/** Distinct sources of each key, by way of the pairs: the engine can put those on disk when they are many. */
const counted = (rows: string): string =>
  `SELECT key, sum(n)::BIGINT AS hits, count(*) AS sources FROM (SELECT key, number, sum(n) AS n FROM (${rows}) GROUP BY key, number) GROUP BY key`;

const inOrder = (by: 'hits' | 'sources', limit: string): string => `ORDER BY ${by} DESC, hits DESC, key LIMIT ${limit}`;

/** Rows `key, hits, sources`. For rankings that `renderCandidates` does not shorten. */
export function renderTop(
  sources: readonly PartitionSource[],
  subject: TopSubject | InsightSubject,
  by: 'hits' | 'sources',
  filter: Filter,
): Sql {
  const scope = scopeOf(sources, filter);
  const what = ranked[subject];
  const limit = scope.conditions.value(filter.limit);
  const rows =
    'rows' in what ? what.rows(scope) : `SELECT ${what.key ?? 'key'} AS key, n, number FROM (${pairs(what.keys, scope)})`;
  return {
    text: `${counted(`SELECT * FROM (${rows}) WHERE key IS NOT NULL AND n > 0`)} ${inOrder(by, limit)}`,
    values: scope.conditions.values,
  };
}

/** The scope of a ranking and a condition on `key`: a filter about ports is one where the keys are ports and sums have them. */
function rankedScope(
  sources: readonly PartitionSource[],
  subject: TopSubject | InsightSubject,
  filter: Filter,
): { readonly scope: RelationScope; readonly where: string } {
  const ofPorts = subject === 'ports' ? portKeysOf(filter) : undefined;
  const scope = ofPorts && scopeOf(sources, ofPorts.filter);
  return scope && usesSums(scope) ? { scope, where: ofPorts.where } : { scope: scopeOf(sources, filter), where: 'true' };
}

/**
 * Makes the table `name` of the keys that can be among the first, `rank, key, n, least, most` (bounds of its distinct sources),
 * from what each day has: distinct sources need to be counted for those alone. Undefined where there are no sums, or no need.
 */
export function renderCandidates(
  name: string,
  sources: readonly PartitionSource[],
  subject: TopSubject | InsightSubject,
  by: 'hits' | 'sources',
  filter: Filter,
): Sql | undefined {
  const { scope, where } = rankedScope(sources, subject, filter);
  const what = ranked[subject];
  if ('rows' in what || !usesSums(scope)) return undefined;
  const limit = Math.floor(filter.limit);
  const chosen =
    by === 'hits'
      ? `ORDER BY n DESC, key LIMIT ${limit}`
      : `WHERE most >= (SELECT min(least) FROM (SELECT least FROM bounds ORDER BY least DESC LIMIT ${limit}))`;
  return {
    text: `CREATE TEMP TABLE ${name} AS WITH bounds AS MATERIALIZED (${boundsOf(what, scope, where)})
      SELECT (row_number() OVER ())::INTEGER AS rank, * FROM bounds ${chosen}`,
    values: scope.conditions.values,
  };
}

/** Rows `key`: those of `keys` that have any hit. */
export function renderKnown(
  sources: readonly PartitionSource[],
  subject: TopSubject | InsightSubject,
  keys: readonly string[],
  filter: Filter,
): Sql {
  const { scope, where } = rankedScope(sources, subject, filter);
  const what = ranked[subject];
  const asked = scope.conditions.value(listValue([...keys]));
  const rows =
    'rows' in what
      ? what.rows(scope)
      : `SELECT ${what.key ?? 'key'} AS key, n FROM (${usesSums(scope) ? keyBounds(what.keys, scope) : pairs(what.keys, scope)})`;
  return {
    text: `SELECT DISTINCT key FROM (${rows}) WHERE n > 0 AND ${where} AND key IN (SELECT unnest(${asked}))`,
    values: scope.conditions.values,
  };
}

/** Rows `key, n, least, most`. */
const boundsOf = ({ keys, key }: RankedKeys, scope: RelationScope, where: string): string =>
  `SELECT key, sum(n)::BIGINT AS n, max(least)::BIGINT AS least, sum(most)::BIGINT AS most FROM
    (SELECT ${key ?? 'key'} AS key, n, least, most FROM (${keyBounds(keys, scope)})) WHERE key IS NOT NULL AND ${where} GROUP BY key`;

/** Rows `key, hits, sources` of candidates whose bounds say it all. */
export const renderSettled = (candidates: string, by: 'hits' | 'sources', limit: number): Sql => ({
  text: `SELECT key, n AS hits, least AS sources FROM ${candidates} WHERE least = most ${inOrder(by, '$1')}`,
  values: [limit],
});

/** One of `slices` equal parts of the candidates. */
export interface TopPart {
  readonly candidates: string;
  readonly slice: number;
  readonly slices: number;
}

/** Rows `rank, n, members`, several for a candidate, of those whose bounds do not say it all. */
export function renderMembers(
  { candidates, slice, slices }: TopPart,
  sources: readonly PartitionSource[],
  subject: TopSubject | InsightSubject,
  filter: Filter,
): Sql {
  const { scope } = rankedScope(sources, subject, filter);
  const what = ranked[subject];
  if ('rows' in what) throw new WeirError('fault', `${subject} have no candidates`);
  const { summed, beside } = keyMembers(what.keys, scope);
  const key = what.key ?? 'key';
  const part = `(SELECT key, rank FROM ${candidates} WHERE least < most AND rank % ${slices} = ${slice})`;
  const parts = [
    ...(summed === undefined
      ? []
      : [`SELECT rank, n, members FROM (SELECT ${key} AS key, n, members FROM (${summed})) JOIN ${part} USING (key)`]),
    ...(beside === undefined
      ? []
      : [
          `SELECT rank, sum(n)::BIGINT AS n, list(number) AS members FROM (SELECT rank, number, sum(n) AS n FROM
            (SELECT ${key} AS key, number, n FROM (${beside})) JOIN ${part} USING (key) GROUP BY rank, number) GROUP BY rank`,
        ]),
  ];
  return { text: parts.join(' UNION ALL '), values: scope.conditions.values };
}

/** Rows `bucket, sessions, packets, sources`. */
export function renderRollup(sources: readonly PartitionSource[], step: RollupStep, filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  return {
    text: `SELECT bucket, sum(s)::BIGINT, sum(p)::BIGINT, count(*) FROM (${bucketsOf(scope, step)}) GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, sessions, packets, sources, new sources` of records alone: of sources those that no earlier bucket of `all` has. */
export function renderRawRollup(
  all: readonly PartitionSource[],
  sources: readonly PartitionSource[],
  step: RollupStep,
  filter: Filter,
): Sql {
  const scope = { ...scopeOf(sources, filter), raw: true };
  const passing = bucketsOf(scope, step);
  const ever = touches({ sources: all, filter: { limit: 1 }, conditions: scope.conditions });
  return {
    text: `SELECT bucket, sum(s)::BIGINT, sum(p)::BIGINT, count(*), count(*) FILTER (bucket = born) FROM (${passing})
      LEFT JOIN (SELECT min(first) // ${stepMicros[step]} AS born, number FROM (${ever}) GROUP BY number) USING (number) GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, number, s, p`. */
const bucketsOf = (scope: RelationScope, step: RollupStep): string =>
  `SELECT first // ${stepMicros[step]} AS bucket, number, sum(sessions) AS s, sum(packets) AS p FROM (${touches(scope)}) GROUP BY ALL`;

/** Rows `bucket, keys`: distinct ports or destinations. */
export function renderRollupKeys(
  sources: readonly PartitionSource[],
  step: RollupStep,
  subject: 'ports' | 'destinations',
  filter: Filter,
  raw: boolean,
): Sql {
  const scope = { ...scopeOf(sources, filter), raw };
  const rows = step === 'day' && usesSums(scope) ? keyBounds(subject, scope) : pairs(subject, scope);
  return {
    text: `SELECT bucket, count(*) FROM (SELECT DISTINCT start // ${stepMicros[step]} AS bucket, key FROM (${rows})) GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, sources`: of those that pass the filter in it, the ones that no earlier bucket of `all` has. */
export function renderRollupNew(
  all: readonly PartitionSource[],
  sources: readonly PartitionSource[],
  step: RollupStep,
  filter: Filter,
): Sql {
  const scope = { ...scopeOf(sources, filter), raw: true };
  const width = stepMicros[step];
  const passing = touches(scope);
  const ever = touches({ sources: all, filter: { limit: 1 }, conditions: scope.conditions });
  return {
    text: `SELECT bucket, count(*) FROM (SELECT DISTINCT first // ${width} AS bucket, number FROM (${passing})) AS now
      SEMI JOIN (SELECT min(first) // ${width} AS bucket, number FROM (${ever}) GROUP BY number) AS ever USING (bucket, number)
      GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, sources`: how many sources came first in each bucket of these partitions. */
export function renderFirsts(all: readonly PartitionSource[], step: RollupStep): Sql {
  const scope = scopeOf(all, { limit: 1 });
  return {
    text: `SELECT bucket, count(*) FROM (SELECT min(first) // ${stepMicros[step]} AS bucket FROM (${touches(scope)}) GROUP BY number) GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, sessions, packets, sources, ports, destinations` of summed half-hours, several where several sums overlap. */
export function renderSummedBuckets(sources: readonly PartitionSource[], filter: Filter): Sql | undefined {
  const scope = scopeOf(sources, filter);
  const text = usesSums(scope) ? summedBuckets(scope) : undefined;
  return text === undefined ? undefined : { text, values: scope.conditions.values };
}

/** Rows `bucket` that have records which are not summed; undefined when none has. */
export function renderUnsummedBuckets(sources: readonly PartitionSource[], filter: Filter): Sql | undefined {
  const scope = scopeOf(sources, filter);
  const starts = unsummedStarts(scope);
  if (starts === undefined) return undefined;
  return { text: `SELECT DISTINCT start // ${halfHourMicros} FROM (${starts})`, values: scope.conditions.values };
}

const weights = { hits: 'sum(sessions + packets)', newest: 'max(last)' } as const;

/** Rows `source, first, last, sessions, packets, bytes_in`, in the order asked for. */
export function renderAttackers(sources: readonly PartitionSource[], by: 'hits' | 'newest', filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const weight = weights[by];
  const limit = scope.conditions.value(filter.limit);
  const rows = touches(scope);
  const { values } = scope.conditions;
  const ranking = (where: string): string =>
    `SELECT ${totals} FROM (${rows}) WHERE ${where} GROUP BY number ORDER BY ${weight} DESC, 1 LIMIT ${limit}`;
  if (!usesSums(scope)) return { text: ranking('true'), values };
  // By numbers alone first: texts are looked at for those that can be among the first.
  return {
    text: `WITH weighed AS MATERIALIZED (SELECT number, (${weight})::BIGINT AS weight FROM (${rows}) GROUP BY number),
      candidates AS MATERIALIZED (SELECT number FROM weighed WHERE weight >=
        (SELECT min(weight) FROM (SELECT weight FROM weighed ORDER BY weight DESC LIMIT ${limit})))
      ${ranking('number IN (FROM candidates)')}`,
    values,
  };
}

const totals = 'any_value(source), min(first), max(last), sum(sessions)::BIGINT, sum(packets)::BIGINT, sum(bytes_in)::BIGINT';

/** Rows `source, ports` with the most distinct ports first. */
export function renderByPorts(sources: readonly PartitionSource[], filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const limit = scope.conditions.value(filter.limit);
  const { values } = scope.conditions;
  const ranking = (where: string): string => `SELECT source, coalesce(ports, 0) FROM
    (SELECT number, any_value(source) AS source FROM (${touches(scope)}) WHERE ${where} GROUP BY number)
    LEFT JOIN (SELECT number, count(*) AS ports FROM (SELECT DISTINCT number, key FROM (${pairs('ports', scope)}) WHERE ${where}) GROUP BY number)
    USING (number) ORDER BY coalesce(ports, 0) DESC, source LIMIT ${limit}`;
  if (!usesSums(scope)) return { text: ranking('true'), values };
  return {
    text: `WITH bounds AS MATERIALIZED (SELECT number, max(least) AS least, sum(most) AS most FROM (${portBounds(scope)}) GROUP BY number),
      candidates AS MATERIALIZED (SELECT number FROM bounds WHERE most >=
        (SELECT min(least) FROM (SELECT least FROM bounds ORDER BY least DESC LIMIT ${limit})))
      ${ranking('number IN (FROM candidates)')}`,
    values,
  };
}

/** Rows as renderAttackers gives, of these sources alone, in no order. */
export function renderTotals(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[]): Sql {
  const scope = scopeFor(sources, filter, ips);
  return { text: `SELECT ${totals} FROM (${touches(scope)}) GROUP BY number`, values: scope.conditions.values };
}

/** Rows `number, keys`. */
export function renderDistinct(
  sources: readonly PartitionSource[],
  subject: 'ports' | 'destinations',
  filter: Filter,
  ips: readonly string[],
): Sql {
  const scope = scopeFor(sources, filter, ips);
  return {
    text: `SELECT number, count(*) FROM (SELECT DISTINCT number, key FROM (${pairs(subject, scope)})) GROUP BY number`,
    values: scope.conditions.values,
  };
}

/** What lists of a source are made from. */
export type ListSubject = 'behaviours' | 'tools' | 'signatures' | 'families' | 'ports' | 'destinations' | 'credentials' | 'facts';

/** Every kind of fact: for a page of one source. */
const allFacts: readonly FactKind[] = [
  'url',
  'domain',
  'address',
  'hash',
  'command',
  'credential',
  'user-agent',
  'path',
  'hassh',
  'ja3',
  'ja4',
  'tls-name',
  'client',
  'file',
];

function listRows(subject: ListSubject, scope: RelationScope): string {
  switch (subject) {
    case 'behaviours':
      return verdictRows(scope, 'behaviour AS key, hits AS n');
    case 'tools':
      return verdictRows(scope, 'tool AS key, 1 AS n');
    case 'credentials':
      return pairs({ facts: ['credential'] }, scope);
    case 'facts':
      return pairs({ facts: allFacts, named: true }, scope);
    default:
      return pairs(subject, scope);
  }
}

/** Rows `number, key, hits`: at most `most` for each source, the most frequent first. Facts are `kind:value`. */
export function renderLists(
  sources: readonly PartitionSource[],
  subject: ListSubject,
  most: number,
  filter: Filter,
  ips: readonly string[],
): Sql {
  const scope = scopeFor(sources, filter, ips);
  return { text: mostFrequent(listRows(subject, scope), most), values: scope.conditions.values };
}

/** Rows `number, key, hits` of rows `number, key, n`. The engine keeps the first of each source as it goes; a window would sort all there is. */
export const mostFrequent = (rows: string, most: number): string =>
  `SELECT number, entry.key, -entry.weight FROM (SELECT number, unnest(min({'weight': weight, 'key': key}, ${Math.floor(most)})) AS entry
    FROM (SELECT number, key, -sum(n)::BIGINT AS weight FROM (${rows}) WHERE key IS NOT NULL GROUP BY number, key)
    GROUP BY number) ORDER BY number, entry.weight, entry.key`;

/** Makes the table `name` of the numbers of sources that can be among the first; those that weigh the same as the last of them are all in it. */
export function renderChosen(name: string, sources: readonly PartitionSource[], by: 'hits' | 'newest', filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const limit = scope.conditions.value(filter.limit);
  return {
    text: `CREATE TEMP TABLE ${name} AS WITH weighed AS MATERIALIZED
        (SELECT number, (${weights[by]})::BIGINT AS weight FROM (${touches(scope)}) GROUP BY number)
      SELECT number FROM weighed WHERE weight >= (SELECT min(weight) FROM (SELECT weight FROM weighed ORDER BY weight DESC LIMIT ${limit}))`,
    values: scope.conditions.values,
  };
}

/** The same of sources that are known. */
export const renderChosenOf = (name: string, ips: readonly string[]): Sql => ({
  text: `CREATE OR REPLACE TEMP TABLE ${name} AS SELECT unnest($1)::UBIGINT AS number`,
  values: [listValue(ips.map((ip) => String(sourceNumber(ip))))],
});

/** Rows `number, half-hour, hits`: the newest `most` of each source, ascending. */
export function renderActivity(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[], most: number): Sql {
  const scope = scopeFor(sources, filter, ips);
  return {
    text: `SELECT number, half, hits FROM (SELECT number, half, sum(hits)::BIGINT AS hits FROM (${halfTouches(scope)}) GROUP BY ALL)
      QUALIFY row_number() OVER (PARTITION BY number ORDER BY half DESC) <= ${scope.conditions.value(most)} ORDER BY number, half`,
    values: scope.conditions.values,
  };
}

/** Rows of `placeColumns`. */
export const renderPlaces = (ips: readonly string[]): Sql => ({
  text: `SELECT ${placeColumns} FROM ${places} WHERE ip IN (SELECT unnest($1))`,
  values: [listValue([...ips])],
});

export const readTop = ([key, hits, sources]: readonly unknown[]): TopRow => ({
  key: String(key),
  hits: Number(hits),
  sources: Number(sources),
});
