// Remembers what was repaired and what could not be: who keeps changing an object against us slows its repair down to
// once a minute, what fails is tried again after a growing while, and both are told once. Bounded; no timers, no kernel.

import type { Clock } from '../base/clock.ts';
import type { Repair } from './annex.ts';
import { repairKey } from './repair.ts';

/** Worth an alert. */
export interface Trouble {
  readonly name: 'contended' | 'repair-failed';
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

const minuteMicros = 60_000_000;
const firstRetryMicros = 500_000;
const hurriedMicros = 1_000_000;
/** Objects remembered at a time; beyond it the one longest untouched is forgotten. */
const maxEntries = 4096;
const maxReasons = 8;

interface Contention {
  /** Of the repairs within the last minute, at most as many as make it contended. */
  times: number[];
  heldUntil: number;
  message: string;
}

interface Failure {
  count: number;
  triedAt: number;
  until: number;
  readonly network: string;
  message: string;
}

export class RepairLedger {
  readonly #clock: Clock;
  readonly #perMinute: number;
  readonly #contended = new Map<string, Contention>();
  readonly #failing = new Map<string, Failure>();

  /** Beyond `perMinute` repairs of one object within a minute it is held back for a minute each time. */
  constructor(clock: Clock, perMinute: number) {
    this.#clock = clock;
    this.#perMinute = perMinute;
  }

  /** Whether to leave this object alone for now. */
  isHeld(key: string): boolean {
    const now = this.#clock();
    return (this.#contended.get(key)?.heldUntil ?? 0) > now || (this.#failing.get(key)?.until ?? 0) > now;
  }

  /** A trouble when this is one repair too many. */
  noteRepair(repair: Repair): Trouble | undefined {
    const key = repairKey(repair);
    const now = this.#clock();
    this.#failing.delete(key);
    const entry = this.#contended.get(key) ?? { times: [], heldUntil: 0, message: '' };
    touch(this.#contended, key, entry);
    entry.message = repair.message;
    entry.times = [...entry.times.filter((at) => now - at < minuteMicros), now].slice(-this.#perMinute);
    // Needed again within a minute of being let go: it goes on as it was.
    const goesOn = entry.heldUntil > 0 && now - entry.heldUntil < minuteMicros;
    if (!goesOn && entry.times.length < this.#perMinute) return undefined;
    entry.heldUntil = now + minuteMicros;
    if (goesOn) return undefined;
    return {
      name: 'contended',
      message: `somebody else keeps changing this; it is put back once a minute from now on: ${repair.message}`,
      details: { network: repair.network, object: repair.object, repairs: entry.times.length },
    };
  }

  /** A trouble when it failed a second time in a row: what is in the way may just be going. */
  noteFailure(failure: Repair): Trouble | undefined {
    const key = repairKey(failure);
    const entry = this.#failing.get(key) ?? { count: 0, triedAt: 0, until: 0, network: failure.network, message: '' };
    touch(this.#failing, key, entry);
    entry.count += 1;
    entry.message = failure.message;
    entry.triedAt = this.#clock();
    entry.until = entry.triedAt + Math.min(minuteMicros, firstRetryMicros * 2 ** Math.min(entry.count - 1, 10));
    if (entry.count !== 2) return undefined;
    return {
      name: 'repair-failed',
      message: failure.message,
      details: { network: failure.network, object: failure.object },
    };
  }

  /** Links came or went: what failed in this network (the machine's own: in any, for there are the trunks) may work now. */
  hurry(network: string): void {
    for (const entry of this.#failing.values())
      if (network === '' || entry.network === network) entry.until = Math.min(entry.until, entry.triedAt + hurriedMicros);
  }

  /** After a look at these networks (undefined: all): what failed before and was tried is well when it is not in `failed`. */
  settle(networks: ReadonlySet<string> | undefined, failed: ReadonlySet<string>, startedAt: number): void {
    for (const [key, { network, until }] of this.#failing)
      if (until <= startedAt && !failed.has(key) && (networks === undefined || networks.has(network))) this.#failing.delete(key);
  }

  /** When what failed is to be looked at again, the earliest; undefined: nothing waits. Microseconds of the clock. */
  nextRetry(): number | undefined {
    let next: number | undefined;
    for (const { until } of this.#failing.values()) next = Math.min(next ?? until, until);
    return next;
  }

  /** Networks in which something failed whose time has come. */
  due(): Set<string> {
    const now = this.#clock();
    return new Set([...this.#failing.values()].filter(({ until }) => until <= now).map(({ network }) => network));
  }

  /** Sentences for people. */
  reasons(): string[] {
    const now = this.#clock();
    const held = [...this.#contended.values()].filter(({ heldUntil }) => heldUntil > now);
    return [
      ...held.slice(0, maxReasons).map(({ message }) => `somebody else keeps changing this, repaired once a minute: ${message}`),
      ...[...this.#failing.values()].slice(0, maxReasons).map(({ message }) => message),
    ];
  }
}

function touch<T>(table: Map<string, T>, key: string, entry: T): void {
  table.delete(key);
  table.set(key, entry);
  if (table.size <= maxEntries) return;
  for (const oldest of table.keys()) {
    table.delete(oldest);
    return;
  }
}
