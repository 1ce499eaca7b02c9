// The tables of what analysis found, how it becomes rows and comes back. Insights and verdicts stand in the partition of their
// session or start; families and places, which outlive days, in a file of their own. Records are duckdb-schema.ts.

import { type DuckDBAppender, LIST, listValue, VARCHAR } from '@duckdb/node-api';
import type { Fact, FactKind } from '../model/fact.ts';
import type { PayloadFamily, Place, SessionInsight, SignatureHit, Verdict } from '../model/insight.ts';
import { appendKey, appendText } from './duckdb-row.ts';

/** One row a session, written once; `facts` are `kind value`. One row a verdict, replaced by a later one of its id. */
export const insightTables: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS insights (id VARCHAR, start BIGINT, source VARCHAR, source_key UHUGEINT, family VARCHAR,
    rules VARCHAR[], facts VARCHAR[], signatures VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS verdicts (id VARCHAR, start BIGINT, source VARCHAR, source_key UHUGEINT, behaviour VARCHAR,
    destination VARCHAR, destination_key UHUGEINT, port INTEGER, transport VARCHAR, diversion VARCHAR, hits BIGINT,
    tool VARCHAR, body VARCHAR)`,
];

/** Of the file beside the partitions. */
export const catalogTables: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS families (id VARCHAR, first_seen BIGINT, payload_hash VARCHAR, example BLOB, sketch BLOB,
    label VARCHAR)`,
  `CREATE TABLE IF NOT EXISTS places (ip VARCHAR, country VARCHAR, asn BIGINT, organization VARCHAR)`,
];

export const catalogTableNames = ['families', 'places'] as const;

const texts = LIST(VARCHAR);
const whole = (value: number): bigint => BigInt(Math.trunc(value));

/** What a row of many of them may hold of each; more is left out. */
const maxFacts = 64;
const maxSignatures = 64;

export function appendInsight(to: DuckDBAppender, insight: SessionInsight): void {
  const signatures = insight.signatures.slice(0, maxSignatures);
  const facts = insight.facts.slice(0, maxFacts);
  to.appendVarchar(insight.id);
  to.appendBigInt(whole(insight.start));
  to.appendVarchar(insight.source);
  appendKey(to, insight.source);
  appendText(to, insight.family);
  to.appendList(listValue(signatures.map(({ rule }) => rule)), texts);
  to.appendList(listValue(facts.map(({ kind, value }) => `${kind} ${value}`)), texts);
  appendText(to, signatures.length > 0 ? JSON.stringify(signatures) : undefined);
  to.endRow();
}

export const insightColumns = 'id, start, source, family, facts, signatures';

/** A row of `insightColumns`. */
export function readInsight(row: readonly unknown[]): SessionInsight {
  const [id, start, source, family, facts, signatures] = row;
  return {
    id: String(id),
    start: Number(start),
    source: String(source),
    signatures: typeof signatures === 'string' ? (JSON.parse(signatures) as SignatureHit[]) : [],
    facts: Array.isArray(facts) ? facts.map((fact) => readFact(String(fact))) : [],
    ...(typeof family === 'string' && { family }),
  };
}

function readFact(text: string): Fact {
  const space = text.indexOf(' ');
  return { kind: text.slice(0, space) as FactKind, value: text.slice(space + 1) };
}

export function appendVerdict(to: DuckDBAppender, verdict: Verdict): void {
  to.appendVarchar(verdict.id);
  to.appendBigInt(whole(verdict.start));
  to.appendVarchar(verdict.source);
  appendKey(to, verdict.source);
  to.appendVarchar(verdict.behaviour);
  appendText(to, verdict.destination);
  if (verdict.destination === undefined) to.appendNull();
  else appendKey(to, verdict.destination);
  if (verdict.port === undefined) to.appendNull();
  else to.appendInteger(verdict.port);
  appendText(to, verdict.transport);
  appendText(to, verdict.diversion);
  to.appendBigInt(whole(verdict.hits));
  appendText(to, verdict.tool);
  to.appendVarchar(JSON.stringify(verdict));
  to.endRow();
}

export const readVerdict = ([body]: readonly unknown[]): Verdict => JSON.parse(String(body)) as Verdict;

export function appendFamily(to: DuckDBAppender, family: PayloadFamily): void {
  to.appendVarchar(family.id);
  to.appendBigInt(whole(family.firstSeen));
  to.appendVarchar(family.payloadHash);
  to.appendBlob(family.example.subarray(0, 256));
  to.appendBlob(family.sketch.subarray(0, 1024));
  to.appendVarchar(family.label);
  to.endRow();
}

export const familyColumns = 'id, first_seen, payload_hash, example, sketch, label';

/** A row of `familyColumns`. */
export function readFamily(row: readonly unknown[]): PayloadFamily {
  const [id, firstSeen, payloadHash, example, sketch, label] = row;
  return {
    id: String(id),
    firstSeen: Number(firstSeen),
    payloadHash: String(payloadHash),
    example: new Uint8Array(example as Uint8Array),
    sketch: new Uint8Array(sketch as Uint8Array),
    label: String(label),
  };
}

export function appendPlace(to: DuckDBAppender, place: Place): void {
  to.appendVarchar(place.ip);
  appendText(to, place.country);
  if (place.asn === undefined) to.appendNull();
  else to.appendBigInt(whole(place.asn));
  appendText(to, place.organization);
  to.endRow();
}

export const placeColumns = 'ip, country, asn, organization';

/** A row of `placeColumns`. */
export function readPlace(row: readonly unknown[]): Place {
  const [ip, country, asn, organization] = row;
  return {
    ip: String(ip),
    ...(typeof country === 'string' && { country }),
    ...(asn !== null && { asn: Number(asn) }),
    ...(typeof organization === 'string' && { organization }),
  };
}
