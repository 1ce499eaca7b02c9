// Looks at every batch on its way into the store: sessions put together, signatures, facts, families, places, behaviour. A
// fault in one session costs that session's findings, never the stream. What the parts find is theirs; storing is record/.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { RecencyMap } from '../base/recency-map.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Fact, Insights, PayloadFamily, Place, SessionInsight, SignatureHit, Verdict } from '../model/insight.ts';
import type { AnalysisStatus } from '../model/status.ts';
import type { AnalysisStore } from '../record/analysis-store.ts';
import type { RecordAnalysis } from '../record/recorder.ts';
import type { Filter, SessionSummary, Store } from '../record/store.ts';
import { type GathererLimits, SessionGatherer } from './session-gatherer.ts';
import type { SessionView } from './session-view.ts';

/** What remembers payloads; made anew from the families a store has. */
export interface Families {
  assign(view: SessionView): { readonly family: string; readonly founded?: PayloadFamily } | undefined;
}

/** What remembers sources; told of every event in the order they were recorded. */
export interface Behaviours {
  take(event: WeirEvent, hits?: readonly SignatureHit[], view?: SessionView): void;
  /** Verdicts that are new or grew, each at most once a second unless `all`. */
  flush(all?: boolean): readonly Verdict[];
  /** Verdicts a former process told, before the first event: those that go on keep their identifiers. */
  restore(verdicts: readonly Verdict[]): void;
  /** `pending`: verdicts that wait for their second to pass. `evicted`: sources forgotten to make room. */
  counters(): { readonly pending: number; readonly evicted: number };
}

/** Each is left out where it is not wanted or could not be loaded; the others go on. */
export interface AnalysisParts {
  readonly signatures?: {
    match(view: SessionView): readonly SignatureHit[];
    readonly size: number;
    /** Payloads of which a part was left unread. */
    readonly curtailed?: () => number;
  };
  readonly extractFacts?: (view: SessionView, hits: readonly SignatureHit[]) => readonly Fact[];
  readonly places?: { of(ip: string): Place | undefined };
  /** Called at the start and whenever reading starts over. */
  readonly createFamilies?: (known: readonly PayloadFamily[]) => Families;
  readonly createBehaviours?: () => Behaviours;
}

export type AnalyserStore = Pick<Store, 'session' | 'sessions' | 'probes'> &
  Pick<AnalysisStore, 'families' | 'insights' | 'verdicts'>;

export interface AnalyserOptions {
  readonly store: AnalyserStore;
  /** Awaited by `begin`, so that whoever records can start while tables load. */
  readonly parts: AnalysisParts | Promise<AnalysisParts>;
  readonly gatherer?: GathererLimits;
  readonly log: Log;
}

/** The tag of a session of which a part of analysis failed. */
export const failedTag = 'analysis-failed';

const maxFacts = 64;
const maxFamilies = 10_000;
/** Sources whose place was told; one that comes back after that many others is told again. */
const maxTold = 65_536;
/** Sessions read back for one batch; beyond that they are looked at with what there is, and counted. */
const maxRecalls = 2000;
/** Behaviour begins with this much of the past, and at most so many records of each kind. */
const warmMicros = 30 * 60 * 1e6;
const maxWarmRows = 20_000;
const warmPage = 5000;
/** Behaviour that began earlier is another one by now; the newest of those that did not. */
const toldMicros = 8 * 24 * 3600 * 1e6;
const maxToldVerdicts = 10_000;
/** Others get a turn this often: API requests wait for nothing longer. */
const sliceMs = 12;

const nothing: readonly never[] = [];

export class Analyser implements RecordAnalysis {
  readonly #options: AnalyserOptions;
  #parts: AnalysisParts = {};
  #gatherer: SessionGatherer;
  #families: Families | undefined;
  #behaviours: Behaviours | undefined;
  #told = new RecencyMap<string, true>();
  readonly #faults = new Map<string, number>();
  #sessions = 0;
  #matched = 0;
  #verdicts = 0;
  #founded = 0;
  #spilled = 0;
  #partial = 0;
  #sliceEnds = 0;

