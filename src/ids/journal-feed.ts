// Follows the journals of those who hold sessions, and hands the sessions to the feeder no faster than the feed has room. The
// position up to which Suricata answered for everything is kept in a file: what it has not judged is shown again, to a
// restarted Suricata or by a restarted program.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Micros } from '../base/clock.ts';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { SessionRecord } from '../model/session.ts';
import { segmentName } from '../record/journal-format.ts';
import { JournalReader } from '../record/journal-reader.ts';
import { listSegments } from '../record/journal-tail.ts';
import type { Checkpoint } from '../record/store.ts';
import type { FrameFeed } from './frame-feed.ts';
import type { SessionFeeder } from './session-feeder.ts';

export interface JournalFeedOptions {
  /** `journal/`, with a directory for each writer. */
  readonly directory: string;
  /** Whose sessions are shown. */
  readonly writers: readonly string[];
  /** Where the position is kept. */
  readonly positionFile: string;
  readonly feed: FrameFeed;
  readonly feeder: Pick<SessionFeeder, 'take' | 'endRuns' | 'reset'>;
  /** Resolves when what came of the sessions so far is on disk; false: it is not. Only then is the position kept. */
  readonly settle: () => Promise<boolean>;
  /** Suricata answered for a batch: what it said up to now is about what does not come again. */
  readonly onAnswered?: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface JournalFeedCounters {
  /** Bytes of the journals that are no records. */
  readonly damagedBytes: number;
  /** Segments that were gone before they were shown. */
  readonly goneSegments: number;
  /** Why the position is not on disk; absent while it is. */
  readonly unkept?: string;
}

/** The position is written at most so often. */
const keepMs = 1000;
const retryMs = 500;

export class JournalFeed {
  readonly #options: JournalFeedOptions;
  #reader: JournalReader | undefined;
  #answered: Checkpoint = {};
  #kept = '';
  #keepAt = 0;
  /** Without a position: what was recorded before is not ours to show. Up to where each journal was then, and when that was. */
  #old: ReadonlyMap<string, { readonly segment: number; readonly size: number }> = new Map();
  #since: Micros = 0;
  #damagedBytes = 0;
  #goneSegments = 0;
  #unkept: string | undefined;
  #again = false;
  #closed = false;
  #running: Promise<void> | undefined;
  #pause: (() => void) | undefined;

  constructor(options: JournalFeedOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#answered = (await this.#readPosition()) ?? this.#fromNow();
    this.#open();
    this.#running = this.#run();
  }

  /** Everything Suricata did not answer for is shown again, each flow from where its session then stands. */
  restart(): void {
    this.#again = true;
    void this.#reader?.close();
    this.#pause?.();
  }

  /** Journal bytes not yet shown. */
  async lagBytes(): Promise<number> {
    return (await this.#reader?.lagBytes(this.#reader.checkpoint())) ?? 0;
  }

  counters(): JournalFeedCounters {
    return {
      damagedBytes: this.#damagedBytes,
      goneSegments: this.#goneSegments,
      ...(this.#unkept === undefined ? {} : { unkept: this.#unkept }),
    };
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#pause?.();
    await this.#reader?.close();
    await this.#running;
    await this.keep();
  }

  #open(): void {
    const { directory, writers, log } = this.#options;
    for (const [writer, { segment }] of Object.entries(this.#answered)) {
      const first = listSegments(join(directory, writer)).at(0) ?? segment;
      if (first > segment) this.#goneSegments += first - segment;
    }
    this.#reader = new JournalReader({ directory, writers, checkpoint: this.#answered, log, maxEvents: 256, maxBytes: 1 << 20 });
  }

  async #readPosition(): Promise<Checkpoint | undefined> {
    const { positionFile, log } = this.#options;
    try {
      const text = await readWhole(positionFile);
      return text === undefined ? undefined : parsePosition(text);
    } catch (error) {
      log.warn('the position in the journals cannot be read; from now on, then', { error: asWeirError(error).message });
      return undefined;
    }
  }

  /** From the beginning of each writer's last segment, less what is in it already. */
  #fromNow(): Checkpoint {
    const { directory, writers, clock } = this.#options;
    this.#since = clock();
    const ends = writers.flatMap((writer) => {
      const segment = listSegments(join(directory, writer)).at(-1);
      if (segment === undefined) return [];
      const size = statSync(join(directory, writer, segmentName(segment)), { throwIfNoEntry: false })?.size ?? 0;
      return [[writer, { segment, size }] as const];
    });
    this.#old = new Map(ends);
    return Object.fromEntries(ends.map(([writer, { segment }]) => [writer, { segment, offset: 0 }]));
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    let said = '';
    while (!this.#closed) {
      try {
        await this.#step();
        said = '';
      } catch (error) {
        const { message } = asWeirError(error);
        // Once for each reason: it tries twice a second, for as long as it takes.
        if (message !== said) log.error('the journals cannot be followed; it is tried again', { error: message });
        said = message;
        await this.#sleep(retryMs);
      }
    }
  }

