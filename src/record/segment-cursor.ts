// Reads one writer's segments in order from a position, record by record, and steps over damage. The newest segment may
// still grow: what looks torn there is looked at again before it counts as damage. Who waits and when is journal-reader.ts.

import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { WeirEvent } from '../model/event.ts';
import { decodeEvent } from './event-codec.ts';
import {
  checkRecord,
  decodeSegmentHeader,
  findRecord,
  recordHeaderBytes,
  type SegmentHeader,
  segmentHeaderBytes,
  segmentName,
} from './journal-format.ts';
import { listSegments } from './journal-tail.ts';

/** Bytes of a segment that are no records. */
export interface JournalDamage {
  readonly writer: string;
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
}

export type CursorStep =
  | { readonly kind: 'event'; readonly event: WeirEvent }
  /** A run of the writer starts here: its earlier runs are over. */
  | { readonly kind: 'run'; readonly epoch: number }
  | { readonly kind: 'damage'; readonly damage: JournalDamage }
  /** Nothing more for now. */
  | { readonly kind: 'end' };

const blockBytes = 256 * 1024;
/** Torn bytes at the end of a growing segment count as damage after this long. */
const suspicionMs = 1000;
const atEnd: CursorStep = { kind: 'end' };

export class SegmentCursor {
  readonly writer: string;
  segment: number;
  /** Offset in the file after the last record given out. */
  offset: number;
  readonly #directory: string;
  #epoch = -1;
  #run = '';
  #header: SegmentHeader | undefined;
  #handle: FileHandle | undefined;
  #block: Buffer = Buffer.alloc(0);
  /** `#block[#from..#to)` is the file from `offset` on. */
  #from = 0;
  #to = 0;
  #suspectSince = 0;

  constructor(writer: string, directory: string, segment: number, offset: number) {
    this.writer = writer;
    this.#directory = directory;
    this.segment = segment;
    this.offset = offset;
  }

  get epoch(): number {
    return this.#epoch;
  }

  async next(): Promise<CursorStep> {
    for (;;) {
      if (!this.#header) {
        const opened = await this.#open();
        if (opened) return opened;
        continue;
      }
      const check = checkRecord(this.#block, this.#from, this.#to, this.#header.salt);
      if (check.state === 'whole') {
        const at = this.#from;
        const decoded = decodeEvent(this.#block, at + recordHeaderBytes, check.end, this.#run);
        this.#suspectSince = 0;
        const { segment, offset } = this;
        this.offset += check.end - at;
        this.#from = check.end;
        if (decoded) return { kind: 'event', event: decoded.event };
        return this.#damage(segment, offset, check.end - at);
      }
      if (check.state === 'short' && (await this.#fill()) > 0) continue;
      const step = await this.#torn();
      if (step) return step;
    }
  }

  /** Frees the file; the position stays. */
  async close(): Promise<void> {
    await this.#handle?.close().catch(() => {});
    this.#handle = undefined;
    this.#header = undefined;
  }

  #damage(segment: number, offset: number, bytes: number): CursorStep {
    return { kind: 'damage', damage: { writer: this.writer, segment, offset, bytes } };
  }

  /** Opens the segment at the position, or the next there is. */
  async #open(): Promise<CursorStep | undefined> {
    if (!this.#handle) {
      const segments = listSegments(this.#directory);
      const segment = segments.find((candidate) => candidate >= this.segment);
      if (segment === undefined) return atEnd;
      if (segment !== this.segment) this.offset = 0;
      this.segment = segment;
      try {
        this.#handle = await open(join(this.#directory, segmentName(segment)), 'r');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return atEnd;
        throw error;
      }
    }
    const bytes = Buffer.alloc(segmentHeaderBytes);
    const { bytesRead } = await this.#handle.read(bytes, 0, segmentHeaderBytes, 0);
    const header = bytesRead === segmentHeaderBytes ? decodeSegmentHeader(bytes) : undefined;
    if (!header) {
      if (!this.#hasSuccessor()) {
        await this.close();
        return atEnd;
      }
      const { size } = await this.#handle.stat();
      const { segment } = this;
      await this.#leave();
      return size === 0 ? undefined : this.#damage(segment, 0, size);
    }
    this.#header = header;
    this.offset = Math.max(this.offset, segmentHeaderBytes);
    this.#from = 0;
    this.#to = 0;
    if (header.epoch === this.#epoch) return undefined;
    this.#epoch = header.epoch;
    this.#run = `${this.writer}#${header.epoch}`;
    return { kind: 'run', epoch: header.epoch };
  }

  #hasSuccessor(): boolean {
    return (listSegments(this.#directory).at(-1) ?? 0) > this.segment;
  }

  async #leave(): Promise<void> {
    await this.close();
    this.segment += 1;
    this.offset = 0;
    this.#suspectSince = 0;
  }

  /** Reads on behind what is in the block; gives the number of new bytes. */
  async #fill(wanted = blockBytes): Promise<number> {
    const held = this.#to - this.#from;
    if (this.#block.length - this.#to < wanted) {
      const block = this.#block.length - held >= wanted ? this.#block : Buffer.allocUnsafeSlow(held + Math.max(wanted, held));
      this.#block.copy(block, 0, this.#from, this.#to);
      this.#block = block;
      this.#from = 0;
      this.#to = held;
    }
    const handle = this.#handle as FileHandle;
    const { bytesRead } = await handle.read(this.#block, this.#to, this.#block.length - this.#to, this.offset + held);
    this.#to += bytesRead;
    return bytesRead;
  }

  /** At the position stands no whole record and the file gives no more: the end, or damage. */
  async #torn(): Promise<CursorStep | undefined> {
    const header = this.#header as SegmentHeader;
    const closed = this.#hasSuccessor();
    if (this.#from === this.#to) {
      if (!closed) {
        if (this.#block.length > blockBytes * 2) this.#block = Buffer.alloc(0);
        this.#from = 0;
        this.#to = 0;
        return atEnd;
      }
      // The writer may have added to it before it left it.
      if ((await this.#fill()) > 0) return undefined;
      await this.#leave();
      return undefined;
    }
    if (!closed && (this.#suspectSince === 0 || Date.now() - this.#suspectSince < suspicionMs)) {
      if (this.#suspectSince === 0) this.#suspectSince = Date.now();
      this.#from = 0;
      this.#to = 0;
      return atEnd;
    }
    while ((await this.#fill()) > 0);
    if (checkRecord(this.#block, this.#from, this.#to, header.salt).state === 'whole') return undefined;
    const found = findRecord(this.#block, this.#from, this.#to, header.salt);
    if (found < 0 && !closed) {
      this.#suspectSince = Date.now();
      this.#from = 0;
      this.#to = 0;
      return atEnd;
    }
    const { segment, offset } = this;
    const bytes = (found < 0 ? this.#to : found) - this.#from;
    this.offset += bytes;
    this.#from += bytes;
    this.#suspectSince = 0;
    return this.#damage(segment, offset, bytes);
  }
}
