// Whether a link lives, and how long its round trip is: a ping every few seconds, and a look at whether anything came. Owns
// one timer.

import type { Http2Session } from 'node:http2';

export interface PulseOptions {
  readonly session: Http2Session;
  /** Of the link's socket, so far. */
  receivedBytes(): number;
  readonly everyMs: number;
  readonly deadAfterMs: number;
  onDead(): void;
  /** After each round trip. */
  onBeat?(): void;
}

const kept = 7;

export class LinkPulse {
  readonly #options: PulseOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #tickMs: number;
  readonly #latencies: number[] = [];
  #received = 0;
  #silentMs = 0;
  #sincePingMs: number;
  #outstanding = false;
  #tickedAt = performance.now();

  constructor(options: PulseOptions) {
    this.#options = options;
    this.#tickMs = Math.max(10, Math.min(1000, options.everyMs, options.deadAfterMs / 8));
    this.#sincePingMs = options.everyMs;
    this.#timer = setInterval(() => this.#tick(), this.#tickMs).unref();
    this.#ping();
  }

  /** Median of the last pings, microseconds. */
  get latencyMicros(): number | undefined {
    return [...this.#latencies].sort((a, b) => a - b)[this.#latencies.length >> 1];
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    // A process that stood still has not listened either: that is not the other end's silence.
    const passed = Math.min(now - this.#tickedAt, 2 * this.#tickMs);
    this.#tickedAt = now;
    const received = this.#options.receivedBytes();
    if (received !== this.#received) this.#silentMs = 0;
    else this.#silentMs += passed;
    this.#received = received;
    this.#sincePingMs += passed;
    if (this.#silentMs >= this.#options.deadAfterMs) {
      this.close();
      this.#options.onDead();
    } else if (this.#sincePingMs >= this.#options.everyMs) this.#ping();
  }

  #ping(): void {
    const { session } = this.#options;
    if (this.#outstanding || session.destroyed || session.closed) return;
    this.#sincePingMs = 0;
    this.#outstanding = session.ping((error, durationMs) => {
      this.#outstanding = false;
      if (error) return;
      this.#latencies.push(Math.round(durationMs * 1000));
      if (this.#latencies.length > kept) this.#latencies.shift();
      this.#options.onBeat?.();
    });
  }
}
