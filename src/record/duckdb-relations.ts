// What reports count, as relations in SQL: who touched when, and who had what to do with which key (a port, a payload, a URL).
// Where a filter is about time alone, whole days come from the sums of duckdb-aggregates.ts and the rest from the records;
// the answers are the same. Pure; the questions over them are duckdb-insight-query.ts.

import type { Micros } from '../base/clock.ts';
import { dayMicros, halfHourMicros } from './day.ts';
import { allOf, asksForTarget, type Conditions, newestOpen, type PartitionSource } from './duckdb-query.ts';
import { numberOf } from './duckdb-source-number.ts';
import type { Filter } from './store.ts';

export const pairSubjects = [
  'ports',
  'destinations',
  'protocols',
  'payloads',
  'credentials',
  'families',
  'signatures',
  'syns',
  'facts',
] as const;

/** What a source can have to do with. `syns` are SYNs by shape; the others as in TopSubject and InsightSubject. */
export type PairSubject = (typeof pairSubjects)[number];

/** Keys of a subject, or values of facts of some kinds, after `kind:` when `named`. */
export type Keys = PairSubject | { readonly facts: readonly string[]; readonly named?: boolean };

export interface RelationScope {
  readonly sources: readonly PartitionSource[];
  readonly filter: Filter;
  readonly conditions: Conditions;
  /** A condition on `number` that also holds; its values are bound by `conditions`. */
  readonly only?: string;
  /** A condition on `source` of records that `only` implies: they are passed over before anything is made of them. */
  readonly ofSource?: string;
  /** Records alone, also where there are sums. */
  readonly raw?: boolean;
}

type RecordTable = 'sessions' | 'probes' | 'targets' | 'insights';

/** Whether the filter selects by time alone, so that sums by day can answer. */
export const isTimeOnly = (filter: Filter): boolean =>
  filter.before === undefined &&
  filter.sources === undefined &&
  filter.protocol === undefined &&
  filter.service === undefined &&
  filter.diversion === undefined &&
  !asksForTarget(filter);

/** Whether whole days of it can be answered by sums, where there are some: by time alone, or also by a diversion that summed records either all have or none. */
export function isSummable({ sources, filter, raw }: Pick<RelationScope, 'sources' | 'filter' | 'raw'>): boolean {
  const { diversion, ...rest } = filter;
  if (diversion === undefined) return isTimeOnly(filter);
  return !raw && isTimeOnly(rest) && sources.every((source) => sharesDiversion(source, diversion) !== undefined);
}

/** Whether summed records of the partition have this diversion; undefined where only some have, or nobody looked. */
function sharesDiversion({ diversions, summed }: PartitionSource, diversion: string): boolean | undefined {
  if (!summed || summed.sessions + summed.probes + summed.targets + summed.insights === 0) return true;
  return diversions?.least !== undefined && diversions.least === diversions.most ? diversions.least === diversion : undefined;
}

/** `22/tcp`: the port a session or packet came to. */
const portKey = (port: string): string => `concat(${port}, '/', transport)`;

/** The shape of a SYN: what does not change from one packet of a tool or system to the next. */
const synKey = `array_to_string(list_transform(json_extract_string(syn, ['$.options', '$.window', '$.mss', '$.windowScale']),
  lambda part: coalesce(part, '-')), ' ')`;

const sessionKeys: Readonly<Partial<Record<PairSubject, string>>> = {
  ports: portKey('destination_port'),
  destinations: 'destination',
  protocols: 'protocol',
  payloads: 'payload_hash',
  credentials: `CASE WHEN user_name IS NULL THEN NULL ELSE concat(user_name, ':', coalesce(password, '')) END`,
  syns: `CASE WHEN syn IS NULL THEN NULL ELSE ${synKey} END`,
};

const insightKeys: Readonly<Partial<Record<PairSubject, string>>> = {
  families: 'family AS key, 1 AS n, 0 AS place',
  signatures: 'unnest(rules) AS key, 1 AS n, 0 AS place',
  facts: 'unnest(facts) AS key, 1 AS n, generate_subscripts(facts, 1) AS place',
};

