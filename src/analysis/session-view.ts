// A session as analysis looks at it: the newest record's facts and its first bytes both ways, put together. Data only.

import type { Micros } from '../base/clock.ts';
import type { SessionRecord } from '../model/session.ts';

/** At most this many bytes of each direction are looked at. */
export const viewBytes = 64 * 1024;

export interface SessionView {
  /** Without its chunks; ended, unless it had to be looked at early to bound memory. */
  readonly session: Omit<SessionRecord, 'chunks' | 'firstChunk'>;
  /** What the attacker sent, what the decoy sent: in order, cut at `viewBytes`. Inside TLS the plain text. */
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  /** When the first byte of input came; absent when none did. */
  readonly firstInput?: Micros;
}
