// Mutated PROXY headers without end, the same ones for the same seed: valid v1 and v2 headers of every kind, changed in one
// to four ways, sometimes with their checksum put right again so that what lies behind it is reached. Pure but for its own state.

import { renderAddress } from '../../model/address.ts';
import { crc32c } from '../../model/crc32c.ts';
import { type ProxyTlv, renderProxyV1, renderProxyV2, tlvType, v2HeadBytes } from '../../model/proxy-protocol.ts';

const poolSize = 256;
/** Longer than any header a reader takes by default, so that its bound is met too. */
const maxBytes = 6000;
const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');

const words = [
  ...[
    'PROXY',
    'PROXY ',
    'TCP4',
    'TCP6',
    'UDP4',
    'UNKNOWN',
    ' ',
    '  ',
    '\t',
    '\r',
    '\n',
    '\r\n',
    '\0',
    '-1',
    '+1',
    '0',
    '00',
    '01',
  ],
  ...['65535', '65536', '4294967297', '1e3', '0x50', '127.0.0.1', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '0.0.0.0'],
  ...[
    '::',
    '::1',
    ':',
    '1::2::3',
    '::ffff:1.2.3.4',
    '::1.2.3.4',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7:8::',
  ],
  ...[
    'fe80::1%lo',
    'ABCD::EF',
    '0000:0000:0000:0000:0000:0000:0000:0001',
    '00001::',
    '1:2:3:4:5:6:1.2.3.4',
    '::ffff:0:0',
    '\xff',
    '%s',
  ],
].map(latin1);
const bytesOfInterest = [
  0, 1, 2, 3, 4, 5, 0x0a, 0x0d, 0x11, 0x12, 0x20, 0x21, 0x22, 0x30, 0x31, 0x39, 0x2e, 0x3a, 0x7f, 0x80, 0xe0, 0xff,
];
const lengthsOfInterest = [
  0, 1, 2, 3, 4, 11, 12, 13, 15, 35, 36, 37, 127, 128, 129, 255, 256, 257, 4079, 4080, 4081, 16368, 65535,
];
/** The last is a checksum, which is written with the others only by the renderer. */
const types = [1, 2, 4, 5, 0x20, 0x30, 0xe0, 0xe1, 0xff, 6, 0, tlvType.crc32c];

export class ProxyMutator {
  #state: number;
  readonly #pool: Uint8Array[] = [];
  readonly #bytes = new Uint8Array(maxBytes + 256);
  #length = 0;

  constructor(seed: number) {
    // Zero is the one state that stays as it is.
    this.#state = seed >>> 0 || 1;
    for (let index = 0; index < poolSize; index += 1) this.#pool.push(this.#valid());
  }

