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
  /** Of one agent, that it did not say it heard of; the oldest is settled. Default 4,096. */
  readonly most?: number;
  /** Nobody says how it went: then it is as far as it is known here. Default 10 minutes. */
  readonly patienceMs?: number;
}

/** An identifier's time may be so far from our clock: the agent's is set by ours, and a flow may be long on its way. */
const oldestMicros = 3_600e6;
const aheadMicros = 60e6;

export class FlowClaim implements SessionClaim {
  /** As the agent calls it. */
  readonly given: string;
  readonly id: string;
  readonly sequence = 0;
  #isOurs: boolean | undefined;
  #waiting: ((isOurs: boolean) => void) | undefined;

  constructor(given: string, id: string) {
    this.given = given;
    this.id = id;
  }

  /** When the attacker came, by the agent's clock. */
  get start(): Micros {
    return identifierTime(this.given);
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
  /** Of links that have ended, by the agent's identifiers. */
  readonly broken: Map<string, { readonly claim: FlowClaim; readonly sinceMs: number }>;
}

export class FlowClaims {
  readonly #options: FlowClaimsOptions;
  readonly #clock: Clock;
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #sides = new Map<string, Side>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: FlowClaimsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#most = options.most ?? 4096;
    this.#patienceMs = options.patienceMs ?? 600_000;
  }

  /** Sessions of broken links whose end waits. */
  get waiting(): number {
    let waiting = 0;
    for (const { broken } of this.#sides.values()) waiting += broken.size;
    return waiting;
  }

  /** Undefined: it came at a time that cannot be. */
  open(agent: string, given: string): FlowClaim | undefined {
    const now = this.#clock();
    const at = identifierTime(given);
    if (!(at > now - oldestMicros && at < now + aheadMicros)) return undefined;
    return new FlowClaim(given, this.#options.nameOf(agent, given));
  }

  /** Its link holds now, and this is what it took back. */
  linked(agent: string, takenBack: readonly string[]): void {
    const side = this.#sides.get(agent) ?? { takenBack: undefined, broken: new Map() };
    side.takenBack = new Set(takenBack);
    this.#sides.set(agent, side);
    this.#judge(side);
  }

  /** A link has ended before these were settled; `stillLinked`: the agent has another. */
  ended(agent: string, claims: Iterable<FlowClaim>, stillLinked: boolean): void {
    const side: Side = this.#sides.get(agent) ?? { takenBack: undefined, broken: new Map() };
    this.#sides.set(agent, side);
    if (!stillLinked) side.takenBack = undefined;
    const sinceMs = performance.now();
    for (const claim of claims) if (!claim.isSettled) side.broken.set(claim.given, { claim, sinceMs });
    this.#judge(side);
    for (const [given, { claim }] of side.broken) {
      if (side.broken.size <= this.#most) break;
      side.broken.delete(given);
      claim.settle();
    }
    if (side.broken.size > 0) this.#timer ??= setInterval(() => this.#sweep(), Math.min(10_000, this.#patienceMs)).unref();
    else if (!stillLinked) this.#sides.delete(agent);
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

  #judge({ takenBack, broken }: Side): void {
    if (!takenBack) return;
    for (const [given, { claim }] of broken) {
      if (takenBack.has(given)) continue;
      broken.delete(given);
      claim.settle();
    }
  }

  #sweep(): void {
    const since = performance.now() - this.#patienceMs;
    let left = 0;
    for (const [agent, side] of this.#sides) {
      for (const [given, { claim, sinceMs }] of side.broken) {
        if (sinceMs > since) break;
        side.broken.delete(given);
        claim.settle();
      }
      left += side.broken.size;
      if (side.broken.size === 0 && !side.takenBack) this.#sides.delete(agent);
    }
    if (left > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
