// Readings of what takes long to read, for questions about moments: one at a time, shared by all who ask meanwhile, kept for seconds. What is
// read is the caller's; rules of firewalls, for which this was made, are machine-facts.ts.

import type { Micros } from '../../base/clock.ts';

export interface Reading<T> {
  readonly found: T;
  /** As the wall has it: what was there before is in it. */
  readonly begunAt: Micros;
}

/** From its end on: one that took long would never be of use otherwise. */
const keepMs = 10_000;
/** What was begun to be read before a moment is read again for it, so often at most. */
const freshMs = 1000;

export class RuleReadings<T> {
  readonly #read: () => Promise<T>;
  readonly #nowMs: () => number;
  #unfinished: Promise<Reading<T>> | undefined;
  #last: (Reading<T> & { readonly endedMs: number }) | undefined;

  /** `nowMs`: of the wall. */
  constructor(read: () => Promise<T>, nowMs: () => number = Date.now) {
    this.#read = read;
    this.#nowMs = nowMs;
  }

  /** Fit for that moment. Waits for two readings at most; rejects as reading does, and the next one begins anew. */
  async for(at: Micros): Promise<Reading<T>> {
    // It may have been begun too early for this moment; nobody reads beside it.
    await this.#unfinished?.catch(() => undefined);
    return this.#unfinished ?? this.#fresh(at) ?? this.#begin();
  }

  #fresh(at: Micros): Reading<T> | undefined {
    const last = this.#last;
    if (last === undefined) return undefined;
    const now = this.#nowMs();
    const isTooEarly = last.begunAt < at && now - last.begunAt / 1000 > freshMs;
    return isTooEarly || now - last.endedMs > keepMs ? undefined : last;
  }

  #begin(): Promise<Reading<T>> {
    const begunAt = this.#nowMs() * 1000;
    const reading = this.#read()
      .then((found) => {
        this.#last = { found, begunAt, endedMs: this.#nowMs() };
        return this.#last;
      })
      .finally(() => {
        this.#unfinished = undefined;
      });
    this.#unfinished = reading;
    return reading;
  }
}

/** Looks at one after the other as long as there is time; how many it did not come to. A look that was begun is not cut short. */
export async function lookInTime<T>(
  all: readonly T[],
  withinMs: number,
  look: (one: T) => Promise<void>,
  nowMs: () => number = () => performance.now(),
): Promise<number> {
  const end = nowMs() + withinMs;
  for (const [index, one] of all.entries()) {
    if (nowMs() > end) return all.length - index;
    await look(one);
  }
  return 0;
}
