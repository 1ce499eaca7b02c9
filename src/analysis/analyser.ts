// Looks at every batch on its way into the store, part by part: sessions put together, signatures, facts, families, behaviour,
// places. A fault in one session costs that session's findings, never the stream. What the parts find is theirs; storing is record/.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Fact, Insights, PayloadFamily, Place, SessionInsight, SignatureHit, Verdict } from '../model/insight.ts';
import type { AnalysisStatus } from '../model/status.ts';
import type { AnalysisStore } from '../record/analysis-store.ts';
import type { RecordAnalysis } from '../record/recorder.ts';
import type { Filter, SessionSummary, Store } from '../record/store.ts';
import { ToldSources } from './places/told-sources.ts';
import { type GathererLimits, SessionGatherer } from './session-gatherer.ts';
import type { SessionView } from './session-view.ts';

/** What remembers payloads; made anew from the families a store has. */
export interface Families {
  assign(view: SessionView): { readonly family: string; readonly founded?: PayloadFamily } | undefined;
}

/** What remembers sources; told of every event in the order they were recorded. */
export interface Behaviours {
  take(event: WeirEvent, hits?: readonly SignatureHit[], view?: SessionView, facts?: readonly Fact[]): void;
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
  /** Told which part begins, up to 2,000 events at a time: for measurements. */
  readonly onPart?: (part: AnalysisPartName) => void;
}

export type AnalysisPartName = 'gathering' | 'signatures' | 'facts' | 'families' | 'behaviour' | 'places';

/** The tag of a session of which a part of analysis failed. */
export const failedTag = 'analysis-failed';

const maxFacts = 64;
const maxFamilies = 10_000;
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
/** Events each part looks at before the next part does: what it reads stays in the processor's caches meanwhile. */
const pieceEvents = 2000;
/** With more bytes of sessions that ended it is cut short: those read back from the store are not all held at once. */
const pieceBytes = 4 * 1024 * 1024;
/** Of events that take next to no time the clock is asked at every so many. */
const clockEvery = 16;

const nothing: readonly never[] = [];

/** Sessions of a batch whose beginnings are in the store: the first chunk that is here; and how many were asked for. */
interface Missing {
  readonly chunks: Map<string, number>;
  recalls: number;
}

/** Events of a batch from its `from`th on, and beside each the session that ended with it. */
interface Piece {
  readonly from: number;
  readonly events: readonly WeirEvent[];
  readonly views: readonly (SessionView | undefined)[];
}

/** Of a batch; `failed` are places of its events. */
interface Found {
  readonly sessions: SessionInsight[];
  readonly families: PayloadFamily[];
  readonly places: Place[];
  readonly failed: Set<number>;
}

export class Analyser implements RecordAnalysis {
  readonly #options: AnalyserOptions;
  #parts: AnalysisParts = {};
  #gatherer: SessionGatherer;
  #families: Families | undefined;
  #behaviours: Behaviours | undefined;
  #told = new ToldSources();
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
    this.#told = new ToldSources();
    this.#families = parts.createFamilies?.(await store.families(maxFamilies));
    this.#behaviours = parts.createBehaviours?.();
    if (this.#behaviours) await this.#warm(this.#behaviours);
  }

