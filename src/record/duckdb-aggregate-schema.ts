// The tables of what is counted beforehand (duckdb-aggregates.ts), one set in each partition: names and columns alone.

/**
 * `agg_rows`: how many rows of each table are summed. `agg_source`: a source's day; `ports` are distinct, `halves` has a bit for
 * each half-hour of it, `compared` is true when it shares what campaigns are made from; without a touch, `first` is null. `agg_touch`: a source's half-hour.
 * `agg_pair`: what a source had to do with a key on a day; `moment` is 64 times when first, plus its place among what came at
 * once. `agg_key`: the same over all sources; `members` are their numbers; `code` is that of a key which is compared.
 * `agg_shared`: a source's day as short lists of codes (duckdb-shared-keys.ts); credentials are `attempts`, each with its moment.
 * `agg_bucket`: everything of a half-hour. `number` is that of duckdb-source-number.ts.
 */
export const aggregateTables: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS agg_rows (sessions BIGINT, probes BIGINT, targets BIGINT, insights BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_source (day INTEGER, source VARCHAR, number UBIGINT, sessions BIGINT, packets BIGINT,
    bytes_in BIGINT, first BIGINT, last BIGINT, ports BIGINT, halves BIGINT, compared BOOLEAN)`,
  `CREATE TABLE IF NOT EXISTS agg_touch (half INTEGER, number UBIGINT, sessions BIGINT, packets BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_pair (subject VARCHAR, day INTEGER, number UBIGINT, key VARCHAR, n BIGINT, moment BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_key (subject VARCHAR, day INTEGER, key VARCHAR, n BIGINT, sources BIGINT, members UBIGINT[],
    code BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_shared (day INTEGER, number UBIGINT, families BIGINT[], fingerprints BIGINT[], urls BIGINT[],
    attempts BIGINT[], moments BIGINT[])`,
  `CREATE TABLE IF NOT EXISTS agg_bucket (bucket INTEGER, sessions BIGINT, packets BIGINT, sources BIGINT,
    ports BIGINT, destinations BIGINT)`,
];

export const aggregateNames = ['agg_rows', 'agg_source', 'agg_touch', 'agg_pair', 'agg_key', 'agg_shared', 'agg_bucket'] as const;

/** Format 5 had sources as texts, format 6 no codes. Sums are made of records, so they are made again, a partition at a time, while questions go on. */
export const renewAggregates: readonly string[] = [
  ...aggregateNames.map((name) => `DROP TABLE IF EXISTS ${name}`),
  ...aggregateTables,
];
