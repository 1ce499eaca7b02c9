// Filters and rankings as SQL with bound values. Pure: text and values in, nothing executed. The rules are those of
// filter-match.ts; the contract test holds them together.

import type { DuckDBListValue } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import type { AddressRange } from '../model/address.ts';
import { mappedPrefix } from './duckdb-row.ts';
import { summaryColumns } from './duckdb-schema.ts';
import { ipv4Pattern, mappedHexPattern } from './ipv4-pattern.ts';
import type { Filter, SessionFilter } from './store.ts';

export type SqlValue = string | number | bigint | DuckDBListValue;

/** A statement and the values of `$1`, `$2`, … */
export interface Sql {
  readonly text: string;
  readonly values: readonly SqlValue[];
}

/** One partition as queries see it. */
export interface PartitionSource {
  /** Catalog name, already quoted. */
  readonly catalog: string;
  /** False when no session of it is open: the log need not be read. */
  readonly hasOpen: boolean;
  readonly name: string;
  /** No record of it starts before or after these. */
  readonly earliest: Micros;
  readonly latest: Micros;
  /** How many rows its tables have, and how many of the first are summed (duckdb-aggregates.ts). */
  readonly rows?: RowCounts;
  readonly summed?: RowCounts;
  /** The first and the last diversion, by name, of what is summed; absent where the filter does not ask for one, or nothing is summed. */
  readonly diversions?: { readonly least: string; readonly most: string };
}

/** Rows of a partition's tables. */
export interface RowCounts {
  readonly sessions: number;
  readonly probes: number;
  readonly targets: number;
  readonly insights: number;
}

/** Collects conditions of one statement and the values they bind. */
export class Conditions {
  readonly values: SqlValue[] = [];

  value(value: SqlValue): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }

  time(filter: Filter, column: string): string[] {
    const parts: string[] = [];
    if (filter.since !== undefined) parts.push(`${column} >= ${this.value(BigInt(Math.ceil(filter.since)))}`);
    if (filter.until !== undefined) parts.push(`${column} < ${this.value(BigInt(Math.ceil(filter.until)))}`);
    if (filter.before !== undefined) parts.push(`id < ${this.value(filter.before)}`);
    return parts;
  }

  addresses(ranges: readonly AddressRange[] | undefined, column: string): string[] {
    if (!ranges) return [];
    if (ranges.length === 0) return ['false'];
    const parts = ranges.map(({ family, first, last }) => {
      const prefix = family === 4 ? mappedPrefix : 0n;
      // Numbers of 128 bits are bound as text: the range of bound integers is smaller.
      return `${column} BETWEEN ${this.value(String(prefix | first))}::UHUGEINT AND ${this.value(String(prefix | last))}::UHUGEINT`;
    });
    return [`(${parts.join(' OR ')})`];
  }

  /**
   * The same for decoys of many records. There are few, so the engine keeps their texts once and looks at each once; to unpack a
   * number of 128 bits takes it half a microsecond a row where all have most bits in common, as the numbers of decoys do.
   */
  decoys(ranges: readonly AddressRange[] | undefined, column: string): string[] {
    const pattern = ranges && ipv4Pattern(ranges);
    if (pattern === undefined) return this.addresses(ranges, `${column}_key`);
    // Written out: the engine would read a bound pattern anew for each row. It is made of digits and signs of ours alone.
    const dotted = `regexp_full_match(${column}, '${pattern}')`;
    const mapped = `regexp_full_match(${column}, '${mappedHexPattern}')`;
    // Out of the text as well: to name the column of numbers is to have it unpacked, of whichever rows.
    const [high, low] = [1, 2].map((group) => `lpad(regexp_extract(${column}, '${mappedHexPattern}', ${group}), 4, '0')`);
    const number = `try_cast(concat('0x', ${high}, ${low}) AS BIGINT)`;
    const within = (ranges ?? []).map(({ first, last }) => `${number} BETWEEN ${first} AND ${last}`);
    return [`(${dotted} OR (${mapped} AND (${within.join(' OR ')})))`];
  }

  ports(filter: Filter, column: string): string[] {
    if (!filter.ports) return [];
    if (filter.ports.length === 0) return ['false'];
    const parts = filter.ports.map(({ first, last }) => `${column} BETWEEN ${this.value(first)} AND ${this.value(last)}`);
    return [`(${parts.join(' OR ')})`];
  }

  equal(column: string, value: string | undefined): string[] {
    return value === undefined ? [] : [`${column} = ${this.value(value)}`];
  }

  session(filter: Filter): string {
    return allOf([
      ...this.time(filter, 'start'),
      ...this.equal('transport', filter.transport),
      ...this.equal('protocol', filter.protocol),
      ...this.equal('diversion', filter.diversion),
      ...this.equal('service', filter.service),
      ...this.ports(filter, 'destination_port'),
      ...this.addresses(filter.sources, 'source_key'),
      ...this.decoys(filter.destinations, 'destination'),
    ]);
  }

  /** On sessions of one partition, by what analysis found in them. */
  findings(catalog: string, { signature, tag, family, country }: SessionFilter): string[] {
    const within = (condition: string): string => `id IN (SELECT id FROM ${catalog}.insights WHERE ${condition})`;
    const parts: string[] = [];
    if (signature !== undefined) parts.push(within(`list_contains(rules, ${this.value(signature)})`));
    if (tag !== undefined) {
      const [value, quoted] = [this.value(tag), this.value(JSON.stringify(tag))];
      // To look for the text first takes a tenth of reading what it may stand in.
      const listed = (column: string, path: string): string =>
        `contains(${column}, ${quoted}) AND list_contains(json_extract_string(${column}, '${path}'), ${value})`;
      parts.push(`((${listed('tags', '$[*]')}) OR ${within(listed('signatures', '$[*].tags[*]'))})`);
    }
    if (family !== undefined) parts.push(within(`family = ${this.value(family)}`));
    if (country !== undefined) parts.push(`source IN (SELECT ip FROM "analysis".places WHERE country = ${this.value(country)})`);
    return parts;
  }

  probe(filter: Filter): string[] {
    if (filter.protocol !== undefined || filter.service !== undefined) return ['false'];
    return [
      ...this.time(filter, 'start'),
      ...this.equal('diversion', filter.diversion),
      ...this.addresses(filter.sources, 'source_key'),
    ];
  }

  target(filter: Filter): string[] {
    return [
      ...this.equal('transport', filter.transport),
      ...this.ports(filter, 'port'),
      ...this.decoys(filter.destinations, 'ip'),
    ];
  }
}

