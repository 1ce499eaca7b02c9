// Appends events to numbered segments in one directory: group writes, group fdatasync off the event loop, a hard bound
// on what waits. Owns the directory's lock. Knows nothing of readers or stores; the bytes are journal-format.ts.

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock, Micros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { EventSink, WeirEvent } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import { bodyBound, encodeEvent, maxBodyBytes } from './event-codec.ts';
import {
  encodeSegmentHeader,
  formatVersion,
  recordHeaderBytes,
  sealRecord,
  segmentHeaderBytes,
  segmentName,
} from './journal-format.ts';
import { JournalLock } from './journal-lock.ts';
import { cutTail, listSegments } from './journal-tail.ts';

export interface JournalWriterOptions {
  /** `journal/<writer>`; made when missing, mode 0700. */
  readonly directory: string;
  /** A segment is left once it is this long; default 64 MiB. */
  readonly segmentBytes?: number;
  /** Most bytes that may wait for the disk; default 32 MiB. From 7/8 of it on sessions are kept without their bytes. */
  readonly bufferBytes?: number;
  /** How long a record waits for others; default 25 ms. */
  readonly flushMs?: number;
  /** Between attempts on a disk that refuses; default 250 ms. */
  readonly retryMs?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface JournalCounters {
  /** Records and bytes that are on disk (fdatasync returned). */
  readonly records: number;
  readonly bytes: number;
  /** Records refused because the buffer was full or they were too large, and the bytes they would have taken. */
  readonly droppedRecords: number;
  readonly droppedBytes: number;
  /** Sessions kept without their chunks for the same reasons. */
  readonly strippedRecords: number;
  readonly pendingBytes: number;
  readonly epoch: number;
  readonly segment: number;
  readonly offset: number;
  readonly syncs: number;
  readonly lastSyncAt?: Micros;
  /** True from the first refused write until one succeeds. */
  readonly diskFull: boolean;
  /** `ENOSPC`, `EIO`, …: the last refusal, kept after recovery. */
  readonly lastError?: string;
}

/** A buffer of whole records. */
interface Slab {
  readonly buffer: Buffer;
  used: number;
  records: number;
}

const slabBytes = 256 * 1024;
const spareSlabs = 8;
const writeBytes = 1024 * 1024;
const reportEveryMicros = 1_000_000;

export class JournalWriter implements EventSink {
  readonly epoch: number;
  readonly #directory: string;
  readonly #program: string;
  readonly #segmentBytes: number;
  readonly #bufferBytes: number;
  readonly #flushMs: number;
  readonly #retryMs: number;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #salt = randomBytes(4).readUInt32LE(0);
  #lock: JournalLock | undefined;

  #current: Slab | undefined;
  /** Sealed slabs in order: the first `#written` of them are in the file but not yet synced. */
  #queue: Slab[] = [];
  #written = 0;
  #spare: Slab[] = [];
  #pendingBytes = 0;

  #handle: FileHandle | undefined;
  #directoryHandle: FileHandle | undefined;
  #segment: number;
  #offset = 0;
  #syncedOffset = 0;

  #timer: NodeJS.Timeout | undefined;
  #draining: Promise<boolean> | undefined;
  #closed = false;

  #records = 0;
  #bytes = 0;
  #droppedRecords = 0;
  #droppedBytes = 0;
  #strippedRecords = 0;
  #reportedLoss = 0;
  #reportedLossAt = 0;
  #firstLossAt: Micros | undefined;
  #syncs = 0;
  #lastSyncAt: Micros | undefined;
  #diskFull = false;
  #lastError: string | undefined;

