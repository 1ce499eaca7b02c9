// Totals of everything a filter selects, as SQL with bound values. Pure.

import { canBeIcmp, portKeysOf } from './duckdb-port-keys.ts';
import { allOf, Conditions, newestOpen, type PartitionSource, type Sql } from './duckdb-query.ts';
import { pairs, touches, usesSums } from './duckdb-relations.ts';
import type { Filter } from './store.ts';

/** One row `sessions, open, bytes_in, probes, sources, alerts`. */
export function renderCounts(sources: readonly PartitionSource[], filter: Filter): Sql {
  const conditions = new Conditions();
  const sums =
    portSums(sources, filter, conditions) ??
    `SELECT sum(s), sum(p), sum(b), count(*) FROM
    (SELECT number, sum(sessions) AS s, sum(packets) AS p, sum(bytes_in) AS b FROM (${touches({ sources, filter, conditions })}) GROUP BY number)`;
  const where = sources.some(({ hasOpen }) => hasOpen) ? conditions.session(filter) : 'false';
  const open = sources
    .filter(({ hasOpen }) => hasOpen)
    .map(({ catalog }) => `SELECT count(*) AS n FROM ${newestOpen(catalog)} WHERE outcome = 'open' AND ${where}`);
  const at = allOf(conditions.time(filter, 'start'));
  const alerts = sources.map(({ catalog }) => `SELECT count(*) AS n FROM ${catalog}.alerts WHERE ${at}`);
  const total = (parts: readonly string[]): string =>
    parts.length === 0 ? '0' : `(SELECT coalesce(sum(n), 0)::BIGINT FROM (${parts.join(' UNION ALL ')}))`;
  return {
    text: `SELECT coalesce(s, 0)::BIGINT, ${total(open)}, coalesce(b, 0)::BIGINT, coalesce(p, 0)::BIGINT, coalesce(n, 0)::BIGINT, ${total(alerts)}
      FROM (${sums}) AS sums(s, p, b, n)`,
    values: conditions.values,
  };
}

/** One row `sessions, packets, bytes_in, sources`: sums tell who came to a port, records how often. Undefined where sums do not. */
function portSums(sources: readonly PartitionSource[], filter: Filter, conditions: Conditions): string | undefined {
  const ofPorts = canBeIcmp(filter) ? undefined : portKeysOf(filter);
  const scope = ofPorts && { sources, filter: ofPorts.filter, conditions };
  if (!scope || !usesSums(scope)) return undefined;
  const who = `SELECT count(DISTINCT number) FROM (${pairs('ports', scope)}) WHERE ${ofPorts.where}`;
  const session = conditions.session(filter);
  const target = allOf([...conditions.probe(filter), ...conditions.target(filter)]);
  const rows = sources.flatMap(({ catalog, hasOpen }) => [
    `SELECT count(*) AS s, 0 AS p, sum(bytes_in) AS b FROM ${catalog}.sessions WHERE ${session}`,
    `SELECT 0 AS s, sum(packets) AS p, 0 AS b FROM ${catalog}.targets WHERE ${target}`,
    ...(hasOpen
      ? [`SELECT count(*) AS s, 0 AS p, sum(bytes_in) AS b FROM ${newestOpen(catalog)} WHERE outcome = 'open' AND ${session}`]
      : []),
  ]);
  return `SELECT sum(s), sum(p), sum(b), (${who}) FROM (${rows.join(' UNION ALL ')})`;
}