/** Rows `first, last, source, number, sessions, packets, bytes_in` of every session and probe record that `within` lets pass. */
export function rawTouches(
  catalog: string,
  within: (table: RecordTable) => string,
  probes: 'probes' | 'targets' = 'probes',
): string {
  return `${touchesOf(`${catalog}.sessions`, within('sessions'))} UNION ALL SELECT start AS first, start AS last, source, ${numberOf} AS number,
    0 AS sessions, packets, 0 AS bytes_in FROM ${catalog}.${probes} WHERE ${within(probes)}`;
}

const touchesOf = (table: string, where: string): string =>
  `SELECT start AS first, start AS last, source, ${numberOf} AS number, 1 AS sessions, 0 AS packets, bytes_in FROM ${table} WHERE ${where}`;

/** Rows `start, number, key, n, place`: `n` of `key`; `place` orders keys that came at once. */
export function rawPairs(subject: PairSubject, catalog: string, within: (table: RecordTable) => string): string {
  const key = sessionKeys[subject];
  if (key === undefined) return insightPairs(subject, `${catalog}.insights`, within('insights'));
  const parts = [pairsOf(`${catalog}.sessions`, key, within('sessions'))];
  if (subject === 'ports' || subject === 'destinations') {
    const name = subject === 'ports' ? portKey('port') : 'ip';
    const where = allOf([within('targets'), ...(subject === 'ports' ? [`transport <> 'icmp'`] : [])]);
    parts.push(
      `SELECT start, ${numberOf} AS number, ${name} AS key, packets AS n, 0 AS place FROM ${catalog}.targets WHERE ${where}`,
    );
  }
  return `SELECT * FROM (${parts.join(' UNION ALL ')}) WHERE key IS NOT NULL`;
}

function insightPairs(subject: PairSubject, table: string, where: string): string {
  const rows = `SELECT start, ${numberOf} AS number, ${insightKeys[subject]} FROM ${table} WHERE ${where}`;
  return subject === 'families' ? `SELECT * FROM (${rows}) WHERE key IS NOT NULL` : rows;
}

/**
 * Of all partitions at once: what a join looks up in takes 8 MiB for each part of it that is read by itself, however little
 * that holds, and partitions are many.
 */
export const chosen = (rows: string, only: string | undefined): string =>
  only === undefined ? rows : `SELECT * FROM (${rows}) WHERE ${only}`;

const pairsOf = (table: string, key: string, where: string): string =>
  `SELECT start, ${numberOf} AS number, ${key} AS key, 1 AS n, 0 AS place FROM ${table} WHERE ${where}`;

/** One partition's share of an answer: days that are summed, and the records beside them. */
interface Share {
  readonly source: PartitionSource;
  /** A condition on `day`, where sums are used; the same on `half` for half-hours. */
  readonly days?: string;
  readonly halves?: string;
  /** Conditions on records. */
  readonly pieces: readonly ((table: RecordTable) => string)[];
  /** The condition on open sessions, when there are any. */
  readonly open?: string;
}

const ofSource = (scope: RelationScope): string[] => (scope.ofSource === undefined ? [] : [scope.ofSource]);

const startsBetween = (from: Micros, to: Micros): string =>
  allOf([
    ...(from === Number.NEGATIVE_INFINITY ? [] : [`start >= ${from}`]),
    ...(to === Number.POSITIVE_INFINITY ? [] : [`start < ${to}`]),
  ]);

/** Times that have records which are not summed: before `from`, from `to` on. Infinite where sums go as far as the filter. */
export interface SummedTime {
  readonly from: Micros;
  readonly to: Micros;
}

/** Whole days of the filter in this partition; undefined when there are none that are summed. */
export function summedTime(source: PartitionSource, filter: Filter): SummedTime | undefined {
  const { earliest, latest, summed } = source;
  if (!summed || summed.sessions + summed.probes + summed.targets + summed.insights === 0) return undefined;
  const since = Math.ceil(filter.since ?? Number.NEGATIVE_INFINITY);
  const until = Math.ceil(filter.until ?? Number.POSITIVE_INFINITY);
  const from = since <= earliest ? Number.NEGATIVE_INFINITY : Math.ceil(since / dayMicros) * dayMicros;
  const to = until > latest ? Number.POSITIVE_INFINITY : Math.floor(until / dayMicros) * dayMicros;
  return from < to && from <= latest && to > earliest ? { from, to } : undefined;
}

