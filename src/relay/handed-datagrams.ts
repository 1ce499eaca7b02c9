// An agent's datagrams on the link: one flow for each source and destination, bounded in number and in how many begin a second,
// because sources can be forged. What finds no flow is somebody else's to answer.

import type { Clock, Micros } from '../base/clock.ts';
import { RateBudget } from '../base/rate-budget.ts';
import { RecencyMap } from '../base/recency-map.ts';
import { createIdentifier } from '../model/identifier.ts';
import { type ProxyTlv, tlvType } from '../model/proxy-protocol.ts';
import { type SessionClaim, takenBackSequence } from '../model/session.ts';
import type { ArrivedDatagram } from './arrival.ts';
import type { DatagramFlow, DatagramRequest } from './link/link-client-options.ts';

export interface HandedDatagramsOptions {
  /** LinkClient.openDatagrams. */
  open(request: DatagramRequest): DatagramFlow | undefined;
  /** Handed over, and the gateway never took it: it is as it came, and the receiver's. */
  onTurnedAway(arrived: ArrivedDatagram): void;
  /** What was turned away is recorded under the identifier that the gateway was given. */
  onTakenBack(id: string): void;
  readonly clock: Clock;
  /** At once; the least recently used one makes room. Default 1,024. */
  readonly flows?: number;
  /** New ones a second, after a burst of ten times as many; default 100. */
  readonly perSecond?: number;
  /** Default 60 s. */
  readonly idleMs?: number;
}

interface Held {
  readonly flow: DatagramFlow;
  readonly network: string;
  /** The first ones, until the gateway has taken the flow. */
  kept: ArrivedDatagram[] | undefined;
  activeMs: number;
  reply: (bytes: Uint8Array) => boolean;
}

export interface HandedDatagramsCounters {
  flows: number;
  datagrams: number;
  /** Of the datagrams: given back, because the gateway never took them. */
  turnedAway: number;
  /** Not handed over: too many new ones, or the link had no room. */
  declined: number;
  /** Lost in a flow whose link was full. */
  dropped: number;
  replies: number;
}

const sweepMs = 5000;
/** Of one flow; what a source sends more before the gateway has heard of the first is not given back. */
const keptDatagrams = 8;

export class HandedDatagrams {
  readonly counters: HandedDatagramsCounters = { flows: 0, datagrams: 0, turnedAway: 0, declined: 0, dropped: 0, replies: 0 };
  readonly #options: HandedDatagramsOptions;
  readonly #most: number;
  readonly #idleMs: number;
  readonly #budget: RateBudget;
  readonly #flows = new RecencyMap<string, Held>();
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: HandedDatagramsOptions) {
    this.#options = options;
    this.#most = options.flows ?? 1024;
    this.#idleMs = options.idleMs ?? 60_000;
    const perSecond = options.perSecond ?? 100;
    this.#budget = new RateBudget(10 * perSecond, perSecond, options.clock);
  }

  get size(): number {
    return this.#flows.size;
  }

  /** False: not on the link; nothing was sent. */
  receive(arrived: ArrivedDatagram): boolean {
    const { source, destination, network, payload } = arrived;
    const key = `${source.ip} ${source.port} ${destination.ip} ${destination.port} ${network}`;
    const held = this.#flows.get(key) ?? this.#open(key, arrived);
    if (!held) {
      this.counters.declined += 1;
      return false;
    }
    held.activeMs = performance.now();
    held.reply = (bytes) => arrived.reply(bytes);
    this.#flows.set(key, held);
    this.counters.datagrams += 1;
    if (held.kept && held.kept.length < keptDatagrams) held.kept.push(arrived);
    if (!held.flow.send(payload)) this.counters.dropped += 1;
    return true;
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
    for (const [key, { flow }] of this.#flows) {
      this.#flows.delete(key);
      flow.close();
    }
  }

  #open(key: string, { source, destination, network, sourceMac, reply, at }: ArrivedDatagram): Held | undefined {
    if (!this.#budget.take()) return undefined;
    if (this.#flows.size >= this.#most) {
      const oldest = this.#flows.oldest;
      if (oldest) {
        this.#flows.delete(oldest[0]);
        oldest[1].flow.close();
      }
    }
    const claim = takeBackClaim(at, (id) => this.#options.onTakenBack(id));
    const flow = this.#options.open({
      flow: { transport: 'udp', source, destination },
      session: claim.id,
      tlvs: flowTlvs(network, sourceMac),
      onDatagram: (bytes) => {
        const held = this.#flows.get(key);
        if (!held || held.flow !== flow) return;
        held.activeMs = performance.now();
        this.counters.replies += 1;
        held.reply(bytes);
      },
      onTaken: () => {
        held.kept = undefined;
      },
      onEnd: () => {
        if (this.#flows.get(key)?.flow === flow) this.#flows.delete(key);
        const { kept = [] } = held;
        held.kept = undefined;
        this.counters.turnedAway += kept.length;
        for (const one of kept) {
          one.claim = claim;
          this.#options.onTurnedAway(one);
        }
      },
    });
    if (!flow) return undefined;
    this.counters.flows += 1;
    const held: Held = { flow, network, kept: [], activeMs: performance.now(), reply };
    this.#sweeper ??= setInterval(() => this.#sweep(), sweepMs).unref();
    return held;
  }

  #sweep(): void {
    const idleSince = performance.now() - this.#idleMs;
    for (const [key, { flow, activeMs }] of this.#flows) {
      if (activeMs > idleSince) continue;
      this.#flows.delete(key);
      flow.close();
    }
    if (this.#flows.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

/**
 * For what an agent answers itself after it handed it over: at once settled, because nobody else hears of it again. `onUsed`: a session
 * is recorded under it; a datagram may as well join one that is open already.
 */
export function takeBackClaim(at: Micros, onUsed: (id: string) => void): SessionClaim {
  const id = createIdentifier(at);
  return {
    id,
    sequence: takenBackSequence,
    whenSettled: (settled) => {
      onUsed(id);
      settled(true);
    },
  };
}

/** What a flow's header says beside its ends. */
export function flowTlvs(network: string, sourceMac: string | undefined): ProxyTlv[] {
  const tlvs: ProxyTlv[] = [];
  if (network !== '') tlvs.push({ type: tlvType.netns, value: Buffer.from(network) });
  const mac = sourceMac === undefined ? undefined : Buffer.from(sourceMac.replaceAll(':', ''), 'hex');
  if (mac?.length === 6) tlvs.push({ type: tlvType.linkLayer, value: mac });
  return tlvs;
}
