// Questions about what analysis found, answered as documents from any store: the recorder's API asks, and the command when no
// recorder runs. One place, so that both say the same.

import { WeirError } from '../base/errors.ts';
import { parseAddress, renderAddress } from '../model/address.ts';
import type { PayloadFamily, Verdict } from '../model/insight.ts';
import type { AnalysisStore, InsightSubject, VerdictFilter } from './analysis-store.ts';
import { listedDocument, type SessionDocument, type StoredSessionDocument, storedSessionDocument } from './documents.ts';
import { isAbout } from './filter-match.ts';
import {
  type AttackerPageDocument,
  attackerPageDocument,
  type TopDocument,
  type VerdictDocument,
  verdictDocument,
} from './insight-documents.ts';
import { readMarks, readPlaces } from './session-marks.ts';
import type { Filter, SessionSummary, Store, TopSubject } from './store.ts';

export type AskedStore = Store & AnalysisStore;

export const topSubjects: readonly TopSubject[] = ['ports', 'sources', 'destinations', 'protocols', 'payloads', 'credentials'];
export const insightSubjects: readonly InsightSubject[] = [
  'countries',
  'asns',
  'families',
  'signatures',
  'behaviours',
  'urls',
  'commands',
  'user-agents',
  'fingerprints',
  'users',
  'passwords',
];
export type AnySubject = TopSubject | InsightSubject;
export type AttackerOrder = 'hits' | 'ports' | 'newest';
export const attackerOrders: readonly AttackerOrder[] = ['hits', 'ports', 'newest'];

const isInsightSubject = (subject: AnySubject): subject is InsightSubject =>
  (insightSubjects as readonly string[]).includes(subject);

/** Verdicts of a source that can be about one of its sessions. */
const maxVerdictsOfSource = 500;
const maxShownVerdicts = 20;
const maxFamilies = 20;

/** A page of a list, with which rules matched and where sources are. */
export async function listSessions(store: AskedStore, sessions: readonly SessionSummary[]): Promise<SessionDocument[]> {
  const marksOf = await readMarks(store, sessions);
  return sessions.map((session) => listedDocument(session, marksOf(session)));
}

/** One session with its bytes, its findings, and the verdicts it is part of. Undefined when there is none. */
export async function readSession(store: AskedStore, id: string): Promise<StoredSessionDocument | undefined> {
  const stored = await store.session(id);
  if (!stored) return undefined;
  const { session } = stored;
  const marks = (await readMarks(store, [session]))(session);
  const range = rangeOf(session.source.ip);
  // A verdict begins at most when the session does and may have begun days before.
  const verdicts = range
    ? await store.verdicts({ sources: [range], until: (session.end ?? session.start) + 1, limit: maxVerdictsOfSource })
    : [];
  const about = verdicts.filter((verdict) => concerns(verdict, session)).slice(0, maxShownVerdicts);
  return {
    ...storedSessionDocument(stored, marks),
    verdicts: about.map((verdict) => verdictDocument(verdict, marks.place)),
  };
}

/** It names the session, or is about it. */
const concerns = (verdict: Verdict, session: SessionSummary): boolean =>
  verdict.records.includes(session.id) || isAbout(verdict, session);

const rangeOf = (ip: string) => {
  const zone = ip.indexOf('%');
  const address = parseAddress(zone < 0 ? ip : ip.slice(0, zone));
  return address && { family: address.family, first: address.value, last: address.value };
};

export async function listVerdicts(store: AskedStore, filter: VerdictFilter): Promise<VerdictDocument[]> {
  const verdicts = await store.verdicts(filter);
  const placeOf = await readPlaces(
    store,
    verdicts.map(({ source }) => source),
  );
  return verdicts.map((verdict) => verdictDocument(verdict, placeOf(verdict.source)));
}

/** Undefined when nothing of this address was seen in the filter's time. Throws `bad-request` for what is no address. */
export async function readAttacker(store: AskedStore, ip: string, filter: Filter): Promise<AttackerPageDocument | undefined> {
  const address = parseAddress(ip);
  if (!address) throw new WeirError('bad-request', `'${ip.slice(0, 60)}' is not an address`);
  const page = await store.attacker(renderAddress(address), filter);
  if (!page) return undefined;
  return attackerPageDocument(page, await readFamilies(store, page.families.slice(0, maxFamilies)));
}

async function readFamilies(store: AskedStore, ids: readonly string[]): Promise<PayloadFamily[]> {
  const families: PayloadFamily[] = [];
  for (const id of ids) {
    const family = await store.family(id);
    if (family) families.push(family);
  }
  return families;
}

/** A ranking; payload families say what they look like. */
export async function readTop(
  store: AskedStore,
  subject: AnySubject,
  by: 'hits' | 'sources',
  filter: Filter,
): Promise<TopDocument[]> {
  if (!isInsightSubject(subject)) return store.top(subject, by, filter);
  const rows = await store.topInsights(subject, by, filter);
  if (subject !== 'families') return rows;
  const known = new Map(
    (
      await readFamilies(
        store,
        rows.slice(0, 200).map(({ key }) => key),
      )
    ).map((family) => [family.id, family]),
  );
  return rows.map((row) => {
    const family = known.get(row.key);
    return family ? { ...row, label: family.label, example: Buffer.from(family.example).toString('base64') } : row;
  });
}
