// How many probes a second the sweeps of all networks send together, and whose turn it is: each network gets its part of
// every tick, so that a large one does not keep the others waiting. Bounded in time too: the thread has other work.

import type { Clock, Micros } from '../base/clock.ts';

/** Probes a second at the most, whatever is configured: a sweep runs beside everything else. */
export const sweepRateLimit = 5_000;
/** Of every tick (50 ms): a tenth of the thread. */
const workMicros = 5_000;

export interface Swept {
  readonly sweeping: boolean;
  /** As AddressSweep.tick: at most `budget` probes, until about `until`; how many. */
  sweep(budget: number, until: Micros): number;
}

export class SweepSchedule {
  readonly #clock: Clock;
  #perSecond: number;
  #allowance = 0;
  #filledAt: Micros;
  #turn = 0;

  constructor(perSecond: number, clock: Clock) {
    this.#clock = clock;
    this.#filledAt = clock();
    this.#perSecond = Math.min(perSecond, sweepRateLimit);
  }

  setRate(perSecond: number): void {
    this.#perSecond = Math.min(perSecond, sweepRateLimit);
  }

  /** Call about every 50 ms. */
  tick(networks: readonly Swept[]): void {
    const now = this.#clock();
    // A tenth of a second's worth may gather, so that a late tick costs nothing and a long silence gives no burst.
    const most = 1 + this.#perSecond / 10;
    this.#allowance = Math.min(most, this.#allowance + (Math.max(0, now - this.#filledAt) * this.#perSecond) / 1_000_000);
    this.#filledAt = now;
    let waiting = networks.filter(({ sweeping }) => sweeping);
    if (waiting.length === 0) return;
    this.#turn = (this.#turn + 1) % waiting.length;
    waiting = [...waiting.slice(this.#turn), ...waiting.slice(0, this.#turn)];
    const until = now + workMicros;
    while (waiting.length > 0 && this.#allowance >= 1 && this.#clock() < until) {
      const part = Math.max(1, Math.floor(this.#allowance / waiting.length));
      const more: Swept[] = [];
      for (const network of waiting) {
        const budget = Math.min(part, Math.floor(this.#allowance));
        if (budget < 1 || this.#clock() >= until) break;
        const sent = network.sweep(budget, until);
        this.#allowance -= sent;
        // Who sends less than its part has nothing more to send for now.
        if (sent === budget) more.push(network);
      }
      waiting = more;
    }
  }
}
