// Which AS announces an address: sorted range starts in typed arrays, searched by halving. Pure; made by NetworkTableBuilder
// or read back from bytes. Where the ranges come from is network-source.ts.

import { crc32 } from 'node:zlib';
import { WeirError } from '../../base/errors.ts';

export interface Network {
  readonly asn: number;
  readonly organization: string;
}

/** Four numbers of 32 bits, the highest first. */
export type Ipv6Words = readonly [number, number, number, number];

const magic = 0x4e535731; // WSN1
const headerNumbers = 8;
/** Organisations have names, not novels. */
const nameLimit = 128;
/** Rows beyond this are not a table of this planet's networks. */
const rowLimit = 8_000_000;

/** Kept in one buffer so that writing and reading it back copies nothing. */
interface Parts {
  /** Ascending; a range ends where the next starts. `owners` index the networks; 0 is nobody. */
  readonly starts4: Uint32Array;
  readonly owners4: Uint32Array;
  /** Four numbers for each. */
  readonly starts6: Uint32Array;
  readonly owners6: Uint32Array;
  /** By owner, from 1 on; 0 is unused. */
  readonly numbers: Uint32Array;
  /** Where each owner's name ends in `names`. */
  readonly nameEnds: Uint32Array;
  readonly names: Uint8Array;
}

export class NetworkTable {
  readonly #parts: Parts;
  readonly #known = new Map<number, Network>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get rows(): number {
    return this.#parts.starts4.length + this.#parts.owners6.length;
  }

  get sizeBytes(): number {
    return Object.values(this.#parts).reduce((sum: number, part: Uint32Array | Uint8Array) => sum + part.byteLength, 0);
  }

  /** Undefined where nobody announces it. */
  findIpv4(value: number): Network | undefined {
    const { starts4, owners4 } = this.#parts;
    let low = 0;
    let high = starts4.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts4[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.#network(owners4[low - 1]);
  }

  findIpv6(words: Ipv6Words): Network | undefined {
    const { starts6, owners6 } = this.#parts;
    let low = 0;
    let high = owners6.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isAtMost(starts6, 4 * middle, words)) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.#network(owners6[low - 1]);
  }

  /** One object per network that was ever asked for: there are fewer than a hundred thousand. */
  #network(owner: number): Network | undefined {
    if (owner === 0) return undefined;
    const known = this.#known.get(owner);
    if (known) return known;
    const { numbers, nameEnds, names } = this.#parts;
    const name = Buffer.from(names.buffer, names.byteOffset, names.length).toString('utf8', nameEnds[owner - 1], nameEnds[owner]);
    const network = { asn: numbers[owner], organization: name };
    this.#known.set(owner, network);
    return network;
  }

  /** `origin` says what it was made from, as `parseNetworkTable` wants to hear it again. */
  render(origin: string): Uint8Array {
    const { starts4, owners4, starts6, owners6, numbers, nameEnds, names } = this.#parts;
    const said = Buffer.from(origin);
    const header = Uint32Array.of(magic, 0, said.length, starts4.length, owners6.length, numbers.length, names.length, 0);
    const bytes = Buffer.concat([
      asBytes(header),
      ...[starts4, owners4, starts6, owners6, numbers, nameEnds].map(asBytes),
      asBytes(names),
      said,
    ]);
    bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4);
    return bytes;
  }
}

const asBytes = (part: Uint32Array | Uint8Array): Buffer => Buffer.from(part.buffer, part.byteOffset, part.byteLength);

function isAtMost(starts: Uint32Array, at: number, words: Ipv6Words): boolean {
  for (let index = 0; index < 4; index += 1) if (starts[at + index] !== words[index]) return starts[at + index] < words[index];
  return true;
}

