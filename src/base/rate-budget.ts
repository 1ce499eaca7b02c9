// So many at once, so many a second afterwards: a token bucket, one number and a time. No timer.

import type { Clock, Micros } from './clock.ts';

export class RateBudget {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #clock: Clock;
  #left: number;
  #at: Micros;

  constructor(burst: number, perSecond: number, clock: Clock) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#clock = clock;
    this.#left = burst;
    this.#at = clock();
  }

  /** True and one less, or false. A clock that goes back gives nothing and takes nothing. */
  take(): boolean {
    const now = this.#clock();
    this.#left = Math.min(this.#burst, this.#left + (Math.max(0, now - this.#at) * this.#perSecond) / 1_000_000);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