  async analyse(events: readonly WeirEvent[]): Promise<{ events: readonly WeirEvent[]; insights: Insights }> {
    this.#sliceEnds = performance.now() + sliceMs;
    // What was let go is in the store by now: the batch before this one was applied.
    this.#gatherer.settle();
    const missing = { chunks: this.#gatherer.missing(events), recalls: 0 };
    const found: Found = { sessions: [], families: [], places: [], failed: new Set() };
    for (let from = 0; from < events.length; ) {
      const piece = await this.#gather(events, from, missing);
      await this.#look(piece, found);
      from += piece.events.length;
    }
    const verdicts = this.#flush(false);
    const { sessions, families, places } = found;
    return { events: marked(events, found.failed), insights: { sessions, verdicts, families, places } };
  }

  late(all: boolean): Insights | undefined {
    if (!this.#behaviours || this.#behaviours.counters().pending === 0) return undefined;
    const verdicts = this.#flush(all);
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

  #flush(all: boolean): readonly Verdict[] {
    this.#options.onPart?.('behaviour');
    const verdicts = this.#guard('behaviour', () => this.#behaviours?.flush(all) ?? nothing, nothing);
    this.#verdicts += verdicts.length;
    return verdicts;
  }

  /** The next events, with the sessions among them that ended. */
  async #gather(events: readonly WeirEvent[], from: number, missing: Missing): Promise<Piece> {
    this.#options.onPart?.('gathering');
    const views: (SessionView | undefined)[] = [];
    let bytes = 0;
    for (let at = from; at < events.length && views.length < pieceEvents && bytes < pieceBytes; at += 1) {
      const event = events[at];
      let view: SessionView | undefined;
      if (event.kind === 'session') {
        // One at a time, right before it is put together: most of them end here.
        const nextChunk = missing.chunks.size > 0 ? missing.chunks.get(event.session.id) : undefined;
        if (nextChunk !== undefined) {
          missing.chunks.delete(event.session.id);
          missing.recalls += 1;
          if (missing.recalls <= maxRecalls) await this.#recall(event.session.id, nextChunk);
        }
        view = this.#gatherer.take(event.session);
        if (view) bytes += view.input.length + view.output.length;
      }
      views.push(view);
    }
    const whole = from === 0 && views.length === events.length;
    return { from, events: whole ? events : events.slice(from, from + views.length), views };
  }

  /** Each part over all of the piece before the next one: what a part finds depends on no part after it. */
  async #look(piece: Piece, found: Found): Promise<void> {
    const { events, views } = piece;
    const { signatures, extractFacts, places } = this.#parts;
    const families = this.#families;
    const behaviours = this.#behaviours;
    const hits: (readonly SignatureHit[])[] = new Array(views.length).fill(nothing);
    const facts: (readonly Fact[])[] = new Array(views.length).fill(nothing);
    const assigned: (string | undefined)[] = new Array(views.length).fill(undefined);
    if (signatures)
      await this.#each('signatures', piece, found, (at, view) => {
        if (view === undefined) return;
        hits[at] = signatures.match(view);
        if (hits[at].length > 0) this.#matched += 1;
      });
    if (extractFacts)
      await this.#each('facts', piece, found, (at, view) => {
        if (view !== undefined) facts[at] = extractFacts(view, hits[at]);
      });
    if (families)
      await this.#each('families', piece, found, (at, view) => {
        const one = view && families.assign(view);
        if (one === undefined) return;
        assigned[at] = one.family;
        if (one.founded) {
          found.families.push(one.founded);
          this.#founded += 1;
        }
      });
    for (let at = 0; at < views.length; at += 1) {
      const view = views[at];
      if (view === undefined) continue;
      this.#sessions += 1;
      const family = assigned[at];
      if (hits[at].length === 0 && facts[at].length === 0 && family === undefined) continue;
      const { id, start, source } = view.session;
      const shown = facts[at].length > maxFacts ? facts[at].slice(0, maxFacts) : facts[at];
      const insight = { id, start, source: source.ip, signatures: hits[at], facts: shown };
      found.sessions.push(family === undefined ? insight : { ...insight, family });
    }
    if (behaviours)
      await this.#each('behaviour', piece, found, (at, view) => behaviours.take(events[at], hits[at], view, facts[at]));
    if (places)
      await this.#each('places', piece, found, (at) => {
        const event = events[at];
        if (event.kind === 'session') this.#place(event.session.source.ip, places, found.places);
        else if (event.kind === 'probe') this.#place(event.probe.source, places, found.places);
      });
  }

  /** Others get their turns in between. What fails is counted, and marked. */
  async #each(
    part: AnalysisPartName,
    { from, views }: Piece,
    found: Found,
    look: (at: number, view: SessionView | undefined) => void,
  ): Promise<void> {
    this.#options.onPart?.(part);
    for (let at = 0; at < views.length; at += 1) {
      const view = views[at];
      const slow = view !== undefined && view.input.length > 0;
      if ((slow || at % clockEvery === 0) && performance.now() > this.#sliceEnds) await this.#rest();
      try {
        look(at, view);
      } catch (error) {
        this.#fault(part, error);
        found.failed.add(from + at);
      }
    }
  }

  #place(ip: string, lookup: NonNullable<AnalysisParts['places']>, places: Place[]): void {
    if (!this.#told.add(ip)) return;
    const place = lookup.of(ip);
    if (place && (place.country !== undefined || place.asn !== undefined)) places.push(place);
  }

  #guard<T>(part: AnalysisPartName, look: () => T, otherwise: T): T {
    try {
      return look();
    } catch (error) {
      this.#fault(part, error);
      return otherwise;
    }
  }

  #fault(part: AnalysisPartName, error: unknown): void {
    const count = this.#faults.get(part) ?? 0;
    this.#faults.set(part, count + 1);
    if (count > 0) return;
    const { message, stack } = asWeirError(error);
    this.#options.log.error('analysis failed and goes on; later faults of this part are counted', { part, message, stack });
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
    const past: { readonly at: number; readonly event: WeirEvent; readonly insight?: SessionInsight | undefined }[] = [];
    for await (const page of pages((filter) => store.sessions(filter), since)) {
      const found = await store.insights(page.map(({ id, start }) => ({ id, start })));
      const insights = new Map(found.map((insight) => [insight.id, insight]));
      for (const row of page)
        past.push({ at: row.start, event: { kind: 'session', session: recordOf(row) }, insight: insights.get(row.id) });
    }
    for await (const page of pages((filter) => store.probes(filter), since))
      for (const row of page) past.push({ at: row.start, event: { kind: 'probe', probe: row } });
    past.sort((a, b) => a.at - b.at);
    for (const { event, insight } of past)
      this.#guard('behaviour', () => behaviours.take(event, insight?.signatures, undefined, insight?.facts), undefined);
  }
}

function marked(events: readonly WeirEvent[], failed: ReadonlySet<number>): readonly WeirEvent[] {
  if (failed.size === 0) return events;
  return events.map((event, index) => {
    if (event.kind !== 'session' || !failed.has(index)) return event;
    const { session } = event;
    return { kind: 'session', session: { ...session, tags: [...(session.tags ?? []), failedTag] } };
  });
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
