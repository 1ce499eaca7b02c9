// What one TCP session asks of the catch-all that owns it: clock, timers, bounds, counters, responders. Types only.

import type { Micros } from '../base/clock.ts';
import type { SessionOutcome } from '../model/session.ts';
import type { CertificateMint } from './certificate-mint.ts';
import type { Responder } from './responder.ts';
import type { TcpSession } from './tcp-session.ts';

/** What a session asks of its owner. */
export interface SessionHost {
  readonly certificates: CertificateMint;
  readonly sessionBytes: number;
  now(): Micros;
  responder(protocol: string): Responder | undefined;
  /** Bytes passed: no longer idle. */
  touched(session: TcpSession): void;
  /** `waited` is called after the greeting's delay. */
  awaiting(session: TcpSession): void;
  /** Our side is closed; `lingered` is called if the client keeps its side open. */
  lingering(session: TcpSession): void;
  /** Room for bytes that wait to be understood; false when all sessions together hold too many. */
  hold(change: number): boolean;
  ended(session: TcpSession, outcome: SessionOutcome): void;
  counted(what: 'bytesIn' | 'bytesOut' | 'tlsHandshakes' | 'tlsFailures', count: number): void;
  defect(session: TcpSession, error: unknown): void;
}
