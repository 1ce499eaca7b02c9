// The way of events out of the journals: read in bounded batches, applied to the store, checkpointed, handed to live
// listeners. Also ends sessions whose writer died, rebuilds what a store lost, and applies retention. Serves no requests.

import { join } from 'node:path';
import type { Clock, Micros } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Retention } from '../model/configuration.ts';
import type { WeirEvent } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import type { Insights } from '../model/insight.ts';
import { type JournalBatch, JournalReader, type JournalReaderOptions, type WriterRun } from './journal-reader.ts';
import { JournalWriter } from './journal-writer.ts';
import { applyRetention, readSegments, replayFrom } from './retention.ts';
import { interrupted, parseRun } from './session-summary.ts';
import { spoolWriter } from './spool-batch.ts';
import type { Checkpoint, Store, StoreDamage, StoreSize } from './store.ts';

/** Looks at events before they are stored; src/analysis/ does. Asked by one caller, one batch at a time, in their order. */
export interface RecordAnalysis {
  /** Before the first batch, and again when reading starts over because the store lost records. */
  begin(): Promise<void>;
  /** The events to store, and what was found in them. The same events again find the same. */
  analyse(events: readonly WeirEvent[]): Promise<{ readonly events: readonly WeirEvent[]; readonly insights: Insights }>;
  /** What was found and waits to be told again; asked when no event comes, and with `all` at the end. Undefined: nothing. */
  late(all: boolean): Insights | undefined;
}

export interface RecorderOptions {
  /** Holds `journal/`; the recorder writes `journal/recorder/` itself. */
  readonly dataDirectory: string;
  /** Stays the caller's: close it after the recorder. */
  readonly store: Store;
  readonly retention: Retention;
  readonly clock: Clock;
  readonly log: Log;
  /** Absent: records are stored as they are. */
  readonly analysis?: RecordAnalysis;
  /** The live stream: events in the order they were applied, after they can be queried. Not called for replays. */
  readonly onEvents?: (events: readonly WeirEvent[], insights: Insights) => void;
  /** How long small batches gather; default 100 ms. */
  readonly gatherMs?: number;
  /** Bounds of what one transaction takes; defaults as JournalReader's. */
  readonly batch?: Pick<JournalReaderOptions, 'maxEvents' | 'maxBytes'>;
}

export interface RecorderStatus {
  /** Journal bytes not yet in the store, and the age of the oldest event among them (0 when none). */
  readonly lagBytes: number;
  readonly lagMs: number;
  readonly applied: number;
  readonly batches: number;
  /** Sessions ended because their writer died. */
  readonly interrupted: number;
  /** Journal bytes that were no records. */
  readonly damagedBytes: number;
  /** Events stored without having been looked at, because analysis failed. */
  readonly unlooked: number;
  readonly rebuilding: boolean;
  /** Set while the store refuses: `disk-full`, `store-unavailable`, … */
  readonly storeError?: string;
  readonly store: StoreSize;
  readonly journalBytes: number;
}

/** What is to be stored of a batch. */
interface Looked {
  readonly events: readonly WeirEvent[];
  readonly insights: Insights;
}

interface NextBatch {
  readonly batch: JournalBatch;
  /** Absent where looking at it has to wait for the batch before it. */
  readonly looked?: Looked;
}

