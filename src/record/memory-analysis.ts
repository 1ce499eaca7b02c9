// What analysis found, and the questions of reports, in plain memory: the model that duckdb-analysis.ts is tested against.
// Keeps everything until pruned; for tests, and for what must run without a disk.

import { createHash } from 'node:crypto';
import type { Micros } from '../base/clock.ts';
import type { ProbeRecord } from '../model/event.ts';
import type { Behaviour, Insights, PayloadFamily, Place, SessionInsight, Verdict } from '../model/insight.ts';
import type {
  InsightSubject,
  RollupRow,
  RollupStep,
  SourceFeatures,
  SourcePage,
  SourceSummary,
  VerdictFilter,
} from './analysis-store.ts';
import { dayMicros, halfHourMicros } from './day.ts';
import { hasFindings, matchesProbe, matchesSession, matchesTarget, matchesVerdict, matchingPackets } from './filter-match.ts';
import type { Filter, SessionSummary, TopRow } from './store.ts';

/** The records, as the store holds them. */
export interface MemoryRecords {
  readonly sessions: () => Iterable<SessionSummary>;
  readonly probes: () => Iterable<ProbeRecord>;
  readonly session: (id: string) => SessionSummary | undefined;
}

interface Touch {
  readonly start: Micros;
  readonly source: string;
  readonly sessions: number;
  readonly packets: number;
  readonly bytesIn: number;
}

interface Pair {
  readonly start: Micros;
  readonly source: string;
  readonly key: string;
  readonly n: number;
  readonly place: number;
}

const compareText = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
const newestFirst = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? 1 : -1);

function groupBy<T, K>(items: Iterable<T>, keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group) group.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return groups;
}

export class MemoryAnalysis {
  readonly #records: MemoryRecords;
  readonly #insights = new Map<string, SessionInsight>();
  readonly #verdicts = new Map<string, Verdict>();
  readonly #families = new Map<string, PayloadFamily>();
  readonly #places = new Map<string, Place>();

  constructor(records: MemoryRecords) {
    this.#records = records;
  }

