// The sockets for transparent dialling that netd made for us, kept ready: asked for again when half are used, thrown away when
// the namespace they are of is another. Dry while netd is away: those dials are counted where they fail.

import { type MadeSockets, maxWantedKinds, maxWantedSockets, type WantedSockets } from '../kernel/handover-sockets.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import type { Family } from '../model/address.ts';
import type { Transport } from '../model/session.ts';
import type { DialPool } from './dial-pool.ts';

/** A service that is dialled transparently, as netd has set it up. */
export interface DialOffer {
  readonly service: string;
  readonly family: Family;
  /** Another one: earlier sockets lead nowhere. */
  readonly place: string;
}

export interface HandoverPoolOptions {
  /** HandoverClient.want. */
  readonly want: (wanted: readonly WantedSockets[]) => boolean;
  /** Ready sockets for each service; defaults 512 and 64. */
  readonly streams?: number;
  readonly datagrams?: number;
  /** After which an answer is no longer expected; default 2 s. */
  readonly answerMs?: number;
}

export interface HandoverPoolCounters {
  ready: number;
  taken: number;
  /** Asked for when none was left. */
  dry: number;
  /** Of a namespace that is gone, or of nobody's service. */
  thrown: number;
}

interface Kind extends DialOffer {
  readonly transport: Transport;
  readonly size: number;
  fds: number[];
}

/** Over all services; many services have fewer each. */
const maxReady = 8192;
const fewest = 16;

const keyOf = (service: string, transport: Transport, family: Family): string => `${service} ${transport} ${family}`;

export class HandoverPool implements DialPool {
  readonly #options: HandoverPoolOptions;
  readonly #count = { taken: 0, dry: 0, thrown: 0 };
  #kinds = new Map<string, Kind>();
  /** A request is under way. */
  #asked: NodeJS.Timeout | undefined;
  #onRefill = (): void => {};
  #closed = false;

  constructor(options: HandoverPoolOptions) {
    this.#options = options;
  }

  counters(): HandoverPoolCounters {
    let ready = 0;
    for (const { fds } of this.#kinds.values()) ready += fds.length;
    return { ...this.#count, ready };
  }

  /** What of the configuration is dialled transparently now; beyond 128 services only the first have sockets. */
  setServices(offers: readonly DialOffer[]): void {
    const before = this.#kinds;
    this.#kinds = new Map();
    const share = Math.max(fewest, Math.floor(maxReady / Math.max(1, offers.length * 2)));
    for (const offer of offers.slice(0, maxWantedKinds / 2))
      for (const transport of ['tcp', 'udp'] as const) {
        const key = keyOf(offer.service, transport, offer.family);
        const known = before.get(key);
        const fds = known?.place === offer.place ? known.fds : [];
        const { streams = 512, datagrams = 64 } = this.#options;
        this.#kinds.set(key, { ...offer, transport, size: Math.min(share, transport === 'tcp' ? streams : datagrams), fds });
        if (known?.place === offer.place) before.delete(key);
      }
    for (const { fds } of before.values()) this.#throw(fds);
    this.#ask();
  }

  take(service: string, transport: Transport, family: Family): number | undefined {
    const kind = this.#kinds.get(keyOf(service, transport, family));
    const fd = kind?.fds.pop();
    if (fd === undefined) this.#count.dry += 1;
    else this.#count.taken += 1;
    if (kind && kind.fds.length * 2 < kind.size) this.#ask();
    return fd;
  }

  refilling(service: string, transport: Transport, family: Family): boolean {
    return this.#asked !== undefined && this.#kinds.has(keyOf(service, transport, family));
  }

  onRefill(listener: () => void): void {
    this.#onRefill = listener;
  }

  /** HandoverClient.onSockets. */
  receive(made: readonly MadeSockets[], fds: readonly number[]): void {
    clearTimeout(this.#asked);
    this.#asked = undefined;
    let at = 0;
    for (const { service, transport, family, place, count } of made) {
      const mine = fds.slice(at, at + count);
      at += count;
      const kind = this.#closed ? undefined : this.#kinds.get(keyOf(service, transport, family));
      const room = kind?.place === place ? Math.max(0, kind.size - kind.fds.length) : 0;
      kind?.fds.push(...mine.slice(0, room));
      this.#throw(mine.slice(room));
    }
    // What was used meanwhile, and what did not fit into one request; not what netd could not make.
    if (fds.length > 0) this.#ask();
    this.#onRefill();
  }

  /** HandoverClient.onConnected. */
  connected(there: boolean): void {
    clearTimeout(this.#asked);
    this.#asked = undefined;
    if (there) this.#ask();
    else this.#onRefill();
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#asked);
    for (const { fds } of this.#kinds.values()) this.#throw(fds);
    this.#kinds = new Map();
  }

  #ask(): void {
    if (this.#asked || this.#closed) return;
    let room = maxWantedSockets;
    const wanted: WantedSockets[] = [];
    for (const { service, transport, family, size, fds } of this.#kinds.values()) {
      const count = Math.min(fds.length * 2 < size ? size - fds.length : 0, room);
      if (count === 0) continue;
      room -= count;
      wanted.push({ service, transport, family, count });
    }
    if (wanted.length === 0 || !this.#options.want(wanted)) return;
    this.#asked = setTimeout(() => {
      this.#asked = undefined;
      this.#onRefill();
    }, this.#options.answerMs ?? 2000).unref();
  }

  #throw(fds: readonly number[]): void {
    this.#count.thrown += fds.length;
    for (const fd of fds) closeDescriptor(fd);
  }
}
