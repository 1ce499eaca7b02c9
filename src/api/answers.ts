// Lets many readers ask the store the same costly question at the price of one: equal questions within a moment
// share an answer, and only a few different ones run at once. Bounded; keeps nothing longer than `freshMs`.

import { WeirError } from '../base/errors.ts';

const maxKept = 128;
const maxRunning = 4;
const maxWaiting = 64;

export class Answers {
  readonly #freshMs: number;
  readonly #now: () => number;
  readonly #kept = new Map<string, { at: number; answer: Promise<unknown> }>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(freshMs = 1000, now: () => number = () => performance.now()) {
    this.#freshMs = freshMs;
    this.#now = now;
  }

  /** Runs `ask` unless an equal question was asked within the last moment. A failed answer is not kept. */
  get<T>(key: string, ask: () => Promise<T>): Promise<T> {
    const known = this.#kept.get(key);
    if (known && this.#now() - known.at < this.#freshMs) return known.answer as Promise<T>;
    const answer = this.#run(ask);
    this.#kept.delete(key);
    this.#kept.set(key, { at: this.#now(), answer });
    answer.catch(() => {
      if (this.#kept.get(key)?.answer === answer) this.#kept.delete(key);
    });
    while (this.#kept.size > maxKept) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
    return answer;
  }

  async #run<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#running >= maxRunning) {
      if (this.#waiting.length >= maxWaiting) throw new WeirError('store-unavailable', 'too many questions at once: try again');
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await ask();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running -= 1;
    }
  }
}
