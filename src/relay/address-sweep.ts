// Is somebody there already? Asked for every living IPv4 decoy of a network that had no link to ask on before it began:
// ARP probes (RFC 5227) from the interface's own MAC, which teach no cache anything. Answers are neighbour-keeper.ts's;
// how many a second over all networks is sweep-schedule.ts's. No sockets, no timers: the owner calls `tick`.

import type { Clock, Micros } from '../base/clock.ts';
import { renderArpProbe } from '../kernel/neighbour-frame.ts';
import { addressBytes, rangeSize } from '../model/address.ts';
import type { DecoyDirectory } from '../model/decoy.ts';

/** Addresses asked for in one network, spread over all there are. */
export const sweptLimit = 65_536;
/** A frame may be lost, a far VTEP not yet resolved: who is silent is asked again. */
const rounds = 2;
const againAfterMicros = 1_000_000;
/** A link that takes no frame (down, or its queue full) is tried again after so long. */
const retryAfterMicros = 1_000_000;
/** Addresses looked at between two looks at the clock: most may be dead. */
const looksPerClock = 32;

export interface SweepOptions {
  readonly clock: Clock;
  /** The interface's own, six bytes. */
  readonly mac: Uint8Array;
  /** False: the link took no frame. */
  readonly send: (frame: Uint8Array) => boolean;
  /** Told of probes sent, and of addresses beyond the limit that nobody looked at. */
  readonly counted: (what: 'sweepProbes' | 'sweepUnasked', count: number) => void;
}

export interface SweepTask {
  readonly directory: DecoyDirectory;
  /** Undefined: all. */
  readonly diversions: ReadonlySet<string> | undefined;
  /** Who lives here was asked for before. */
  readonly swept?: DecoyDirectory | undefined;
  /** IPv4 addresses that come first, and once: their owner asks again. */
  readonly first?: readonly number[];
}

/** Addresses as one line of numbers; steps of `step` reach each once and are spread over all of it at any time. */
interface Walk {
  readonly ranges: readonly { readonly at: number; readonly first: number }[];
  readonly size: number;
  readonly step: number;
  readonly start: number;
}

export class AddressSweep {
  readonly #options: SweepOptions;
  #walk: Walk = { ranges: [], size: 0, step: 1, start: 0 };
  #swept: DecoyDirectory | undefined;
  #first: readonly number[] = [];
  #comesFirst: ReadonlySet<number> = new Set();
  #firstAt = 0;
  #round = rounds;
  #place = 0;
  /** Places of the walk visited in this round. */
  #visited = 0;
  #asked = 0;
  #notBefore: Micros = 0;

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  /** Starts anew, whatever was under way. */
  begin({ directory, diversions, swept, first = [] }: SweepTask): void {
    this.#walk = walkOver(directory, diversions);
    this.#swept = swept;
    this.#first = first;
    this.#comesFirst = new Set(first);
    this.#firstAt = 0;
    this.#round = this.#walk.size === 0 ? rounds : 0;
    this.#notBefore = 0;
    this.#startRound();
  }

  get waiting(): boolean {
    return this.#firstAt < this.#first.length || this.#round < rounds;
  }

  /** Those that come first have been asked for. */
  get firstAsked(): boolean {
    return this.#firstAt >= this.#first.length;
  }

  /**
   * Sends at most `budget` probes, for addresses at which somebody lives in `directory`, until about `until` (a few dozen
   * look-ups later); how many it sent.
   */
  tick(directory: DecoyDirectory, budget: number, until: Micros): number {
    const { clock, counted, mac, send } = this.#options;
    if (clock() < this.#notBefore) return 0;
    let sent = 0;
    for (let looks = 1; this.waiting && sent < budget; looks += 1) {
      if (looks % looksPerClock === 0 && clock() >= until) break;
      const address = { family: 4, value: BigInt(this.#current()) } as const;
      const isDue = this.firstAsked && this.#comesFirst.has(Number(address.value)) ? false : this.#lives(directory, address);
      if (isDue && !send(renderArpProbe(mac, addressBytes(address)))) {
        this.#notBefore = clock() + retryAfterMicros;
        break;
      }
      if (isDue) {
        sent += 1;
        this.#asked += 1;
      }
      if (!this.#advance()) break;
    }
    if (sent > 0) counted('sweepProbes', sent);
    return sent;
  }

  #lives(directory: DecoyDirectory, address: { readonly family: 4; readonly value: bigint }): boolean {
    return directory.find(address) !== undefined && this.#swept?.find(address) === undefined;
  }

  #current(): number {
    if (!this.firstAsked) return this.#first[this.#firstAt];
    const { ranges } = this.#walk;
    let low = 0;
    let high = ranges.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (ranges[middle].at <= this.#place) low = middle;
      else high = middle - 1;
    }
    return ranges[low].first + this.#place - ranges[low].at;
  }

  /** False at the end of a round. */
  #advance(): boolean {
    if (!this.firstAsked) {
      this.#firstAt += 1;
      return true;
    }
    const { size, step } = this.#walk;
    this.#place = (this.#place + step) % size;
    this.#visited += 1;
    if (this.#visited < size && this.#asked < sweptLimit) return true;
    if (this.#round === 0 && this.#visited < size) this.#options.counted('sweepUnasked', size - this.#visited);
    this.#round += 1;
    this.#notBefore = this.#options.clock() + againAfterMicros;
    this.#startRound();
    return false;
  }

  #startRound(): void {
    this.#place = this.#walk.start;
    this.#visited = 0;
    this.#asked = 0;
  }
}

function walkOver({ groups }: DecoyDirectory, diversions: ReadonlySet<string> | undefined): Walk {
  const ranges: { at: number; first: number }[] = [];
  let size = 0;
  for (const group of groups) {
    if (group.kind !== 'claimed' || diversions?.has(group.diversion) === false) continue;
    for (const range of group.ranges) {
      if (range.family !== 4) continue;
      ranges.push({ at: size, first: Number(range.first) });
      size += Number(rangeSize(range));
    }
  }
  // Near the golden ratio: any number of steps in a row leaves no large part untouched.
  let step = Math.max(1, Math.floor(size * 0.618_034));
  while (size > 0 && commonDivisor(step, size) !== 1) step += 1;
  return { ranges, size, step, start: Math.floor(size / 2) };
}

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));
