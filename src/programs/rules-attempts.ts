// Rules on their way to the root half of a privileged agent: asked for again, ever more seldom, while it or its netd is away, and
// at once when netd is back. What the rules are is rules-keeper.ts; who asks is agent-machine.ts.

import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { isPassing, type RulesAnswer } from './rules-keeper.ts';

export interface RulesAttemptsOptions {
  /** Has the root half take them; throws what the call does. */
  readonly ask: (rules: string, text: string) => Promise<RulesAnswer>;
  /** To every attempt whose rules are still wanted; `later`: a further one than the first. */
  readonly onAnswer: (answer: RulesAnswer, later: boolean) => void;
  readonly log: Log;
  /** Before each further attempt; the last holds on. */
  readonly delaysMs?: readonly number[];
}

const usualDelaysMs = [500, 1000, 2000, 5000, 10_000, 30_000];

interface Wanted {
  readonly rules: string;
  readonly text: string;
  /** Since the beginning, or since netd was seen to be back. */
  failures: number;
  asked: boolean;
}

export class RulesAttempts {
  readonly #options: RulesAttemptsOptions;
  #wanted: Wanted | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RulesAttemptsOptions) {
    this.#options = options;
  }

  /** Replaces what was wanted before. Resolves when the first attempt was answered; never throws. */
  take(rules: string, text: string): Promise<void> {
    this.#stopWaiting();
    this.#wanted = { rules, text, failures: 0, asked: false };
    return this.#attempt(this.#wanted);
  }

  /** netd is back: what waits is tried now. */
  wake(): void {
    if (!this.#wanted || this.#timer === undefined) return;
    this.#stopWaiting();
    // It may answer a moment later than it is seen: the delays begin anew.
    this.#wanted.failures = 0;
    void this.#attempt(this.#wanted);
  }

  /** Nothing is tried any more. Idempotent. */
  close(): void {
    this.#stopWaiting();
    this.#wanted = undefined;
  }

  async #attempt(wanted: Wanted): Promise<void> {
    const { ask, onAnswer, log, delaysMs = usualDelaysMs } = this.#options;
    const { rules, text } = wanted;
    const later = wanted.asked;
    wanted.asked = true;
    let answer: RulesAnswer;
    try {
      answer = await ask(rules, text);
    } catch (error) {
      const { message } = asWeirError(error);
      if (!later || !isPassing(error)) log.error('the root half does not apply the rules', { rules, error: message });
      const refused = [`this machine's netd does not answer: ${message}`];
      answer = { refused, pending: false, ...(isPassing(error) ? { again: true } : {}) };
    }
    if (this.#wanted !== wanted) return;
    if (answer.again) {
      const delayMs = delaysMs[Math.min(wanted.failures, delaysMs.length - 1)];
      wanted.failures += 1;
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        void this.#attempt(wanted);
      }, delayMs).unref();
      onAnswer({ ...answer, refused: answer.refused.map((why) => `${why}; it is tried again`) }, later);
      return;
    }
    if (later) log.info('the rules were answered after further attempts', { rules, refused: answer.refused.length });
    onAnswer(answer, later);
  }

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
