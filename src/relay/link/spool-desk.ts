// Takes batches of agents' spools, a few at a time: a thousand agents that come back at once wait for their turn with nothing
// of theirs in our memory (HTTP's `100 continue`).

import type { ServerHttp2Stream } from 'node:http2';
import { ByteGatherer } from '../../base/byte-gatherer.ts';

export interface SpoolDeskOptions {
  readonly maxBytes: number;
  take(agent: string, batch: Uint8Array): Promise<void>;
  readonly counters: { spoolBatches: number; spoolRefused: number };
  onRefused(agent: string, why: unknown): void;
}

/** Batches of at most 8 MiB in memory at once, up to twice that while they come. */
const atOnce = 8;
/** Without a byte of the batch for so long it is given up. */
const stallMs = 30_000;

interface Turn {
  readonly agent: string;
  readonly stream: ServerHttp2Stream;
}

export class SpoolDesk {
  readonly #options: SpoolDeskOptions;
  /** At most one of each link. */
  readonly #waiting = new Set<Turn>();
  #active = 0;

  constructor(options: SpoolDeskOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** The stream of a POST /spool; ended here. Only one a link: the caller sees to it. */
  add(agent: string, stream: ServerHttp2Stream): void {
    const turn: Turn = { agent, stream };
    this.#waiting.add(turn);
    stream.once('close', () => this.#waiting.delete(turn));
    this.#next();
  }

  #next(): void {
    for (const turn of this.#waiting) {
      if (this.#active >= atOnce) return;
      this.#waiting.delete(turn);
      this.#active += 1;
      void this.#serve(turn).finally(() => {
        this.#active -= 1;
        this.#next();
      });
    }
  }

  async #serve({ agent, stream }: Turn): Promise<void> {
    const { counters, maxBytes } = this.#options;
    let status = 200;
    try {
      const batch = await collect(stream, maxBytes);
      if (batch === undefined) status = 413;
      else {
        await this.#options.take(agent, batch);
        counters.spoolBatches += 1;
      }
    } catch (error) {
      status = 503;
      this.#options.onRefused(agent, error);
    }
    if (status !== 200) counters.spoolRefused += 1;
    if (stream.destroyed || !stream.writable) return;
    stream.respond({ ':status': status }, { endStream: true });
    stream.resume();
  }
}

/** Undefined: more than it may be. Rejects when the stream breaks or stalls. */
export function collect(stream: ServerHttp2Stream, maxBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    if (stream.destroyed || stream.closed) {
      reject(new Error('the link broke'));
      return;
    }
    const batch = new ByteGatherer();
    const timer = setTimeout(() => settle(() => reject(new Error('it stalled'))), stallMs).unref();
    const take = (bytes: Buffer): void => {
      timer.refresh();
      if (batch.length + bytes.length > maxBytes) settle(() => resolve(undefined));
      else batch.add(bytes);
    };
    const settle = (then: () => void): void => {
      clearTimeout(timer);
      stream.off('data', take).off('end', ended).off('close', broken);
      then();
    };
    const ended = (): void => settle(() => resolve(batch.take()));
    const broken = (): void => settle(() => reject(new Error('the link broke')));
    stream.on('data', take).on('end', ended).on('close', broken);
    stream.additionalHeaders({ ':status': 100 });
  });
}