export const allOf = (parts: readonly string[]): string => (parts.length === 0 ? 'true' : parts.join(' AND '));
export const asksForTarget = (filter: Filter): boolean =>
  filter.transport !== undefined || filter.ports !== undefined || filter.destinations !== undefined;

/** Rows of the log of open sessions as they are now; some have ended. */
export const newestOpen = (catalog: string): string =>
  `(SELECT * FROM ${catalog}.open_records QUALIFY row_number() OVER (PARTITION BY id ORDER BY sequence DESC) = 1)`;

export const overAll = (sources: readonly PartitionSource[], part: (catalog: string) => string): string =>
  sources.map(({ catalog }) => part(catalog)).join(' UNION ALL ');

/**
 * Makes the table `name` of what verdicts of the filter's behaviours are about. What a verdict does not name is a range of
 * everything, because the engine looks rows up by comparisons alone.
 */
export function renderAbout(name: string, verdictsIn: readonly PartitionSource[], filter: SessionFilter): Sql {
  const conditions = new Conditions();
  const { behaviours = [], since } = filter;
  const where = allOf([
    `behaviour IN (${['NULL', ...behaviours.map((behaviour) => conditions.value(behaviour))].join(', ')})`,
    ...conditions.addresses(filter.sources, 'source_key'),
  ]);
  const rows = overAll(
    verdictsIn,
    (catalog) => `SELECT source AS of_source, start AS of_start, json_extract(body, '$.end')::DOUBLE AS of_end,
      coalesce(destination, '') AS least_destination, coalesce(destination, '~') AS most_destination, coalesce(port, 0) AS least_port,
      coalesce(port, 65535) AS most_port, coalesce(transport, '') AS least_transport, coalesce(transport, '~') AS most_transport
      FROM ${catalog}.verdicts WHERE ${where}`,
  );
  const later = since === undefined ? 'true' : `of_end >= ${conditions.value(since)}`;
  return { text: `CREATE TEMP TABLE ${name} AS SELECT DISTINCT * FROM (${rows}) WHERE ${later}`, values: conditions.values };
}

