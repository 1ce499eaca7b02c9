// Sessions of which lines come one by one, until one of them ends it: bounded in number, in bytes and in the log's own time.
// What has to make room is handed over as it is. The same lines in the same order always end the same way.

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';

export interface OpenSessionsOptions<T> {
  /** Hands the session over; called once for each, by whatever ended it. */
  readonly close: (session: T, key: string) => void;
  /** At most this many at once; default 20,000. */
  readonly most?: number;
  /** Of what `grew` says, in all; default 64 MiB. */
  readonly mostBytes?: number;
  /** A session nothing was said of for so long, by the log's time, is over; default a day. */
  readonly idleMicros?: Micros;
}

const day: Micros = 86_400e6;

interface Held<T> {
  readonly session: T;
  at: Micros;
  bytes: number;
}

export class OpenSessions<T> {
  readonly #options: OpenSessionsOptions<T>;
  readonly #held = new RecencyMap<string, Held<T>>();
  #bytes = 0;
  #last: Micros = Number.NEGATIVE_INFINITY;

  constructor(options: OpenSessionsOptions<T>) {
    this.#options = options;
  }

  get size(): number {
    return this.#held.size;
  }

  get sizeBytes(): number {
    return this.#bytes;
  }

  /** With `at`, one that nothing was said of for too long by then is handed over first, and is no more. */
  get(key: string, at?: Micros): T | undefined {
    const held = this.#held.get(key);
    if (held && at !== undefined && held.at < at - (this.#options.idleMicros ?? day)) {
      this.close(key);
      return undefined;
    }
    return held?.session;
  }

  /** `key` must not be held. */
  add(key: string, session: T, at: Micros, bytes = 0): void {
    this.#bytes += bytes;
    this.#held.set(key, { session, at, bytes });
    this.#tell(at);
  }

  /** A line at `at` belongs to it and keeps `bytes` more; makes room where that is too much, if need be of itself. */
  grew(key: string, at: Micros, bytes = 0): void {
    const held = this.#held.get(key);
    if (!held) return;
    held.at = Math.max(held.at, at);
    held.bytes += bytes;
    this.#bytes += bytes;
    this.#held.set(key, held);
    this.#tell(at);
  }

  /** The log has come to this time; sessions it says nothing of end by it too. */
  tick(at: Micros): void {
    this.#tell(at);
  }

  /** Takes it out without handing it over. */
  take(key: string): T | undefined {
    const held = this.#held.get(key);
    if (!held) return undefined;
    this.#held.delete(key);
    this.#bytes -= held.bytes;
    return held.session;
  }

  /** Hands it over now. */
  close(key: string): void {
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    this.#bytes -= held.bytes;
    this.#options.close(held.session, key);
  }

  /** Hands all over, the one not touched for longest first. */
  end(): void {
    for (const [key] of this.#held) this.close(key);
  }

  #tell(at: Micros): void {
    const { most = 20_000, mostBytes = 64 << 20, idleMicros = day } = this.#options;
    // Of the last two lines the earlier: one line with a clock of its own does not end everybody else's sessions.
    const now = Math.min(at, this.#last);
    this.#last = at;
    for (let oldest = this.#held.oldest; oldest; oldest = this.#held.oldest) {
      const [key, { at: last }] = oldest;
      if (this.#held.size <= most && this.#bytes <= mostBytes && last >= now - idleMicros) return;
      this.close(key);
    }
  }
}
