// Puts the records of a session together until it ended, as far as analysis looks at it. What does not fit in memory is let
// go: the store has it, and `missing` says which sessions have to be read back. Reads nothing itself; judges nothing.

import type { Micros } from '../base/clock.ts';
import type { WeirEvent } from '../model/event.ts';
import { type Chunk, type SessionRecord, startsOver } from '../model/session.ts';
import { type SessionView, viewBytes } from './session-view.ts';

export interface GathererLimits {
  /** Sessions that sent something and have not ended; default 20,000. */
  readonly maxSessions?: number;
  /** Of their bytes; default 32 MiB. */
  readonly maxBytes?: number;
}

export interface GathererCounters {
  /** Sessions held now, and their bytes. */
  readonly held: number;
  readonly heldBytes: number;
  /** Let go because of the bounds; they are read back from the store when they end. */
  readonly spilled: number;
  /** Sessions that were looked at without all of their bytes: neither held nor read back. */
  readonly partial: number;
}

interface Held {
  sequence: number;
  nextChunk: number;
  firstInput: Micros | undefined;
  readonly input: Gathered;
  readonly output: Gathered;
}

const noBytes = new Uint8Array(0);
/** What a held session costs beside its bytes. */
const overheadBytes = 400;

/** Up to `viewBytes`, in one piece however small the chunks were. */
class Gathered {
  #bytes: Uint8Array = noBytes;
  #length = 0;

  get capacity(): number {
    return this.#bytes.length;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  add(piece: Uint8Array): void {
    const taken = Math.min(piece.length, viewBytes - this.#length);
    if (taken <= 0) return;
    const wanted = this.#length + taken;
    if (wanted > this.#bytes.length) {
      const grown = new Uint8Array(this.#length === 0 ? wanted : Math.min(viewBytes, Math.max(wanted, 2 * this.#bytes.length)));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(piece.subarray(0, taken), this.#length);
    this.#length = wanted;
  }
}

/** Bytes of one direction; a single chunk is not copied. */
function joined(chunks: readonly Chunk[], direction: Chunk['direction']): Uint8Array {
  let only: Uint8Array | undefined;
  let several: Gathered | undefined;
  for (const chunk of chunks) {
    if (chunk.direction !== direction) continue;
    if (several) several.add(chunk.bytes);
    else if (!only) only = chunk.bytes;
    else {
      several = new Gathered();
      several.add(only);
      several.add(chunk.bytes);
    }
  }
  if (several) return several.bytes;
  if (only === undefined) return noBytes;
  return only.length > viewBytes ? only.subarray(0, viewBytes) : only;
}

function viewOf(record: SessionRecord, input: Uint8Array, output: Uint8Array, firstInput: Micros | undefined): SessionView {
  // The record itself, whose chunks nobody who has a view can name: a copy of each costs more than all else here.
  return firstInput === undefined ? { session: record, input, output } : { session: record, input, output, firstInput };
}

/** The view of a session of which all bytes are in one record. */
export function wholeView(record: SessionRecord): SessionView {
  const { chunks } = record;
  if (chunks.length === 0) return viewOf(record, noBytes, noBytes, undefined);
  const first = chunks.find(({ direction }) => direction === 'in');
  return viewOf(record, joined(chunks, 'in'), joined(chunks, 'out'), first?.at);
}

export class SessionGatherer {
  readonly #maxSessions: number;
  readonly #maxBytes: number;
  readonly #held = new Map<string, Held>();
  #heldBytes = 0;
  #spilled = 0;
  #partial = 0;

  constructor(limits: GathererLimits = {}) {
    this.#maxSessions = limits.maxSessions ?? 20_000;
    this.#maxBytes = limits.maxBytes ?? 32 * 1024 * 1024;
  }

  counters(): GathererCounters {
    return { held: this.#held.size, heldBytes: this.#heldBytes, spilled: this.#spilled, partial: this.#partial };
  }

  /**
   * Sessions that end in this batch and whose earlier bytes are not here, with the index of the first chunk that is. Ask
   * before `take`, and give `recall` what the store has of them.
   */
  missing(events: readonly WeirEvent[]): Map<string, number> {
    const missing = new Map<string, number>();
    let firsts: Map<string, number> | undefined;
    for (const event of events) {
      if (event.kind !== 'session') continue;
      const { id, firstChunk, outcome } = event.session;
      if (outcome === 'open') {
        if (this.#held.has(id)) continue;
        firsts ??= new Map();
        if (!firsts.has(id)) firsts.set(id, firstChunk);
        continue;
      }
      const first = firsts?.get(id) ?? firstChunk;
      if (first > 0 && !this.#held.has(id)) missing.set(id, first);
    }
    return missing;
  }

  /** The chunks before `nextChunk` of a session that `missing` named. */
  recall(id: string, chunks: readonly Chunk[], nextChunk: number): void {
    if (this.#held.has(id)) return;
    // A store that has fewer than were recorded: what is missing there is missing here.
    const known = chunks.slice(0, nextChunk);
    if (known.length < nextChunk) this.#partial += 1;
    const held = this.#hold(id, nextChunk);
    this.#add(held, known);
  }

  /** The session once it ended; undefined until then, and for records that were taken before. */
  take(record: SessionRecord): SessionView | undefined {
    const { id, firstChunk, chunks, outcome } = record;
    // Mostly none is held: then there is nothing to look up.
    let held = this.#held.size > 0 ? this.#held.get(id) : undefined;
    if (!held) {
      if (outcome !== 'open') {
        if (firstChunk > 0) this.#partial += 1;
        return wholeView(record);
      }
      // Nothing to hold yet, or its beginning is in the store: there it is whole when it ends.
      if (firstChunk > 0 || chunks.length === 0) return undefined;
      held = this.#hold(id, 0);
    }
    if (record.sequence <= held.sequence) return undefined;
    if (held.sequence >= 0 && startsOver(record, held.sequence)) {
      this.#drop(id, held);
      held = this.#hold(id, 0);
    }
    held.sequence = record.sequence;
    const known = held.nextChunk - firstChunk;
    if (known < 0) this.#partial += 1;
    this.#add(held, known > 0 ? chunks.slice(known) : chunks);
    held.nextChunk = Math.max(held.nextChunk, firstChunk + chunks.length);
    if (outcome === 'open') return undefined;
    this.#drop(id, held);
    return viewOf(record, held.input.bytes, held.output.bytes, held.firstInput);
  }

  /** After the batch is in the store: lets the oldest go until what is held is within its bounds. */
  settle(): void {
    for (const [id, held] of this.#held) {
      if (this.#held.size <= this.#maxSessions && this.#heldBytes <= this.#maxBytes) return;
      this.#drop(id, held);
      this.#spilled += 1;
    }
  }

  #hold(id: string, nextChunk: number): Held {
    const held: Held = { sequence: -1, nextChunk, firstInput: undefined, input: new Gathered(), output: new Gathered() };
    this.#held.set(id, held);
    this.#heldBytes += overheadBytes;
    return held;
  }

  #drop(id: string, held: Held): void {
    this.#held.delete(id);
    this.#heldBytes -= overheadBytes + held.input.capacity + held.output.capacity;
  }

  #add(held: Held, chunks: readonly Chunk[]): void {
    const before = held.input.capacity + held.output.capacity;
    for (const { direction, at, bytes } of chunks) {
      if (direction === 'in') held.firstInput ??= at;
      held[direction === 'in' ? 'input' : 'output'].add(bytes);
    }
    this.#heldBytes += held.input.capacity + held.output.capacity - before;
  }
}
