// What reports count, as two relations in SQL: who touched when, and who had what to do with which key (a port, a payload,
// a URL). Pure; the questions over them are duckdb-insight-query.ts, conditions on records duckdb-query.ts.

import { allOf, asksForTarget, type Conditions, overAll, type PartitionSource, sessionRows } from './duckdb-query.ts';
import type { Filter } from './store.ts';

/** What a source can have to do with. `syns` are SYNs by shape; the others as in TopSubject and InsightSubject. */
export type PairSubject =
  | 'ports'
  | 'destinations'
  | 'protocols'
  | 'payloads'
  | 'credentials'
  | 'families'
  | 'signatures'
  | 'syns'
  | 'facts';

/** More than one exact source at a time, beside a filter. */
export interface RelationScope {
  readonly sources: readonly PartitionSource[];
  readonly filter: Filter;
  readonly conditions: Conditions;
  /** A condition on `source` that also holds; its values are bound by `conditions`. */
  readonly only?: string;
}

/** `22/tcp`: the port a session or packet came to. */
const portKey = (port: string): string => `concat(${port}, '/', transport)`;

/** The shape of a SYN: what does not change from one packet of a tool or system to the next. */
const synKey = `concat(json_extract_string(syn, '$.options'), ' ', json_extract_string(syn, '$.window'), ' ',
  coalesce(json_extract_string(syn, '$.mss'), '-'), ' ', coalesce(json_extract_string(syn, '$.windowScale'), '-'))`;

const sessionKeys: Readonly<Partial<Record<PairSubject, string>>> = {
  ports: portKey('destination_port'),
  destinations: 'destination',
  protocols: 'protocol',
  payloads: 'payload_hash',
  credentials: `CASE WHEN user_name IS NULL THEN NULL ELSE concat(user_name, ':', coalesce(password, '')) END`,
  syns: `CASE WHEN syn IS NULL THEN NULL ELSE ${synKey} END`,
};

/** Rows `start, source, sessions, packets, bytes_in` of every session and probe. */
export function touches({ sources, filter, conditions, only = 'true' }: RelationScope): string {
  const session = sessionRows(
    sources,
    'start, source, 1 AS sessions, 0 AS packets, bytes_in',
    allOf([conditions.session(filter), only]),
  );
  const table = asksForTarget(filter) ? 'targets' : 'probes';
  const where = allOf([...conditions.probe(filter), ...(asksForTarget(filter) ? conditions.target(filter) : []), only]);
  const probe = overAll(
    sources,
    (catalog) => `SELECT start, source, 0 AS sessions, packets, 0 AS bytes_in FROM ${catalog}.${table} WHERE ${where}`,
  );
  return `${session} UNION ALL ${probe}`;
}

/** Rows `start, source, key, n, place`: `n` of `key`, null keys left out. `place` orders keys that came at once. */
export function pairs(subject: PairSubject, scope: RelationScope): string {
  const { sources, filter, conditions, only = 'true' } = scope;
  const key = sessionKeys[subject];
  if (key === undefined) return insightPairs(subject, scope);
  const where = allOf([conditions.session(filter), only]);
  const parts = [sessionRows(sources, `start, source, ${key} AS key, 1 AS n, 0 AS place`, where)];
  if (subject === 'ports' || subject === 'destinations') {
    const ofProbes = allOf([
      ...conditions.probe(filter),
      ...conditions.target(filter),
      ...(subject === 'ports' ? [`transport <> 'icmp'`] : []),
      only,
    ]);
    const name = subject === 'ports' ? portKey('port') : 'ip';
    parts.push(
      overAll(
        sources,
        (catalog) => `SELECT start, source, ${name} AS key, packets AS n, 0 AS place FROM ${catalog}.targets WHERE ${ofProbes}`,
      ),
    );
  }
  return `SELECT * FROM (${parts.join(' UNION ALL ')}) WHERE key IS NOT NULL`;
}

const asksForSession = (filter: Filter): boolean =>
  asksForTarget(filter) || filter.protocol !== undefined || filter.diversion !== undefined || filter.service !== undefined;

function insightPairs(subject: PairSubject, { sources, filter, conditions, only = 'true' }: RelationScope): string {
  const columns = {
    families: `family AS key, 1 AS n, 0 AS place`,
    signatures: `unnest(rules) AS key, 1 AS n, 0 AS place`,
    facts: `unnest(facts) AS key, 1 AS n, generate_subscripts(facts, 1) AS place`,
  }[subject as 'families' | 'signatures' | 'facts'];
  const own = [...conditions.time(filter, 'start'), ...conditions.addresses(filter.sources, 'source_key'), only];
  const session = asksForSession(filter) ? conditions.session(filter) : undefined;
  const parts = sources.map((source) => {
    const within = session === undefined ? [] : [`id IN (${sessionRows([source], 'id', session)})`];
    return `SELECT start, source, ${columns} FROM ${source.catalog}.insights WHERE ${allOf([...own, ...within])}`;
  });
  return `SELECT * FROM (${parts.join(' UNION ALL ')}) WHERE key IS NOT NULL`;
}

/** Rows `start, source, key, n, place` of the facts of these kinds; `key` is the value, after `kind:` when `named`. */
export function factPairs(kinds: readonly string[], scope: RelationScope, named = false): string {
  const list = kinds.map((kind) => scope.conditions.value(kind)).join(', ');
  const value = `substr(key, strpos(key, ' ') + 1)`;
  const kind = `substr(key, 1, strpos(key, ' ') - 1)`;
  return `SELECT start, source, ${named ? `concat(${kind}, ':', ${value})` : value} AS key, n, place
    FROM (${pairs('facts', scope)}) WHERE ${kind} IN (${list})`;
}
