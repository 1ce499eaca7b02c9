// Records what a relayed flow says, up to the cap: copies until then, counts alone afterwards. An inner hop has no session of
// its own: there it only counts.

import type { Micros } from '../base/clock.ts';
import type { Direction, SessionFindings, SessionHandle } from '../model/session.ts';
import type { FlowEnd } from './pump.ts';

/** As many chunks as one session may have; a peer that sends single bytes costs more than its bytes. */
const maxChunks = 16_384;

export class SessionTap {
  readonly bytes = { in: 0, out: 0 };
  readonly #handle: SessionHandle | undefined;
  #room: number;
  #chunks = 0;
  /** Not yet told to the session: thousands of pieces are one word of it. */
  #skipped = { in: 0, out: 0 };

  constructor(handle: SessionHandle | undefined, sessionBytes: number) {
    this.#handle = handle;
    this.#room = handle ? sessionBytes : 0;
  }

  get id(): string | undefined {
    return this.#handle?.id;
  }

  /** `bytes` may be written into afterwards. */
  take(direction: Direction, bytes: Uint8Array, at: Micros): void {
    this.bytes[direction] += bytes.length;
    if (this.#room <= 0) {
      this.#skipped[direction] += bytes.length;
      return;
    }
    const kept = bytes.length <= this.#room ? bytes : bytes.subarray(0, this.#room);
    this.#room = this.#chunks < maxChunks ? this.#room - kept.length : 0;
    this.#chunks += 1;
    this.#handle?.chunk(direction, Buffer.from(kept), at);
    this.#skipped[direction] += bytes.length - kept.length;
  }

  find(findings: SessionFindings): void {
    this.#handle?.find(findings);
  }

  /** Tells the session what passed beyond the cap since it was last told. */
  settle(): void {
    const { in: inward, out: outward } = this.#skipped;
    if (inward + outward === 0) return;
    if (this.#handle && inward > 0) this.#handle.skip('in', inward);
    if (this.#handle && outward > 0) this.#handle.skip('out', outward);
    this.#skipped = { in: 0, out: 0 };
  }

  close(outcome: FlowEnd, at?: Micros): void {
    this.settle();
    this.#handle?.close(outcome, at);
  }
}