function shareOf(source: PartitionSource, scope: RelationScope): Share {
  const { filter } = scope;
  const between = (from: Micros, to: Micros): string => allOf([...ofSource(scope), startsBetween(from, to)]);
  const { diversion } = filter;
  const ofDiversion = (table: RecordTable): string[] => (diversion === undefined ? [] : [hasDiversion(source, table, diversion)]);
  const within =
    (from: Micros, to: Micros) =>
    (table: RecordTable): string =>
      allOf([between(from, to), ...ofDiversion(table)]);
  const since = Math.ceil(filter.since ?? Number.NEGATIVE_INFINITY);
  const until = Math.ceil(filter.until ?? Number.POSITIVE_INFINITY);
  const open = source.hasOpen ? { open: within(since, until)('sessions') } : {};
  const time = scope.raw ? undefined : summedTime(source, filter);
  if (!time) return { source, pieces: [within(since, until)], ...open };
  const { from, to } = time;
  const pieces: ((table: RecordTable) => string)[] = [];
  if (from > since && from > source.earliest) pieces.push(within(since, from));
  if (to < until && to <= source.latest) pieces.push(within(to, until));
  const behind = (table: RecordTable): number => (source.rows?.[table] ?? 0) - (source.summed?.[table] ?? 0);
  if ((['sessions', 'probes', 'targets', 'insights'] as const).some((table) => behind(table) > 0))
    pieces.push((table) =>
      behind(table) === 0 ? 'false' : allOf([`rowid >= ${source.summed?.[table]}`, within(from, to)(table)]),
    );
  if (diversion !== undefined && sharesDiversion(source, diversion) === false) return { source, pieces, ...open };
  const days = (column: string, width: number): string =>
    startsBetween(from, to).replace(
      /start (>=|<) (\d+)/g,
      (_all, sign: string, at: string) => `${column} ${sign} ${Number(at) / width}`,
    );
  return { source, days: days('day', dayMicros), halves: days('half', halfHourMicros), pieces, ...open };
}

/** What analysis found has no diversion of its own: its session has. */
function hasDiversion({ catalog, hasOpen }: PartitionSource, table: RecordTable, diversion: string): string {
  // Written out: conditions of a share may be left unused, and a value that is bound must be used.
  const same = `diversion = '${diversion.replaceAll("'", "''")}'`;
  if (table !== 'insights') return same;
  const ids = [`SELECT id FROM ${catalog}.sessions WHERE ${same}`];
  if (hasOpen) ids.push(`SELECT id FROM ${open(catalog, same)}`);
  return `id IN (${ids.join(' UNION ALL ')})`;
}

const open = (catalog: string, where: string): string => `${newestOpen(catalog)} WHERE outcome = 'open' AND ${where}`;

/** Whether sums answer any of it. */
export const usesSums = (scope: RelationScope): boolean =>
  !scope.raw && isSummable(scope) && scope.sources.some((source) => summedTime(source, scope.filter) !== undefined);

/** Rows `first, last, source, number, sessions, packets, bytes_in` of every session and probe. */
export function touches(scope: RelationScope): string {
  const { sources, filter, conditions } = scope;
  const parts: string[] = [];
  if (isSummable(scope)) {
    for (const { source, days, pieces, open: opened } of sources.map((each) => shareOf(each, scope))) {
      const { catalog } = source;
      if (days !== undefined)
        parts.push(`SELECT first, last, source, number, sessions, packets, bytes_in FROM ${catalog}.agg_source
          WHERE first IS NOT NULL AND ${days}`);
      for (const piece of pieces) parts.push(rawTouches(catalog, piece));
      if (opened !== undefined) parts.push(touchesOf(newestOpen(catalog), allOf([`outcome = 'open'`, opened])));
    }
    return chosen(parts.join(' UNION ALL '), scope.only);
  }
  const session = allOf([...ofSource(scope), conditions.session(filter)]);
  const asks = asksForTarget(filter);
  const probe = allOf([...ofSource(scope), ...conditions.probe(filter), ...(asks ? conditions.target(filter) : [])]);
  for (const { catalog, hasOpen } of sources) {
    parts.push(rawTouches(catalog, (table) => (table === 'sessions' ? session : probe), asks ? 'targets' : 'probes'));
    if (hasOpen) parts.push(touchesOf(newestOpen(catalog), allOf([`outcome = 'open'`, session])));
  }
  return chosen(parts.join(' UNION ALL '), scope.only);
}

