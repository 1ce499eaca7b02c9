// The questions of reports as SQL with bound values: verdicts, rankings of what analysis found, rollups, sources. Pure.
// The rules are those of memory-analysis.ts; the contract test holds them together.

import { listValue } from '@duckdb/node-api';
import type { InsightSubject, RollupStep, VerdictFilter } from './analysis-store.ts';
import { dayMicros, halfHourMicros } from './day.ts';
import { placeColumns } from './duckdb-insight-schema.ts';
import { allOf, Conditions, type PartitionSource, type Sql } from './duckdb-query.ts';
import { factPairs, pairs, type RelationScope, touches } from './duckdb-relations.ts';
import type { Filter, TopRow } from './store.ts';

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
  return { ...scope, only: `source IN (SELECT unnest(${scope.conditions.value(listValue([...ips]))}))` };
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
  const where = allOf([verdictWhere(scope.conditions, scope.filter), scope.only ?? 'true']);
  return scope.sources.map(({ catalog }) => `SELECT ${columns} FROM ${catalog}.verdicts WHERE ${where}`).join(' UNION ALL ');
}

/** Rows `key, n, source` of a subject. */
function insightRows(subject: InsightSubject, scope: RelationScope): string {
  const fact = (...kinds: string[]): string => factPairs(kinds, scope);
  switch (subject) {
    case 'countries':
    case 'asns': {
      const key =
        subject === 'countries'
          ? 'country'
          : `CASE WHEN asn IS NULL THEN NULL ELSE concat('AS', asn, coalesce(' ' || organization, '')) END`;
      return `SELECT ${key} AS key, n, source FROM (SELECT source, sum(sessions + packets) AS n FROM (${touches(scope)}) GROUP BY source)
        JOIN ${places} ON ip = source`;
    }
    case 'behaviours':
      return verdictRows(scope, 'behaviour AS key, hits AS n, source');
    case 'families':
    case 'signatures':
      return pairs(subject, scope);
    case 'urls':
      return fact('url');
    case 'commands':
      return fact('command');
    case 'user-agents':
      return fact('user-agent');
    case 'fingerprints':
      return factPairs(['hassh', 'ja3', 'ja4', 'client'], scope, true);
    case 'users':
      return `SELECT CASE WHEN strpos(key, ':') > 0 THEN split_part(key, ':', 1) END AS key, n, source FROM (${fact('credential')})`;
    case 'passwords':
      return `SELECT CASE WHEN strpos(key, ':') > 0 THEN substr(key, strpos(key, ':') + 1) END AS key, n, source FROM (${fact('credential')})`;
  }
}

