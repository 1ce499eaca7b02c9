// The different ports of decoys one source touched lately, each with its latest time: what scans are found in. Bounded:
// when it is full the touch longest ago goes. One list of plain arrays for each source; most hold one or two.

import type { Micros } from '../../base/clock.ts';
import type { RememberedTouch } from './behaviour-memory.ts';

/** What is known of a touch, as bits that are united. */
export const touchFlags = {
  /** A handshake was completed, or a datagram's source proved itself: the source is nobody else. */
  proven: 1,
  /** A packet of a connection that never was: a stray, as the victims of forged sources send. */
  stray: 2,
  /** A packet or datagram whose source may be forged. */
  forgeable: 4,
} as const;

/** How many touches fall into the windows around a new one. */
export interface TouchCounts {
  /** Of the short window. */
  portsOfHost: number;
  hostsOfPort: number;
  targets: number;
  /** Of the long window. */
  slowPortsOfHost: number;
  slowHostsOfPort: number;
  slowTargets: number;
}

/** Of a touch that is to be noted. */
export interface TouchSurvey {
  /** Of its pair, or -1. */
  index: number;
  /** Pairs touched within the times asked for. */
  near: number;
  /** Index of the entry longest ago; of equals the first. */
  oldest: number;
}

/** One for all lists: it is read before the next is asked. */
const surveyed: TouchSurvey = { index: -1, near: 0, oldest: 0 };

/** A pair as one number: the host, and the port in 18 bits. */
const portSpan = 0x40000;
/** What is looked at of one entry alone, one after the other in one plain array. */
const width = 3;
const firstAt = 0;
const hitsAt = 1;
/** Flags, and above them the kind of the first visit. */
const bitsAt = 2;
const kindShift = 8;