/** Rows `half, number, hits`: the half-hour since 1970. */
export function halfTouches(scope: RelationScope): string {
  const { sources } = scope;
  const halved = (rows: string): string =>
    `SELECT first // ${halfHourMicros} AS half, number, sessions + packets AS hits FROM (${rows})`;
  if (!usesSums(scope)) return halved(touches(scope));
  const rows = sources
    .flatMap((each) => {
      const { source, halves, pieces, open: opened } = shareOf(each, scope);
      const { catalog } = source;
      return [
        ...(halves === undefined
          ? []
          : [`SELECT half, number, sessions + packets AS hits FROM ${catalog}.agg_touch WHERE ${halves}`]),
        ...pieces.map((piece) => halved(rawTouches(catalog, piece))),
        ...(opened === undefined ? [] : [halved(touchesOf(newestOpen(catalog), allOf([`outcome = 'open'`, opened])))]),
      ];
    })
    .join(' UNION ALL ');
  return chosen(rows, scope.only);
}

const subjectOf = (keys: Keys): PairSubject => (typeof keys === 'string' ? keys : 'facts');

/** Rows of `rawPairs` of these keys alone, with their final names. */
function narrowed(keys: Keys, rows: string): string {
  if (typeof keys === 'string') return rows;
  const value = `substr(key, strpos(key, ' ') + 1)`;
  const kind = `substr(key, 1, strpos(key, ' ') - 1)`;
  const list = keys.facts.map((name) => `'${name}'`).join(', ');
  return `SELECT start, number, ${keys.named ? `concat(${kind}, ':', ${value})` : value} AS key, n, place FROM (${rows}) WHERE ${kind} IN (${list})`;
}

/** A condition on `subject` and the key of sums. */
interface SummedKeys {
  readonly where: string;
  readonly key: string;
}

/** Kinds of facts that are asked for one by one. */
const fewKinds = 5;

/** Several of few kinds: the engine leaves out what one value or a range cannot have, which it does not for a list. */
function summedKeys(keys: Keys): readonly SummedKeys[] {
  if (typeof keys === 'string') return [{ where: `subject = '${keys}'`, key: 'key' }];
  if (keys.facts.length <= fewKinds)
    return keys.facts.map((kind) => ({
      where: `subject = 'fact ${kind}'`,
      key: keys.named ? `concat('${kind}:', key)` : 'key',
    }));
  const subjects = keys.facts.map((kind) => `'fact ${kind}'`).sort();
  const where = `subject >= ${subjects[0]} AND subject <= ${subjects[subjects.length - 1]} AND subject IN (${subjects.join(', ')})`;
  return [{ where, key: keys.named ? `concat(substr(subject, 6), ':', key)` : 'key' }];
}

const ofEach = (keys: Keys, part: (summed: SummedKeys) => string): string => summedKeys(keys).map(part).join(' UNION ALL ');

/** Open sessions have these keys as ended ones have; what analysis found is of ended ones. */
const openPairs = (subject: PairSubject, catalog: string, where: string): string | undefined => {
  const key = sessionKeys[subject];
  return key && `SELECT * FROM (${pairsOf(newestOpen(catalog), key, allOf([`outcome = 'open'`, where]))}) WHERE key IS NOT NULL`;
};

