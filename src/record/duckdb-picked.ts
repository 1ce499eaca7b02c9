// What a filter leaves of some sources, counted in one walk over the records: several questions are about the same sources, and to
// find their records takes longer than to count them. Partitions are walked a few at a time, and counts alone are kept.

import { allOf, asksForTarget, Conditions, newestOpen, type PartitionSource, type Sql } from './duckdb-query.ts';
import { numberOf } from './duckdb-source-number.ts';
import type { Filter } from './store.ts';

/** Sessions that are walked at once: those that are picked, and their identifiers, are in the engine's memory meanwhile. */
const sessionsAtOnce = 1_000_000;
/** What a join looks up in takes 8 MiB for each partition it is read beside. */
const partitionsAtOnce = 4;

/** Names of the temporary tables of one question. */
export interface PickedTables {
  /** `number`: the sources. */
  readonly chosen: string;
  /** `number, source, first, last, sessions, packets, bytes_in`, several rows a source. */
  readonly totals: string;
  /** `what, number, key, n`, several rows a key; `what` is a `PickedSubject`. */
  readonly keys: string;
  readonly sessions: string;
  readonly targets: string;
}

export type PickedSubject = 'ports' | 'destinations' | 'signatures' | 'families';

export const pickedTables = (name: string): PickedTables => ({
  chosen: `${name}_chosen`,
  totals: `${name}_totals`,
  keys: `${name}_keys`,
  sessions: `${name}_sessions`,
  targets: `${name}_targets`,
});

const plain = (text: string): Sql => ({ text, values: [] });

export const renderPickedTables = ({ totals, keys }: PickedTables): readonly Sql[] => [
  plain(`CREATE TEMP TABLE ${totals} (number UBIGINT, source VARCHAR, first BIGINT, last BIGINT, sessions BIGINT, packets BIGINT,
    bytes_in BIGINT)`),
  plain(`CREATE TEMP TABLE ${keys} (what VARCHAR, number UBIGINT, key VARCHAR, n BIGINT)`),
];

export const renderPickedDrop = (tables: PickedTables): readonly Sql[] =>
  Object.values(tables).map((table) => plain(`DROP TABLE IF EXISTS ${table}`));

/** Runs of a few partitions with about so many sessions. */
export function pickedRuns(sources: readonly PartitionSource[]): PartitionSource[][] {
  const runs: PartitionSource[][] = [];
  let sessions = Number.POSITIVE_INFINITY;
  for (const source of sources) {
    const own = source.rows?.sessions ?? sessionsAtOnce;
    if (sessions + own > sessionsAtOnce || runs.at(-1)?.length === partitionsAtOnce) {
      runs.push([]);
      sessions = 0;
    }
    runs[runs.length - 1].push(source);
    sessions += own;
  }
  return runs;
}

/** One run of partitions: the records, and what is counted of them. */
export function renderPick(tables: PickedTables, sources: readonly PartitionSource[], filter: Filter): readonly Sql[] {
  return [
    pickSessions(tables, sources, filter),
    pickTargets(tables, sources, filter),
    pickTotals(tables, sources, filter),
    plain(`INSERT INTO ${tables.keys} SELECT 'ports', number, concat(port, '/', transport), sum(n) FROM
      (SELECT number, port, transport, 1 AS n FROM ${tables.sessions} UNION ALL
       SELECT number, port, transport, packets AS n FROM ${tables.targets} WHERE transport <> 'icmp') GROUP BY number, port, transport`),
    plain(`INSERT INTO ${tables.keys} SELECT 'destinations', number, destination, sum(n) FROM
      (SELECT number, destination, 1 AS n FROM ${tables.sessions} UNION ALL
       SELECT number, destination, packets AS n FROM ${tables.targets}) GROUP BY number, destination`),
    pickFound(tables, sources, filter),
  ];
}

const ofChosen = ({ chosen }: PickedTables, rows: readonly string[]): string =>
  `SELECT * FROM (${rows.join(' UNION ALL ')}) WHERE number IN (SELECT number FROM ${chosen})`;