  constructor(options: AnalyserOptions) {
    this.#options = options;
    this.#gatherer = new SessionGatherer(options.gatherer);
  }

  /** What is remembered comes from the store again: families, and the behaviour of the newest half hour. */
  async begin(): Promise<void> {
    const { store, gatherer } = this.#options;
    const parts = await this.#options.parts;
    this.#parts = parts;
    const { spilled, partial } = this.#gatherer.counters();
    this.#spilled += spilled;
    this.#partial += partial;
    this.#gatherer = new SessionGatherer(gatherer);
    this.#told = new RecencyMap();
    this.#families = parts.createFamilies?.(await store.families(maxFamilies));
    this.#behaviours = parts.createBehaviours?.();
    if (this.#behaviours) await this.#warm(this.#behaviours);
  }

  async analyse(events: readonly WeirEvent[]): Promise<{ events: readonly WeirEvent[]; insights: Insights }> {
    this.#sliceEnds = performance.now() + sliceMs;
    // What was let go is in the store by now: the batch before this one was applied.
    this.#gatherer.settle();
    const missing = this.#gatherer.missing(events);
    let recalls = 0;
    const sessions: SessionInsight[] = [];
    const families: PayloadFamily[] = [];
    const places: Place[] = [];
    let marked: WeirEvent[] | undefined;
    for (let index = 0; index < events.length; index += 1) {
      if (performance.now() > this.#sliceEnds) await this.#rest();
      const event = events[index];
      if (event.kind === 'alert' || event.kind === 'system') continue;
      // One at a time, right before it is looked at: most of them end here.
      const nextChunk = event.kind === 'session' && missing.size > 0 ? missing.get(event.session.id) : undefined;
      if (event.kind === 'session' && nextChunk !== undefined) {
        missing.delete(event.session.id);
        recalls += 1;
        if (recalls <= maxRecalls) await this.#recall(event.session.id, nextChunk);
      }
      const before = this.#faultCount;
      const view = event.kind === 'session' ? this.#gatherer.take(event.session) : undefined;
      const hits = view ? this.#look(view, sessions, families) : nothing;
      if (this.#behaviours) this.#guard('behaviour', () => this.#behaviours?.take(event, hits, view), undefined);
      this.#place(event.kind === 'session' ? event.session.source.ip : event.probe.source, places);
      if (event.kind !== 'session' || this.#faultCount === before) continue;
      marked ??= [...events];
      const { session } = event;
      marked[index] = { kind: 'session', session: { ...session, tags: [...(session.tags ?? []), failedTag] } };
    }
    const verdicts = this.#guard('behaviour', () => this.#behaviours?.flush() ?? nothing, nothing);
    this.#verdicts += verdicts.length;
    return { events: marked ?? events, insights: { sessions, verdicts, families, places } };
  }

  late(all: boolean): Insights | undefined {
    if (!this.#behaviours || this.#behaviours.counters().pending === 0) return undefined;
    const verdicts = this.#guard('behaviour', () => this.#behaviours?.flush(all) ?? nothing, nothing);
    this.#verdicts += verdicts.length;
    return verdicts.length === 0 ? undefined : { sessions: nothing, verdicts, families: nothing, places: nothing };
  }

  status(): AnalysisStatus {
    const { held, spilled, partial } = this.#gatherer.counters();
    return {
      sessions: this.#sessions,
      matched: this.#matched,
      verdicts: this.#verdicts,
      families: this.#founded,
      rules: this.#parts.signatures?.size ?? 0,
      held,
      spilled: this.#spilled + spilled,
      partial: this.#partial + partial,
      curtailed: this.#parts.signatures?.curtailed?.() ?? 0,
      forgotten: this.#behaviours?.counters().evicted ?? 0,
      faults: Object.fromEntries(this.#faults),
    };
  }

  /** Findings of one session that ended. */
  #look(view: SessionView, sessions: SessionInsight[], families: PayloadFamily[]): readonly SignatureHit[] {
    const { signatures, extractFacts } = this.#parts;
    this.#sessions += 1;
    const { id, start, source } = view.session;
    const hits = signatures ? this.#guard('signatures', () => signatures.match(view), nothing) : nothing;
    if (hits.length > 0) this.#matched += 1;
    const facts = extractFacts ? this.#guard('facts', () => extractFacts(view, hits), nothing) : nothing;
    const assigned = this.#families && this.#guard('families', () => this.#families?.assign(view), undefined);
    if (assigned?.founded) {
      families.push(assigned.founded);
      this.#founded += 1;
    }
    if (hits.length > 0 || facts.length > 0 || assigned)
      sessions.push({
        id,
        start,
        source: source.ip,
        signatures: hits,
        facts: facts.slice(0, maxFacts),
        ...(assigned && { family: assigned.family }),
      });
    return hits;
  }

  #place(ip: string, places: Place[]): void {
    const lookup = this.#parts.places;
    if (!lookup || this.#told.get(ip)) return;
    const place = this.#guard('places', () => lookup.of(ip), undefined);
    if (place && (place.country !== undefined || place.asn !== undefined)) places.push(place);
    this.#told.set(ip, true);
    if (this.#told.size <= maxTold) return;
    this.#told.delete((this.#told.oldest as [string, true])[0]);
  }

  #guard<T>(part: string, look: () => T, otherwise: T): T {
    try {
      return look();
    } catch (error) {
      const count = this.#faults.get(part) ?? 0;
      this.#faults.set(part, count + 1);
      const { message, stack } = asWeirError(error);
      if (count === 0)
        this.#options.log.error('analysis failed and goes on; later faults of this part are counted', { part, message, stack });
      return otherwise;
    }
  }

  get #faultCount(): number {
    let count = 0;
    for (const faults of this.#faults.values()) count += faults;
    return count;
  }

  async #rest(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#sliceEnds = performance.now() + sliceMs;
  }

  async #recall(id: string, nextChunk: number): Promise<void> {
    const stored = await this.#options.store.session(id);
    if (stored) this.#gatherer.recall(id, stored.chunks, nextChunk);
  }

  /** Events of the newest half hour in the store, oldest first, without their bytes. */
  async #warm(behaviours: Behaviours): Promise<void> {
    const { store } = this.#options;
    const [[session], [probe]] = [await store.sessions({ limit: 1 }), await store.probes({ limit: 1 })];
    if (!session && !probe) return;
    const newest = Math.max(session?.start ?? 0, probe?.start ?? 0);
    const told = await store.verdicts({ since: newest - toldMicros, limit: maxToldVerdicts });
    this.#guard('behaviour', () => behaviours.restore(told), undefined);
    const since = newest - warmMicros;
    const past: { readonly at: number; readonly event: WeirEvent; readonly hits: readonly SignatureHit[] }[] = [];
    for await (const page of pages((filter) => store.sessions(filter), since)) {
      const found = await store.insights(page.map(({ id, start }) => ({ id, start })));
      const hits = new Map(found.map(({ id, signatures }) => [id, signatures]));
      for (const row of page)
        past.push({ at: row.start, event: { kind: 'session', session: recordOf(row) }, hits: hits.get(row.id) ?? nothing });
    }
    for await (const page of pages((filter) => store.probes(filter), since))
      for (const row of page) past.push({ at: row.start, event: { kind: 'probe', probe: row }, hits: nothing });
    past.sort((a, b) => a.at - b.at);
    for (const { event, hits } of past) this.#guard('behaviour', () => behaviours.take(event, hits), undefined);
  }
}

const recordOf = ({ chunkCount, payloadHash: _hash, preview: _preview, ...facts }: SessionSummary) => ({
  ...facts,
  firstChunk: chunkCount,
  chunks: [],
});

async function* pages<T extends { readonly id: string }>(
  read: (filter: Filter) => Promise<T[]>,
  since: number,
): AsyncGenerator<T[]> {
  let before: string | undefined;
  for (let rows = 0; rows < maxWarmRows; rows += warmPage) {
    const page = await read({ since, limit: warmPage, ...(before !== undefined && { before }) });
    yield page;
    if (page.length < warmPage) return;
    before = page[page.length - 1].id;
  }
}
