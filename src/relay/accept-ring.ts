// Tells the packet thread which SYNs became connections: a one-writer, one-reader ring in shared memory, so that an
// accept costs four stores instead of a message. A full ring refuses and counts; that SYN is then shown half-open too.

import { createTupleSeeds, type TupleSeeds } from './tuple-key.ts';

const headerWords = 4;
const slotWords = 4;

/** The shared part: hand it to the other thread as it is. */
export interface AcceptRingMemory {
  readonly words: SharedArrayBuffer;
  readonly seeds: TupleSeeds;
}

/** `slots` must be a power of two: the counters run past 2^32. */
export const createAcceptRingMemory = (slots = 65_536): AcceptRingMemory => ({
  words: new SharedArrayBuffer((headerWords + slots * slotWords) * 4),
  seeds: createTupleSeeds(),
});

export class AcceptRing {
  readonly seeds: TupleSeeds;
  readonly #words: Int32Array;
  readonly #slots: number;
  /** Writes refused because the reader was behind. */
  refused = 0;

  constructor(memory: AcceptRingMemory) {
    this.seeds = memory.seeds;
    this.#words = new Int32Array(memory.words);
    this.#slots = (this.#words.length - headerWords) / slotWords;
  }

  /** One writer only. `sequence` is the SYN's, or undefined when the kernel kept none (SYN cookies). */
  push(key: number, sequence: number | undefined): boolean {
    const words = this.#words;
    const write = words[0];
    if ((write - Atomics.load(words, 1)) >>> 0 >= this.#slots) {
      this.refused += 1;
      return false;
    }
    const at = headerWords + ((write >>> 0) % this.#slots) * slotWords;
    const low = key % 0x1_0000_0000;
    words[at] = low | 0;
    words[at + 1] = (key - low) / 0x1_0000_0000;
    words[at + 2] = (sequence ?? 0) | 0;
    words[at + 3] = sequence === undefined ? 0 : 1;
    Atomics.store(words, 0, (write + 1) | 0);
    return true;
  }

  /** One reader only. Hands over everything written so far; gives how many. */
  drain(each: (key: number, sequence: number | undefined) => void): number {
    const words = this.#words;
    const end = Atomics.load(words, 0);
    let read = words[1];
    let count = 0;
    while (read !== end) {
      const at = headerWords + ((read >>> 0) % this.#slots) * slotWords;
      each(words[at + 1] * 0x1_0000_0000 + (words[at] >>> 0), words[at + 3] ? words[at + 2] >>> 0 : undefined);
      read = (read + 1) | 0;
      count += 1;
      Atomics.store(words, 1, read);
    }
    return count;
  }
}