  /** 0 to `below` - 1, by Marsaglia's xorshift with the triple 13, 17, 5 (Journal of Statistical Software 8(14), 2003). */
  random(below: number): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state >>> 0;
    return this.#state % below;
  }

  /** The next header, or what is left of it. A view that the next call writes over. */
  next(): Uint8Array {
    if (this.random(64) === 0) this.#pool[this.random(poolSize)] = this.#valid();
    const base = this.#any();
    this.#bytes.set(base);
    this.#length = base.length;
    const changes = this.random(16) === 0 ? 0 : 1 + this.random(4);
    for (let change = 0; change < changes; change += 1) this.#change();
    if (this.random(4) === 0) this.#mendChecksum();
    return this.#bytes.subarray(0, this.#length);
  }

  #any(): Uint8Array {
    return this.#pool[this.random(poolSize)];
  }

  #change(): void {
    const bytes = this.#bytes;
    const at = this.random(this.#length + 1);
    switch (this.random(13)) {
      case 0:
      case 1:
        bytes[at] ^= 1 << this.random(8);
        break;
      case 2:
        bytes[at] = bytesOfInterest[this.random(bytesOfInterest.length)];
        break;
      case 3:
        this.#length = at;
        break;
      case 4:
        this.#replace(at, 0, this.#noise(1 + this.random(20)));
        break;
      case 5:
        this.#replace(at, 1 + this.random(4), new Uint8Array(0));
        break;
      case 6: {
        const other = this.#any();
        this.#replace(at, this.#length, other.subarray(this.random(other.length)));
        break;
      }
      case 7:
        this.#lie(14, lengthsOfInterest);
        break;
      case 8:
        this.#lie(this.#placeOfTlv() + 1, lengthsOfInterest);
        break;
      case 9:
        bytes[12 + this.random(2)] = bytesOfInterest[this.random(bytesOfInterest.length)];
        break;
      case 10:
        this.#word();
        break;
      case 11:
        bytes[this.#placeOfTlv()] = types[this.random(types.length)];
        break;
      default:
        this.#replace(at, 0, bytes.slice(at, Math.min(this.#length, at + this.random(30))));
    }
  }

  /** A length that says more or less than is there, by a little or by much. */
  #lie(at: number, lengths: readonly number[]): void {
    const now = (this.#bytes[at] << 8) | this.#bytes[at + 1];
    const said = this.random(2) === 0 ? lengths[this.random(lengths.length)] : now + this.random(9) - 4;
    this.#bytes[at] = (said >> 8) & 255;
    this.#bytes[at + 1] = said & 255;
  }

  /** Where a TLV begins, as far as lengths can be believed; the end of the addresses when there is none. */
  #placeOfTlv(): number {
    const places = [v2HeadBytes + (this.#bytes[13] >> 4 === 2 ? 36 : 12)];
    for (let index = 0; index < 6; index += 1) {
      const next = places[index] + 3 + ((this.#bytes[places[index] + 1] << 8) | this.#bytes[places[index] + 2]);
      if (next + 3 > this.#length) break;
      places.push(next);
    }
    return places[this.random(places.length)];
  }

  /** Puts a word in the place of one of a v1 line, or between two. */
  #word(): void {
    const edges = [0];
    for (let index = 0; index < this.#length && index < 120; index += 1) if (this.#bytes[index] <= 0x20) edges.push(index + 1);
    const edge = this.random(edges.length);
    const end = this.random(3) === 0 ? edges[edge] : (edges[edge + 1] ?? this.#length + 1) - 1;
    this.#replace(edges[edge], Math.max(0, end - edges[edge]), words[this.random(words.length)]);
  }

  #replace(at: number, removed: number, added: Uint8Array): void {
    const from = Math.min(this.#length, at + removed);
    const taken = added.subarray(0, Math.max(0, maxBytes - this.#length));
    this.#bytes.copyWithin(at + taken.length, from, this.#length);
    this.#bytes.set(taken, at);
    this.#length += taken.length - (from - at);
  }

  /** Writes the right sum into the first checksum of the header, and often the right length before it. */
  #mendChecksum(): void {
    const bytes = this.#bytes;
    if (this.random(2) === 0 && this.#length >= v2HeadBytes) {
      bytes[14] = (this.#length - v2HeadBytes) >> 8;
      bytes[15] = (this.#length - v2HeadBytes) & 255;
    }
    const total = v2HeadBytes + ((bytes[14] << 8) | bytes[15]);
    if (total > this.#length) return;
    for (
      let at = v2HeadBytes + (bytes[13] >> 4 === 2 ? 36 : 12);
      at + 7 <= total;
      at += 3 + ((bytes[at + 1] << 8) | bytes[at + 2])
    ) {
      if (bytes[at] !== tlvType.crc32c || bytes[at + 1] !== 0 || bytes[at + 2] !== 4) continue;
      bytes.fill(0, at + 3, at + 7);
      const sum = crc32c(bytes.subarray(0, total));
      for (let index = 0; index < 4; index += 1) bytes[at + 3 + index] = sum >>> (24 - 8 * index);
      return;
    }
  }

  #noise(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 1) bytes[index] = this.random(256);
    return bytes;
  }

  #valid(): Uint8Array {
    const endpoint = (family: 4 | 6) => ({ ip: this.#address(family), port: this.random(65536) });
    const family = this.random(2) === 0 ? 4 : 6;
    const pair = { source: endpoint(family), destination: endpoint(family) };
    switch (this.random(8)) {
      case 0:
      case 1:
      case 2:
        return renderProxyV1(this.random(10) === 0 ? undefined : { transport: 'tcp', ...pair });
      case 3:
        return renderProxyV2(this.random(2) === 0 ? undefined : { transport: 'udp', ...pair }, this.#tlvs());
      default:
        return renderProxyV2({ transport: 'tcp', ...pair }, this.#tlvs(), { checksum: this.random(2) === 0 });
    }
  }

  #address(family: 4 | 6): string {
    const bits = family === 4 ? 32 : 128;
    let value = 0n;
    for (let done = 0; done < bits; done += 16) value = (value << 16n) | BigInt(this.random(3) === 0 ? 0 : this.random(65536));
    return renderAddress({ family, value });
  }

  #tlvs(): ProxyTlv[] {
    return Array.from({ length: this.random(3) === 0 ? this.random(5) : 0 }, () => {
      const type = types[this.random(types.length - 1)];
      const most = type === tlvType.uniqueId ? 129 : this.random(40) === 0 && type !== tlvType.authority ? 3000 : 60;
      return { type, value: this.#noise(this.random(most)) };
    });
  }
}
