// What one TCP session asks of the catch-all that owns it: clock, timers, bounds, counters, responders. Types and one bound.

import type { Micros } from '../base/clock.ts';
import type { SessionOutcome } from '../model/session.ts';
import type { CertificateMint } from './certificate-mint.ts';
import type { Responder } from './responder.ts';

/**
 * A session that passed its cap of recorded bytes goes on unrecorded until it has moved this many times the cap, so that
 * what an attacker does next is still answered and timed; then it ends as `byte-limit`.
 */
export const overflowFactor = 8;

/** What a session asks of its owner. */
export interface SessionHost<Session> {
  readonly certificates: CertificateMint;
  readonly sessionBytes: number;
  now(): Micros;
  responder(protocol: string): Responder | undefined;
  /** Bytes passed: no longer idle. */
  touched(session: Session): void;
  /** `waited` is called after the greeting's delay. */
  awaiting(session: Session): void;
  /** Our side is closed; `lingered` is called if the client keeps its side open. */
  lingering(session: Session): void;
  /** Room for bytes that wait to be understood; false when all sessions together hold too many. */
  hold(change: number): boolean;
  ended(session: Session, outcome: SessionOutcome): void;
  counted(what: 'bytesIn' | 'bytesOut' | 'tlsHandshakes' | 'tlsFailures', count: number): void;
  defect(session: Session, error: unknown): void;
}
