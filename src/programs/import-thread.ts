// Keeps an import's records where no recorder runs: on a thread with a heap of its own, so that reading logs and recording what
// they tell go on side by side. What happens there is import-thread-worker.ts.

import { Worker } from 'node:worker_threads';
import { WeirError } from '../base/errors.ts';
import type { FromImportThread, ImportThreadData, ToImportThread } from './import-thread-messages.ts';

type Request = ToImportThread extends infer T ? (T extends { number: number } ? Omit<T, 'number'> : never) : never;

interface Waiting {
  readonly resolve: (known: readonly number[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Most of it is what behaviour remembers of sources, which has a bound of its own (docs/behaviour.md). */
const maxHeapMb = 448;

export class ImportThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #gone: Promise<void>;
  #next = 0;
  #ended: WeirError | undefined;

  private constructor(workerData: ImportThreadData) {
    this.#worker = new Worker(new URL('./import-thread-worker.js', import.meta.url), {
      workerData,
      name: 'import-recording',
      resourceLimits: { maxOldGenerationSizeMb: maxHeapMb, maxYoungGenerationSizeMb: 48 },
    });
    this.#worker.on('message', (message: FromImportThread) => this.#onAnswer(message));
    this.#worker.on('error', (error) => this.#end(String(error)));
    this.#gone = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#end(`exit code ${code}`);
        resolve();
      });
    });
  }

  /** Throws `already-running` when another process has the store, `disk-full`, `not-permitted` and what else opening it says. */
  static async open(workerData: ImportThreadData): Promise<ImportThread> {
    const thread = new ImportThread(workerData);
    try {
      await thread.#ask({ type: 'open' });
    } catch (error) {
      await thread.close(true).catch(() => {});
      throw error;
    }
    return thread;
  }

  /** As ImportIntake.take. */
  take(batch: Uint8Array): Promise<readonly number[]> {
    // A copy: the bytes are the caller's again before the thread has read them.
    const copy = new Uint8Array(batch);
    return this.#ask({ type: 'take', batch: copy }, [copy.buffer]);
  }

  /**
   * Resolves when everything taken is in the store, and the store is closed; in a `hurry` what is in the journal alone stays there
   * until somebody opens the store again. Throws `store-unavailable` when it is not in time.
   */
  async close(hurry = false): Promise<void> {
    try {
      await this.#ask({ type: 'close', hurry });
    } finally {
      await this.#gone;
    }
  }

  #ask(request: Request, transfer: ArrayBuffer[] = []): Promise<readonly number[]> {
    if (this.#ended) return Promise.reject(this.#ended);
    const number = this.#next;
    this.#next += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#worker.postMessage({ ...request, number }, transfer);
    });
  }

  #onAnswer(message: FromImportThread): void {
    const waiting = this.#waiting.get(message.number);
    this.#waiting.delete(message.number);
    if ('known' in message) waiting?.resolve(message.known);
    else waiting?.reject(new WeirError(message.code, message.message, { ...message.details }));
  }

  #end(reason: string): void {
    this.#ended ??= new WeirError('fault', `what keeps the records ended early: ${reason}`, {
      next: 'import the same files again: what was taken stays, and nothing is taken twice',
    });
    for (const { reject } of this.#waiting.values()) reject(this.#ended);
    this.#waiting.clear();
  }
}
