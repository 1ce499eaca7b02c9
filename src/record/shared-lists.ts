// Lists of codes of many sources as the engine gives them, several a source, merged into one as they come: the least ones, and
// credentials in the order they were tried. All in a few arrays as long as the number of sources, because an object for each
// source and list costs more to make and to clear away than to merge.

import { type DuckDBDataChunk, DuckDBListVector, type DuckDBVector } from '@duckdb/node-api';
import { credentialLength, sharedKinds, sharedLength } from './duckdb-shared-keys.ts';

/** Different codes of each of `count` lists, the least `most`, ascending. */
class LeastCodes {
  readonly #most: number;
  readonly #codes: Float64Array;
  readonly #counts: Uint8Array;
  readonly #merged: Float64Array;

  constructor(count: number, most: number) {
    this.#most = most;
    this.#codes = new Float64Array(count * most);
    this.#counts = new Uint8Array(count);
    this.#merged = new Float64Array(most);
  }

  /** Those of `numbers` from `from` to before `to`, ascending. */
  merge(list: number, numbers: Numbers, from: number, to: number): void {
    const codes = this.#codes;
    const merged = this.#merged;
    const first = list * this.#most;
    const end = first + this.#counts[list];
    let own = first;
    let other = from;
    let kept = 0;
    while (kept < this.#most && (own < end || other < to)) {
      const a = own < end ? codes[own] : Number.POSITIVE_INFINITY;
      const b = other < to ? wordsAt(numbers, other) : Number.POSITIVE_INFINITY;
      if (a <= b) own += 1;
      if (b <= a) other += 1;
      const least = a < b ? a : b;
      if (kept > 0 && merged[kept - 1] === least) continue;
      merged[kept] = least;
      kept += 1;
    }
    for (let index = 0; index < kept; index += 1) codes[first + index] = merged[index];
    this.#counts[list] = kept;
  }

  of(list: number): Float64Array {
    const first = list * this.#most;
    return this.#codes.subarray(first, first + this.#counts[list]);
  }

