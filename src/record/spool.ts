// What an agent records while nobody takes it: a journal bounded in bytes, read from where the centre acknowledged, forgotten
// from there. Also ends what a killed run left open. Sending is spool-replay.ts; the files are the journal's own.

import { stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, type Micros, renderMicros } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { SpoolState } from '../model/agent.ts';
import type { EventSink, WeirEvent } from '../model/event.ts';
import { isFirstRecord, type SessionRecord, sequenceAfter } from '../model/session.ts';
import { segmentHeaderBytes, segmentName } from './journal-format.ts';
import { listSegments } from './journal-tail.ts';
import { JournalWriter } from './journal-writer.ts';
import { SegmentCursor } from './segment-cursor.ts';
import { recordTime, SpoolBatch } from './spool-batch.ts';
import { type OpenSession, OpenSessions } from './spool-open.ts';
import { readPosition, type SpoolPosition, writePosition } from './spool-position.ts';

export interface SpoolOptions {
  /** `spool/` of the agent's data directory; made when missing. */
  readonly directory: string;
  /** Of all segments on disk. From 7/8 of it on sessions are kept without their bytes, at the end nothing new is. */
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: an eighth of `maxBytes`, 8 MiB at most. */
  readonly segmentBytes?: number;
  /** For the disk, in memory; default 8 MiB. */
  readonly bufferBytes?: number;
}

/** Records in order, and where reading stands behind them. */
export interface SpoolPiece {
  readonly batch: SpoolBatch;
  readonly records: number;
  readonly segment: number;
  readonly offset: number;
}

const writerName = 'agent';
/** Ends of sessions that found no room and wait for it. */
const maxOwed = 16_384;
const owedEveryMs = 1000;
/** A position is written down so often at most: what was sent since is sent again after a kill, and known at the centre. */
const settleMs = 200;
/**
 * By how much the record that ends a killed run's session jumps ahead: the centre may have had records of which this disk lost the
 * last ones, and takes only higher numbers.
 */
const sequenceJump = 1024;

export class Spool implements EventSink {
  readonly #options: SpoolOptions;
  readonly #directory: string;
  readonly #journal: JournalWriter;
  readonly #cursor: SegmentCursor;
  /** As of the acknowledged position. */
  readonly #open: OpenSessions;
  readonly #owed = new OpenSessions(maxOwed);
  /** Of the piece given out last. */
  #unsettled: OpenSession[] = [];
  #position: SpoolPosition;
  #keptBytes: number;
  /** The journal itself writes one when it begins. */
  #records = 1;
  #lastGiven: Micros | undefined;
  #oldest: Micros | undefined;
  #dropped: number;
  #owedTimer: NodeJS.Timeout | undefined;
  #settledAt = 0;
  #settling: Promise<void> = Promise.resolve();
  #dirty = false;
  #held: WeirEvent | undefined;
  #closed = false;
  #lastLossAt = Number.NEGATIVE_INFINITY;

