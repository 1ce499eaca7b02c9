// Checks the access baseline again and again while Weir runs: by `weir baseline check --alert` as a process of its own, whose alerts go into
// the record as if somebody had typed it. One at a time, each for a bounded time; what the last one said is in `weir status`.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { type Clock, renderMicros } from '../base/clock.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { printable } from '../base/printable.ts';
import type { EventSink } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import type { AnnexReport } from '../model/status.ts';
import { ownInstallation } from './installation.ts';

export interface BaselineOutcome {
  readonly compared: number;
  readonly differences: number;
  readonly notMeasured: number;
  /** Why differences could not be written down as alerts. */
  readonly unwritten?: string;
}

/** Throws what the check failed with. Ends early, also with an error, when `signal` fires. */
export type BaselineCheck = (signal: AbortSignal) => Promise<BaselineOutcome>;

export interface BaselineScheduleOptions {
  readonly everyMs: number;
  readonly check: BaselineCheck;
  readonly clock: Clock;
  readonly events: EventSink;
  readonly log: Log;
}

/** After one that failed: what stood in its way may have been there for a moment. */
const retryMs = 60_000;

export class BaselineSchedule {
  readonly #options: BaselineScheduleOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #last: (BaselineOutcome & { readonly at: number }) | undefined;
  #failure: string | undefined;
  #failures = 0;

  constructor(options: BaselineScheduleOptions) {
    this.#options = options;
  }

  /** The first check begins at once. */
  start(): void {
    if (this.#stop.signal.aborted || this.#running || this.#timer) return;
    this.#begin();
  }

  /** A check that runs is ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    await this.#running;
  }

  #begin(): void {
    this.#timer = undefined;
    this.#running = this.#once().then(() => {
      this.#running = undefined;
      const { everyMs } = this.#options;
      const waitMs = this.#failure === undefined ? everyMs : Math.min(everyMs, retryMs);
      if (!this.#stop.signal.aborted) this.#timer = setTimeout(() => this.#begin(), waitMs);
    });
  }

  async #once(): Promise<void> {
    const { check, clock } = this.#options;
    try {
      const outcome = await check(this.#stop.signal);
      this.#last = { ...outcome, at: clock() };
      this.#failure = undefined;
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#failed(error);
    }
  }

  /** On record once for as long as it is the same. */
  #failed(error: unknown): void {
    const { clock, events, log } = this.#options;
    const { message, details } = asWeirError(error);
    const { next } = details;
    const text = printable(typeof next === 'string' ? `${message}: ${next}` : message, 400);
    this.#failures += 1;
    if (text === this.#failure) return;
    this.#failure = text;
    log.warn('the access baseline could not be checked', { error: text });
    const at = clock();
    const name = 'baseline-unchecked';
    events.append({
      kind: 'system',
      system: {
        id: createIdentifier(at),
        at,
        name,
        program: 'up',
        message: `the access baseline was not checked: ${text}`,
        details: {},
      },
    });
  }

  report(): AnnexReport {
    const lines: string[] = [];
    const reasons: string[] = [];
    if (this.#last) {
      const { at, compared, differences, notMeasured, unwritten } = this.#last;
      const gaps = notMeasured > 0 ? `, ${notMeasured} things not measured` : '';
      const same = notMeasured === 0 ? 'as agreed' : 'nothing else than agreed was found';
      const found = differences === 0 ? same : `${differences} differences`;
      lines.push(`${found}: ${compared} ways compared${gaps}, at ${renderMicros(at)}`);
      if (differences > 0)
        reasons.push(`who reaches what is not as agreed: ${differences} differences, \`weir baseline check\` shows them`);
      if (notMeasured > 0)
        reasons.push(`${notMeasured} things of the access baseline were not measured, \`weir baseline check\` names them`);
      if (unwritten !== undefined) reasons.push(`differences from the access baseline are not on record as alerts: ${unwritten}`);
    } else lines.push(this.#failure === undefined ? 'the first check is under way' : 'not checked yet');
    if (this.#failure !== undefined)
      reasons.push(`the access baseline could not be checked, ${this.#failures} times until now: ${this.#failure}`);
    return { name: 'baseline', lines, reasons };
  }
}

const limitMs = 300_000;
const maxOutputBytes = 64 << 20;

/** Root's, from the installation this one was started from. Exit codes are those of the verb: 0, 10 and 3 are answers. */
export const baselineCheck =
  (file: string | undefined): BaselineCheck =>
  (signal) =>
    new Promise((resolve, reject) => {
      const { node, root } = ownInstallation();
      const words = ['baseline', 'check', '--alert', '--json', ...(file === undefined ? [] : ['-c', file])];
      execFile(
        node,
        ['--max-old-space-size=512', '--no-warnings', join(root, 'dist/src/programs/weir.js'), ...words],
        {
          signal,
          timeout: limitMs,
          killSignal: 'SIGKILL',
          maxBuffer: maxOutputBytes,
          cwd: '/',
          env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', TZ: 'UTC' },
        },
        (error, stdout) => {
          const { code, killed } = (error ?? { code: 0 }) as {
            readonly code?: number | string | null;
            readonly killed?: boolean;
          };
          if (killed === true && !signal.aborted) reject(new WeirError('timeout', `a check took more than ${limitMs / 1000} s`));
          else
            try {
              resolve(parseOutcome(stdout, code));
            } catch (fault) {
              reject(fault);
            }
        },
      );
    });

/** Of `weir baseline check --json`. Throws what it says it failed with. */
export function parseOutcome(stdout: string, code: number | string | null | undefined): BaselineOutcome {
  let said: Record<string, unknown> = {};
  try {
    said = (JSON.parse(stdout) as Record<string, unknown> | null) ?? {};
  } catch {
    throw new WeirError('fault', `the check ended with ${code ?? 'a signal'} and no answer`);
  }
  const { compared, differences, not_measured: notMeasured, error } = said;
  const { message, details } = (error ?? {}) as { readonly message?: unknown; readonly details?: { readonly next?: unknown } };
  if (Array.isArray(differences) && Array.isArray(notMeasured)) {
    const outcome = { compared: Number(compared), differences: differences.length, notMeasured: notMeasured.length };
    if (code === 0 || code === 10 || code === 3) return outcome;
    if (typeof message === 'string') {
      const text = typeof details?.next === 'string' ? `${message}: ${details.next}` : message;
      return { ...outcome, unwritten: printable(text, 400) };
    }
  }
  const next = typeof details?.next === 'string' ? { next: details.next } : {};
  throw new WeirError('fault', typeof message === 'string' ? message : `the check ended with ${code ?? 'a signal'}`, next);
}
