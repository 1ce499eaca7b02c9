// The part of the store's contract that analysis writes and reports ask: verdicts, insights, places, rollups and what is
// known of each source. Implemented by the same stores as store.ts and held by the same contract test.

import type { Micros } from '../base/clock.ts';
import type { Behaviour, PayloadFamily, Place, SessionInsight, Verdict } from '../model/insight.ts';
import type { Filter, TopRow } from './store.ts';

/** Rankings beside those of `TopSubject`; keys: `NL`, `AS64500 Example`, a family's, a rule's, a behaviour's name, a fact's value. */
export type InsightSubject =
  | 'countries'
  | 'asns'
  | 'families'
  | 'signatures'
  | 'behaviours'
  | 'urls'
  | 'commands'
  | 'user-agents'
  | 'fingerprints'
  | 'users'
  | 'passwords';

export interface VerdictFilter extends Filter {
  readonly behaviours?: readonly Behaviour[];
}

export type RollupStep = 'half-hour' | 'day';

/** One bucket, UTC, `start` inclusive. Exact. Hits are sessions and probe packets. */
export interface RollupRow {
  readonly start: Micros;
  readonly hits: number;
  readonly sessions: number;
  readonly probes: number;
  /** Distinct. Many ports at one source tell a scan; many hits at few ports repetition. */
  readonly sources: number;
  readonly ports: number;
  readonly destinations: number;
  /** Sources not seen in any earlier bucket of the store (of days for `day`, of half-hours otherwise). */
  readonly newSources: number;
}

/** One source over the filter's time. */
export interface SourceSummary {
  readonly source: string;
  readonly firstSeen: Micros;
  readonly lastSeen: Micros;
  readonly sessions: number;
  readonly probes: number;
  readonly ports: number;
  readonly destinations: number;
  readonly bytesIn: number;
  readonly place?: Place;
  readonly behaviours: readonly Behaviour[];
  readonly tools: readonly string[];
  readonly signatures: readonly string[];
  readonly families: readonly string[];
}

/** What one source tried, for its page. Lists are the most frequent first, at most 50 each. */
export interface SourcePage extends SourceSummary {
  readonly topPorts: readonly TopRow[];
  readonly topDestinations: readonly TopRow[];
  readonly credentials: readonly TopRow[];
  readonly facts: readonly { readonly kind: string; readonly value: string; readonly hits: number }[];
  readonly verdicts: readonly Verdict[];
  /** Half-hours in which it was here, at most 2,000. */
  readonly activity: readonly { readonly start: Micros; readonly hits: number }[];
}

/**
 * What campaigns are made from: one row per source, what it shares with others. Of more than 32 families, fingerprints or URLs the 32
 * that hash lowest: a sample, and the same one for sources that have the same.
 */
export interface SourceFeatures {
  readonly source: string;
  readonly firstSeen: Micros;
  readonly lastSeen: Micros;
  readonly hits: number;
  readonly place?: Place;
  readonly families: readonly string[];
  /** `user:password`, in the order first tried; at most 64. */
  readonly credentials: readonly string[];
  /** `hassh:…`, `ja4:…`, `client:…`, `syn:…`, `user-agent:…`. */
  readonly fingerprints: readonly string[];
  /** Hosts and URLs its payloads name. */
  readonly urls: readonly string[];
  /** Half-hours since 1970 in which it was here, ascending; at most 500. */
  readonly halfHours: readonly number[];
}

export interface AnalysisStore {
  verdicts(filter: VerdictFilter): Promise<Verdict[]>;
  /** Undefined when nothing was found in it, or it is not there. */
  insight(id: string, start: Micros): Promise<SessionInsight | undefined>;
  /** Those of many sessions at once, for a page of a list; at most 10,000 are asked for. Those without findings are left out. */
  insights(of: readonly { readonly id: string; readonly start: Micros }[]): Promise<SessionInsight[]>;
  /** Where these addresses are, as far as it was told; at most 10,000 are asked for. */
  places(ips: readonly string[]): Promise<Place[]>;
  /** Newest first; the families analysis goes on with after a restart. */
  families(limit: number): Promise<PayloadFamily[]>;
  family(id: string): Promise<PayloadFamily | undefined>;
  topInsights(subject: InsightSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]>;
  /** Which of these keys of a ranking, at most 10,000, have any hit in the filter's time; in no order. */
  knownKeys(subject: InsightSubject | 'ports', keys: readonly string[], filter: Filter): Promise<string[]>;
  rollups(step: RollupStep, filter: Filter): Promise<RollupRow[]>;
  attackers(by: 'hits' | 'ports' | 'newest', filter: Filter): Promise<SourceSummary[]>;
  attacker(source: string, filter: Filter): Promise<SourcePage | undefined>;
  /** Of sources that share something worth comparing; at most `filter.limit`, those with most hits first. */
  features(filter: Filter): Promise<SourceFeatures[]>;
}
