// Live hosts at the addresses of decoys, told to netd one after another: giving one back is a transaction there, and a
// sweep may find hundreds at once. Bounded; what is dropped is counted, and found again when the host next speaks.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { AddressConflict } from '../relay/neighbour-keeper.ts';

const maxWaiting = 4_096;

export interface ConflictReportsOptions {
  readonly log: Log;
  /** Bounded in time by itself. */
  readonly send: (conflict: AddressConflict) => Promise<unknown>;
}

export class ConflictReports {
  readonly #options: ConflictReportsOptions;
  readonly #waiting: AddressConflict[] = [];
  #busy = false;
  readonly #counters = { taken: 0, refused: 0, dropped: 0 };

  constructor(options: ConflictReportsOptions) {
    this.#options = options;
  }

  /** Taken by netd; refused by it, or not answered in time; dropped because too many waited. */
  get counters(): Readonly<{ taken: number; refused: number; dropped: number; waiting: number }> {
    return { ...this.#counters, waiting: this.#waiting.length };
  }

  add(conflict: AddressConflict): void {
    if (this.#waiting.length >= maxWaiting) {
      this.#counters.dropped += 1;
      return;
    }
    this.#waiting.push(conflict);
    if (!this.#busy) void this.#work();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { network, ip, mac } = next;
      try {
        await this.#options.send(next);
        this.#counters.taken += 1;
      } catch (error) {
        this.#counters.refused += 1;
        const { message } = asWeirError(error);
        this.#options.log.error('netd does not take the report of a live host', { network, ip, mac, error: message });
      }
    }
    this.#busy = false;
  }
}