/** What `render(origin)` gave; undefined when it was made from something else, or is damaged, or of another byte order. */
export function parseNetworkTable(bytes: Uint8Array, origin: string): NetworkTable | undefined {
  if (bytes.length < 4 * headerNumbers) return undefined;
  // Typed arrays want their place in memory aligned, which a slice of a pool need not be.
  const whole = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
  const header = new Uint32Array(whole.buffer, whole.byteOffset, headerNumbers);
  const [first, sum, originBytes, rows4, rows6, networks, nameBytes] = header;
  if (first !== magic) return undefined;
  const size = 4 * (headerNumbers + 2 * rows4 + 5 * rows6 + 2 * networks) + nameBytes + originBytes;
  if (size !== whole.length || crc32(whole.subarray(8)) !== sum) return undefined;
  let at = whole.byteOffset + 4 * headerNumbers;
  const take = (count: number): Uint32Array => {
    const part = new Uint32Array(whole.buffer, at, count);
    at += 4 * count;
    return part;
  };
  const parts = {
    starts4: take(rows4),
    owners4: take(rows4),
    starts6: take(4 * rows6),
    owners6: take(rows6),
    numbers: take(networks),
    nameEnds: take(networks),
    names: new Uint8Array(whole.buffer, at, nameBytes),
  };
  const said = Buffer.from(whole.buffer, at + nameBytes, originBytes).toString();
  return said === origin ? new NetworkTable(parts) : undefined;
}

/** Takes ranges in ascending order and makes the table. Of ranges that overlap the earlier one keeps what both claim. */
export class NetworkTableBuilder {
  readonly #starts4: number[] = [];
  readonly #owners4: number[] = [];
  readonly #starts6: number[] = [];
  readonly #owners6: number[] = [];
  readonly #owners = new Map<number, number>();
  readonly #names: Buffer[] = [];
  /** One past the last range's end. */
  #next4 = 0;
  #next6: Ipv6Words | undefined = [0, 0, 0, 0];

  get #rows(): number {
    return this.#starts4.length + this.#owners6.length;
  }

  knows(asn: number): boolean {
    return this.#owners.has(asn);
  }

  /** `organization` counts the first time an AS is named. Out of order and impossible ranges are left out. */
  addIpv4(first: number, last: number, asn: number, organization: string): void {
    const start = Math.max(first, this.#next4);
    if (start > last || last > 0xffffffff || !(asn > 0)) return;
    if (start > this.#next4) {
      this.#starts4.push(this.#next4);
      this.#owners4.push(0);
    }
    this.#starts4.push(start);
    this.#owners4.push(this.#owner(asn, organization));
    this.#next4 = last + 1;
    this.#check();
  }

  addIpv6(first: Ipv6Words, last: Ipv6Words, asn: number, organization: string): void {
    const next = this.#next6;
    if (!next || !(asn > 0)) return;
    const start = compare(first, next) < 0 ? next : first;
    if (compare(start, last) > 0) return;
    if (compare(start, next) > 0) {
      this.#starts6.push(...next);
      this.#owners6.push(0);
    }
    this.#starts6.push(...start);
    this.#owners6.push(this.#owner(asn, organization));
    this.#next6 = successor(last);
    this.#check();
  }

  build(): NetworkTable {
    if (this.#next4 > 0 && this.#next4 <= 0xffffffff) {
      this.#starts4.push(this.#next4);
      this.#owners4.push(0);
    }
    if (this.#next6 && this.#owners6.length > 0) {
      this.#starts6.push(...this.#next6);
      this.#owners6.push(0);
    }
    const nameEnds = new Uint32Array(this.#names.length + 1);
    for (const [index, name] of this.#names.entries()) nameEnds[index + 1] = nameEnds[index] + name.length;
    return new NetworkTable({
      starts4: Uint32Array.from(this.#starts4),
      owners4: Uint32Array.from(this.#owners4),
      starts6: Uint32Array.from(this.#starts6),
      owners6: Uint32Array.from(this.#owners6),
      numbers: Uint32Array.from([0, ...this.#owners.keys()]),
      nameEnds,
      names: Uint8Array.from(Buffer.concat(this.#names)),
    });
  }

  #owner(asn: number, organization: string): number {
    const known = this.#owners.get(asn);
    if (known !== undefined) return known;
    this.#names.push(Buffer.from(organization.slice(0, nameLimit)));
    this.#owners.set(asn, this.#names.length);
    return this.#names.length;
  }

  #check(): void {
    if (this.#rows > rowLimit) throw new WeirError('bad-request', `the table of networks has more than ${rowLimit} rows`);
  }
}

function compare(a: Ipv6Words, b: Ipv6Words): number {
  for (let index = 0; index < 4; index += 1) if (a[index] !== b[index]) return a[index] - b[index];
  return 0;
}

/** Undefined after the last address of all. */
function successor(words: Ipv6Words): Ipv6Words | undefined {
  const next: [number, number, number, number] = [...words];
  for (let index = 3; index >= 0; index -= 1) {
    next[index] = (next[index] + 1) >>> 0;
    if (next[index] !== 0) return next;
  }
  return undefined;
}
