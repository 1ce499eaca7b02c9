// Moves bytes between an attacker's stream and a service's, both ways: back-pressure, half-close and RST are passed on, bytes
// counted, idle and total time bounded where asked for. Who dials and what is recorded is the owner's. For two sockets of our
// own descriptor-pump.ts does the same, faster.

import type { Clock, Micros } from '../base/clock.ts';
import type { Direction, SessionOutcome } from '../model/session.ts';
import type { FlowStream } from './arrival.ts';

export type FlowEnd = Exclude<SessionOutcome, 'open'>;

/** What moves the bytes of one flow. */
export interface FlowPump {
  /** Ends both sides at once; with a RST to the client where `outcome` is `shed`. Idempotent. */
  end(outcome: FlowEnd): void;
}

export interface PumpLimits {
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  /** How long the rest of a half-closed connection may go on without a byte; an attacker's open half is not kept for ever. */
  readonly lingerMs: number;
}

export interface PumpEnd {
  readonly outcome: FlowEnd;
  /** From the client, from the service. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** When the service's first byte came; absent when none did. */
  readonly firstByteAt?: Micros;
}

export interface PumpOptions {
  readonly client: FlowStream;
  readonly service: FlowStream;
  /** Absent: the owner ends it in time. */
  readonly limits?: PumpLimits;
  readonly clock: Clock;
  /** Sees every piece once, in order, before it is passed on; keeps what it wants by copying. Must not throw or block. */
  readonly onBytes?: (direction: Direction, bytes: Uint8Array) => void;
  readonly onHalfClose?: (direction: Direction) => void;
  readonly onEnd: (end: PumpEnd) => void;
}

/** Both streams have `allowHalfOpen`, nothing was read from them yet, and are the pump's until `onEnd`. */
export class Pump implements FlowPump {
  readonly #options: PumpOptions;
  readonly #started: Micros;
  #bytesIn = 0;
  #bytesOut = 0;
  #firstByteAt: Micros | undefined;
  #lastAt: Micros;
  #timer: NodeJS.Timeout | undefined;
  #clientEnded = false;
  #serviceEnded = false;
  /** Who ended it first, as far as known. */
  #outcome: FlowEnd | undefined;
  #open = 2;
  #ended = false;

  constructor(options: PumpOptions) {
    this.#options = options;
    this.#started = options.clock();
    this.#lastAt = this.#started;
    if (options.limits) this.#timer = this.#watch(options.limits);
    this.#join(options.client, options.service, 'in');
    this.#join(options.service, options.client, 'out');
  }

  get bytes(): { readonly in: number; readonly out: number } {
    return { in: this.#bytesIn, out: this.#bytesOut };
  }

  end(outcome: FlowEnd): void {
    if (this.#ended) return;
    this.#outcome ??= outcome;
    const { client, service } = this.#options;
    if (outcome === 'shed') client.resetAndDestroy();
    else client.destroy();
    service.destroy();
  }

  #join(from: FlowStream, to: FlowStream, direction: Direction): void {
    from.on('data', (bytes: Buffer) => {
      this.#passed(direction, bytes);
      // A side that can no longer be written to is ending; what still comes for it has nowhere to go.
      if (to.writable && !to.write(bytes)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => {
      this.#halfClosed(direction);
      to.end();
    });
    from.on('error', (error: NodeJS.ErrnoException) => {
      const reset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      if (reset) {
        this.#outcome ??= direction === 'in' ? 'client-reset' : 'server-closed';
        to.resetAndDestroy();
      } else {
        this.#outcome ??= error.code === 'ETIMEDOUT' ? 'idle' : direction === 'in' ? 'client-reset' : 'server-closed';
        to.destroy();
      }
    });
    from.on('close', () => {
      // Destroyed without an end of its own: nobody waits for the other side any more.
      if (!to.destroyed && !(direction === 'in' ? this.#clientEnded : this.#serviceEnded)) to.destroy();
      this.#closed();
    });
  }

  #passed(direction: Direction, bytes: Buffer): void {
    this.#lastAt = this.#options.clock();
    if (direction === 'in') this.#bytesIn += bytes.length;
    else {
      this.#bytesOut += bytes.length;
      this.#firstByteAt ??= this.#lastAt;
    }
    this.#options.onBytes?.(direction, bytes);
  }

  #halfClosed(direction: Direction): void {
    if (direction === 'in') this.#clientEnded = true;
    else this.#serviceEnded = true;
    this.#outcome ??= direction === 'in' ? 'client-closed' : 'server-closed';
    this.#lastAt = this.#options.clock();
    this.#options.onHalfClose?.(direction);
  }

  /** One timer a connection, moved forward only when it fires: bytes do not touch it. */
  #watch(limits: PumpLimits): NodeJS.Timeout {
    const { clock } = this.#options;
    const now = clock();
    const idleMs =
      this.#clientEnded || this.#serviceEnded ? Math.min(limits.lingerMs, limits.idleTimeoutMs) : limits.idleTimeoutMs;
    const idleAt = this.#lastAt + idleMs * 1000;
    const endAt = this.#started + limits.totalTimeoutMs * 1000;
    const next = Math.min(idleAt, endAt, now + limits.lingerMs * 1000);
    const timer = setTimeout(
      () => {
        const at = clock();
        if (at >= endAt) this.end('time-limit');
        else if (at >= this.#lastAt + idleMs * 1000) this.end('idle');
        else this.#timer = this.#watch(limits);
      },
      Math.max(1, (next - now) / 1000),
    );
    timer.unref();
    return timer;
  }

  #closed(): void {
    this.#open -= 1;
    if (this.#open > 0 || this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#options.onEnd({
      outcome: this.#outcome ?? 'server-closed',
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      ...(this.#firstByteAt === undefined ? {} : { firstByteAt: this.#firstByteAt }),
    });
  }
}