/** The rule is that of isAbout in filter-match.ts. */
const isAbout = `session.source = of_source AND coalesce(session.ended, session.start) >= of_start
    AND session.start <= of_end AND session.destination >= least_destination AND session.destination <= most_destination
    AND session.destination_port >= least_port AND session.destination_port <= most_port
    AND session.transport >= least_transport AND session.transport <= most_transport`;

/** Rows of `summaryColumns`, newest first: sessions of the filter's time, which has both ends, that the table `about` has. */
export function renderSessionsAbout(
  source: PartitionSource,
  about: string,
  filter: SessionFilter & Required<Pick<Filter, 'since' | 'until'>>,
): Sql {
  const conditions = new Conditions();
  const { catalog, hasOpen } = source;
  const where = allOf([conditions.session(filter), ...conditions.findings(catalog, filter)]);
  const limit = conditions.value(filter.limit);
  const time = allOf(conditions.time({ since: filter.since, until: filter.until, limit: 0 }, 'start'));
  const lastEnd = `(SELECT max(coalesce(ended, start)) FROM ${catalog}.sessions WHERE ${time})`;
  const verdicts = (started: string): string =>
    `SEMI JOIN (SELECT * FROM ${about} WHERE of_end >= ${conditions.value(filter.since)} AND of_start <= ${started}) AS verdict ON ${isAbout}`;
  // All columns only of those that are shown: to read them takes longer than to find them.
  const found = `SELECT rid FROM (SELECT session.rowid AS rid, id FROM ${catalog}.sessions AS session ${verdicts(lastEnd)}
    WHERE ${where} ORDER BY id DESC LIMIT ${limit})`;
  const parts = [`SELECT ${summaryColumns} FROM ${catalog}.sessions WHERE rowid IN (${found})`];
  if (hasOpen)
    parts.push(`SELECT ${summaryColumns} FROM ${newestOpen(catalog)} AS session ${verdicts(conditions.value(filter.until))}
      WHERE outcome = 'open' AND ${where}`);
  return {
    text: `SELECT * FROM (${parts.join(' UNION ALL ')}) ORDER BY id DESC LIMIT ${limit}`,
    values: conditions.values,
  };
}

/** Rows of `summaryColumns`, newest first; by behaviour is `renderSessionsAbout`. */
export function renderSessions(source: PartitionSource, filter: SessionFilter): Sql {
  const conditions = new Conditions();
  const { catalog, hasOpen } = source;
  const where = allOf([conditions.session(filter), ...conditions.findings(catalog, filter)]);
  const limit = conditions.value(filter.limit);
  // As above: to sort thousands of rows with all their columns may take more than the engine has memory for.
  const found = `SELECT rid FROM (SELECT rowid AS rid, id FROM ${catalog}.sessions WHERE ${where} ORDER BY id DESC LIMIT ${limit})`;
  const parts = [`SELECT ${summaryColumns} FROM ${catalog}.sessions WHERE rowid IN (${found})`];
  if (hasOpen) parts.push(`SELECT ${summaryColumns} FROM ${newestOpen(catalog)} WHERE outcome = 'open' AND ${where}`);
  return { text: `SELECT * FROM (${parts.join(' UNION ALL ')}) ORDER BY id DESC LIMIT ${limit}`, values: conditions.values };
}

export function renderOpen(source: Pick<PartitionSource, 'catalog' | 'hasOpen'>): Sql {
  return { text: `SELECT ${summaryColumns} FROM ${newestOpen(source.catalog)} WHERE outcome = 'open'`, values: [] };
}

/** Rows `body`, newest first. */
export function renderProbes(source: PartitionSource, filter: Filter): Sql {
  const conditions = new Conditions();
  const parts = conditions.probe(filter);
  if (asksForTarget(filter)) {
    parts.push(`id IN (SELECT id FROM ${source.catalog}.targets WHERE ${allOf(conditions.target(filter))})`);
  }
  const limit = conditions.value(filter.limit);
  return {
    text: `SELECT body FROM ${source.catalog}.probes WHERE ${allOf(parts)} ORDER BY id DESC LIMIT ${limit}`,
    values: conditions.values,
  };
}

export function renderNotices(source: PartitionSource, table: 'alerts' | 'system_events', filter: Filter): Sql {
  const conditions = new Conditions();
  const where = allOf(conditions.time(filter, 'start'));
  const limit = conditions.value(filter.limit);
  return {
    text: `SELECT body FROM ${source.catalog}.${table} WHERE ${where} ORDER BY id DESC LIMIT ${limit}`,
    values: conditions.values,
  };
}
