// The store's contract in plain memory: for tests, and for what must run without a disk. Keeps everything until pruned;
// not for long runs, that is duckdb-store.ts.

import { type Micros, systemClock } from '../base/clock.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../model/event.ts';
import type { Insights, PayloadFamily, Place, SessionInsight, Verdict } from '../model/insight.ts';
import { type Chunk, type SessionRecord, startsOver } from '../model/session.ts';
import type {
  InsightSubject,
  RollupRow,
  RollupStep,
  SourceFeatures,
  SourcePage,
  SourceSummary,
  VerdictFilter,
} from './analysis-store.ts';
import { dayMicros, dayOf, dayStart } from './day.ts';
import {
  isAbout,
  matchesFindings,
  matchesProbe,
  matchesSession,
  matchesTarget,
  matchesTime,
  matchingPackets,
} from './filter-match.ts';
import { importDiversion, importTime } from './import-time.ts';
import { MemoryAnalysis } from './memory-analysis.ts';
import { extendPreview, payloadHashOf, summaryOf } from './session-summary.ts';
import type {
  Checkpoint,
  Counts,
  Filter,
  SessionFilter,
  SessionSummary,
  Store,
  StoreDamage,
  StoredSession,
  StoreSize,
  TopRow,
  TopSubject,
} from './store.ts';

interface Held {
  summary: SessionSummary;
  readonly chunks: Chunk[];
}

/** A record or verdict, as far as where it is kept goes. */
interface Placed {
  readonly id: string;
  readonly start: Micros;
  readonly diversion?: string;
}

const newestFirst = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);

