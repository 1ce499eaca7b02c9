// One direction of a TCP connection put together again from its segments: duplicates dropped, order restored, gaps waited
// for within bounds and then given up and counted. Pure; where segments come from (a capture, a file) is the caller's.
// Source: RFC 9293, sections 3.4 (sequence numbers) and 3.10.7.4 (what a receiver keeps).

import type { Micros } from '../base/clock.ts';

export interface StreamLimits {
  /** Bytes and segments that wait behind a gap; beyond either the gap is given up. */
  readonly waitingBytes: number;
  readonly waitingSegments: number;
}

export const defaultStreamLimits: StreamLimits = { waitingBytes: 256 << 10, waitingSegments: 64 };

/** Bytes in order. They are views of what was pushed: copy what is kept beyond the call. */
export type StreamReceiver = (bytes: Uint8Array, at: Micros) => void;

interface Waiting {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly at: Micros;
}

/** A segment further away than this from where the stream is belongs to no window of it (RFC 7323, section 2.2). */
const farthest = 1 << 30;

export class TcpStream {
  readonly #limits: StreamLimits;
  readonly #receive: StreamReceiver;
  /** Sequence number of the next byte; undefined until the first segment tells. */
  #next: number | undefined;
  /** Bytes since the stream's beginning, given up ones with them: what the offset of `#next` is. */
  #position = 0;
  /** Behind a gap, in order of offset, not overlapping. */
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #end: number | undefined;
  /** Begins where its first segment was, not with a SYN. */
  #guessed = false;
  /** Bytes handed on, and bytes that never came. */
  delivered = 0;
  missing = 0;

  constructor(receive: StreamReceiver, limits: StreamLimits = defaultStreamLimits) {
    this.#receive = receive;
    this.#limits = limits;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get begun(): boolean {
    return this.#next !== undefined;
  }

  /** Sequence number of the next byte that is waited for; undefined before the first segment. */
  get next(): number | undefined {
    return this.#next;
  }

  /** A FIN was seen, and nothing beyond it. */
  get finished(): boolean {
    return this.#end !== undefined;
  }

  /** True once everything up to the FIN was handed on or given up. */
  get ended(): boolean {
    return this.#end !== undefined && this.#position >= this.#end;
  }

  /** A SYN with this sequence number: data begins one after it. A second one changes nothing. */
  begin(sequence: number): void {
    this.#next ??= (sequence + 1) >>> 0;
  }

