// A store in a few arrays for tests of the API, the command line and the console. Not for anything that runs.
// Selection by filter is api/filter-match.ts; what a real store promises is record/store-contract.

import { createHash } from 'node:crypto';
import { probeMatches, sessionMatches } from '../../src/api/filter-match.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../../src/model/event.ts';
import type { Chunk } from '../../src/model/session.ts';
import { summarize } from '../../src/record/documents.ts';
import type {
  Checkpoint,
  Counts,
  Filter,
  SessionSummary,
  Store,
  StoredSession,
  StoreSize,
  TopRow,
  TopSubject,
} from '../../src/record/store.ts';

const newestFirst = (a: { id: string }, b: { id: string }): number => (a.id < b.id ? 1 : -1);
const older = (filter: Filter, id: string): boolean => filter.before === undefined || id < filter.before;

export class SmallStore implements Store {
  readonly #sessions = new Map<string, { summary: SessionSummary; chunks: Chunk[] }>();
  readonly #probes: ProbeRecord[] = [];
  readonly #alerts: AlertRecord[] = [];
  readonly #systems: SystemRecord[] = [];
  /** When set, every question fails with it. */
  fault: Error | undefined;

  async apply(events: readonly WeirEvent[], _checkpoint: Checkpoint = {}): Promise<void> {
    for (const event of events) {
      if (event.kind === 'probe') this.#probes.push(event.probe);
      else if (event.kind === 'alert') this.#alerts.push(event.alert);
      else if (event.kind === 'system') this.#systems.push(event.system);
      else {
        const known = this.#sessions.get(event.session.id);
        const chunks = [...(known?.chunks ?? []), ...event.session.chunks];
        const preview = known?.summary.preview ?? summarize(event.session).preview;
        const hash = createHash('sha256');
        for (const chunk of chunks) if (chunk.direction === 'in') hash.update(chunk.bytes);
        const payloadHash = preview && event.session.outcome !== 'open' ? hash.digest('hex') : undefined;
        const summary = { ...summarize(event.session), ...(preview ? { preview } : {}), ...(payloadHash ? { payloadHash } : {}) };
        this.#sessions.set(event.session.id, { summary, chunks });
      }
    }
  }

  async checkpoint(): Promise<Checkpoint> {
    return {};
  }

  async sessions(filter: Filter): Promise<SessionSummary[]> {
    return this.#select(filter).slice(0, filter.limit);
  }

  async session(id: string): Promise<StoredSession | undefined> {
    this.#check();
    const found = this.#sessions.get(id);
    return found && { session: found.summary, chunks: found.chunks };
  }

  async probes(filter: Filter): Promise<ProbeRecord[]> {
    this.#check();
    return this.#probes
      .filter((probe) => probeMatches(filter, probe) && older(filter, probe.id))
      .sort(newestFirst)
      .slice(0, filter.limit);
  }

  async alerts(filter: Filter): Promise<AlertRecord[]> {
    this.#check();
    return this.#alerts
      .filter(({ id, at }) => older(filter, id) && (filter.since === undefined || at >= filter.since))
      .sort(newestFirst)
      .slice(0, filter.limit);
  }

  async systemEvents(filter: Filter): Promise<SystemRecord[]> {
    return this.#systems
      .filter(({ id }) => older(filter, id))
      .sort(newestFirst)
      .slice(0, filter.limit);
  }

  async top(subject: TopSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]> {
    const rows = new Map<string, { hits: number; sources: Set<string> }>();
    const count = (key: string | undefined, source: string, hits = 1): void => {
      if (key === undefined) return;
      const row = rows.get(key) ?? { hits: 0, sources: new Set() };
      rows.set(key, row);
      row.hits += hits;
      row.sources.add(source);
    };
    for (const session of this.#select(filter)) {
      const keys: Record<TopSubject, string | undefined> = {
        ports: `${session.destination.port}/${session.transport}`,
        sources: session.source.ip,
        destinations: session.destination.ip,
        protocols: session.protocol,
        payloads: session.payloadHash,
        credentials: session.userName === undefined ? undefined : `${session.userName}:${session.password ?? ''}`,
      };
      count(keys[subject], session.source.ip);
    }
    for (const probe of await this.probes({ ...filter, limit: 10_000 }))
      for (const target of probe.targets) {
        if (subject === 'ports' && target.port > 0) count(`${target.port}/${target.transport}`, probe.source, target.count);
        if (subject === 'sources') count(probe.source, probe.source, target.count);
        if (subject === 'destinations') count(target.ip, probe.source, target.count);
      }
    return [...rows]
      .map(([key, { hits, sources }]) => ({ key, hits, sources: sources.size }))
      .sort((a, b) => b[by] - a[by] || (a.key < b.key ? -1 : 1))
      .slice(0, filter.limit);
  }

  async counts(filter: Filter): Promise<Counts> {
    const sessions = this.#select(filter);
    const probes = await this.probes({ ...filter, limit: 10_000 });
    return {
      sessions: sessions.length,
      openSessions: sessions.filter(({ outcome }) => outcome === 'open').length,
      probes: probes.reduce((sum, probe) => sum + probe.unlisted + probe.targets.reduce((all, { count }) => all + count, 0), 0),
      sources: new Set([...sessions.map(({ source }) => source.ip), ...probes.map(({ source }) => source)]).size,
      bytesIn: sessions.reduce((sum, { bytesIn }) => sum + bytesIn, 0),
      alerts: this.#alerts.length,
    };
  }

  async size(): Promise<StoreSize> {
    return { bytes: 0, sessions: this.#sessions.size };
  }

  async prune(): Promise<string[]> {
    return [];
  }

  async close(): Promise<void> {}

  #check(): void {
    if (this.fault) throw this.fault;
  }

  #select(filter: Filter): SessionSummary[] {
    this.#check();
    return [...this.#sessions.values()]
      .map(({ summary }) => summary)
      .filter((summary) => sessionMatches(filter, summary) && older(filter, summary.id))
      .sort(newestFirst);
  }
}
