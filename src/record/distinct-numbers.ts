// How many different numbers of 64 bits several lists hold: a table by hash that is used again for the next lists. The numbers
// are chosen by attackers, so what they are hashed with is drawn at random.

import { randomBytes } from 'node:crypto';

const fewestPlaces = 1024;

export class DistinctNumbers {
  readonly #seed = randomBytes(4).readUInt32LE();
  /** Two words a number; two zeros are an empty place. */
  #table = new Uint32Array(2 * fewestPlaces);
  #mask = fewestPlaces - 1;
  #hasZero = 0;
  #found = 0;

  /** Of what was added since `begin`. */
  get size(): number {
    return this.#found + this.#hasZero;
  }

  /** Forgets everything; `most` numbers can be added then. */
  begin(most: number): void {
    let places = fewestPlaces;
    while (places < 2 * most) places *= 2;
    if (this.#table.length < 2 * places) this.#table = new Uint32Array(2 * places);
    else this.#table.fill(0, 0, 2 * places);
    this.#mask = places - 1;
    this.#hasZero = 0;
    this.#found = 0;
  }

  /** Adds numbers as pairs of words, the low one first: those from `from` to before `to` of them. */
  add(words: Uint32Array, from: number, to: number): void {
    const table = this.#table;
    const mask = this.#mask;
    for (let index = 2 * from; index < 2 * to; index += 2) {
      const low = words[index];
      const high = words[index + 1];
      if (low === 0 && high === 0) {
        this.#hasZero = 1;
        continue;
      }
      let place = 2 * (this.#hash(low, high) & mask);
      while ((table[place] !== low || table[place + 1] !== high) && (table[place] !== 0 || table[place + 1] !== 0))
        place = 2 * ((place / 2 + 1) & mask);
      if (table[place] === low && table[place + 1] === high) continue;
      table[place] = low;
      table[place + 1] = high;
      this.#found += 1;
    }
  }

  /** Rounds of multiplication and shifting, so that neighbours land apart. */
  #hash(low: number, high: number): number {
    let hash = Math.imul(low ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ high, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13), 0x27d4eb2f);
    return hash ^ (hash >>> 16);
  }
}