export class MemoryStore implements Store {
  #sessions = new Map<string, Held>();
  #probes = new Map<string, ProbeRecord>();
  #alerts = new Map<string, AlertRecord>();
  #system = new Map<string, SystemRecord>();
  #checkpoint: Checkpoint = {};
  #droppedBefore: Micros = Number.NEGATIVE_INFINITY;
  #importsDroppedBefore: Micros = Number.NEGATIVE_INFINITY;
  /** When what is of an import was imported, by identifier. */
  #importedAt = new Map<string, Micros>();
  readonly #analysis = new MemoryAnalysis({
    sessions: () => [...this.#sessions.values()].map(({ summary }) => summary),
    probes: () => this.#probes.values(),
    session: (id) => this.#sessions.get(id)?.summary,
  });

  async apply(events: readonly WeirEvent[], checkpoint: Checkpoint, insights?: Insights): Promise<void> {
    const imported = importTime(events, systemClock());
    const isKept = ({ id, start, diversion }: Placed): boolean => {
      if (diversion !== importDiversion) return start >= this.#droppedBefore;
      if (this.#importedAt.has(id)) return true;
      if (imported < this.#importsDroppedBefore) return false;
      this.#importedAt.set(id, imported);
      return true;
    };
    for (const event of events) {
      if (event.kind === 'session') {
        if (isKept(event.session)) this.#applySession(event.session);
      } else if (event.kind === 'probe') {
        if (isKept(event.probe)) this.#keep(this.#probes, event.probe, Number.POSITIVE_INFINITY);
      } else if (event.kind === 'alert') this.#keep(this.#alerts, event.alert, event.alert.at);
      else this.#keep(this.#system, event.system, event.system.at);
    }
    if (insights) this.#analysis.apply(insights, isKept);
    this.#checkpoint = checkpoint;
  }

  #keep<T extends { id: string }>(into: Map<string, T>, record: T, at: Micros): void {
    if (at >= this.#droppedBefore && !into.has(record.id)) into.set(record.id, record);
  }

  #applySession(record: SessionRecord): void {
    const before = this.#sessions.get(record.id);
    if (before && (before.summary.outcome !== 'open' || record.sequence <= before.summary.sequence)) return;
    const goesOn = before && !startsOver(record, before.summary.sequence) ? before : undefined;
    const chunks = goesOn?.chunks ?? [];
    chunks.push(...record.chunks);
    const preview = extendPreview(goesOn?.summary.preview, record.chunks);
    const payloadHash = record.outcome === 'open' ? undefined : payloadHashOf(chunks);
    const summary = {
      ...summaryOf(record),
      ...(preview && { preview }),
      ...(payloadHash && { payloadHash }),
    };
    this.#sessions.set(record.id, { summary, chunks });
  }

  async checkpoint(): Promise<Checkpoint> {
    return this.#checkpoint;
  }

  async damage(): Promise<StoreDamage | undefined> {
    return undefined;
  }

  async rebuilt(): Promise<void> {}

  async openSessions(): Promise<SessionSummary[]> {
    return [...this.#sessions.values()].map(({ summary }) => summary).filter(({ outcome }) => outcome === 'open');
  }

  #matching(filter: Filter): SessionSummary[] {
    return [...this.#sessions.values()].map(({ summary }) => summary).filter((summary) => matchesSession(filter, summary));
  }

  async sessions(filter: SessionFilter): Promise<SessionSummary[]> {
    const { behaviours } = filter;
    const verdicts = behaviours && this.#analysis.verdicts({ behaviours, limit: Number.POSITIVE_INFINITY });
    const matching = this.#matching(filter).filter(
      (session) =>
        matchesFindings(filter, session, this.#analysis.insight(session.id), this.#analysis.place(session.source.ip)) &&
        (verdicts === undefined || verdicts.some((verdict) => isAbout(verdict, session))),
    );
    return matching.sort(newestFirst).slice(0, filter.limit);
  }

  async session(id: string): Promise<StoredSession | undefined> {
    const held = this.#sessions.get(id);
    return held && { session: held.summary, chunks: [...held.chunks] };
  }

  async *stored(sessions: readonly SessionSummary[]): AsyncGenerator<StoredSession> {
    for (const session of sessions) yield { session, chunks: [...(this.#sessions.get(session.id)?.chunks ?? [])] };
  }

  async probes(filter: Filter): Promise<ProbeRecord[]> {
    const matching = [...this.#probes.values()].filter((probe) => matchesProbe(filter, probe));
    return matching.sort(newestFirst).slice(0, filter.limit);
  }

  async alerts(filter: Filter): Promise<AlertRecord[]> {
    const matching = [...this.#alerts.values()].filter(({ id, at }) => matchesTime(filter, id, at));
    return matching.sort(newestFirst).slice(0, filter.limit);
  }

  async systemEvents(filter: Filter): Promise<SystemRecord[]> {
    const matching = [...this.#system.values()].filter(({ id, at }) => matchesTime(filter, id, at));
    return matching.sort(newestFirst).slice(0, filter.limit);
  }

  async top(subject: TopSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    const rows = new Map<string, { hits: number; sources: Set<string> }>();
    const add = (key: string | undefined, hits: number, source: string): void => {
      if (key === undefined || hits === 0) return;
      const row = rows.get(key) ?? { hits: 0, sources: new Set<string>() };
      row.hits += hits;
      row.sources.add(source);
      rows.set(key, row);
    };
    for (const session of this.#matching(filter)) add(sessionKey(subject, session), 1, session.source.ip);
    for (const probe of this.#probes.values()) {
      if (!matchesProbe(filter, probe)) continue;
      if (subject === 'sources') add(probe.source, matchingPackets(filter, probe), probe.source);
      if (subject !== 'ports' && subject !== 'destinations') continue;
      for (const target of probe.targets) {
        if (!matchesTarget(filter, target)) continue;
        if (subject === 'destinations') add(target.ip, target.count, probe.source);
        else if (target.transport !== 'icmp') add(`${target.port}/${target.transport}`, target.count, probe.source);
      }
    }
    const all = [...rows].map(([key, { hits, sources }]) => ({ key, hits, sources: sources.size }));
    const order = (a: TopRow, b: TopRow): number =>
      b[by] - a[by] || b.hits - a.hits || Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
    return all.sort(order).slice(0, filter.limit);
  }

  async counts(filter: Filter): Promise<Counts> {
    const sources = new Set<string>();
    // Exact, as a database sums: beyond 2^53 the order of additions would tell.
    let bytesIn = 0n;
    let openSessions = 0;
    const sessions = this.#matching(filter);
    for (const session of sessions) {
      sources.add(session.source.ip);
      bytesIn += BigInt(session.bytesIn);
      if (session.outcome === 'open') openSessions += 1;
    }
    let probes = 0;
    for (const probe of this.#probes.values()) {
      if (!matchesProbe(filter, probe)) continue;
      sources.add(probe.source);
      probes += matchingPackets(filter, probe);
    }
    const alerts = [...this.#alerts.values()].filter(({ id, at }) => matchesTime(filter, id, at)).length;
    return { sessions: sessions.length, openSessions, probes, sources: sources.size, bytesIn: Number(bytesIn), alerts };
  }

  async known(ids: readonly string[]): Promise<Set<string>> {
    const kinds = [this.#sessions, this.#probes, this.#alerts, this.#system];
    return new Set(ids.filter((id) => kinds.some((records) => records.has(id))));
  }

  /** By what retention goes. */
  #timeOf({ id, start }: Placed): Micros {
    return this.#importedAt.get(id) ?? start;
  }

  #times(): Micros[] {
    return [
      ...[...this.#sessions.values()].map(({ summary }) => this.#timeOf(summary)),
      ...[...this.#probes.values(), ...this.#analysis.verdictStarts()].map((placed) => this.#timeOf(placed)),
      ...[...this.#alerts.values(), ...this.#system.values()].map(({ at }) => at),
    ];
  }

  /** A rough figure: what the records would take in a journal. */
  async size(): Promise<StoreSize> {
    let bytes = 200 * (this.#probes.size + this.#alerts.size + this.#system.size);
    for (const { chunks } of this.#sessions.values()) {
      bytes += 200;
      for (const chunk of chunks) bytes += chunk.bytes.length;
    }
    const oldest = this.#times().reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    return { bytes, sessions: this.#sessions.size, ...(Number.isFinite(oldest) && { oldest }) };
  }

  async prune(before: Micros, sizeBytes: number): Promise<string[]> {
    const dropped: string[] = [];
    const days = [...new Set(this.#times().map(dayOf))].sort();
    for (const day of days) {
      const end = dayStart(day) + dayMicros;
      const { bytes } = await this.size();
      if (end > before && (bytes <= sizeBytes || day === days.at(-1))) break;
      this.#droppedBefore = end;
      this.#importsDroppedBefore = end;
      const drop = <T>(from: Map<string, T>, at: (record: T) => Micros): void => {
        for (const [id, record] of from) if (at(record) < end) from.delete(id);
      };
      const gone = (placed: Placed): boolean => this.#timeOf(placed) < end;
      drop(this.#sessions, ({ summary }) => this.#timeOf(summary));
      drop(this.#probes, (probe) => this.#timeOf(probe));
      drop(this.#alerts, ({ at }) => at);
      drop(this.#system, ({ at }) => at);
      this.#analysis.prune(gone);
      drop(this.#importedAt, (at) => at);
      dropped.push(day);
    }
    return dropped;
  }

  async verdicts(filter: VerdictFilter): Promise<Verdict[]> {
    return this.#analysis.verdicts(filter);
  }

  async insight(id: string): Promise<SessionInsight | undefined> {
    return this.#analysis.insight(id);
  }

  async insights(of: readonly { readonly id: string }[]): Promise<SessionInsight[]> {
    return of.flatMap(({ id }) => this.#analysis.insight(id) ?? []);
  }

  async places(ips: readonly string[]): Promise<Place[]> {
    return ips.flatMap((ip) => this.#analysis.place(ip) ?? []);
  }

  async families(limit: number): Promise<PayloadFamily[]> {
    return this.#analysis.families(limit);
  }

  async family(id: string): Promise<PayloadFamily | undefined> {
    return this.#analysis.family(id);
  }

  async topInsights(subject: InsightSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    return this.#analysis.topInsights(subject, by, filter);
  }

  async knownKeys(subject: InsightSubject | 'ports', keys: readonly string[], filter: Filter): Promise<string[]> {
    const all = { ...filter, limit: Number.POSITIVE_INFINITY };
    const rows = await (subject === 'ports' ? this.top(subject, 'hits', all) : this.topInsights(subject, 'hits', all));
    return rows.map(({ key }) => key).filter((key) => keys.includes(key));
  }

  async rollups(step: RollupStep, filter: Filter): Promise<RollupRow[]> {
    return this.#analysis.rollups(step, filter);
  }

  async attackers(by: 'hits' | 'ports' | 'newest', filter: Filter): Promise<SourceSummary[]> {
    return this.#analysis.attackers(by, filter);
  }

  async attacker(source: string, filter: Filter): Promise<SourcePage | undefined> {
    return this.#analysis.attacker(source, filter);
  }

  async features(filter: Filter): Promise<SourceFeatures[]> {
    return this.#analysis.features(filter);
  }

  /** Forgets every record; the checkpoint stays. */
  clear(): void {
    for (const records of [this.#sessions, this.#probes, this.#alerts, this.#system]) records.clear();
  }

  async close(): Promise<void> {}
}

function sessionKey(subject: TopSubject, session: SessionSummary): string | undefined {
  switch (subject) {
    case 'ports':
      return `${session.destination.port}/${session.transport}`;
    case 'sources':
      return session.source.ip;
    case 'destinations':
      return session.destination.ip;
    case 'protocols':
      return session.protocol;
    case 'payloads':
      return session.payloadHash;
    case 'credentials':
      return session.userName === undefined ? undefined : `${session.userName}:${session.password ?? ''}`;
  }
}
