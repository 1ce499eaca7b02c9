// The root half of a privileged agent's rules: takes their text from the unprivileged half, judges it by the same parser, has
// netd plan and apply it, and keeps it for the next start once the link was seen to live on. Starts no process.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { readWhole, writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { parseConfiguration } from '../config/configuration.ts';
import type { PersonaLibrary } from '../config/personas.ts';

/** As much as a gateway sends; see LinkServerLimits. */
const maxRulesBytes = 32 * 2 ** 20;
/** Of reasons told, and of each. */
const maxReasons = 20;
const maxReasonText = 200;
/** The link has this long to prove itself after a change of the kernel; then netd takes the change back by itself. */
const defaultConfirmMs = 60_000;

/** What an agent works by that was never told anything. */
export const noRules = JSON.stringify({ version: 1, agent: 'unnamed', diversions: [] });

export interface RulesKeeperOptions {
  /** The data directory; the text lies in its `state/`, root's alone. */
  readonly data: string;
  /** Where the unprivileged half puts the text; its own file in a directory it cannot replace. */
  readonly offered: string;
  readonly personas: PersonaLibrary;
  /** A verb of netd's. */
  readonly netd: (verb: string, args: unknown) => Promise<unknown>;
  readonly log: Log;
  readonly confirmMs?: number;
}

export interface RulesAnswer {
  /** Why nothing was changed; empty: applied. */
  readonly refused: readonly string[];
  /** The change is taken back unless the link is seen to live on. */
  readonly pending: boolean;
  /** netd was away: the same rules may be taken in a moment. */
  readonly again?: true;
}

/** Whoever had to answer is away or slow, which passes; nothing is wrong with what was asked. */
export function isPassing(error: unknown): boolean {
  const { code } = asWeirError(error);
  return code === 'not-running' || code === 'timeout';
}

interface Pending {
  readonly rules: string;
  readonly text: string;
}

export class RulesKeeper {
  readonly #options: RulesKeeperOptions;
  readonly #path: string;
  readonly #trial: string;
  #pending: Pending | undefined;
  /** netd went away while it tried these: it may have them on trial. */
  #unanswered: string | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RulesKeeperOptions) {
    this.#options = options;
    this.#path = join(options.data, 'state/rules.json');
    this.#trial = join(options.data, 'state/rules-on-trial.json');
  }

  /** The file for netd's start; there from the first call on. */
  async file(): Promise<string> {
    if ((await readWhole(this.#path)) === undefined) await writeDurably(this.#path, noRules);
    return this.#path;
  }

  /** What was kept is applied again, as it was before the machine went down. Throws what netd does. */
  restore(): Promise<void> {
    return this.#inTurn(async () => {
      const { netd } = this.#options;
      // A netd that lives on has a change of its own under way, and knows when to take it back.
      const { state } = (await netd('pending', null)) as { state?: unknown };
      if (state === 'pending') return;
      const { changes } = (await netd('plan', { file: await this.file() })) as { changes: number };
      if (changes > 0) await netd('apply', {});
    });
  }

  /** `rules` names the text that was offered. Faults of the text and refusals of netd are answers; throws `bad-request` otherwise. */
  take(rules: string): Promise<RulesAnswer> {
    return this.#inTurn(async () => {
      const text = await this.#read(rules);
      const parsed = parseConfiguration(text, 'rules', { personas: this.#options.personas });
      if ('mistakes' in parsed)
        return refusal(parsed.mistakes.map(({ line, mistake, next }) => `line ${line}: ${mistake}; ${next}`));
      if (parsed.configuration.agent === undefined) return refusal(['these are no rules for an agent']);
      // New rules came over the link after the last change: it lives.
      await this.#settle();
      if (text === (await readWhole(this.#path))) return this.#apply(text, rules, this.#path, false);
      await writeDurably(this.#trial, text);
      return this.#apply(text, rules, this.#trial, true);
    });
  }

  /** The link was seen to live on after the last change. Whether one waited for it. */
  confirm(): Promise<boolean> {
    return this.#inTurn(() => this.#settle());
  }

  async #apply(text: string, rules: string, file: string, fresh: boolean): Promise<RulesAnswer> {
    const { netd, log, confirmMs = defaultConfirmMs } = this.#options;
    try {
      if (fresh && this.#unanswered === rules && ((await netd('pending', null)) as { state?: unknown }).state === 'pending') {
        this.#unanswered = undefined;
        this.#pending = { rules, text };
        return { refused: [], pending: true };
      }
      const { changes } = (await netd('plan', { file })) as { changes: number };
      const pending = fresh && changes > 0;
      this.#unanswered = pending ? rules : undefined;
      await netd('apply', pending ? { confirmWithinMs: confirmMs } : {});
      this.#unanswered = undefined;
      if (pending) this.#pending = { rules, text };
      else if (fresh) await writeDurably(this.#path, text);
      log.info('rules applied', { rules, changes, ...(pending ? { confirmWithinMs: confirmMs } : {}) });
      return { refused: [], pending };
    } catch (error) {
      const { code, message, details } = asWeirError(error);
      log.error('the rules are not applied', { rules, code, error: message });
      const mistakes = Array.isArray(details.mistakes) ? (details.mistakes as { mistake?: unknown; next?: unknown }[]) : [];
      const answer = refusal(
        mistakes.length > 0 ? mistakes.map(({ mistake, next }) => `${String(mistake)}; ${String(next)}`) : [message],
      );
      return isPassing(error) ? { ...answer, again: true } : answer;
    }
  }

  /** Confirms what waits, and keeps it for the next start. */
  async #settle(): Promise<boolean> {
    const pending = this.#pending;
    if (!pending) return false;
    this.#pending = undefined;
    const { confirmed } = (await this.#options.netd('confirm', null).catch((error: unknown) => {
      if (isPassing(error)) this.#pending = pending;
      throw error;
    })) as { confirmed: boolean };
    if (confirmed) {
      await writeDurably(this.#path, pending.text);
      this.#options.log.info('rules confirmed', { rules: pending.rules });
    }
    return confirmed;
  }

  /** The other half could put a link to anything there, or change it as it is read: neither gets further than the digest. */
  async #read(rules: string): Promise<string> {
    const { offered } = this.#options;
    const fault = (why: string): WeirError => new WeirError('bad-request', `the rules offered are not read: ${why}`);
    if (!/^[0-9a-f]{12}$/.test(rules)) throw fault('their name is none');
    let bytes: Buffer;
    try {
      const handle = await open(offered, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const stats = await handle.stat();
        if (!stats.isFile() || stats.size > maxRulesBytes) throw fault('no file of a fitting size');
        bytes = Buffer.alloc(stats.size);
        const { bytesRead } = await handle.read(bytes, 0, stats.size, 0);
        bytes = bytes.subarray(0, bytesRead);
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (error instanceof WeirError) throw error;
      throw fault((error as NodeJS.ErrnoException).code ?? 'not readable');
    }
    const text = bytes.toString('utf8');
    if (createHash('sha256').update(text).digest('hex').slice(0, 12) !== rules) throw fault('they are others than announced');
    return text;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}

const refusal = (reasons: readonly string[]): RulesAnswer => ({
  refused: reasons.slice(0, maxReasons).map((text) => text.slice(0, maxReasonText)),
  pending: false,
});
