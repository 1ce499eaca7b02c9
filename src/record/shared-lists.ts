// Lists of codes of many sources as the engine gives them, several a source, merged into one: the least ones, and credentials in
// the order they were tried. Bounded by the number of sources: what cannot be among those kept is let go as lists come.

import { type DuckDBDataChunk, DuckDBListVector } from '@duckdb/node-api';
import { credentialLength, sharedKinds, sharedLength } from './duckdb-shared-keys.ts';

/** A list is cut to what is kept when it has grown to so many. */
const cutAt = 256;

/** Different codes, the least `most` of them, ascending. */
class LeastCodes {
  #codes: number[] = [];

  add(code: number, most: number): void {
    this.#codes.push(code);
    if (this.#codes.length >= cutAt) this.#codes = this.least(most);
  }

  least(most: number): number[] {
    if (this.#codes.length < 2) return this.#codes;
    const kept: number[] = [];
    for (const code of Float64Array.from(this.#codes).sort()) {
      if (kept.length === most) break;
      if (kept[kept.length - 1] !== code) kept.push(code);
    }
    return kept;
  }
}

export interface Attempt {
  readonly code: number;
  /** 64 times when, plus its place among what came at once: more than a double holds. */
  readonly moment: bigint;
}

/** Different codes, the `most` with the earliest moments in their order. */
class FirstAttempts {
  #moments = new Map<number, bigint>();

  add(code: number, moment: bigint, most: number): void {
    const before = this.#moments.get(code);
    if (before !== undefined && before <= moment) return;
    this.#moments.set(code, moment);
    if (this.#moments.size >= cutAt) this.#moments = new Map(this.first(most).map((attempt) => [attempt.code, attempt.moment]));
  }

  first(most: number): Attempt[] {
    return [...this.#moments]
      .map(([code, moment]) => ({ code, moment }))
      .sort((a, b) => (a.moment === b.moment ? a.code - b.code : a.moment < b.moment ? -1 : 1))
      .slice(0, most);
  }
}

interface Shared {
  readonly least: readonly LeastCodes[];
  readonly attempts: FirstAttempts;
}

export class SharedLists {
  readonly #shared = new Map<number, Shared>();

  /** Rows of `renderSharedLists`. */
  add(chunk: DuckDBDataChunk): void {
    const ranks = chunk.getColumnVector(0);
    const lists = [...sharedKinds, 'attempts', 'moments'].map((_, index) => listOf(chunk.getColumnVector(index + 1)));
    const [attempts, moments] = lists.slice(sharedKinds.length);
    for (let row = 0; row < chunk.rowCount; row += 1) {
      const shared = this.#of(Number(ranks.getItem(row)));
      for (const [kind, least] of shared.least.entries()) {
        const { vector, words } = lists[kind];
        const from = vector.getEntryOffset(row);
        for (let at = from; at < from + vector.getEntryLength(row); at += 1) least.add(words(at), sharedLength);
      }
      const [from, other] = [attempts.vector.getEntryOffset(row), moments.vector.getEntryOffset(row)];
      for (let at = 0; at < attempts.vector.getEntryLength(row); at += 1)
        shared.attempts.add(attempts.words(from + at), moments.numbers[other + at], credentialLength);
    }
  }

  #of(rank: number): Shared {
    let shared = this.#shared.get(rank);
    if (!shared) {
      shared = { least: sharedKinds.map(() => new LeastCodes()), attempts: new FirstAttempts() };
      this.#shared.set(rank, shared);
    }
    return shared;
  }

  /** Codes of each of `sharedKinds`, and credentials; empty for a source that nothing came of. */
  codes(rank: number): { readonly least: readonly (readonly number[])[]; readonly attempts: readonly Attempt[] } {
    const shared = this.#shared.get(rank);
    return {
      least: sharedKinds.map((_, kind) => shared?.least[kind].least(sharedLength) ?? []),
      attempts: shared?.attempts.first(credentialLength) ?? [],
    };
  }
}

interface Numbers {
  readonly vector: DuckDBListVector;
  readonly numbers: BigInt64Array;
  /** The number at a place of all lists; exact to 53 bits. */
  readonly words: (at: number) => number;
}

/** The vector's own array where it has one, read in halves: a number of 64 bits by itself is an object. */
function listOf(vector: unknown): Numbers {
  if (!(vector instanceof DuckDBListVector)) throw new TypeError('codes are no list');
  const { items } = vector.childVector as unknown as { readonly items?: unknown };
  const numbers = items instanceof BigInt64Array ? items : BigInt64Array.from(vector.childVector.toArray() as bigint[]);
  const halves = new Int32Array(numbers.buffer, numbers.byteOffset, numbers.length * 2);
  return { vector, numbers, words: (at) => halves[2 * at + 1] * 2 ** 32 + (halves[2 * at] >>> 0) };
}
