// The tables of what is counted beforehand (duckdb-aggregates.ts), one set in each partition: names and columns alone.

/**
 * `agg_rows`: how many rows of each table are summed. `agg_source`: a source's day; `ports` are distinct.
 * `agg_touch`: a source's half-hour. `agg_pair`: what a source had to do with a key on a day; `moment` is 64 times when first,
 * plus its place among what came at once. `agg_key`: the same over all sources. `agg_bucket`: everything of a half-hour.
 */
export const aggregateTables: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS agg_rows (sessions BIGINT, probes BIGINT, targets BIGINT, insights BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_source (day INTEGER, source VARCHAR, sessions BIGINT, packets BIGINT, bytes_in BIGINT,
    first BIGINT, last BIGINT, ports BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_touch (half INTEGER, source VARCHAR, sessions BIGINT, packets BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_pair (subject VARCHAR, day INTEGER, source VARCHAR, key VARCHAR, n BIGINT, moment BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_key (subject VARCHAR, day INTEGER, key VARCHAR, n BIGINT, sources BIGINT)`,
  `CREATE TABLE IF NOT EXISTS agg_bucket (bucket INTEGER, sessions BIGINT, packets BIGINT, sources BIGINT,
    ports BIGINT, destinations BIGINT)`,
];

export const aggregateNames = ['agg_rows', 'agg_source', 'agg_touch', 'agg_pair', 'agg_key', 'agg_bucket'] as const;