  /** A segment began here of whose bytes none are known: without `begin` it tells where the stream is, as the first `push` does. */
  guess(sequence: number): void {
    if (this.#next !== undefined) return;
    this.#next = sequence;
    this.#guessed = true;
  }

  /** The receiver says which SYN it took: that one counts, whatever others were sent. Only before the first byte. */
  beginAt(sequence: number): void {
    if (this.#position === 0 && this.#waiting.length === 0) this.#next = (sequence + 1) >>> 0;
  }

  /**
   * A segment with these bytes. Without `begin` the first one tells where the stream is. Bytes may lie in a buffer that is
   * used again: what has to wait is copied.
   */
  push(sequence: number, bytes: Uint8Array, at: Micros): void {
    if (bytes.length === 0) return;
    this.guess(sequence);
    const offset = this.#offsetOf(sequence);
    if (offset === undefined) return;
    // Whoever chose which segment came first shall not hide what lies before it: better twice than not at all.
    if (offset < 0 && this.#guessed) this.#hand(bytes.subarray(0, -offset), at);
    // Nobody sends after a FIN: it was one that its receiver does not take either (RFC 7323, section 5.2), to hide the rest.
    if (this.#end !== undefined && offset + bytes.length > this.#end) this.#end = undefined;
    if (offset > this.#position) {
      this.#wait(offset, bytes, at);
      return;
    }
    const fresh = this.#position - offset;
    if (fresh >= bytes.length) return;
    this.#deliver(fresh === 0 ? bytes : bytes.subarray(fresh), at);
    if (this.#waiting.length > 0) this.#release();
  }

  /** A FIN with this sequence number: that of the byte after the last. */
  finish(sequence: number): void {
    if (this.#next === undefined) this.#next = sequence;
    const offset = this.#offsetOf(sequence);
    // The first FIN that can be true counts; a later one at another place is a lie or a retransmission.
    if (offset === undefined || offset < this.#position) return;
    const last = this.#waiting.at(-1);
    if (!last || last.offset + last.bytes.length <= offset) this.#end ??= offset;
  }

  /** The receiver acknowledged up to here: what is missing before it was seen by it, and will not come again. */
  acknowledged(sequence: number): void {
    if (this.#next === undefined) return;
    const offset = this.#offsetOf(sequence);
    if (offset === undefined || offset <= this.#position) return;
    // Only what data bears out: an acknowledgement of bytes nobody sent is no news.
    const last = this.#waiting.at(-1);
    if (!last || offset > last.offset + last.bytes.length + 1) return;
    while (this.#waiting.length > 0 && this.#waiting[0].offset < offset) this.#giveUp();
  }

  /** No more will come: gaps are given up, up to the FIN where there was one. */
  flush(): void {
    while (this.#waiting.length > 0) this.#giveUp();
    if (this.#end !== undefined && this.#end > this.#position) {
      this.missing += this.#end - this.#position;
      this.#advance(this.#end - this.#position);
    }
  }

  /** Distance from the stream's beginning; undefined when it is out of any window. */
  #offsetOf(sequence: number): number | undefined {
    const distance = (sequence - (this.#next as number)) | 0;
    if (distance > farthest || distance < -farthest) return undefined;
    return this.#position + distance;
  }

  #advance(count: number): void {
    this.#position += count;
    this.#next = ((this.#next as number) + count) >>> 0;
  }

  #deliver(bytes: Uint8Array, at: Micros): void {
    if (bytes.length === 0) return;
    this.#advance(bytes.length);
    this.#hand(bytes, at);
  }

  #hand(bytes: Uint8Array, at: Micros): void {
    this.delivered += bytes.length;
    this.#receive(bytes, at);
  }

  /** What came first stays where two segments claim the same bytes. */
  #wait(offset: number, bytes: Uint8Array, at: Micros): void {
    let index = this.#waiting.length;
    while (index > 0 && this.#waiting[index - 1].offset > offset) index -= 1;
    const before = this.#waiting[index - 1];
    const from = before ? Math.max(offset, before.offset + before.bytes.length) : offset;
    const after = this.#waiting[index];
    const to = Math.min(offset + bytes.length, after?.offset ?? Number.POSITIVE_INFINITY);
    if (to > from) {
      this.#waiting.splice(index, 0, { offset: from, bytes: bytes.slice(from - offset, to - offset), at });
      this.#waitingBytes += to - from;
    }
    // What reaches beyond the segment after it.
    if (after && offset + bytes.length > after.offset + after.bytes.length) {
      const rest = after.offset + after.bytes.length;
      this.#wait(rest, bytes.subarray(rest - offset), at);
      return;
    }
    while (this.#waitingBytes > this.#limits.waitingBytes || this.#waiting.length > this.#limits.waitingSegments) this.#giveUp();
  }

  #release(): void {
    while (this.#waiting.length > 0 && this.#waiting[0].offset <= this.#position) {
      const { offset, bytes, at } = this.#waiting.shift() as Waiting;
      this.#waitingBytes -= bytes.length;
      const fresh = this.#position - offset;
      if (fresh < bytes.length) this.#deliver(fresh === 0 ? bytes : bytes.subarray(fresh), at);
    }
  }

  /** The first gap will not be closed. */
  #giveUp(): void {
    const gap = this.#waiting[0].offset - this.#position;
    this.missing += gap;
    this.#advance(gap);
    this.#release();
  }
}