  private constructor(options: SpoolOptions, position: SpoolPosition, keptBytes: number) {
    this.#options = options;
    this.#directory = join(options.directory, writerName);
    this.#position = position;
    this.#dropped = position.droppedRecords;
    this.#keptBytes = keptBytes;
    this.#open = new OpenSessions(maxOwed, position.open);
    this.#journal = new JournalWriter({
      directory: this.#directory,
      segmentBytes: options.segmentBytes ?? Math.min(8 * 2 ** 20, Math.max(64 * 1024, Math.floor(options.maxBytes / 8))),
      bufferBytes: options.bufferBytes ?? 8 * 2 ** 20,
      clock: options.clock,
      log: options.log,
    });
    this.#cursor = new SegmentCursor(writerName, this.#directory, position.segment, position.offset);
  }

  /**
   * Takes the directory (`already-running` when another process has it), looks through what waits, and ends sessions that an
   * earlier run left open. Takes as long as reading what waits does.
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    const directory = join(options.directory, writerName);
    let position = await readPosition(options.directory, options.log);
    let keptBytes = 0;
    const segments = listSegments(directory);
    // Behind what is there: somebody emptied the directory, and its numbers begin anew.
    if (position.segment > (segments.at(-1) ?? 0)) position = { ...position, segment: 0, offset: 0 };
    for (const segment of segments) {
      const path = join(directory, segmentName(segment));
      // Acknowledged, and killed before it was removed.
      if (segment < position.segment) await unlink(path).catch(() => {});
      else keptBytes += (await stat(path)).size;
    }
    const spool = new Spool(options, position, keptBytes);
    await spool.#endEarlierRuns();
    return spool;
  }

  /** False when it found no room: counted, and with a session's end kept until there is some. */
  append(event: WeirEvent): boolean {
    const { maxBytes } = this.#options;
    const used = this.usedBytes;
    if (used >= maxBytes) return this.#refused(event);
    const bare = used >= maxBytes - maxBytes / 8 && event.kind === 'session' && event.session.chunks.length > 0;
    const kept: WeirEvent = bare ? { kind: 'session', session: { ...event.session, chunks: [], truncated: true } } : event;
    if (!this.#journal.append(kept)) return this.#refused(event);
    this.#records += 1;
    this.#oldest ??= this.#options.clock();
    return true;
  }

  /** Of the disk, and what waits for it. */
  get usedBytes(): number {
    const { bytes, pendingBytes } = this.#journal.counters();
    return this.#keptBytes + bytes + pendingBytes;
  }

  state(): SpoolState {
    const { diskFull, pendingBytes } = this.#journal.counters();
    return {
      records: this.#records,
      bytes: this.#records === 0 ? 0 : this.usedBytes,
      droppedRecords: this.#dropped,
      diskFull: diskFull && pendingBytes > 0,
      ...(this.#oldest === undefined || this.#records === 0 ? {} : { oldest: renderMicros(this.#oldest) }),
    };
  }

  /** The next records, up to about `maxBytes`; undefined when there are none now. Follow it by `acknowledge` or `rewind`. */
  async next(maxBytes: number): Promise<SpoolPiece | undefined> {
    const batch = new SpoolBatch();
    const passed: OpenSession[] = [];
    let { segment, offset } = this.#cursor;
    while (batch.sizeBytes < maxBytes) {
      const event = this.#held ?? (await this.#read());
      this.#held = undefined;
      if (event === undefined) break;
      if (!batch.add(event)) {
        if (batch.records === 0) continue;
        this.#held = event;
        break;
      }
      if (event.kind === 'session') passed.push(event.session);
      this.#lastGiven = recordTime(event);
      ({ segment, offset } = this.#cursor);
    }
    this.#unsettled = passed;
    if (batch.records === 0) {
      // Nothing waits: the counts begin anew, whatever damage took of them.
      if (this.#journal.counters().pendingBytes === 0 && !this.#held) this.#records = 0;
      if (this.#dirty) await this.#settle();
      return undefined;
    }
    return { batch, records: batch.records, segment, offset };
  }

  /** The centre has them for good: they are forgotten here, durably within a moment. */
  async acknowledge(piece: SpoolPiece): Promise<void> {
    for (const session of this.#unsettled) this.#open.see(session);
    this.#unsettled = [];
    this.#records = Math.max(0, this.#records - piece.records);
    // What still waits is no older.
    this.#oldest = this.#records === 0 ? undefined : this.#lastGiven;
    this.#dirty = true;
    const left = piece.segment > this.#position.segment;
    this.#position = { ...this.#position, segment: piece.segment, offset: piece.offset };
    if (left || performance.now() - this.#settledAt >= settleMs || this.#records === 0) await this.#settle();
  }

  /** What was given out and not acknowledged comes again. */
  async rewind(): Promise<void> {
    this.#unsettled = [];
    this.#held = undefined;
    await this.#cursor.close();
    this.#cursor.segment = this.#position.segment;
    this.#cursor.offset = this.#position.offset;
  }

  /** Everything appended so far is on disk when it resolves with true. */
  flush(): Promise<boolean> {
    return this.#journal.flush();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#owedTimer);
    this.#payOwed();
    await this.#journal.close();
    await this.#settle();
    await this.#cursor.close();
  }

  async #read(): Promise<WeirEvent | undefined> {
    for (;;) {
      const step = await this.#cursor.next();
      if (step.kind === 'event') return step.event;
      if (step.kind === 'end') return undefined;
      if (step.kind === 'damage') this.#options.log.warn('bytes of the spool are no records', { ...step.damage });
    }
  }

  #refused(event: WeirEvent): false {
    const { log } = this.#options;
    if (event.kind === 'session' && event.session.outcome !== 'open' && !isFirstRecord(event.session)) {
      if (this.#owed.hold(event.session)) {
        this.#owedTimer ??= setTimeout(() => this.#payOwed(), owedEveryMs).unref();
        return false;
      }
    }
    this.#dropped += 1;
    const now = performance.now();
    if (now - this.#lastLossAt > 60_000) {
      this.#lastLossAt = now;
      log.error('the spool is full: records are dropped and counted', {
        droppedRecords: this.#dropped,
        usedBytes: this.usedBytes,
      });
    }
    return false;
  }

  /** Ends of sessions of which the beginning is on disk. */
  #payOwed(): void {
    this.#owedTimer = undefined;
    for (const session of this.#owed.take()) {
      const event: WeirEvent = { kind: 'session', session: { ...session, chunks: [], truncated: true } };
      if (this.usedBytes >= this.#options.maxBytes || !this.#journal.append(event)) {
        this.#owed.hold(session);
        break;
      }
      this.#records += 1;
    }
    if (this.#owed.size > 0 && !this.#closed) this.#owedTimer = setTimeout(() => this.#payOwed(), owedEveryMs).unref();
  }

  #settle(): Promise<void> {
    this.#settling = this.#settling.then(() => this.#settleOnce());
    return this.#settling;
  }

  async #settleOnce(): Promise<void> {
    const { log, directory } = this.#options;
    const { segment } = this.#position;
    this.#settledAt = performance.now();
    this.#dirty = false;
    try {
      this.#position = { ...this.#position, droppedRecords: this.#dropped, open: this.#open.list() };
      await writePosition(directory, this.#position);
    } catch (error) {
      // The old one stands: what was acknowledged since is sent again after a restart, and nothing is removed.
      this.#dirty = true;
      log.warn('the position in the spool cannot be written', { error: error instanceof Error ? error.message : String(error) });
      return;
    }
    for (const old of listSegments(this.#directory)) {
      if (old >= segment) break;
      const path = join(this.#directory, segmentName(old));
      const { size } = await stat(path).catch(() => ({ size: 0 }));
      await unlink(path).then(
        () => {
          // The journal's own count has no headers in it.
          this.#keptBytes -= old < this.#journal.epoch ? size : Math.max(0, size - segmentHeaderBytes);
        },
        (error) => log.warn('a segment of the spool cannot be removed', { path, error: String(error) }),
      );
    }
  }

  async #endEarlierRuns(): Promise<void> {
    const { log } = this.#options;
    const { epoch } = this.#journal;
    const left = new OpenSessions(Number.POSITIVE_INFINITY, this.#position.open);
    const cursor = new SegmentCursor(writerName, this.#directory, this.#position.segment, this.#position.offset);
    let waiting = 0;
    for (;;) {
      const step = await cursor.next();
      if (step.kind === 'end' || (step.kind === 'run' && step.epoch >= epoch)) break;
      if (step.kind !== 'event') continue;
      waiting += 1;
      this.#oldest ??= recordTime(step.event);
      if (step.event.kind === 'session') left.see(step.event.session);
    }
    await cursor.close();
    this.#records += waiting;
    const ended = left.list();
    for (const session of ended) this.append({ kind: 'session', session: interruptedAt(session) });
    if (ended.length > 0) log.warn('sessions were interrupted: the agent was killed', { sessions: ended.length });
  }
}

/** As known, ended where it was last heard of. */
const interruptedAt = (session: OpenSession): SessionRecord => ({
  ...session,
  sequence: sequenceAfter(session.sequence, sequenceJump),
  outcome: 'interrupted',
  end: Math.max(session.start, session.recordedAt ?? session.start),
});
