// Who says how a flow of an agent's went, at the gateway's end: a flow may be taken here just when the link breaks, and the agent,
// which did not hear of it, answers it itself. Both record it under the identifier the agent gave it; here the end of ours waits until
// the agent is known to have heard, or to have answered itself. Bounded in number and time.

import { type Clock, type Micros, systemClock } from '../../base/clock.ts';
import { identifierTime } from '../../model/identifier.ts';
import type { SessionClaim } from '../../model/session.ts';

export interface FlowClaimsOptions {
  /** What a session is called on record by the identifier that this agent gave it: no other agent's can be called so. */
  nameOf(agent: string, id: string): string;
  readonly clock?: Clock;
  /** Of one agent, that it did not say it heard of; the oldest is given up. Default 4,096. */
  readonly most?: number;
  /** Nobody says how it went: then it is as far as it is known here. Default 7 days, as an agent's records may wait for their link. */
  readonly patienceMs?: number;
  /** Identifiers of one agent that are remembered as used while they could come again; beyond it none is taken. Default 65,536. */
  readonly remembered?: number;
  /** Settled as ours though the agent may still have records of it, for want of room or of time. */
  onGivenUp?(): void;
}

/** An identifier's time may be so far from our clock: the agent's is set by ours, and a link lives through stalls of seconds. */
const oldestMicros = 60e6;
const aheadMicros = 10e6;
/** So long ago an agent may say that an attacker came. */
const startMicros = 5e6;
const dayMicros = 86_400e6;

export class FlowClaim implements SessionClaim {
  /** As the agent calls it. */
  readonly given: string;
  readonly id: string;
  /** When the attacker came: by the agent's clock where that can be, not later than now. */
  readonly start: Micros;
  readonly sequence = 0;
  #isOurs: boolean | undefined;
  #waiting: ((isOurs: boolean) => void) | undefined;

  constructor(given: string, id: string, start: Micros) {
    this.given = given;
    this.id = id;
    this.start = start;
  }

  get isSettled(): boolean {
    return this.#isOurs !== undefined;
  }

  whenSettled(settled: (isOurs: boolean) => void): void {
    if (this.#isOurs === undefined) this.#waiting = settled;
    else settled(this.#isOurs);
  }

  /** The first call wins. */
  settle(isOurs = true): void {
    if (this.#isOurs !== undefined) return;
    this.#isOurs = isOurs;
    this.#waiting?.(isOurs);
    this.#waiting = undefined;
  }
}

/** Of one agent. */
interface Side {
  /** Whether they are its own answers: known while it is linked. */
  takenBack: ReadonlySet<string> | undefined;
  /** Of links that have ended, by the agent's identifiers; the oldest first. */
  readonly broken: Map<string, Broken>;
  /** Identifiers of which the time has not passed. */
  readonly used: Set<string>;
}

interface Broken {
  readonly claim: FlowClaim;
  readonly sinceMs: number;
  /** A hello has told that the agent answered it: no later one says it again, and its records may need several links. */
  named: boolean;
}

export class FlowClaims {
  readonly #options: FlowClaimsOptions;
  readonly #clock: Clock;
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #remembered: number;
  readonly #sides = new Map<string, Side>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FlowClaimsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#most = options.most ?? 4096;
    this.#patienceMs = options.patienceMs ?? 7 * 86_400_000;
    this.#remembered = options.remembered ?? 65_536;
  }

  /** Sessions of broken links whose end waits. */
  get waiting(): number {
    let waiting = 0;
    for (const { broken } of this.#sides.values()) waiting += broken.size;
    return waiting;
  }

  /** Undefined: it is of a time that cannot be, or was used: two sessions under it would hide each other. */
  open(agent: string, given: string): FlowClaim | undefined {
    const now = this.#clock();
    const at = identifierTime(given);
    if (!(at > now - oldestMicros && at < now + aheadMicros)) return undefined;
    const start = at > now || at < now - startMicros ? now : at;
    // A store looks for what else is recorded of it in the same day.
    if (Math.floor(start / dayMicros) !== Math.floor(at / dayMicros)) return undefined;
    const { used, broken } = this.#side(agent);
    if (used.has(given) || broken.has(given) || used.size >= this.#remembered) return undefined;
    used.add(given);
    this.#sweepLater();
    return new FlowClaim(given, this.#options.nameOf(agent, given), start);
  }

  /** Its link holds now, and this is what it took back. */
  linked(agent: string, takenBack: readonly string[]): void {
    const side = this.#side(agent);
    side.takenBack = new Set(takenBack);
    this.#judge(side);
  }

  /** A link has ended before these were settled; `stillLinked`: the agent has another. */
  ended(agent: string, claims: Iterable<FlowClaim>, stillLinked: boolean): void {
    const side = this.#side(agent);
    if (!stillLinked) side.takenBack = undefined;
    const sinceMs = performance.now();
    for (const claim of claims) {
      if (claim.isSettled) continue;
      const before = side.broken.get(claim.given);
      if (before && before.claim !== claim) before.claim.settle();
      // Behind all others: the map is in order of time.
      side.broken.delete(claim.given);
      side.broken.set(claim.given, { claim, sinceMs, named: before?.named ?? false });
    }
    this.#judge(side);
    for (const given of side.broken.keys()) {
      if (side.broken.size <= this.#most) break;
      this.#giveUp(side, given);
    }
    if (side.broken.size > 0) this.#sweepLater();
    else if (!stillLinked && side.used.size === 0) this.#sides.delete(agent);
  }

  /** The agent has handed in what it recorded under this identifier: nothing is to be said here any more. */
  handedIn(agent: string, given: string): void {
    const side = this.#sides.get(agent);
    side?.broken.get(given)?.claim.settle(false);
    side?.broken.delete(given);
  }

  /** Everything is settled as far as it is known here. */
  close(): void {
    clearInterval(this.#timer);
    for (const { broken } of this.#sides.values()) for (const { claim } of broken.values()) claim.settle();
    this.#sides.clear();
  }

  #side(agent: string): Side {
    const side = this.#sides.get(agent) ?? { takenBack: undefined, broken: new Map(), used: new Set() };
    this.#sides.set(agent, side);
    return side;
  }

  #judge({ takenBack, broken }: Side): void {
    if (!takenBack) return;
    for (const [given, one] of broken) {
      if (takenBack.has(given)) one.named = true;
      if (one.named) continue;
      broken.delete(given);
      one.claim.settle();
    }
  }

  #giveUp({ broken }: Side, given: string): void {
    const one = broken.get(given);
    broken.delete(given);
    one?.claim.settle();
    this.#options.onGivenUp?.();
  }

  #sweepLater(): void {
    this.#timer ??= setInterval(() => this.#sweep(), Math.min(10_000, this.#patienceMs)).unref();
  }

  #sweep(): void {
    const since = performance.now() - this.#patienceMs;
    const passed = this.#clock() - oldestMicros;
    let left = 0;
    for (const [agent, side] of this.#sides) {
      for (const [given, { sinceMs }] of side.broken) {
        if (sinceMs > since) break;
        this.#giveUp(side, given);
      }
      // Nearly in order; what stands behind a later one goes with it.
      for (const given of side.used) {
        if (identifierTime(given) > passed) break;
        side.used.delete(given);
      }
      left += side.broken.size + side.used.size;
      if (side.broken.size + side.used.size === 0 && !side.takenBack) this.#sides.delete(agent);
    }
    if (left > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
