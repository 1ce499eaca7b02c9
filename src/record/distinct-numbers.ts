// How many different numbers of 64 bits several lists hold: a table by hash that is used again for the next lists. The numbers
// are chosen by attackers, so what they are hashed with is drawn at random.

import { randomBytes } from 'node:crypto';

export class DistinctNumbers {
  readonly #seed = randomBytes(4).readUInt32LE();
  /** Two words a number; two zeros are an empty place. */
  #table = new Uint32Array(2 * 1024);

  /** No list holds a number twice. */
  count(lists: readonly BigUint64Array[]): number {
    if (lists.length === 1) return lists[0].length;
    const most = lists.reduce((sum, { length }) => sum + length, 0);
    let places = 1024;
    while (places < 2 * most) places *= 2;
    if (this.#table.length < 2 * places) this.#table = new Uint32Array(2 * places);
    else this.#table.fill(0, 0, 2 * places);
    const table = this.#table;
    const mask = places - 1;
    let count = 0;
    let hasZero = 0;
    for (const list of lists) {
      const words = new Uint32Array(list.buffer, list.byteOffset, 2 * list.length);
      for (let index = 0; index < words.length; index += 2) {
        const low = words[index];
        const high = words[index + 1];
        if (low === 0 && high === 0) {
          hasZero = 1;
          continue;
        }
        let place = this.#hash(low, high) & mask;
        while (table[2 * place] !== 0 || table[2 * place + 1] !== 0) {
          if (table[2 * place] === low && table[2 * place + 1] === high) break;
          place = (place + 1) & mask;
        }
        if (table[2 * place] !== 0 || table[2 * place + 1] !== 0) continue;
        table[2 * place] = low;
        table[2 * place + 1] = high;
        count += 1;
      }
    }
    return count + hasZero;
  }

  /** Rounds of multiplication and shifting, so that neighbours land apart. */
  #hash(low: number, high: number): number {
    let hash = Math.imul(low ^ this.#seed, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15) ^ high, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 13), 0x27d4eb2f);
    return hash ^ (hash >>> 16);
  }
}