/** Rows `start, number, key, n, place`; a sum has the time of the first. */
export function pairs(keys: Keys, scope: RelationScope): string {
  const { sources, filter, conditions } = scope;
  const subject = subjectOf(keys);
  const parts: string[] = [];
  const add = (rows: string | undefined): void => {
    if (rows !== undefined) parts.push(narrowed(keys, rows));
  };
  if (isSummable(scope)) {
    for (const { source, days, pieces, open: opened } of sources.map((each) => shareOf(each, scope))) {
      const { catalog } = source;
      if (days !== undefined)
        parts.push(
          ofEach(
            keys,
            ({ where, key }) => `SELECT moment // 64 AS start, number, ${key} AS key, n, moment % 64 AS place
              FROM ${catalog}.agg_pair WHERE ${allOf([where, days])}`,
          ),
        );
      for (const piece of pieces) add(rawPairs(subject, catalog, piece));
      if (opened !== undefined) add(openPairs(subject, catalog, opened));
    }
    return chosen(parts.join(' UNION ALL '), scope.only);
  }
  const asks = asksForTarget(filter) || [filter.protocol, filter.diversion, filter.service].some((part) => part !== undefined);
  const ofSessions = sessionKeys[subject] !== undefined;
  // A condition binds values: only those that are used may be rendered.
  const session = ofSessions || asks ? allOf([...ofSource(scope), conditions.session(filter)]) : 'false';
  const ofTargets = subject === 'ports' || subject === 'destinations';
  const target = ofTargets ? allOf([...ofSource(scope), ...conditions.probe(filter), ...conditions.target(filter)]) : 'false';
  if (!ofSessions) {
    const own = allOf([
      ...ofSource(scope),
      ...conditions.time(filter, 'start'),
      ...conditions.addresses(filter.sources, 'source_key'),
    ]);
    const found = sources.map(
      ({ catalog }) => `SELECT id, start, source, source_key, family, rules, facts FROM ${catalog}.insights WHERE ${own}`,
    );
    const ids = sources.flatMap(({ catalog, hasOpen }) => [
      `SELECT id, ${numberOf} AS number FROM ${catalog}.sessions WHERE ${session}`,
      ...(hasOpen ? [`SELECT id, ${numberOf} AS number FROM ${open(catalog, session)}`] : []),
    ]);
    // Of the sources asked for alone: identifiers of all sessions may be more than the engine has memory for.
    const ofChosen = `SELECT id FROM (${chosen(ids.join(' UNION ALL '), scope.only)})`;
    const which = asks ? `id IN (WITH ids AS MATERIALIZED (${ofChosen}) FROM ids)` : 'true';
    return chosen(narrowed(keys, insightPairs(subject, `(${found.join(' UNION ALL ')})`, which)), scope.only);
  }
  for (const { catalog, hasOpen } of sources) {
    add(rawPairs(subject, catalog, (table) => (table === 'sessions' ? session : target)));
    if (hasOpen) add(openPairs(subject, catalog, session));
  }
  return chosen(parts.join(' UNION ALL '), scope.only);
}

/**
 * Rows `start, key, n, least, most`, several for a key: so many of it, and bounds of the distinct sources: over all rows of a
 * key there are at least the greatest `least` and at most the sum of `most`. For filters about time alone.
 */
export function keyBounds(keys: Keys, scope: RelationScope): string {
  const bounded = (rows: string): string =>
    `SELECT min(start) AS start, key, sum(n) AS n, count(DISTINCT number) AS least, count(DISTINCT number) AS most
      FROM (${rows}) GROUP BY key, start // ${dayMicros}`;
  const { summed, beside } = summedAndBeside(keys, scope, (catalog, days) =>
    ofEach(
      keys,
      ({ where, key }) => `SELECT day * ${dayMicros} AS start, ${key} AS key, n, sources AS least, sources AS most
          FROM ${catalog}.agg_key WHERE ${allOf([where, days])}`,
    ),
  );
  return [...summed, ...beside.map(bounded)].join(' UNION ALL ');
}

/** Rows `number, least, most`, several for a source: bounds of its distinct ports, as above. */
export function portBounds(scope: RelationScope): string {
  const bounded = (rows: string): string =>
    `SELECT number, count(DISTINCT key) AS least, count(DISTINCT key) AS most FROM (${rows}) GROUP BY number`;
  const { summed, beside } = summedAndBeside(
    'ports',
    scope,
    (catalog, days) => `SELECT number, ports AS least, ports AS most FROM ${catalog}.agg_source WHERE ${days}`,
  );
  return [...summed, ...beside.map(bounded)].join(' UNION ALL ');
}

/** Parts of an answer: what `ofSums` makes of the days that are summed, and `pairs` of the records beside them. */
export function summedAndBeside(
  keys: Keys,
  scope: RelationScope,
  ofSums: (catalog: string, days: string) => string,
): { readonly summed: string[]; readonly beside: string[] } {
  const subject = subjectOf(keys);
  const summed: string[] = [];
  const beside: string[] = [];
  for (const { source, days, pieces, open: opened } of scope.sources.map((each) => shareOf(each, scope))) {
    const { catalog } = source;
    if (days !== undefined) summed.push(ofSums(catalog, days));
    for (const piece of pieces) beside.push(narrowed(keys, rawPairs(subject, catalog, piece)));
    const ofOpen = opened === undefined ? undefined : openPairs(subject, catalog, opened);
    if (ofOpen !== undefined) beside.push(narrowed(keys, ofOpen));
  }
  return { summed, beside };
}

