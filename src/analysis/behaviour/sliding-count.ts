// How many there were within a window that slides by halves: never counts more time than the window, and always all of the
// last half of it.

import type { Micros } from '../../base/clock.ts';

export class SlidingCount {
  #start: Micros = Number.NEGATIVE_INFINITY;
  #previous = 0;
  #current = 0;
  #firstPrevious: Micros = 0;
  #firstCurrent: Micros = 0;

  /** How many there are in the window with these. */
  add(at: Micros, count: number, window: Micros): number {
    const half = window / 2;
    if (at >= this.#start + half) {
      const next = at < this.#start + 2 * half;
      this.#previous = next ? this.#current : 0;
      this.#firstPrevious = this.#firstCurrent;
      this.#current = 0;
      this.#start = next ? this.#start + half : at;
      this.#firstCurrent = at;
    } else if (at < this.#start - half) {
      // Of another time, as imports bring them.
      this.#start = at;
      this.#previous = 0;
      this.#current = 0;
      this.#firstCurrent = at;
    }
    if (at >= this.#start) this.#current += count;
    else {
      if (this.#previous === 0 || at < this.#firstPrevious) this.#firstPrevious = at;
      this.#previous += count;
    }
    if (this.#current > 0 && at >= this.#start && at < this.#firstCurrent) this.#firstCurrent = at;
    return this.total;
  }

  get total(): number {
    return this.#previous + this.#current;
  }

  /** Time of the first of them. */
  get first(): Micros {
    return this.#previous > 0 ? this.#firstPrevious : this.#firstCurrent;
  }
}
