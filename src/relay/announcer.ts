// Decoys say that they are there when a network begins, as machines that were just switched on do: an ARP announcement
// (RFC 5227 section 2.3) or an unsolicited advertisement (RFC 4861 section 7.2.6), each after a probe of its own that nobody
// answered. A bounded choice, evenly spread over the ranges, sent slowly. No sockets, no timers: the owner calls `tick`.

import { randomInt } from 'node:crypto';
import type { Clock, Micros } from '../base/clock.ts';
import { renderAddressProbe, renderAdvertisement, renderArpAnnouncement, renderArpProbe } from '../kernel/neighbour-frame.ts';
import { type Address, type AddressRange, addressBytes, rangeSize, renderAddress, subtractRanges } from '../model/address.ts';
import type { DecoyDirectory } from '../model/decoy.ts';

/** Decoys announced in one network. */
export const announcedLimit = 256;
/** In one network. */
const framesPerSecond = 50;
/** RFC 5227 ANNOUNCE_WAIT and ANNOUNCE_INTERVAL are two seconds; one for the answer to the probe is plenty on a LAN. */
const answerWaitMicros = 1_000_000;
const againMicros = 2_000_000;
/** Addresses looked at for each decoy chosen. */
const triesPerDecoy = 16;
/** An IPv6 range with more addresses than this is not walked: nobody would hear of a fraction of a /64 anyway. */
const walkedSix = 65_536n;

export interface Announced {
  readonly address: Address;
  readonly mac: Uint8Array;
}

/** `00:0c:29:01:02:03` as six bytes. */
export const macBytes = (text: string): Uint8Array => Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));

/**
 * At most `limit` living decoys with a MAC of their own, evenly spread over the claimed ranges of these diversions
 * (undefined: of all). Looks at `limit` times a few addresses, however large the ranges are. Pure.
 */
export function chooseAnnounced(
  directory: DecoyDirectory,
  diversions: ReadonlySet<string> | undefined,
  limit = announcedLimit,
): Announced[] {
  const ranges: AddressRange[] = directory.groups
    .filter(({ kind, diversion }) => kind === 'claimed' && (diversions === undefined || diversions.has(diversion)))
    .flatMap((group) => subtractRanges(group.ranges, directory.withheld))
    .filter((range) => range.family === 4 || rangeSize(range) <= walkedSix);
  const total = ranges.reduce((sum, range) => sum + rangeSize(range), 0n);
  const slots = total < BigInt(limit) ? total : BigInt(limit);
  const chosen: Announced[] = [];
  let index = 0;
  /** Addresses in the ranges before the present one. */
  let before = 0n;
  for (let slot = 0n; slot < slots; slot += 1n) {
    const end = ((slot + 1n) * total) / slots;
    let place = (slot * total) / slots;
    for (let tries = 0; tries < triesPerDecoy && place < end; tries += 1, place += 1n) {
      while (place - before >= rangeSize(ranges[index])) {
        before += rangeSize(ranges[index]);
        index += 1;
      }
      const { family, first } = ranges[index];
      const address = { family, value: first + place - before };
      const mac = directory.find(renderAddress(address))?.mac;
      if (mac === undefined) continue;
      chosen.push({ address, mac: macBytes(mac) });
      break;
    }
  }
  return chosen;
}

interface Waiting extends Announced {
  readonly ip: string;
  due: Micros;
}

export interface AnnouncerOptions {
  readonly clock: Clock;
  readonly send: (frame: Uint8Array) => void;
  /** Told of each frame; both are counted in the network's counters. */
  readonly counted: (what: 'announced' | 'announceProbes') => void;
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  /** To be probed; probed; announced once. Each in order of `due`. */
  readonly #stages: [Waiting[], Waiting[], Waiting[]] = [[], [], []];
  readonly #conflicts = new Set<string>();
  #started = false;
  #allowance = 1;
  #filledAt: Micros;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#filledAt = options.clock();
  }

  get waiting(): boolean {
    return !this.#started || this.#stages.some((stage) => stage.length > 0);
  }

  /** A live host has this address: it is not announced. */
  conflict(ip: string): void {
    if (this.waiting && this.#conflicts.size < announcedLimit * 4) this.#conflicts.add(ip);
  }

  /** Chooses, when there is somebody to choose; those who have not asked yet. */
  choose(directory: DecoyDirectory, diversions: ReadonlySet<string> | undefined): readonly Announced[] {
    if (!this.#started && directory.groups.length > 0) {
      this.#started = true;
      const due = this.#options.clock();
      this.#stages[0] = inAnyOrder(chooseAnnounced(directory, diversions)).map((one) => ({
        ...one,
        ip: renderAddress(one.address),
        due,
      }));
    }
    return this.#stages[0];
  }

  /** Sends what is due, at most `budget` frames; how many. Call about every 50 ms while `waiting`. */
  tick(directory: DecoyDirectory, diversions: ReadonlySet<string> | undefined, budget: number): number {
    const now = this.#options.clock();
    this.choose(directory, diversions);
    if (!this.#started) return 0;
    this.#allowance = Math.min(framesPerSecond / 4, this.#allowance + ((now - this.#filledAt) * framesPerSecond) / 1_000_000);
    this.#filledAt = now;
    let sent = 0;
    while (sent < budget && this.#allowance >= 1) {
      // Later stages first: what was begun is brought to its end in time.
      const stage = [2, 1, 0].find((one) => (this.#stages[one][0]?.due ?? Number.POSITIVE_INFINITY) <= now);
      if (stage === undefined) break;
      const one = this.#stages[stage].shift() as Waiting;
      if (this.#conflicts.has(one.ip) || directory.find(one.ip)?.mac === undefined) continue;
      this.#sendStage(stage, one, now);
      this.#allowance -= 1;
      sent += 1;
    }
    return sent;
  }

  #sendStage(stage: number, one: Waiting, now: Micros): void {
    const { send, counted } = this.#options;
    const bytes = addressBytes(one.address);
    const four = one.address.family === 4;
    if (stage === 0) {
      send(four ? renderArpProbe(one.mac, bytes) : renderAddressProbe(one.mac, bytes));
      counted('announceProbes');
      one.due = now + answerWaitMicros;
      this.#stages[1].push(one);
      return;
    }
    send(four ? renderArpAnnouncement(one.mac, bytes) : renderAdvertisement(one.mac, bytes, one.mac, new Uint8Array(16)));
    counted('announced');
    if (stage === 2) return;
    one.due = now + againMicros;
    this.#stages[2].push(one);
  }
}

/** Machines do not start in the order of their addresses. */
function inAnyOrder<T>(items: T[]): T[] {
  for (let index = items.length - 1; index > 0; index -= 1) {
    const other = randomInt(index + 1);
    [items[index], items[other]] = [items[other], items[index]];
  }
  return items;
}