/** Rows `key, n, members` of days that are summed, and `pairs` of the records beside them; undefined where there are none. */
export function keyMembers(keys: Keys, scope: RelationScope): { readonly summed?: string; readonly beside?: string } {
  const { summed, beside } = summedAndBeside(keys, scope, (catalog, days) =>
    ofEach(keys, ({ where, key }) => `SELECT ${key} AS key, n, members FROM ${catalog}.agg_key WHERE ${allOf([where, days])}`),
  );
  return {
    ...(summed.length > 0 && { summed: summed.join(' UNION ALL ') }),
    ...(beside.length > 0 && { beside: beside.join(' UNION ALL ') }),
  };
}

/** What sources share that campaigns are made from. */
export const sharedFacts = ['credential', 'hassh', 'ja4', 'client', 'user-agent', 'url', 'domain', 'address'] as const;

/** Rows `number` of sources that have any of it. */
export function holders(scope: RelationScope): string {
  const numbers = (rows: string): string => `SELECT number FROM (${rows})`;
  if (!isSummable(scope))
    return [pairs('families', scope), pairs({ facts: sharedFacts }, scope)].map(numbers).join(' UNION ALL ');
  const families = summedAndBeside(
    'families',
    scope,
    (catalog, days) => `SELECT number FROM ${catalog}.agg_source WHERE compared AND ${days}`,
  );
  const facts = summedAndBeside({ facts: sharedFacts }, scope, () => '');
  return [...families.summed, ...[...families.beside, ...facts.beside].map(numbers)].join(' UNION ALL ');
}

/** Rows `number, day, halves`, several of a day: a bit for each half-hour of it. */
export function halfBits(scope: RelationScope): string {
  const bits = (rows: string): string => `SELECT number, first // ${dayMicros} AS day, ${halfBit} AS halves FROM (${rows})`;
  if (!usesSums(scope)) return bits(touches(scope));
  const rows = scope.sources.flatMap((each) => {
    const { source, days, pieces, open: opened } = shareOf(each, scope);
    const { catalog } = source;
    return [
      ...(days === undefined ? [] : [`SELECT number, day, halves FROM ${catalog}.agg_source WHERE ${days}`]),
      ...pieces.map((piece) => bits(rawTouches(catalog, piece))),
      ...(opened === undefined ? [] : [bits(touchesOf(newestOpen(catalog), allOf([`outcome = 'open'`, opened])))]),
    ];
  });
  return chosen(rows.join(' UNION ALL '), scope.only);
}

/** The bit of the half-hour that `first` is in, of its day. */
export const halfBit = `(1::BIGINT << (((first // ${halfHourMicros}) % 48 + 48) % 48)::BIGINT)`;

/** Rows `start` of every record that is not summed; undefined when there can be none. */
export function unsummedStarts(scope: RelationScope): string | undefined {
  const parts = scope.sources.flatMap((each) => {
    const { source, pieces, open: opened } = shareOf(each, scope);
    const { catalog } = source;
    const tables = ['sessions', 'probes', 'targets'] as const;
    return [
      ...pieces.flatMap((piece) => tables.map((table) => `SELECT start FROM ${catalog}.${table} WHERE ${piece(table)}`)),
      ...(opened === undefined ? [] : [`SELECT start FROM ${open(catalog, opened)}`]),
    ];
  });
  return parts.length === 0 ? undefined : parts.join(' UNION ALL ');
}

/** Rows of `agg_bucket` for whole half-hours that are summed; undefined when there are none. */
export function summedBuckets(scope: RelationScope): string | undefined {
  const parts = scope.sources.flatMap((each) => {
    const { source, halves } = shareOf(each, scope);
    if (halves === undefined) return [];
    return [
      `SELECT bucket, sessions, packets, sources, ports, destinations FROM ${source.catalog}.agg_bucket WHERE ${halves.replaceAll('half', 'bucket')}`,
    ];
  });
  return parts.length === 0 ? undefined : parts.join(' UNION ALL ');
}
