// How a supervised program lives and ends: told to by SIGTERM, by the loss of its lifeline, or by a start that failed. Signals of a
// terminal are the supervisor's.

import { asWeirError } from '../base/errors.ts';
import type { Lifetime } from '../base/lifetime.ts';
import type { Log } from '../base/log.ts';
import { watchLifeline } from './child.ts';

export interface ProgramLifeOptions {
  readonly main: () => Promise<void>;
  readonly lifetime: Lifetime;
  readonly log: Log;
  /** Whoever held the lifeline is gone: words for the log, and an orderly end; or what is done instead, which ends the process. */
  readonly onLost: string | (() => void);
}

/** Exit code 0 after an orderly end, 1 when `main` failed. */
export function liveUntilTold({ main, lifetime, log, onLost }: ProgramLifeOptions): void {
  const end = async (reason: string): Promise<void> => {
    if (lifetime.ending) return;
    log.info('ending', { reason });
    await lifetime.end();
    process.exit(0);
  };
  process.on('SIGTERM', () => void end('SIGTERM'));
  process.on('SIGINT', () => {});
  process.on('SIGHUP', () => {});
  watchLifeline(() => {
    if (typeof onLost === 'string') void end(onLost);
    else if (!lifetime.ending) onLost();
  });
  main().catch((error) => {
    // A start that was cut short fails somewhere; whoever cut it decides how this ends.
    if (lifetime.ending) return;
    const { code, message } = asWeirError(error);
    log.error(message, { code });
    process.exit(1);
  });
}