/** Rows `key, hits, sources`. */
export function renderTopInsights(
  sources: readonly PartitionSource[],
  subject: InsightSubject,
  by: 'hits' | 'sources',
  filter: Filter,
): Sql {
  const scope = scopeOf(sources, filter);
  return {
    text: `SELECT key, sum(n)::BIGINT AS hits, count(DISTINCT source) AS sources FROM (${insightRows(subject, scope)})
      WHERE key IS NOT NULL AND n > 0 GROUP BY key ORDER BY ${by} DESC, hits DESC, key LIMIT ${scope.conditions.value(filter.limit)}`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, sessions, packets, sources`. */
export function renderRollup(sources: readonly PartitionSource[], step: RollupStep, filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const width = stepMicros[step];
  return {
    text: `SELECT bucket, sum(s)::BIGINT, sum(p)::BIGINT, count(*) FROM (SELECT start // ${width} AS bucket, source, sum(sessions) AS s,
      sum(packets) AS p FROM (${touches(scope)}) GROUP BY ALL) GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `bucket, keys`: distinct ports or destinations. */
export function renderRollupKeys(
  sources: readonly PartitionSource[],
  step: RollupStep,
  subject: 'ports' | 'destinations',
  filter: Filter,
): Sql {
  const scope = scopeOf(sources, filter);
  return {
    text: `SELECT bucket, count(*) FROM (SELECT DISTINCT start // ${stepMicros[step]} AS bucket, key FROM (${pairs(subject, scope)})) GROUP BY bucket`,
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
  const scope = scopeOf(sources, filter);
  const width = stepMicros[step];
  const passing = touches(scope);
  const ever = touches({ sources: all, filter: { limit: 1 }, conditions: scope.conditions });
  return {
    text: `SELECT bucket, count(*) FROM (SELECT DISTINCT start // ${width} AS bucket, source FROM (${passing})) AS now
      SEMI JOIN (SELECT min(start) // ${width} AS bucket, source FROM (${ever}) GROUP BY source) AS ever USING (bucket, source)
      GROUP BY bucket`,
    values: scope.conditions.values,
  };
}

/** Rows `source, first, last, sessions, packets, bytes_in`, in the order asked for. */
export function renderAttackers(sources: readonly PartitionSource[], by: 'hits' | 'newest', filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const order = by === 'hits' ? 'sum(sessions + packets)' : 'max(start)';
  return {
    text: `SELECT source, min(start), max(start), sum(sessions)::BIGINT, sum(packets)::BIGINT, sum(bytes_in)::BIGINT
      FROM (${touches(scope)}) GROUP BY source ORDER BY ${order} DESC, source LIMIT ${scope.conditions.value(filter.limit)}`,
    values: scope.conditions.values,
  };
}

/** Rows `source` with the most distinct ports first. */
export function renderByPorts(sources: readonly PartitionSource[], filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  return {
    text: `SELECT source FROM (SELECT source, 0 AS ports FROM (${touches(scope)}) GROUP BY source
      UNION ALL SELECT source, count(*) AS ports FROM (SELECT DISTINCT source, key FROM (${pairs('ports', scope)})) GROUP BY source)
      GROUP BY source ORDER BY max(ports) DESC, source LIMIT ${scope.conditions.value(filter.limit)}`,
    values: scope.conditions.values,
  };
}

/** Rows as renderAttackers gives, of these sources alone, in no order. */
export function renderTotals(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[]): Sql {
  const scope = scopeFor(sources, filter, ips);
  return {
    text: `SELECT source, min(start), max(start), sum(sessions)::BIGINT, sum(packets)::BIGINT, sum(bytes_in)::BIGINT
      FROM (${touches(scope)}) GROUP BY source`,
    values: scope.conditions.values,
  };
}

/** Rows `source, keys`. */
export function renderDistinct(
  sources: readonly PartitionSource[],
  subject: 'ports' | 'destinations',
  filter: Filter,
  ips: readonly string[],
): Sql {
  const scope = scopeFor(sources, filter, ips);
  return {
    text: `SELECT source, count(*) FROM (SELECT DISTINCT source, key FROM (${pairs(subject, scope)})) GROUP BY source`,
    values: scope.conditions.values,
  };
}

/** What lists of a source are made from. */
export type ListSubject =
  | 'behaviours'
  | 'tools'
  | 'signatures'
  | 'families'
  | 'ports'
  | 'destinations'
  | 'credentials'
  | 'facts'
  | 'fingerprints'
  | 'urls'
  | 'syns';

function listRows(subject: ListSubject, scope: RelationScope): string {
  switch (subject) {
    case 'behaviours':
      return verdictRows(scope, 'source, behaviour AS key, hits AS n, start AS moment');
    case 'tools':
      return verdictRows(scope, 'source, tool AS key, 1 AS n, start AS moment');
    case 'credentials':
      return `SELECT *, start * 64 + place AS moment FROM (${factPairs(['credential'], scope)})`;
    case 'fingerprints':
      return `SELECT *, start AS moment FROM (${factPairs(['hassh', 'ja4', 'client', 'user-agent'], scope, true)})`;
    case 'urls':
      return `SELECT *, start AS moment FROM (${factPairs(['url', 'domain', 'address'], scope)})`;
    default:
      return `SELECT *, start AS moment FROM (${pairs(subject, scope)})`;
  }
}

/** Rows `source, key, hits`: at most `most` for each source, the most frequent first, or the earliest. */
export function renderLists(
  sources: readonly PartitionSource[],
  subject: ListSubject,
  order: 'hits' | 'first',
  most: number,
  filter: Filter,
  ips: readonly string[],
): Sql {
  const scope = scopeFor(sources, filter, ips);
  const by = order === 'hits' ? 'hits DESC, key' : 'moment, key';
  return {
    text: `SELECT source, key, hits FROM (SELECT source, key, sum(n)::BIGINT AS hits, min(moment) AS moment FROM (${listRows(subject, scope)})
      WHERE key IS NOT NULL GROUP BY source, key) QUALIFY row_number() OVER (PARTITION BY source ORDER BY ${by}) <= ${scope.conditions.value(most)}
      ORDER BY source, ${by}`,
    values: scope.conditions.values,
  };
}

/** Rows `source, half-hour, hits`: the newest `most` of each source, ascending. */
export function renderActivity(sources: readonly PartitionSource[], filter: Filter, ips: readonly string[], most: number): Sql {
  const scope = scopeFor(sources, filter, ips);
  return {
    text: `SELECT source, half, hits FROM (SELECT source, start // ${halfHourMicros} AS half, sum(sessions + packets)::BIGINT AS hits
      FROM (${touches(scope)}) GROUP BY ALL) QUALIFY row_number() OVER (PARTITION BY source ORDER BY half DESC) <= ${scope.conditions.value(most)}
      ORDER BY source, half`,
    values: scope.conditions.values,
  };
}

/** Rows `source`: those that have a family, a credential, a fingerprint or a URL, with the most hits first. */
export function renderComparable(sources: readonly PartitionSource[], filter: Filter): Sql {
  const scope = scopeOf(sources, filter);
  const has = [
    pairs('families', scope),
    factPairs(['credential', 'hassh', 'ja4', 'client', 'user-agent', 'url', 'domain', 'address'], scope),
  ].map((rows) => `SELECT source FROM (${rows})`);
  return {
    text: `SELECT source FROM (SELECT source, sum(sessions + packets) AS hits FROM (${touches(scope)}) GROUP BY source)
      SEMI JOIN (${has.join(' UNION ALL ')}) USING (source) ORDER BY hits DESC, source LIMIT ${scope.conditions.value(filter.limit)}`,
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