const retryMs = 250;
const retentionMs = 60_000;
const smallBatch = 1000;
const noInsights: Insights = { sessions: [], verdicts: [], families: [], places: [] };

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #journalDirectory: string;
  #own: JournalWriter | undefined;
  #reader: JournalReader | undefined;
  /** The batch behind the one that is being stored. */
  #next: Promise<NextBatch | undefined> | undefined;
  /** What of the journals is in the store: all before it. */
  #behind: Checkpoint = {};
  #running: Promise<void> | undefined;
  #closed = false;
  #rebuilding = false;
  /** True once analysis remembers what the store has. */
  #begun = false;
  /** What the store said it lost, until reading begins again. */
  #damage: StoreDamage | undefined;
  /** True while something that was read is not stored yet. */
  #unstored = false;
  #applied = 0;
  #batches = 0;
  #interrupted = 0;
  #unlooked = 0;
  #damagedBytes = 0;
  #journalBytes = 0;
  #lastRecordedAt: Micros = 0;
  #storeError: string | undefined;
  #nextRetention = 0;
  #lastSegments = '';
  #pause: (() => void) | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#journalDirectory = join(options.dataDirectory, 'journal');
  }

  /** Throws `already-running` when another recorder has this data directory. */
  async start(): Promise<void> {
    const { clock, log } = this.#options;
    this.#own = new JournalWriter({
      directory: join(this.#journalDirectory, 'recorder'),
      clock,
      log,
      segmentBytes: 4 * 1024 * 1024,
    });
    await this.#openReader();
    this.#running = this.#run();
  }

  async status(): Promise<RecorderStatus> {
    const lagBytes = (await this.#reader?.lagBytes(this.#behind)) ?? 0;
    const lagMs = lagBytes === 0 ? 0 : Math.max(0, (this.#options.clock() - this.#lastRecordedAt) / 1000);
    return {
      lagBytes,
      lagMs: this.#lastRecordedAt === 0 ? 0 : lagMs,
      applied: this.#applied,
      batches: this.#batches,
      interrupted: this.#interrupted,
      damagedBytes: this.#damagedBytes,
      unlooked: this.#unlooked,
      rebuilding: this.#rebuilding,
      ...(this.#storeError && { storeError: this.#storeError }),
      store: await this.#options.store.size(),
      journalBytes: this.#journalBytes,
    };
  }

  /** Applies what is already in the journals as far as one batch goes, then stops. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#pause?.();
    await this.#reader?.close();
    await this.#running;
    // What cannot be told now is found again from the store's records.
    if (this.#begun && !this.#storeError) await this.#tellLate(true).catch(() => {});
    // Reading may have gone on for a step after it was told to stop, and opened files again.
    await this.#reader?.close();
    await this.#own?.close();
  }

  async #openReader(): Promise<void> {
    const { store, log } = this.#options;
    // Told once by the store; it counts until reading has begun again.
    this.#damage = (await store.damage()) ?? this.#damage;
    const damage = this.#damage;
    let checkpoint = await store.checkpoint();
    if (damage) {
      checkpoint = replayFrom(await readSegments(this.#journalDirectory), damage.since);
      this.#rebuilding = true;
      log.error('the store lost records; they come from the journal again', { message: damage.message, files: damage.files });
      this.#tell('store-damaged', damage.message, { files: damage.files, since: damage.since });
    }
    this.#begun = false;
    await this.#reader?.close();
    this.#behind = checkpoint;
    this.#reader = new JournalReader({ directory: this.#journalDirectory, checkpoint, log, ...this.#options.batch });
    this.#damage = undefined;
    this.#unstored = false;
  }

  #tell(name: string, message: string, details: Record<string, unknown>): void {
    const at = this.#options.clock();
    this.#own?.append({ kind: 'system', system: { id: createIdentifier(at), at, name, program: 'recorder', message, details } });
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let said = '';
    // What was looked at is stored: analysis remembers it from then on.
    while (!this.#closed || this.#next) {
      try {
        await this.#step();
        said = '';
      } catch (error) {
        // What was being read when it was told to stop is read by the next process.
        if (this.#closed) continue;
        const { code, message } = asWeirError(error);
        // Once for each reason: it tries four times a second, for as long as it takes.
        if (message !== said) log.error('the recorder could not go on; it tries again', { error: message });
        said = message;
        this.#storeError = code;
        await this.#sleep(retryMs);
      }
    }
  }

  async #step(): Promise<void> {
    if (this.#unstored) {
      await this.#takeNext().catch(() => {});
      await this.#openReader();
    }
    const reader = this.#reader as JournalReader;
    const started = performance.now();
    await this.#begin();
    // The reader is past what it gave: unless that is stored, reading has to begin again where the store is.
    this.#unstored = true;
    const next = await this.#takeNext();
    if (this.#closed && !next?.looked) return;
    const batch = next?.batch ?? (await reader.read());
    if (!batch) {
      this.#unstored = false;
      this.#behind = reader.checkpoint();
      if (this.#rebuilding) {
        await this.#options.store.rebuilt();
        this.#rebuilding = false;
        this.#tell('store-rebuilt', 'every record of the journal is in the store again', {});
      }
      await this.#retain();
      if (!this.#closed) await this.#tellLate(false);
      await reader.wait();
      if (!this.#closed) await this.#sleep(this.#options.gatherMs ?? 100);
      return;
    }
    if (!(await this.#apply(batch, next?.looked))) return;
    this.#unstored = false;
    await this.#retain();
    if (batch.events.length < smallBatch) {
      await this.#sleep((this.#options.gatherMs ?? 100) - (performance.now() - started));
    }
  }

  /** A store that refuses is asked again; analysis that fails by itself begins without a memory. */
  async #begin(): Promise<void> {
    if (this.#begun) return;
    try {
      await this.#options.analysis?.begin();
    } catch (error) {
      const { code, message, stack } = asWeirError(error);
      if (code === 'store-unavailable' || code === 'store-damaged' || code === 'disk-full') throw error;
      this.#options.log.error('analysis begins without what it knew', { message, stack });
    }
    this.#begun = true;
  }

  #takeNext(): Promise<NextBatch | undefined> {
    const next = this.#next ?? Promise.resolve(undefined);
    this.#next = undefined;
    return next;
  }

  /**
   * Reads on while a batch is stored. Analysis looks at what it read when it needs nothing that the store does not have yet:
   * sessions that came whole are neither held by it nor read back.
   */
  async #readOn(reader: JournalReader): Promise<NextBatch | undefined> {
    const batch = await reader.read();
    if (!batch) return undefined;
    const isWhole = batch.runs.length === 0 && batch.events.every(isWholeRecord);
    return isWhole ? { batch, looked: await this.#look(batch.events) } : { batch };
  }

  /** False when the batch has to be read again: the store was damaged and reading starts over. */
  async #apply(batch: JournalBatch, alreadyLooked: Looked | undefined): Promise<boolean> {
    const { store, log } = this.#options;
    for (const damage of batch.damage) {
      this.#damagedBytes += damage.bytes;
      log.warn('journal-damaged: skipped bytes that are no records', { ...damage });
      if (!this.#rebuilding)
        this.#tell('journal-damaged', `${damage.bytes} bytes of segment ${damage.segment} are no records`, { ...damage });
    }
    const { events, insights } =
      alreadyLooked ??
      (await this.#look(batch.runs.length === 0 ? batch.events : [...(await this.#endInterrupted(batch.runs)), ...batch.events]));
    // Where little comes, what is read on would only make the next batch smaller.
    if (batch.events.length >= smallBatch && !this.#closed) {
      this.#next = this.#readOn(this.#reader as JournalReader);
      // Whoever takes it is told.
      this.#next.catch(() => {});
    }
    for (;;) {
      try {
        await store.apply(events, batch.checkpoint, insights);
        break;
      } catch (error) {
        const { code, message } = asWeirError(error);
        if (this.#storeError !== code) log.error('the store refuses; the journal keeps what comes', { code, message });
        this.#storeError = code;
        if (code === 'store-damaged' || this.#closed) await this.#takeNext().catch(() => {});
        if (this.#closed) return false;
        if (code === 'store-damaged') {
          await this.#openReader();
          return false;
        }
        await this.#sleep(retryMs);
      }
    }
    if (this.#storeError) {
      log.info('the store takes records again');
      this.#tell('store-recovered', `the store refused for a while: ${this.#storeError}`, {});
      this.#storeError = undefined;
    }
    this.#behind = batch.checkpoint;
    this.#applied += events.length;
    this.#batches += 1;
    const last = events.at(-1);
    if (last) this.#lastRecordedAt = (last.kind === 'session' ? last.session.recordedAt : undefined) ?? this.#options.clock();
    if (!this.#rebuilding && events.length > 0) this.#publish(events, insights);
    return true;
  }

  /** Once for each batch, however often it is tried again. What analysis cannot look at is stored all the same. */
  async #look(events: readonly WeirEvent[]): Promise<Looked> {
    const { analysis, log } = this.#options;
    if (!analysis || events.length === 0) return { events, insights: noInsights };
    try {
      return await analysis.analyse(events);
    } catch (error) {
      const { message, stack } = asWeirError(error);
      log.error('a batch is stored without being looked at', { events: events.length, message, stack });
      this.#unlooked += events.length;
      return { events, insights: noInsights };
    }
  }

  async #tellLate(all: boolean): Promise<void> {
    const { analysis, store } = this.#options;
    const insights = analysis?.late(all);
    if (!insights) return;
    await store.apply([], await store.checkpoint(), insights);
    this.#publish([], insights);
  }

  #publish(events: readonly WeirEvent[], insights: Insights): void {
    try {
      this.#options.onEvents?.(events, insights);
    } catch (error) {
      this.#options.log.error('a live listener failed', { error: asWeirError(error).message });
    }
  }

  async #endInterrupted(runs: readonly WriterRun[]): Promise<WeirEvent[]> {
    const ended: WeirEvent[] = [];
    const newest = new Map(runs.map(({ writer, epoch }) => [writer, epoch]));
    for (const session of await this.#options.store.openSessions()) {
      const run = parseRun(session.writer);
      // Those are held by agents, which end them themselves.
      if (!run || run.writer === spoolWriter || run.epoch >= (newest.get(run.writer) ?? 0)) continue;
      ended.push({ kind: 'session', session: interrupted(session) });
    }
    if (ended.length > 0) {
      this.#interrupted += ended.length;
      this.#options.log.warn('sessions were interrupted: their process died', { sessions: ended.length });
    }
    return ended;
  }

  /** Every minute, and whenever a writer went on to another segment. */
  async #retain(): Promise<void> {
    const { store, retention, clock, log } = this.#options;
    const checkpoint = (this.#reader as JournalReader).checkpoint();
    const segments = JSON.stringify(Object.entries(checkpoint).map(([writer, { segment }]) => [writer, segment]));
    if (performance.now() < this.#nextRetention && segments === this.#lastSegments) return;
    this.#nextRetention = performance.now() + retentionMs;
    this.#lastSegments = segments;
    if (this.#rebuilding) return;
    const result = await applyRetention(store, this.#journalDirectory, await store.checkpoint(), retention, clock());
    this.#journalBytes = result.journalBytes;
    if (result.days.length > 0) {
      log.info('days dropped', { days: result.days });
      this.#tell('days-dropped', `dropped ${result.days.join(', ')}`, { days: result.days, segments: result.segments });
    }
    if (result.trimmed) {
      this.#tell('journal-trimmed', 'the journal was cut to half of the size allowed: kept days cannot be rebuilt in full', {
        segments: result.segments,
      });
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (ms <= 0 || this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#pause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#pause = undefined;
  }
}

const isWholeRecord = (event: WeirEvent): boolean =>
  event.kind !== 'session' || (event.session.outcome !== 'open' && event.session.firstChunk === 0);
