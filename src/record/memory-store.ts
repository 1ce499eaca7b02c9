// The store's contract in plain memory: for tests, and for what must run without a disk. Keeps everything until pruned;
// not for long runs, that is duckdb-store.ts.

import type { Micros } from '../base/clock.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../model/event.ts';
import type { Chunk, SessionRecord } from '../model/session.ts';
import { dayMicros, dayOf, dayStart } from './day.ts';
import { matchesProbe, matchesSession, matchesTarget, matchesTime, matchingPackets } from './filter-match.ts';
import { extendPreview, payloadHashOf, summaryOf } from './session-summary.ts';
import type {
  Checkpoint,
  Counts,
  Filter,
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

const newestFirst = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);

export class MemoryStore implements Store {
  #sessions = new Map<string, Held>();
  #probes = new Map<string, ProbeRecord>();
  #alerts = new Map<string, AlertRecord>();
  #system = new Map<string, SystemRecord>();
  #checkpoint: Checkpoint = {};
  #droppedBefore: Micros = Number.NEGATIVE_INFINITY;

  async apply(events: readonly WeirEvent[], checkpoint: Checkpoint): Promise<void> {
    for (const event of events) {
      if (event.kind === 'session') this.#applySession(event.session);
      else if (event.kind === 'probe') this.#keep(this.#probes, event.probe, event.probe.start);
      else if (event.kind === 'alert') this.#keep(this.#alerts, event.alert, event.alert.at);
      else this.#keep(this.#system, event.system, event.system.at);
    }
    this.#checkpoint = checkpoint;
  }

  #keep<T extends { id: string }>(into: Map<string, T>, record: T, at: Micros): void {
    if (at >= this.#droppedBefore && !into.has(record.id)) into.set(record.id, record);
  }

  #applySession(record: SessionRecord): void {
    if (record.start < this.#droppedBefore) return;
    const before = this.#sessions.get(record.id);
    if (before && (before.summary.outcome !== 'open' || record.sequence <= before.summary.sequence)) return;
    const chunks = before?.chunks ?? [];
    chunks.push(...record.chunks);
    const preview = extendPreview(before?.summary.preview, record.chunks);
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

  async sessions(filter: Filter): Promise<SessionSummary[]> {
    return this.#matching(filter).sort(newestFirst).slice(0, filter.limit);
  }

  async session(id: string): Promise<StoredSession | undefined> {
    const held = this.#sessions.get(id);
    return held && { session: held.summary, chunks: [...held.chunks] };
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

  #times(): Micros[] {
    return [
      ...[...this.#sessions.values()].map(({ summary }) => summary.start),
      ...[...this.#probes.values()].map(({ start }) => start),
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
      const drop = <T>(from: Map<string, T>, at: (record: T) => Micros): void => {
        for (const [id, record] of from) if (at(record) < end) from.delete(id);
      };
      drop(this.#sessions, ({ summary }) => summary.start);
      drop(this.#probes, ({ start }) => start);
      drop(this.#alerts, ({ at }) => at);
      drop(this.#system, ({ at }) => at);
      dropped.push(day);
    }
    return dropped;
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