export class TouchList {
  readonly #most: number;
  /** What is searched: pair and time one after the other, so that a search walks over one piece of memory and no more. */
  readonly #seen: number[] = [];
  readonly #cells: number[] = [];
  size = 0;
  /** Identifier of the newest record of each. */
  readonly records: string[] = [];
  /** The decoy's address as text, where its number does not tell it. */
  #names: string[] | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  get byteLength(): number {
    return 320 + this.size * ((width + 2) * 8 + 16) * 1.5;
  }

  host(index: number): number {
    return Math.floor(this.#seen[2 * index] / portSpan);
  }

  port(index: number): number {
    return this.#seen[2 * index] % portSpan;
  }

  time(index: number): Micros {
    return this.#seen[2 * index + 1];
  }

  /** Sessions and packets, while the pair is in the list. */
  hits(index: number): number {
    return this.#cells[index * width + hitsAt];
  }

  flags(index: number): number {
    return this.#cells[index * width + bitsAt] & 0xff;
  }

  /** The first visit of a pair until there is a second: when, and of which kind (visit-detector.ts; 0 is none). */
  firstVisit(index: number): Micros {
    return this.#cells[index * width + firstAt];
  }

  firstKind(index: number): number {
    return this.#cells[index * width + bitsAt] >>> kindShift;
  }

  setFirst(index: number, kind: number, at: Micros): void {
    const bits = index * width + bitsAt;
    this.#cells[bits] = (this.#cells[bits] & 0xff) | (kind << kindShift);
    this.#cells[index * width + firstAt] = at;
  }

  /** Another touch of a pair that is there. */
  note(index: number, at: Micros, hits: number, flags: number, record: string): void {
    if (at > this.#seen[2 * index + 1]) this.#seen[2 * index + 1] = at;
    this.#cells[index * width + hitsAt] += hits;
    this.#cells[index * width + bitsAt] |= flags;
    this.records[index] = record;
  }

  /** The decoy's address. */
  name(index: number): string {
    return this.#names?.[index] ?? renderIpv4(this.host(index));
  }

  entry(index: number): RememberedTouch {
    return {
      host: this.host(index),
      port: this.port(index),
      at: this.time(index),
      hits: this.hits(index),
      flags: this.flags(index),
      record: this.records[index],
      name: this.name(index),
    };
  }

  /** Index, or -1. */
  find(host: number, port: number): number {
    const pair = host * portSpan + port;
    const seen = this.#seen;
    const end = 2 * this.size;
    for (let at = 0; at < end; at += 2) if (seen[at] === pair) return at / 2;
    return -1;
  }

  /** What a new touch has to know of all others, in one walk over them. */
  survey(host: number, port: number, from: Micros, until: Micros): TouchSurvey {
    const pair = host * portSpan + port;
    const seen = this.#seen;
    const end = 2 * this.size;
    let found = -1;
    let near = 0;
    let oldest = 0;
    let earliest = Number.POSITIVE_INFINITY;
    for (let at = 0; at < end; at += 2) {
      const time = seen[at + 1];
      if (seen[at] === pair) found = at;
      if (time >= from && time <= until) near += 1;
      if (time < earliest) {
        earliest = time;
        oldest = at;
      }
    }
    surveyed.index = found < 0 ? -1 : found >> 1;
    surveyed.near = near;
    surveyed.oldest = oldest >> 1;
    return surveyed;
  }

  /** The entry longest ago; of equals the first. */
  #oldest(): number {
    return this.survey(0, 0, 0, 0).oldest;
  }

  /** Of a pair that `find` does not find; its index. `name` is kept where it is not the dotted form of `host`; `oldest` is what `survey` said. */
  add(host: number, port: number, name: string, oldest = -1): number {
    const cells = this.#cells;
    let index = this.size;
    if (index < this.#most) {
      this.size += 1;
      // A fraction, so that the array holds plain doubles from its first element on.
      cells.push(0.5, 0, 0);
      this.#seen.push(0.5, 0);
    } else index = oldest < 0 ? this.#oldest() : oldest;
    const at = index * width;
    this.#seen[2 * index] = host * portSpan + port;
    this.#seen[2 * index + 1] = Number.NEGATIVE_INFINITY;
    cells[at + firstAt] = 0;
    cells[at + hitsAt] = 0;
    cells[at + bitsAt] = 0;
    this.records[index] = '';
    if (name.includes(':')) {
      this.#names ??= [];
      this.#names[index] = name;
    }
    return index;
  }

  count(host: number, port: number, now: Micros, window: Micros, slowWindow: Micros, into: TouchCounts): void {
    const seen = this.#seen;
    const end = 2 * this.size;
    const first = host * portSpan;
    const from = now - window;
    const slowFrom = now - slowWindow;
    let portsOfHost = 0;
    let hostsOfPort = 0;
    let targets = 0;
    let slowPortsOfHost = 0;
    let slowHostsOfPort = 0;
    let slowTargets = 0;
    for (let index = 0; index < end; index += 2) {
      const at = seen[index + 1];
      if (at < slowFrom || at > now) continue;
      const near = at >= from;
      slowTargets += 1;
      if (near) targets += 1;
      const rest = seen[index] - first;
      if (rest >= 0 && rest < portSpan) {
        slowPortsOfHost += 1;
        if (near) portsOfHost += 1;
      }
      // A multiple of the span, exactly: both are whole and below 2^50.
      const hosts = (rest - port) / portSpan;
      if (hosts === Math.floor(hosts)) {
        slowHostsOfPort += 1;
        if (near) hostsOfPort += 1;
      }
    }
    into.portsOfHost = portsOfHost;
    into.hostsOfPort = hostsOfPort;
    into.targets = targets;
    into.slowPortsOfHost = slowPortsOfHost;
    into.slowHostsOfPort = slowHostsOfPort;
    into.slowTargets = slowTargets;
  }

  /** The last one takes its place. */
  remove(index: number): void {
    const last = this.size - 1;
    const cells = this.#cells;
    for (let part = 0; part < width; part += 1) cells[index * width + part] = cells[last * width + part];
    cells.length = last * width;
    this.#seen[2 * index] = this.#seen[2 * last];
    this.#seen[2 * index + 1] = this.#seen[2 * last + 1];
    this.#seen.length = 2 * last;
    this.records[index] = this.records[last];
    this.records.length = last;
    if (this.#names) {
      this.#names[index] = this.#names[last];
      this.#names.length = last;
    }
    this.size = last;
  }
}

const renderIpv4 = (host: number): string => `${host >>> 24}.${(host >>> 16) & 255}.${(host >>> 8) & 255}.${host & 255}`;
