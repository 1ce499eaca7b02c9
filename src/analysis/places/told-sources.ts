// Which sources were told where they are: each once, and again after many others. Nearly every event is of one that was told
// a moment ago, so addresses of IPv4 are looked for as numbers first, without a look at any text.

import { RecencyMap } from '../../base/recency-map.ts';
import { parseIpv4Number } from '../../model/address.ts';

/** Sources remembered; one that comes back after that many others is told again. */
const maxTold = 65_536;
/** Places of a table of one size for ever; a power of two. */
const shortcuts = 16_384;

export class ToldSources {
  readonly #told = new RecencyMap<string, true>();
  /** The latest address at each place, as signed 32 bits; 0 where there is none. */
  readonly #latest = new Int32Array(shortcuts);

  /** True when it was not told yet; it is from now on. */
  add(ip: string): boolean {
    const address = parseIpv4Number(ip) | 0;
    const place = (Math.imul(address, 0x9e3779b1) >>> 16) & (shortcuts - 1);
    // What is no IPv4 address is -1, which is that of 255.255.255.255: no source.
    const four = address !== -1 && address !== 0;
    if (four && this.#latest[place] === address) return false;
    if (four) this.#latest[place] = address;
    if (this.#told.get(ip)) return false;
    this.#told.set(ip, true);
    if (this.#told.size > maxTold) this.#told.delete((this.#told.oldest as [string, true])[0]);
    return true;
  }
}