function pickSessions(tables: PickedTables, sources: readonly PartitionSource[], filter: Filter): Sql {
  const conditions = new Conditions();
  const where = conditions.session(filter);
  const columns = `id, ${numberOf} AS number, source, start, bytes_in, destination, destination_port AS port, transport`;
  const rows = sources.flatMap(({ catalog, hasOpen }) => [
    `SELECT ${columns} FROM ${catalog}.sessions WHERE ${where}`,
    ...(hasOpen ? [`SELECT ${columns} FROM ${newestOpen(catalog)} WHERE outcome = 'open' AND ${where}`] : []),
  ]);
  return { text: `CREATE OR REPLACE TEMP TABLE ${tables.sessions} AS ${ofChosen(tables, rows)}`, values: conditions.values };
}

function pickTargets(tables: PickedTables, sources: readonly PartitionSource[], filter: Filter): Sql {
  const conditions = new Conditions();
  const where = allOf([...conditions.probe(filter), ...conditions.target(filter)]);
  const rows = sources.map(
    ({ catalog }) => `SELECT ${numberOf} AS number, source, start, packets, ip AS destination, port, transport
      FROM ${catalog}.targets WHERE ${where}`,
  );
  return { text: `CREATE OR REPLACE TEMP TABLE ${tables.targets} AS ${ofChosen(tables, rows)}`, values: conditions.values };
}

/** A probe has packets that are no target's: those count where the filter does not ask for a target. */
function pickTotals(tables: PickedTables, sources: readonly PartitionSource[], filter: Filter): Sql {
  const conditions = new Conditions();
  // Rendered where it is used alone: a condition binds values.
  const probes = (): string => {
    const where = allOf(conditions.probe(filter));
    return ofChosen(
      tables,
      sources.map(({ catalog }) => `SELECT ${numberOf} AS number, source, start, packets FROM ${catalog}.probes WHERE ${where}`),
    );
  };
  const packets = asksForTarget(filter) ? tables.targets : `(${probes()})`;
  return {
    text: `INSERT INTO ${tables.totals} SELECT number, any_value(source), min(start), max(start), sum(s), sum(p), sum(b) FROM
      (SELECT number, source, start, 1 AS s, 0 AS p, bytes_in AS b FROM ${tables.sessions} UNION ALL
       SELECT number, source, start, 0 AS s, packets AS p, 0 AS b FROM ${packets}) GROUP BY number`,
    values: conditions.values,
  };
}

/** What analysis found stands in the partition of its session. */
function pickFound(tables: PickedTables, sources: readonly PartitionSource[], filter: Filter): Sql {
  const conditions = new Conditions();
  const where = allOf([...conditions.time(filter, 'start'), ...conditions.addresses(filter.sources, 'source_key')]);
  const rows = sources.map(
    ({ catalog }) => `SELECT id, ${numberOf} AS number, family, rules FROM ${catalog}.insights WHERE ${where}`,
  );
  const asks = asksForTarget(filter) || [filter.protocol, filter.diversion, filter.service].some((part) => part !== undefined);
  const ofSessions = asks ? `WHERE id IN (SELECT id FROM ${tables.sessions})` : '';
  return {
    text: `INSERT INTO ${tables.keys} WITH found AS MATERIALIZED (SELECT number, family, rules FROM (${ofChosen(tables, rows)}) ${ofSessions})
      SELECT 'families', number, family, count(*) FROM found WHERE family IS NOT NULL GROUP BY ALL UNION ALL
      SELECT 'signatures', number, rule, count(*) FROM (SELECT number, unnest(rules) AS rule FROM found) GROUP BY ALL`,
    values: conditions.values,
  };
}

/** Rows as `renderTotals` gives. */
export const renderPickedTotals = ({ totals }: PickedTables): Sql =>
  plain(`SELECT any_value(source), min(first), max(last), sum(sessions)::BIGINT, sum(packets)::BIGINT, sum(bytes_in)::BIGINT
    FROM ${totals} GROUP BY number`);

/** Rows `number, keys`. */
export const renderPickedDistinct = ({ keys }: PickedTables, subject: PickedSubject): Sql =>
  plain(`SELECT number, count(DISTINCT key) FROM ${keys} WHERE what = '${subject}' GROUP BY number`);

/** Rows `number, key, n`. */
export const pickedKeys = ({ keys }: PickedTables, subject: PickedSubject): string =>
  `SELECT number, key, n FROM ${keys} WHERE what = '${subject}'`;