  async #step(): Promise<void> {
    const { feed, feeder, onAnswered } = this.#options;
    if (this.#again) {
      this.#again = false;
      await this.#reader?.close();
      feeder.reset();
      this.#open();
    }
    const reader = this.#reader as JournalReader;
    await this.#room();
    const before = reader.checkpoint();
    const batch = await reader.read();
    if (!batch || this.#again) {
      await this.#keepSometimes();
      if (!this.#again) await reader.wait();
      return;
    }
    for (const { bytes } of batch.damage) this.#damagedBytes += bytes;
    for (const { writer, epoch } of batch.runs) feeder.endRuns(writer, epoch);
    const isAmongOld = this.#isAmongOld(before);
    for (const event of batch.events) {
      if (event.kind !== 'session' || (isAmongOld && !this.#isNew(event.session))) continue;
      if (!feed.hasRoom) await this.#room();
      if (this.#again || this.#closed) return;
      feeder.take(event.session);
    }
    const { checkpoint } = batch;
    feed.mark(() => {
      this.#answered = checkpoint;
      onAnswered?.();
    });
    await this.#keepSometimes();
  }

  async #room(): Promise<void> {
    const { feed } = this.#options;
    while (!feed.hasRoom && !this.#closed && !this.#again)
      await Promise.race([
        feed.room(),
        new Promise<void>((resolve) => {
          this.#pause = resolve;
        }),
      ]);
  }

  /** A batch read from here may hold what was there at the start: only of that the time is asked, which may be set back meanwhile. */
  #isAmongOld(from: Checkpoint): boolean {
    for (const [writer, { segment, size }] of this.#old) {
      const at = from[writer];
      if (!at || at.segment < segment || (at.segment === segment && at.offset < size)) return true;
    }
    return false;
  }

  #isNew({ recordedAt }: SessionRecord): boolean {
    return (recordedAt ?? 0) >= this.#since;
  }

  async #keepSometimes(): Promise<void> {
    if (performance.now() >= this.#keepAt) await this.keep();
  }

  /** Writes down how far Suricata is, where that is news; often enough by itself. Never throws. */
  async keep(): Promise<void> {
    const { positionFile, settle, log } = this.#options;
    this.#keepAt = performance.now() + keepMs;
    const text = JSON.stringify(this.#answered);
    if (text === this.#kept) return;
    try {
      if (!(await settle())) throw new WeirError('disk-full', 'alerts are not on disk yet');
      await writeDurably(positionFile, text);
      this.#kept = text;
      if (this.#unkept !== undefined) log.info('the position in the journals is kept again');
      this.#unkept = undefined;
    } catch (error) {
      const { message } = asWeirError(error);
      if (this.#unkept === undefined)
        log.warn('the position in the journals cannot be kept; it is tried again', { error: message });
      this.#unkept = message;
    }
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#pause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

function parsePosition(text: string): Checkpoint | undefined {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Object.entries(value as Record<string, { segment?: unknown; offset?: unknown } | null>);
  const sound = entries.every(([, one]) => Number.isSafeInteger(one?.segment) && Number.isSafeInteger(one?.offset));
  return sound ? (value as Checkpoint) : undefined;
}