  /** After the batch's records; `keeps` says whether a verdict is one that retention has not dropped. */
  apply(insights: Insights, keeps: (verdict: Verdict) => boolean): void {
    for (const insight of insights.sessions) {
      if (!hasFindings(insight) || this.#insights.has(insight.id) || !this.#records.session(insight.id)) continue;
      this.#insights.set(insight.id, insight);
    }
    for (const verdict of insights.verdicts) if (keeps(verdict)) this.#verdicts.set(verdict.id, verdict);
    for (const family of insights.families) if (!this.#families.has(family.id)) this.#families.set(family.id, family);
    for (const place of insights.places) this.#places.set(place.ip, place);
  }

  /** Forgets insights of sessions that are gone, and these verdicts. */
  prune(gone: (verdict: Verdict) => boolean): void {
    for (const id of this.#insights.keys()) if (!this.#records.session(id)) this.#insights.delete(id);
    for (const [id, verdict] of this.#verdicts) if (gone(verdict)) this.#verdicts.delete(id);
  }

  verdictStarts(): { readonly id: string; readonly start: Micros; readonly diversion?: string }[] {
    return [...this.#verdicts.values()];
  }

  verdicts(filter: VerdictFilter): Verdict[] {
    const matching = [...this.#verdicts.values()].filter((verdict) => matchesVerdict(filter, verdict));
    return matching.sort(newestFirst).slice(0, filter.limit);
  }

  insight(id: string): SessionInsight | undefined {
    return this.#insights.get(id);
  }

  place(ip: string): Place | undefined {
    return this.#places.get(ip);
  }

  families(limit: number): PayloadFamily[] {
    const all = [...this.#families.values()];
    return all.sort((a, b) => b.firstSeen - a.firstSeen || compareText(b.id, a.id)).slice(0, limit);
  }

  family(id: string): PayloadFamily | undefined {
    return this.#families.get(id);
  }

  #touches(filter: Filter): Touch[] {
    const touches: Touch[] = [];
    for (const session of this.#records.sessions()) {
      if (!matchesSession(filter, session)) continue;
      const { start, source, bytesIn } = session;
      touches.push({ start, source: source.ip, sessions: 1, packets: 0, bytesIn });
    }
    for (const probe of this.#records.probes()) {
      if (!matchesProbe(filter, probe)) continue;
      const { start, source } = probe;
      touches.push({ start, source, sessions: 0, packets: matchingPackets(filter, probe), bytesIn: 0 });
    }
    return touches;
  }

  #targets(subject: 'ports' | 'destinations', filter: Filter): Pair[] {
    const found: Pair[] = [];
    for (const session of this.#records.sessions()) {
      if (!matchesSession(filter, session)) continue;
      const { start, source, destination, transport } = session;
      const key = subject === 'ports' ? `${destination.port}/${transport}` : destination.ip;
      found.push({ start, source: source.ip, key, n: 1, place: 0 });
    }
    for (const probe of this.#records.probes()) {
      if (!matchesProbe(filter, probe)) continue;
      for (const target of probe.targets) {
        if (!matchesTarget(filter, target) || (subject === 'ports' && target.transport === 'icmp')) continue;
        const key = subject === 'ports' ? `${target.port}/${target.transport}` : target.ip;
        found.push({ start: probe.start, source: probe.source, key, n: target.count, place: 0 });
      }
    }
    return found;
  }

  #matchingInsights(filter: Filter): SessionInsight[] {
    return [...this.#insights.values()].filter(({ id }) => {
      const session = this.#records.session(id);
      return session !== undefined && matchesSession(filter, session);
    });
  }

  #found(filter: Filter, keysOf: (insight: SessionInsight) => readonly (string | undefined)[]): Pair[] {
    return this.#matchingInsights(filter).flatMap((insight) =>
      keysOf(insight).flatMap((key, place) =>
        key === undefined ? [] : [{ start: insight.start, source: insight.source, key, n: 1, place }],
      ),
    );
  }

  #facts(filter: Filter, kinds: readonly string[], keyOf: (kind: string, value: string) => string | undefined): Pair[] {
    return this.#found(filter, ({ facts }) =>
      facts.map(({ kind, value }) => (kinds.includes(kind) ? keyOf(kind, value) : undefined)),
    );
  }

  #syns(filter: Filter): Pair[] {
    const found: Pair[] = [];
    for (const session of this.#records.sessions()) {
      const { syn, start, source } = session;
      if (!syn || !matchesSession(filter, session)) continue;
      const key = `${syn.options} ${syn.window} ${syn.mss ?? '-'} ${syn.windowScale ?? '-'}`;
      found.push({ start, source: source.ip, key, n: 1, place: 0 });
    }
    return found;
  }

  #ofVerdicts(filter: Filter, keyOf: (verdict: Verdict) => string | undefined, n: (verdict: Verdict) => number): Pair[] {
    return this.verdicts({ ...filter, limit: Number.POSITIVE_INFINITY }).flatMap((verdict) => {
      const key = keyOf(verdict);
      return key === undefined ? [] : [{ start: verdict.start, source: verdict.source, key, n: n(verdict), place: 0 }];
    });
  }

  #ofPlaces(filter: Filter, keyOf: (place: Place) => string | undefined): Pair[] {
    return this.#touches(filter).flatMap(({ start, source, sessions, packets }) => {
      const place = this.#places.get(source);
      const key = place && keyOf(place);
      return key === undefined ? [] : [{ start, source, key, n: sessions + packets, place: 0 }];
    });
  }

  #rows(subject: InsightSubject, filter: Filter): Pair[] {
    const value = (_kind: string, text: string): string => text;
    switch (subject) {
      case 'countries':
        return this.#ofPlaces(filter, ({ country }) => country);
      case 'asns':
        return this.#ofPlaces(filter, ({ asn, organization }) =>
          asn === undefined ? undefined : `AS${asn}${organization === undefined ? '' : ` ${organization}`}`,
        );
      case 'behaviours':
        return this.#ofVerdicts(
          filter,
          ({ behaviour }) => behaviour,
          ({ hits }) => hits,
        );
      case 'families':
        return this.#found(filter, ({ family }) => [family]);
      case 'signatures':
        return this.#found(filter, ({ signatures }) => signatures.map(({ rule }) => rule));
      case 'urls':
        return this.#facts(filter, ['url'], value);
      case 'commands':
        return this.#facts(filter, ['command'], value);
      case 'user-agents':
        return this.#facts(filter, ['user-agent'], value);
      case 'fingerprints':
        return this.#facts(filter, ['hassh', 'ja3', 'ja4', 'client'], (kind, text) => `${kind}:${text}`);
      case 'users':
        return this.#facts(filter, ['credential'], (_kind, text) => (text.includes(':') ? text.split(':', 1)[0] : undefined));
      case 'passwords':
        return this.#facts(filter, ['credential'], (_kind, text) =>
          text.includes(':') ? text.slice(text.indexOf(':') + 1) : undefined,
        );
    }
  }

  topInsights(subject: InsightSubject, by: 'hits' | 'sources', filter: Filter): TopRow[] {
    const rows = [...groupBy(this.#rows(subject, filter), ({ key }) => key)].map(([key, pairs]) => ({
      key,
      hits: pairs.reduce((sum, { n }) => sum + n, 0),
      sources: new Set(pairs.filter(({ n }) => n > 0).map(({ source }) => source)).size,
    }));
    const order = (a: TopRow, b: TopRow): number => b[by] - a[by] || b.hits - a.hits || compareText(a.key, b.key);
    return rows
      .filter(({ hits }) => hits > 0)
      .sort(order)
      .slice(0, filter.limit);
  }

  rollups(step: RollupStep, filter: Filter): RollupRow[] {
    const width = step === 'day' ? dayMicros : halfHourMicros;
    const bucketOf = ({ start }: { start: Micros }): number => Math.floor(start / width);
    const first = new Map<string, number>();
    for (const touch of this.#touches({ limit: 1 }))
      first.set(touch.source, Math.min(first.get(touch.source) ?? Number.POSITIVE_INFINITY, bucketOf(touch)));
    const distinct = (subject: 'ports' | 'destinations'): Map<number, number> =>
      new Map(
        [...groupBy(this.#targets(subject, filter), bucketOf)].map(([bucket, pairs]) => [
          bucket,
          new Set(pairs.map(({ key }) => key)).size,
        ]),
      );
    const ports = distinct('ports');
    const destinations = distinct('destinations');
    const rows = [...groupBy(this.#touches(filter), bucketOf)].map(([bucket, touches]) => {
      const sessions = touches.reduce((sum, touch) => sum + touch.sessions, 0);
      const probes = touches.reduce((sum, touch) => sum + touch.packets, 0);
      const sources = new Set(touches.map(({ source }) => source));
      return {
        start: bucket * width,
        hits: sessions + probes,
        sessions,
        probes,
        sources: sources.size,
        ports: ports.get(bucket) ?? 0,
        destinations: destinations.get(bucket) ?? 0,
        newSources: [...sources].filter((source) => first.get(source) === bucket).length,
      };
    });
    return rows.sort((a, b) => a.start - b.start).slice(-filter.limit);
  }

  /** Keys of one source: most hits first, or the earliest. */
  #list(pairs: readonly Pair[], order: 'hits' | 'first', most: number): { key: string; hits: number }[] {
    const earlier = (a: Pair, b: Pair): number => a.start - b.start || a.place - b.place;
    const entries = [...groupBy([...pairs].sort(earlier), ({ key }) => key)].map(([key, group]) => ({
      key,
      hits: group.reduce((sum, { n }) => sum + n, 0),
      first: group[0],
    }));
    entries.sort((a, b) => (order === 'hits' ? b.hits - a.hits : earlier(a.first, b.first)) || compareText(a.key, b.key));
    return entries.slice(0, most).map(({ key, hits }) => ({ key, hits }));
  }

  #lister(most: number): (rows: Pair[], order?: 'hits' | 'first') => (source: string) => string[] {
    return (rows, order = 'hits') => {
      const bySource = groupBy(rows, ({ source }) => source);
      return (source) => this.#list(bySource.get(source) ?? [], order, most).map(({ key }) => key);
    };
  }

  attackers(by: 'hits' | 'ports' | 'newest', filter: Filter): SourceSummary[] {
    const lister = this.#lister(50);
    const behaviours = lister(this.#rows('behaviours', filter));
    const tools = lister(
      this.#ofVerdicts(
        filter,
        ({ tool }) => tool,
        () => 1,
      ),
    );
    const signatures = lister(this.#rows('signatures', filter));
    const families = lister(this.#rows('families', filter));
    const ports = groupBy(this.#targets('ports', filter), ({ source }) => source);
    const destinations = groupBy(this.#targets('destinations', filter), ({ source }) => source);
    const distinct = (of: Map<string, Pair[]>, source: string): number =>
      new Set((of.get(source) ?? []).map(({ key }) => key)).size;
    const all = [...groupBy(this.#touches(filter), ({ source }) => source)].map(([source, touches]): SourceSummary => {
      const place = this.#places.get(source);
      return {
        source,
        firstSeen: Math.min(...touches.map(({ start }) => start)),
        lastSeen: Math.max(...touches.map(({ start }) => start)),
        sessions: touches.reduce((sum, touch) => sum + touch.sessions, 0),
        probes: touches.reduce((sum, touch) => sum + touch.packets, 0),
        ports: distinct(ports, source),
        destinations: distinct(destinations, source),
        bytesIn: Number(touches.reduce((sum, touch) => sum + BigInt(touch.bytesIn), 0n)),
        ...(place && { place }),
        behaviours: behaviours(source) as Behaviour[],
        tools: tools(source),
        signatures: signatures(source),
        families: families(source),
      };
    });
    const weight = (row: SourceSummary): number =>
      by === 'hits' ? row.sessions + row.probes : by === 'ports' ? row.ports : row.lastSeen;
    return all.sort((a, b) => weight(b) - weight(a) || compareText(a.source, b.source)).slice(0, filter.limit);
  }

  attacker(source: string, filter: Filter): SourcePage | undefined {
    const summary = this.attackers('hits', { ...filter, limit: Number.POSITIVE_INFINITY }).find((row) => row.source === source);
    if (!summary) return undefined;
    const list = (rows: readonly Pair[]): TopRow[] =>
      this.#list(
        rows.filter((row) => row.source === source),
        'hits',
        50,
      ).map((row) => ({ ...row, sources: 1 }));
    const facts = list(this.#found(filter, (insight) => insight.facts.map(({ kind, value }) => `${kind} ${value}`)));
    const verdicts = this.verdicts({ ...filter, limit: 10_000 }).filter((verdict) => verdict.source === source);
    return {
      ...summary,
      topPorts: list(this.#targets('ports', filter)),
      topDestinations: list(this.#targets('destinations', filter)),
      credentials: list(this.#facts(filter, ['credential'], (_kind, text) => text)),
      facts: facts.map(({ key, hits }) => ({
        kind: key.slice(0, key.indexOf(' ')),
        value: key.slice(key.indexOf(' ') + 1),
        hits,
      })),
      verdicts: verdicts.slice(0, 50),
      activity: this.#halfHours(source, filter).slice(-2000),
    };
  }

  #halfHours(source: string, filter: Filter): { start: Micros; hits: number }[] {
    const own = this.#touches(filter).filter((touch) => touch.source === source);
    const halves = groupBy(own, ({ start }) => Math.floor(start / halfHourMicros));
    return [...halves]
      .map(([half, touches]) => ({
        start: half * halfHourMicros,
        hits: touches.reduce((sum, { sessions, packets }) => sum + sessions + packets, 0),
      }))
      .sort((a, b) => a.start - b.start);
  }

  features(filter: Filter): SourceFeatures[] {
    const value = (_kind: string, text: string): string => text;
    const named = (kind: string, text: string): string => `${kind}:${text}`;
    const rows = {
      families: this.#rows('families', filter),
      credentials: this.#facts(filter, ['credential'], value),
      fingerprints: this.#facts(filter, ['hassh', 'ja4', 'client', 'user-agent'], named),
      urls: this.#facts(filter, ['url', 'domain', 'address'], value),
    };
    const comparable = new Set(Object.values(rows).flatMap((list) => list.map(({ source }) => source)));
    const families = leastOf(rows.families);
    const credentials = this.#lister(64)(rows.credentials, 'first');
    const fingerprints = leastOf([...rows.fingerprints, ...this.#syns(filter).map((row) => ({ ...row, key: `syn:${row.key}` }))]);
    const urls = leastOf(rows.urls);
    return this.attackers('hits', { ...filter, limit: Number.POSITIVE_INFINITY })
      .filter(({ source }) => comparable.has(source))
      .slice(0, filter.limit)
      .map(({ source, firstSeen, lastSeen, sessions, probes, place }) => ({
        source,
        firstSeen,
        lastSeen,
        hits: sessions + probes,
        ...(place && { place }),
        families: families(source),
        credentials: credentials(source),
        fingerprints: fingerprints(source),
        urls: urls(source),
        halfHours: this.#halfHours(source, filter)
          .map(({ start }) => start / halfHourMicros)
          .slice(-500),
      }));
  }
}

/** Of each source the 32 different keys whose MD5 has the least upper 52 bits of its last 64, in their order. */
function leastOf(rows: readonly Pair[]): (source: string) => string[] {
  const bySource = groupBy([...rows], ({ source }) => source);
  const codeOf = (key: string): bigint => createHash('md5').update(key).digest().readBigUInt64LE(8) >> 12n;
  return (source) =>
    [...new Set((bySource.get(source) ?? []).map(({ key }) => key))]
      .map((key) => ({ key, code: codeOf(key) }))
      .sort((a, b) => Number(a.code - b.code))
      .slice(0, 32)
      .map(({ key }) => key);
}
