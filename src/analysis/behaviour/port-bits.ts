// A set of ports of all transports, exact: a table of numbers first, a page of bits for each transport later.

import type { Transport } from '../../model/session.ts';
import { insertNumber } from './number-set.ts';

export type TouchTransport = Transport | 'icmp';

const transports = ['tcp', 'udp', 'icmp'] as const;
/** A table of more would be larger than a page. */
const mostListed = 1024;
const pageBytes = 8192;

/** A port and its transport as one number below 2^18. */
export const portKeyOf = (port: number, transport: TouchTransport): number =>
  transport === 'tcp' ? port : transport === 'udp' ? 0x10000 + port : 0x20000 + port;

export const portOf = (key: number): number => key & 0xffff;
export const transportOf = (key: number): TouchTransport => transports[key >>> 16];

/** `22/tcp`, `ping`. */
export const portText = (key: number): string => (key >>> 16 === 2 ? 'ping' : `${portOf(key)}/${transportOf(key)}`);

export class PortBits {
  /** Each plus one: 0 is an empty place. */
  #listed: Uint32Array | undefined = new Uint32Array(16);
  #first: number | undefined;
  /** Of TCP, which most are, and of the others. */
  #tcp: Uint8Array | undefined;
  #others: (Uint8Array | undefined)[] | undefined;
  #count = 0;

  get size(): number {
    return this.#count;
  }

  get byteLength(): number {
    return 150 + (this.#listed?.byteLength ?? this.#pages.reduce((sum, page) => sum + (page?.byteLength ?? 0), 0));
  }

  /** Which was added first. */
  get first(): number | undefined {
    return this.#first;
  }

  get #pages(): readonly (Uint8Array | undefined)[] {
    return [this.#tcp, ...(this.#others ?? [])];
  }

  add(key: number): void {
    const listed = this.#listed;
    if (listed === undefined) {
      this.#set(key);
      return;
    }
    if (!insertNumber(listed, key + 1)) return;
    this.#first ??= key;
    this.#count += 1;
    if (this.#count * 2 <= listed.length) return;
    if (this.#count > mostListed) {
      this.#listed = undefined;
      this.#count = 0;
      for (const one of listed) if (one !== 0) this.#set(one - 1);
    } else {
      const wider = new Uint32Array(listed.length * 2);
      for (const one of listed) if (one !== 0) insertNumber(wider, one);
      this.#listed = wider;
    }
  }

  addAll(other: PortBits): void {
    for (const key of other) this.add(key);
  }

  #set(key: number): void {
    const page = this.#pageOf(key >>> 16);
    const at = (key & 0xffff) >>> 3;
    const bit = 1 << (key & 7);
    if ((page[at] & bit) !== 0) return;
    page[at] |= bit;
    this.#count += 1;
  }

  #pageOf(transport: number): Uint8Array {
    if (transport === 0) {
      this.#tcp ??= new Uint8Array(pageBytes);
      return this.#tcp;
    }
    this.#others ??= [undefined, undefined];
    const page = this.#others[transport - 1] ?? new Uint8Array(pageBytes);
    this.#others[transport - 1] = page;
    return page;
  }

  *[Symbol.iterator](): Generator<number> {
    for (const one of this.#listed ?? []) if (one !== 0) yield one - 1;
    for (const [index, page] of this.#pages.entries())
      if (page)
        for (let key = 0; key < 65_536; key += 1) if ((page[key >>> 3] & (1 << (key & 7))) !== 0) yield (index << 16) | key;
  }
}