  length(): number {
    return sumOf(this.#counts);
  }

  copy(to: Float64Array, at: number): number {
    return copyAll(this.#codes, this.#counts, this.#most, to, at);
  }
}

/** When a credential was tried: its session's start, and its place in that. */
interface Tried {
  readonly codes: Float64Array;
  readonly micros: Float64Array;
  readonly places: Uint8Array;
}

const roomFor = (count: number): Tried => ({
  codes: new Float64Array(count),
  micros: new Float64Array(count),
  places: new Uint8Array(count),
});

function copyTried(from: Tried, at: number, to: Tried, toAt: number): void {
  to.codes[toAt] = from.codes[at];
  to.micros[toAt] = from.micros[at];
  to.places[toAt] = from.places[at];
}

/** By moment; those of one moment by code. */
function isBefore(a: Tried, at: number, b: Tried, other: number): boolean {
  if (a.micros[at] !== b.micros[other]) return a.micros[at] < b.micros[other];
  if (a.places[at] !== b.places[other]) return a.places[at] < b.places[other];
  return a.codes[at] <= b.codes[other];
}

/** Different codes of each of `count` lists, the `credentialLength` that were tried first. */
class FirstAttempts {
  readonly #tried: Tried;
  readonly #counts: Uint8Array;
  readonly #merged = roomFor(credentialLength);
  #row = roomFor(credentialLength);

  constructor(count: number) {
    this.#tried = roomFor(count * credentialLength);
    this.#counts = new Uint8Array(count);
  }

  /** `length` codes from `from` and moments from `other`, as they were tried. */
  merge(list: number, codes: Numbers, from: number, moments: Numbers, other: number, length: number): void {
    if (length === 0) return;
    const row = this.#read(codes, from, moments, other, length);
    const first = list * credentialLength;
    const end = first + this.#counts[list];
    const merged = this.#merged;
    let own = first;
    let next = 0;
    let kept = 0;
    while (kept < credentialLength && (own < end || next < length)) {
      const isOwn = next === length || (own < end && isBefore(this.#tried, own, row, next));
      const source = isOwn ? this.#tried : row;
      const at = isOwn ? own : next;
      if (isOwn) own += 1;
      else next += 1;
      if (has(merged.codes, kept, source.codes[at])) continue;
      copyTried(source, at, merged, kept);
      kept += 1;
    }
    for (let index = 0; index < kept; index += 1) copyTried(merged, index, this.#tried, first + index);
    this.#counts[list] = kept;
  }

  #read(codes: Numbers, from: number, moments: Numbers, other: number, length: number): Tried {
    if (this.#row.codes.length < length) this.#row = roomFor(length);
    const row = this.#row;
    for (let index = 0; index < length; index += 1) {
      row.codes[index] = wordsAt(codes, from + index);
      const low = moments.halves[2 * (other + index)];
      row.micros[index] = moments.halves[2 * (other + index) + 1] * 2 ** 26 + (low >>> 6);
      row.places[index] = low & 63;
    }
    return row;
  }

  length(): number {
    return sumOf(this.#counts);
  }

  copy(to: Float64Array, at: number): number {
    return copyAll(this.#tried.codes, this.#counts, credentialLength, to, at);
  }

  of(list: number): Attempts {
    const first = list * credentialLength;
    const end = first + this.#counts[list];
    const { codes, micros, places } = this.#tried;
    const together = (a: number, b: number): boolean =>
      micros[first + a] === micros[first + b] && places[first + a] === places[first + b];
    let isAny = false;
    for (let at = 1; at < end - first && !isAny; at += 1) isAny = together(at - 1, at);
    return { codes: codes.subarray(first, end), ...(isAny && { together }) };
  }
}

const sumOf = (counts: Uint8Array): number => counts.reduce((sum, count) => sum + count, 0);

/** What lists of `room` hold, into `to` from `at` on; gives where it ends. */
function copyAll(codes: Float64Array, counts: Uint8Array, room: number, to: Float64Array, at: number): number {
  let end = at;
  for (let list = 0; list < counts.length; list += 1)
    for (let index = 0; index < counts[list]; index += 1, end += 1) to[end] = codes[list * room + index];
  return end;
}

function has(codes: Float64Array, count: number, code: number): boolean {
  for (let index = 0; index < count; index += 1) if (codes[index] === code) return true;
  return false;
}

/** Codes of credentials as they were tried. */
export interface Attempts {
  readonly codes: Float64Array;
  /** Whether those at these two places came at the same moment; absent where no two did. */
  readonly together?: (a: number, b: number) => boolean;
}

export class SharedLists {
  readonly #first: number;
  readonly #least: readonly LeastCodes[];
  readonly #attempts: FirstAttempts;

  /** Of the ranks from `first` to `last`. */
  constructor(first: number, last: number) {
    const count = Math.max(0, last - first + 1);
    this.#first = first;
    this.#least = sharedKinds.map(() => new LeastCodes(count, sharedLength));
    this.#attempts = new FirstAttempts(count);
  }

  /** Rows of `renderSharedLists`. */
  add(chunk: DuckDBDataChunk): void {
    const ranks = chunk.getColumnVector(0);
    const lists = [...sharedKinds, 'attempts', 'moments'].map((_, index) => listOf(chunk.getColumnVector(index + 1)));
    const [attempts, moments] = lists.slice(sharedKinds.length);
    for (let row = 0; row < chunk.rowCount; row += 1) {
      const list = Number(ranks.getItem(row)) - this.#first;
      for (const [kind, least] of this.#least.entries()) {
        const { vector, numbers } = lists[kind];
        const from = vector.getEntryOffset(row);
        const length = vector.getEntryLength(row);
        if (length > 0) least.merge(list, numbers, from, from + length);
      }
      const [from, other] = [attempts.vector.getEntryOffset(row), moments.vector.getEntryOffset(row)];
      this.#attempts.merge(list, attempts.numbers, from, moments.numbers, other, attempts.vector.getEntryLength(row));
    }
  }

  /** All that are kept, each once, ascending. */
  all(): Float64Array {
    const parts = [...this.#least, this.#attempts];
    const codes = new Float64Array(parts.reduce((sum, part) => sum + part.length(), 0));
    let length = 0;
    for (const part of parts) length = part.copy(codes, length);
    codes.sort();
    let count = 0;
    for (let index = 0; index < length; index += 1)
      if (count === 0 || codes[count - 1] !== codes[index]) {
        codes[count] = codes[index];
        count += 1;
      }
    return codes.subarray(0, count);
  }

  /** Those of each of `sharedKinds`. */
  least(rank: number): readonly Float64Array[] {
    return this.#least.map((codes) => codes.of(rank - this.#first));
  }

  attempts(rank: number): Attempts {
    return this.#attempts.of(rank - this.#first);
  }
}

/** Numbers of 64 bits, read in halves: one by itself is an object. */
export interface Numbers {
  readonly halves: Int32Array;
}

/** Exact to 53 bits. */
export const wordsAt = ({ halves }: Numbers, at: number): number => halves[2 * at + 1] * 2 ** 32 + (halves[2 * at] >>> 0);

/** The vector's own array where it has one. */
export function numbersOf(vector: DuckDBVector): Numbers {
  const { items } = vector as unknown as { readonly items?: unknown };
  const numbers = items instanceof BigInt64Array ? items : BigInt64Array.from(vector.toArray() as bigint[]);
  return { halves: new Int32Array(numbers.buffer, numbers.byteOffset, numbers.length * 2) };
}

function listOf(vector: DuckDBVector): { readonly vector: DuckDBListVector; readonly numbers: Numbers } {
  if (!(vector instanceof DuckDBListVector)) throw new TypeError('codes are no list');
  return { vector, numbers: numbersOf(vector.childVector) };
}
