// What sources share, that campaigns are made from, as short lists of numbers: of each of their keys the few that hash lowest, which
// are the same ones for sources that have the same keys, and which can be merged. How they are summed, and found in records. Pure.

import { createHash } from 'node:crypto';
import { type Keys, pairs, type RelationScope, summedAndBeside, usesSums } from './duckdb-relations.ts';

/** Kept of a source's families, fingerprints and URLs each: those with the least codes. */
export const sharedLength = 32;
/** Kept of its credentials: those tried first. */
export const credentialLength = 64;

/** A number for a text, 52 bits of its MD5, so that it is exact as a double. The same for ever: sums hold it. */
const codeOf = (text: string): string => `(md5_number_lower(${text}) >> 12)::BIGINT`;

/** As `codeOf` in SQL. */
export const sharedCode = (text: string): number => Number(createHash('md5').update(text).digest().readBigUInt64LE(8) >> 12n);

/** The columns of lists of codes, in the order of `listColumns`. */
export const sharedKinds = ['families', 'fingerprints', 'urls'] as const;

const clientFacts = ['hassh', 'ja4', 'client', 'user-agent'];
const addressFacts = ['url', 'domain', 'address'];

/** What sums call it, what it is in records, and what its text is. */
interface Part {
  readonly kind: (typeof sharedKinds)[number] | 'credentials';
  readonly keys: Keys;
  readonly subjects: readonly string[];
  /** Before the key. */
  readonly prefix?: string;
}

const parts: readonly Part[] = [
  { kind: 'families', keys: 'families', subjects: ['families'] },
  { kind: 'credentials', keys: { facts: ['credential'] }, subjects: ['fact credential'] },
  ...clientFacts.map(
    (fact): Part => ({ kind: 'fingerprints', keys: { facts: [fact] }, subjects: [`fact ${fact}`], prefix: `${fact}:` }),
  ),
  { kind: 'fingerprints', keys: 'syns', subjects: ['syns'], prefix: 'syn:' },
  { kind: 'urls', keys: { facts: addressFacts }, subjects: addressFacts.map((fact) => `fact ${fact}`) },
];

const textOf = ({ prefix }: Part): string => (prefix === undefined ? 'key' : `concat('${prefix}', key)`);
const quoted = (names: readonly string[]): string => names.map((name) => `'${name}'`).join(', ');

/** Of the columns `subject` and `key` of sums: the text that is shared, null for what is not compared. */
export const sharedText = `CASE ${parts
  .map((part) => `WHEN subject IN (${quoted(part.subjects)}) THEN ${textOf(part)}`)
  .join(' ')} END`;
export const sharedTextCode = codeOf(sharedText);

/** Of rows `kind, code, moment` grouped by a source: three lists of codes, the codes of credentials as they were tried first, when. */
const listColumns = `${sharedKinds.map((kind) => `min(code, ${sharedLength}) FILTER (kind = '${kind}') AS ${kind}`).join(', ')},
  min({'moment': moment, 'code': code}, ${credentialLength}) FILTER (kind = 'credentials') AS tried`;
const listNames = [...sharedKinds, 'attempts', 'moments'];
const finished = (key: string, rows: string): string =>
  `SELECT ${key}, ${sharedKinds.map((kind) => `coalesce(${kind}, [])`).join(', ')}, coalesce(list_transform(tried, lambda one: one.code), []),
    coalesce(list_transform(tried, lambda one: one.moment), []) FROM (${rows})`;

/** Rows of `agg_shared`, out of rows of `agg_pair`. */
export function renderSharedSums(pairRows: string): string {
  const kind = `CASE ${parts.map((part) => `WHEN subject IN (${quoted(part.subjects)}) THEN '${part.kind}'`).join(' ')} END`;
  const subjects = quoted(parts.flatMap((part) => part.subjects));
  const coded = `SELECT day, number, ${kind} AS kind, ${sharedTextCode} AS code, min(moment) AS moment FROM ${pairRows}
    AND subject IN (${subjects}) GROUP BY ALL`;
  return finished('day, number', `SELECT day, number, ${listColumns} FROM (${coded}) GROUP BY day, number`);
}

/** Rows `number, kind, text, moment` of records that no sums answer for; undefined when there are none. */
export function besideRows(scope: RelationScope): string | undefined {
  const found = parts.flatMap((part) => {
    const rows = usesSums(scope) ? summedAndBeside(part.keys, scope, () => '').beside : [pairs(part.keys, scope)];
    return rows.map(
      (each) =>
        `SELECT number, '${part.kind}' AS kind, ${textOf(part)} AS text, start * 64 + place AS moment FROM (${each}) WHERE key IS NOT NULL`,
    );
  });
  return found.length === 0 ? undefined : found.join(' UNION ALL ');
}

/** Rows `rank, kind, code, text, moment` of `besideRows`, for the sources of `ranked`. */
export const renderBeside = (rows: string, ranked: string): string =>
  `SELECT rank, kind, ${codeOf('text')} AS code, text, min(moment) AS moment FROM (${rows}) JOIN ${ranked} USING (number) GROUP BY rank, kind, text`;

/** Rows `rank` and the lists, several for a source: what sums have, and what the table `beside` of `renderBeside` has. */
export function renderSharedLists(scope: RelationScope, ranked: string, beside: string | undefined): string {
  const summed = usesSums(scope)
    ? summedAndBeside(
        'families',
        scope,
        (catalog, days) => `SELECT number, ${listNames.join(', ')} FROM ${catalog}.agg_shared WHERE ${days}`,
      ).summed
    : [];
  return [
    ...(summed.length === 0
      ? []
      : [`SELECT rank, ${listNames.join(', ')} FROM (${summed.join(' UNION ALL ')}) JOIN ${ranked} USING (number)`]),
    ...(beside === undefined
      ? []
      : [
          finished(
            'rank',
            `SELECT rank, ${listColumns} FROM (SELECT DISTINCT rank, kind, code, moment FROM ${beside}) GROUP BY rank`,
          ),
        ]),
  ].join(' UNION ALL ');
}

/** Rows `code, text` of these codes, a text with blanks between; of two texts with one code, which is by chance one in a thousand million, the first. */
export function renderTexts(scope: RelationScope, codes: string, beside: string | undefined): string {
  const summed = usesSums(scope)
    ? summedAndBeside(
        'families',
        scope,
        (catalog, days) => `SELECT subject, key, code FROM ${catalog}.agg_key WHERE code IS NOT NULL AND ${days}`,
      ).summed
    : [];
  const asked = `code IN (SELECT unnest(string_split(${codes}, ' '))::BIGINT)`;
  const rows = [
    ...(summed.length === 0 ? [] : [`SELECT code, ${sharedText} AS text FROM (${summed.join(' UNION ALL ')}) WHERE ${asked}`]),
    ...(beside === undefined ? [] : [`SELECT code, text FROM ${beside} WHERE ${asked}`]),
  ];
  return `SELECT code, min(text) FROM (${rows.join(' UNION ALL ')}) GROUP BY code`;
}
