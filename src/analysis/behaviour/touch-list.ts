// The different ports of decoys one source touched lately, each with its latest time: what scans are found in. Bounded:
// when it is full the touch longest ago goes. One list of plain arrays for each source; most hold one or two.

import type { Micros } from '../../base/clock.ts';

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

export class TouchList {
  readonly #most: number;
  size = 0;
  hosts = new Uint32Array(2);
  ports = new Uint32Array(2);
  times = new Float64Array(2);
  /** Sessions and packets, while the pair is in the list. */
  hits = new Uint32Array(2);
  flags = new Uint8Array(2);
  /** The first visit of each, until there is a second: when, and of which kind (visit-detector.ts; 0 is none). */
  firstAt = new Float64Array(2);
  firstKind = new Uint8Array(2);
  /** Identifier of the newest record of each, and the decoy's address as text. */
  records: string[] = [];
  names: string[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  get byteLength(): number {
    return 400 + this.hosts.length * 48;
  }

  /** Index, or -1. */
  find(host: number, port: number): number {
    const { hosts, ports, size } = this;
    for (let index = 0; index < size; index += 1) if (hosts[index] === host && ports[index] === port) return index;
    return -1;
  }

  /** Of a pair that is not there; its index. */
  add(host: number, port: number, name: string): number {
    let at = this.size;
    if (at >= this.#most) at = this.#oldest();
    else {
      if (at === this.hosts.length) this.#grow();
      this.size += 1;
    }
    this.hosts[at] = host;
    this.ports[at] = port;
    this.times[at] = Number.NEGATIVE_INFINITY;
    this.hits[at] = 0;
    this.flags[at] = 0;
    this.firstKind[at] = 0;
    this.records[at] = '';
    this.names[at] = name;
    return at;
  }

  count(host: number, port: number, now: Micros, window: Micros, slowWindow: Micros, into: TouchCounts): void {
    const { hosts, ports, times, size } = this;
    const from = now - window;
    const slowFrom = now - slowWindow;
    into.portsOfHost = 0;
    into.hostsOfPort = 0;
    into.targets = 0;
    into.slowPortsOfHost = 0;
    into.slowHostsOfPort = 0;
    into.slowTargets = 0;
    for (let index = 0; index < size; index += 1) {
      const at = times[index];
      if (at < slowFrom || at > now) continue;
      const near = at >= from;
      into.slowTargets += 1;
      if (near) into.targets += 1;
      if (hosts[index] === host) {
        into.slowPortsOfHost += 1;
        if (near) into.portsOfHost += 1;
      }
      if (ports[index] === port) {
        into.slowHostsOfPort += 1;
        if (near) into.hostsOfPort += 1;
      }
    }
  }

  /** The last one takes its place. */
  remove(index: number): void {
    const last = this.size - 1;
    this.hosts[index] = this.hosts[last];
    this.ports[index] = this.ports[last];
    this.times[index] = this.times[last];
    this.hits[index] = this.hits[last];
    this.flags[index] = this.flags[last];
    this.firstAt[index] = this.firstAt[last];
    this.firstKind[index] = this.firstKind[last];
    this.records[index] = this.records[last];
    this.names[index] = this.names[last];
    this.records.length = last;
    this.names.length = last;
    this.size = last;
  }

  #oldest(): number {
    let oldest = 0;
    for (let index = 1; index < this.size; index += 1) if (this.times[index] < this.times[oldest]) oldest = index;
    return oldest;
  }

  #grow(): void {
    const length = Math.min(this.hosts.length * 2, this.#most);
    const widen = <T extends Uint32Array | Float64Array | Uint8Array>(from: T, to: T): T => {
      to.set(from as never);
      return to;
    };
    this.hosts = widen(this.hosts, new Uint32Array(length));
    this.ports = widen(this.ports, new Uint32Array(length));
    this.times = widen(this.times, new Float64Array(length));
    this.hits = widen(this.hits, new Uint32Array(length));
    this.flags = widen(this.flags, new Uint8Array(length));
    this.firstAt = widen(this.firstAt, new Float64Array(length));
    this.firstKind = widen(this.firstKind, new Uint8Array(length));
  }
}