  /** Throws `already-running` when another process writes the directory, `not-permitted` when it cannot be made. */
  constructor(options: JournalWriterOptions) {
    this.#directory = options.directory;
    this.#program = basename(options.directory);
    this.#segmentBytes = options.segmentBytes ?? 64 * 1024 * 1024;
    this.#bufferBytes = options.bufferBytes ?? 32 * 1024 * 1024;
    this.#flushMs = options.flushMs ?? 25;
    this.#retryMs = options.retryMs ?? 250;
    this.#clock = options.clock;
    this.#log = options.log;
    try {
      mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new WeirError('not-permitted', `the journal directory ${options.directory} cannot be made`, {}, error);
    }
    this.#takeLock();
    const cut = this.#cutTail();
    this.#segment = listSegments(options.directory).at(-1) ?? 0;
    this.epoch = this.#segment + 1;
    this.#appendSystem('process-started', `${this.#program} writes its journal`, { epoch: this.epoch, pid: process.pid });
    if (cut) {
      const message = `cut ${cut.bytesCut} bytes after the last good record of segment ${cut.segment}`;
      this.#log.warn('journal-damaged', { ...cut });
      this.#appendSystem('journal-cut', message, { ...cut });
    }
  }

  /**
   * Takes the event's bytes at once: the event may change afterwards. False when it was dropped (counted). A session
   * is kept without its chunks, marked truncated, when only that fits.
   */
  append(event: WeirEvent): boolean {
    if (this.#closed) return this.#drop(0);
    const bound = bodyBound(event) + recordHeaderBytes;
    const room = this.#bufferBytes - this.#pendingBytes;
    if (bound > maxBodyBytes || bound > room - this.#bufferBytes / 8) {
      if (event.kind === 'session' && event.session.chunks.length > 0) return this.#appendStripped(event, room);
      if (bound > maxBodyBytes || bound > room) return this.#drop(bound);
    }
    this.#write(event, bound);
    return true;
  }

  /** Resolves once everything appended so far is on disk (true), or an attempt to get it there failed (false). */
  async flush(): Promise<boolean> {
    this.#disarm();
    if (this.#draining) await this.#draining;
    return this.#drain();
  }

  counters(): JournalCounters {
    return {
      records: this.#records,
      bytes: this.#bytes,
      droppedRecords: this.#droppedRecords,
      droppedBytes: this.#droppedBytes,
      strippedRecords: this.#strippedRecords,
      pendingBytes: this.#pendingBytes,
      epoch: this.epoch,
      segment: this.#segment,
      offset: this.#offset,
      syncs: this.#syncs,
      ...(this.#lastSyncAt === undefined ? undefined : { lastSyncAt: this.#lastSyncAt }),
      diskFull: this.#diskFull,
      ...(this.#lastError === undefined ? undefined : { lastError: this.#lastError }),
    };
  }

  /** Writes what waits (one more attempt on a full disk), then gives the directory up. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const durable = await this.flush();
    this.#closed = true;
    this.#disarm();
    if (!durable) this.#log.error('journal closed with records that are not on disk', { pendingBytes: this.#pendingBytes });
    await this.#handle?.close().catch(() => {});
    await this.#directoryHandle?.close().catch(() => {});
    this.#handle = undefined;
    this.#directoryHandle = undefined;
    this.#lock?.release();
  }

  #takeLock(): void {
    try {
      this.#lock ??= JournalLock.take(this.#directory);
    } catch (error) {
      if (error instanceof WeirError) throw error;
      // A full disk may refuse even the lock; sessions matter more, and the next segment tries again.
      this.#note(error);
    }
  }

  #cutTail(): ReturnType<typeof cutTail> {
    try {
      return cutTail(this.#directory);
    } catch (error) {
      // The old segment stays as it is: readers step over its damage, and this run writes a segment of its own.
      this.#note(error);
      return undefined;
    }
  }

  #appendSystem(name: string, message: string, details: Record<string, unknown>): void {
    const at = this.#clock();
    this.append({ kind: 'system', system: { id: createIdentifier(at), at, name, program: this.#program, message, details } });
  }

  #appendStripped(event: WeirEvent & { kind: 'session' }, room: number): boolean {
    const { session } = event;
    let left = 0;
    for (const chunk of session.chunks) left += chunk.bytes.length;
    const facts: WeirEvent = { kind: 'session', session: { ...session, chunks: [], truncated: true } };
    const bound = bodyBound(facts) + recordHeaderBytes;
    if (bound > room) return this.#drop(bound + left);
    this.#strippedRecords += 1;
    this.#droppedBytes += left;
    this.#firstLossAt ??= this.#clock();
    this.#write(facts, bound);
    return true;
  }

  #drop(sizeBytes: number): false {
    this.#droppedRecords += 1;
    this.#droppedBytes += sizeBytes;
    this.#firstLossAt ??= this.#clock();
    return false;
  }

  #write(event: WeirEvent, bound: number): void {
    let slab = this.#current;
    if (!slab || slab.buffer.length - slab.used < bound) {
      if (slab && slab.used > 0) this.#queue.push(slab);
      slab = (bound <= slabBytes ? this.#spare.pop() : undefined) ?? {
        buffer: Buffer.allocUnsafeSlow(Math.max(slabBytes, bound)),
        used: 0,
        records: 0,
      };
      this.#current = slab;
    }
    const at = slab.used;
    const end = encodeEvent(event, this.#clock(), slab.buffer, at + recordHeaderBytes);
    sealRecord(slab.buffer, at, end, this.#salt);
    slab.used = end;
    slab.records += 1;
    this.#pendingBytes += end - at;
    if (this.#timer === undefined && this.#draining === undefined) this.#arm(this.#flushMs);
  }

  #arm(delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#drain();
    }, delayMs);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #drain(): Promise<boolean> {
    this.#draining ??= this.#drainOnce().finally(() => {
      this.#draining = undefined;
      if (this.#closed) return;
      this.#disarm();
      if (this.#queue.length > 0 || (this.#current && this.#current.used > 0)) {
        this.#arm(this.#diskFull ? this.#retryMs : this.#flushMs);
      } else if (this.#droppedRecords + this.#strippedRecords !== this.#reportedLoss) this.#arm(reportEveryMicros / 1000);
    });
    return this.#draining;
  }

  /** True when all that waited at the call is on disk. Never rejects. */
  async #drainOnce(): Promise<boolean> {
    try {
      // What a full disk left in the queue goes first. The slab in use is sealed only behind an empty queue: otherwise
      // every attempt on a full disk would leave one more slab that is almost empty.
      await this.#writeQueue();
      if (this.#current && this.#current.used > 0) {
        this.#queue.push(this.#current);
        this.#current = undefined;
        await this.#writeQueue();
      }
    } catch (error) {
      await this.#failed(error);
      return false;
    }
    this.#recovered();
    return true;
  }

  async #writeQueue(): Promise<void> {
    const through = this.#queue.length;
    if (through === 0) return;
    // `#rotate` syncs and so shortens the queue: count from its end.
    const behind = (): number => this.#queue.length - this.#written;
    let toWrite = through - this.#written;
    while (toWrite > 0) {
      const before = behind();
      await this.#writePiece(toWrite);
      toWrite -= before - behind();
    }
    await this.#sync();
  }

  /** Writes the next slabs, up to about a mebibyte, at the end of the segment. */
  async #writePiece(most: number): Promise<void> {
    const buffers: Buffer[] = [];
    let size = 0;
    while (buffers.length < most) {
      const slab = this.#queue[this.#written + buffers.length];
      if (size > 0 && size + slab.used > writeBytes) break;
      buffers.push(slab.buffer.subarray(0, slab.used));
      size += slab.used;
    }
    if (!this.#handle || this.#offset + size > this.#segmentBytes) await this.#rotate();
    const handle = this.#handle as unknown as FileHandle;
    let written = 0;
    let rest = buffers;
    while (written < size) {
      const { bytesWritten } = await handle.writev(rest, this.#offset + written);
      if (bytesWritten === 0) throw Object.assign(new Error('nothing written'), { code: 'ENOSPC' });
      written += bytesWritten;
      if (written < size) rest = [Buffer.concat(buffers).subarray(written)];
    }
    this.#offset += size;
    this.#written += buffers.length;
  }

  async #sync(): Promise<void> {
    if (this.#written === 0) return;
    const handle = this.#handle as unknown as FileHandle;
    try {
      await handle.datasync();
    } catch (error) {
      // After a failed fdatasync the kernel may have thrown the pages away: nothing since the last good one counts, and
      // the records go to a new segment. Those that did arrive are there twice; readers apply them once.
      this.#written = 0;
      this.#handle = undefined;
      await handle.truncate(this.#syncedOffset).catch(() => {});
      await handle.close().catch(() => {});
      throw error;
    }
    this.#syncs += 1;
    this.#lastSyncAt = this.#clock();
    this.#syncedOffset = this.#offset;
    for (const slab of this.#queue.splice(0, this.#written)) {
      this.#records += slab.records;
      this.#bytes += slab.used;
      this.#pendingBytes -= slab.used;
      if (slab.buffer.length === slabBytes && this.#spare.length < spareSlabs) {
        slab.used = 0;
        slab.records = 0;
        this.#spare.push(slab);
      }
    }
    this.#written = 0;
  }

  /** Opens the next segment. When that is refused and the present one still works, it goes on growing. */
  async #rotate(): Promise<void> {
    if (this.#handle) await this.#sync();
    if (!this.#lock) this.#takeLock();
    const previous = this.#handle;
    const path = join(this.#directory, segmentName(this.#segment + 1));
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'wx', 0o640);
      // The umask is the whole process's, and whoever listens on a unix socket narrows it for a moment.
      await handle.chmod(0o640);
      const { epoch } = this;
      const created = this.#clock();
      const header = { version: formatVersion, epoch, segment: this.#segment + 1, created, salt: this.#salt };
      const { bytesWritten } = await handle.write(encodeSegmentHeader(header), 0, segmentHeaderBytes, 0);
      if (bytesWritten < segmentHeaderBytes) throw Object.assign(new Error('no room for a header'), { code: 'ENOSPC' });
      await handle.datasync();
      await this.#syncDirectory();
    } catch (error) {
      await handle?.close().catch(() => {});
      if (handle) await unlink(path).catch(() => {});
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') this.#segment += 1;
      if (!previous || this.#offset > 2 * this.#segmentBytes) throw error;
      this.#note(error);
      return;
    }
    await previous?.close().catch(() => {});
    this.#handle = handle;
    this.#segment += 1;
    this.#offset = segmentHeaderBytes;
    this.#syncedOffset = segmentHeaderBytes;
  }

  async #syncDirectory(): Promise<void> {
    try {
      this.#directoryHandle ??= await open(this.#directory, 'r');
      await this.#directoryHandle.sync();
    } catch (error) {
      // Where directories cannot be opened or flushed (Windows), making a file is durable by itself.
      if (!['EISDIR', 'EPERM', 'EACCES', 'EINVAL'].includes(String((error as NodeJS.ErrnoException).code))) throw error;
    }
  }

  async #failed(error: unknown): Promise<void> {
    const first = !this.#diskFull;
    this.#diskFull = true;
    this.#note(error);
    if (first) this.#log.error('the journal cannot be written; records wait in memory', { error: this.#lastError });
    // A half-written piece is cut off, so that a crash now leaves whole records only.
    await this.#handle?.truncate(this.#offset).catch(() => {});
    if (this.#handle && this.#written > 0) await this.#sync().catch((cause) => this.#note(cause));
  }

  #note(error: unknown): void {
    this.#lastError = String((error as NodeJS.ErrnoException).code ?? (error as Error).message ?? error);
  }

  #recovered(): void {
    if (this.#diskFull) {
      this.#diskFull = false;
      this.#log.info('the journal is written again', { pendingBytes: this.#pendingBytes });
    }
    const lost = this.#droppedRecords + this.#strippedRecords;
    if (lost === this.#reportedLoss || this.#pendingBytes > this.#bufferBytes / 2) return;
    const at = this.#clock();
    if (at - this.#reportedLossAt < reportEveryMicros) return;
    this.#reportedLoss = lost;
    this.#reportedLossAt = at;
    const details = {
      droppedRecords: this.#droppedRecords,
      droppedBytes: this.#droppedBytes,
      strippedRecords: this.#strippedRecords,
      since: this.#firstLossAt,
      until: at,
      cause: this.#lastError ?? 'the disk was slower than the flood',
    };
    this.#firstLossAt = undefined;
    const message = `${this.#droppedRecords} records and ${this.#droppedBytes} bytes were lost since ${this.#program} started`;
    const id = createIdentifier(at);
    this.append({ kind: 'alert', alert: { id, at, name: 'records-lost', severity: 'high', message, details } });
  }
}
