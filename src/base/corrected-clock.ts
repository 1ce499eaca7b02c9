// Somebody else's time, on a machine whose own clock may be off: learned now and then, carried on by the monotonic clock in between,
// so that steps of the machine's clock change nothing.

import type { Clock, Micros } from './clock.ts';

/** Smaller differences are left: the way here took some time too. */
const tolerance: Micros = 2000;
/** Larger ones are followed backwards as well; smaller ones wait until time has caught up. */
const largest: Micros = 1_000_000;

export class CorrectedClock {
  #anchor: Micros;
  #anchorMs: number;
  #last = 0;
  readonly #ownMicros: () => Micros;
  readonly #monotonicMs: () => number;

  /** `offset`: by what the machine's clock is ahead, as last known. */
  constructor(
    offset: Micros,
    ownMicros: () => Micros = () => Date.now() * 1000,
    monotonicMs: () => number = () => performance.now(),
  ) {
    this.#ownMicros = ownMicros;
    this.#monotonicMs = monotonicMs;
    this.#anchorMs = monotonicMs();
    this.#anchor = ownMicros() - offset;
  }

  /** Strictly increasing, but for what `set` takes back. */
  readonly now: Clock = () => {
    const now = Math.round(this.#raw());
    this.#last = now > this.#last ? now : this.#last + 1;
    return this.#last;
  };

  /** By what the machine's own clock is ahead now. */
  get offset(): Micros {
    return Math.round(this.#ownMicros() - this.#raw());
  }

  /** It is `time` now. */
  set(time: Micros): void {
    const difference = time - this.#raw();
    if (Math.abs(difference) < tolerance) return;
    this.#anchorMs = this.#monotonicMs();
    this.#anchor = time;
    if (difference < -largest) this.#last = 0;
  }

  #raw(): Micros {
    return this.#anchor + (this.#monotonicMs() - this.#anchorMs) * 1000;
  }
}
