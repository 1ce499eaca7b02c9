// Sends what waits in a spool to the centre, one batch at a time, for as long as there is a link; forgets what the centre has for
// good. Gives way to live flows. Knows nothing of links: the owner passes in how to send.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Spool } from './spool.ts';

export interface SpoolReplayOptions {
  readonly spool: Spool;
  /** Resolves once the centre has the records for good. */
  send(batch: Uint8Array): Promise<void>;
  /** True while sending makes sense. */
  ready(): boolean;
  /** True while attackers wait for the same link: batches are smaller, and as long again nothing is sent behind each. */
  busy(): boolean;
  readonly log: Log;
  /** Between two looks for news; default 1 s. `wake` looks at once. */
  readonly pollMs?: number;
}

export interface SpoolReplayCounters {
  batches: number;
  records: number;
  bytes: number;
  /** Batches that were not taken, and are sent again. */
  failed: number;
}

const batchBytes = 512 * 1024;
const busyBatchBytes = 64 * 1024;
const maxPauseMs = 2000;
const retryMs = 500;
const retryMaxMs = 15_000;

export class SpoolReplay {
  readonly #options: SpoolReplayOptions;
  readonly counters: SpoolReplayCounters = { batches: 0, records: 0, bytes: 0, failed: 0 };
  #running: Promise<void> | undefined;
  #closed = false;
  #news = false;
  #wake: (() => void) | undefined;
  #said = '';

  constructor(options: SpoolReplayOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** There may be something to send, or somebody to send it to. */
  wake(): void {
    this.#news = true;
    this.#wake?.();
  }

  /** The batch under way ends first, or fails with its link. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { spool, log, pollMs = 1000 } = this.#options;
    let wait = retryMs;
    while (!this.#closed) {
      try {
        const sent = this.#options.ready() && (await this.#step());
        wait = retryMs;
        if (!sent) await this.#pause(pollMs, true);
      } catch (error) {
        this.counters.failed += 1;
        const { code, message } = asWeirError(error);
        if (code !== 'not-running' && message !== this.#said)
          log.warn('the centre did not take records; they are sent again', { error: message });
        this.#said = message;
        await spool.rewind();
        await this.#pause(wait, code === 'not-running');
        wait = Math.min(2 * wait, retryMaxMs);
      }
    }
  }

  async #step(): Promise<boolean> {
    const { spool, busy } = this.#options;
    const piece = await spool.next(busy() ? busyBatchBytes : batchBytes);
    if (!piece) return false;
    const started = performance.now();
    const bytes = piece.batch.bytes();
    await this.#options.send(bytes);
    const took = performance.now() - started;
    await spool.acknowledge(piece);
    this.#said = '';
    this.counters.batches += 1;
    this.counters.records += piece.records;
    this.counters.bytes += bytes.length;
    if (busy()) await this.#pause(Math.min(took, maxPauseMs), false);
    return true;
  }

  /** `wakeable`: ends early when there is news. */
  async #pause(ms: number, wakeable: boolean): Promise<void> {
    if (this.#closed || (wakeable && this.#news)) {
      this.#news = false;
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      this.#wake = () => {
        if (!wakeable && !this.#closed) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
    if (wakeable) this.#news = false;
  }
}
