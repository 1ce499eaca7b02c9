// Owns things that must be closed, in reverse order of opening, once, with a bound on how long that may take.

import type { Log } from './log.ts';

export interface Closable {
  close(): void | Promise<void>;
}

/** Everything handed to `own` is closed by `end`, last opened first; a failing close does not stop the rest. */
export class Lifetime {
  #owned: { name: string; close: () => void | Promise<void> }[] = [];
  #ending: Promise<void> | undefined;
  readonly #log: Log;
  readonly #perItemMs: number;

  constructor(log: Log, perItemMs = 8000) {
    this.#log = log;
    this.#perItemMs = perItemMs;
  }

  own<T extends Closable>(name: string, thing: T): T {
    this.#owned.push({ name, close: () => thing.close() });
    return thing;
  }

  onEnd(name: string, close: () => void | Promise<void>): void {
    this.#owned.push({ name, close });
  }

  get ending(): boolean {
    return this.#ending !== undefined;
  }

  /** Idempotent: later calls wait for the first. */
  end(): Promise<void> {
    this.#ending ??= this.#closeAll();
    return this.#ending;
  }

  async #closeAll(): Promise<void> {
    for (const { name, close } of this.#owned.reverse()) {
      let timer: NodeJS.Timeout | undefined;
      try {
        const limit = new Promise<never>((_, reject) => {
          timer = setTimeout(() => reject(new Error(`not closed within ${this.#perItemMs} ms`)), this.#perItemMs);
        });
        await Promise.race([Promise.resolve(close()), limit]);
      } catch (error) {
        this.#log.error('closing failed', { name, error: error instanceof Error ? error.message : String(error) });
      } finally {
        clearTimeout(timer);
      }
    }
  }
}
