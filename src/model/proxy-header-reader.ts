// Reads one PROXY header from a stream that may come byte by byte. Keeps at most one header, and copies nothing of one that
// comes whole; time limits are the owner's, as is what the end of the stream means while this still wants more.

import {
  beginsLike,
  endOfLine,
  maxV1Bytes,
  type ProxyFault,
  type ProxyHeader,
  type ProxyParse,
  parseProxyV1,
  parseProxyV2,
  streamTransports,
  v1Start,
  v2HeadBytes,
  v2Signature,
} from './proxy-protocol.ts';
import type { Transport } from './session.ts';

export type ProxyReading =
  | { readonly state: 'more' }
  /** `rest` is what came after the header, a view of the last piece: the client's own first bytes. */
  | { readonly state: 'done'; readonly header: ProxyHeader; readonly rest: Uint8Array }
  | { readonly state: 'bad'; readonly fault: ProxyFault };

export interface ProxyReaderOptions {
  /** v2: the longest header taken, with its 16 fixed bytes; default 4,096, at most 65,551. */
  readonly maxBytes?: number;
  /** Versions that are expected; default both. */
  readonly versions?: readonly (1 | 2)[];
  /** What may be proxied; default streams alone. Our own link carries datagrams in a stream as well. */
  readonly transports?: readonly Transport[];
}

const more: ProxyReading = { state: 'more' };
const bad = (fault: ProxyFault): ProxyReading => ({ state: 'bad', fault });
const bothVersions: readonly (1 | 2)[] = [1, 2];

export class ProxyHeaderReader {
  readonly #maxBytes: number;
  readonly #versions: readonly (1 | 2)[];
  readonly #transports: readonly Transport[];
  /** The header's bytes so far, once a first piece was too short. */
  #held: Uint8Array | undefined;
  #length = 0;
  /** Bytes of the header after the last `push`, when it was whole. */
  #headerBytes = 0;
  #result: ProxyReading = more;

  constructor(options: ProxyReaderOptions = {}) {
    this.#maxBytes = options.maxBytes ?? 4096;
    this.#versions = options.versions ?? bothVersions;
    this.#transports = options.transports ?? streamTransports;
  }

  /** Bytes of an unfinished header that are kept; never more than the longer of `maxBytes` and a v1 line. */
  get heldBytes(): number {
    return this.#length;
  }

  /** The next bytes of the stream, which may be used again afterwards. After `done` or `bad` the answer stays what it was. */
  push(bytes: Uint8Array): ProxyReading {
    if (this.#result.state !== 'more' || bytes.length === 0) return this.#result;
    this.#result = this.#held === undefined ? this.#readFirst(bytes) : this.#readOn(this.#held, bytes);
    if (this.#result.state !== 'more') {
      this.#held = undefined;
      this.#length = 0;
    }
    return this.#result;
  }

  #readFirst(bytes: Uint8Array): ProxyReading {
    const parsed = this.#parse(bytes, true);
    if (parsed === undefined) return this.#readOn(new Uint8Array(this.#wanted(bytes)), bytes);
    if ('fault' in parsed) return bad(parsed.fault);
    return { state: 'done', header: parsed.header, rest: bytes.subarray(this.#headerBytes) };
  }

  /** Takes as much as is surely of the header, until it is whole: a v2 header's length is known from its fixed part. */
  #readOn(first: Uint8Array, bytes: Uint8Array): ProxyReading {
    let held = first;
    let used = 0;
    while (used < bytes.length) {
      const taken = bytes.subarray(used, used + held.length - this.#length);
      held.set(taken, this.#length);
      this.#length += taken.length;
      used += taken.length;
      const sofar = held.subarray(0, this.#length);
      const parsed = this.#parse(sofar, false);
      if (parsed !== undefined) {
        if ('fault' in parsed) return bad(parsed.fault);
        return { state: 'done', header: parsed.header, rest: bytes.subarray(used - (this.#length - this.#headerBytes)) };
      }
      if (this.#length === held.length) {
        held = new Uint8Array(this.#wanted(sofar));
        held.set(sofar);
      }
    }
    this.#held = held;
    return more;
  }

  /** How many bytes of an unfinished header are worth holding, as far as these tell. */
  #wanted(bytes: Uint8Array): number {
    if (bytes[0] !== v2Signature[0]) return maxV1Bytes;
    return bytes.length < v2HeadBytes ? v2HeadBytes : v2HeadBytes + ((bytes[14] << 8) | bytes[15]);
  }

  /** Undefined while more is needed. Of bytes that are the caller's own, what outlives the call is copied. */
  #parse(bytes: Uint8Array, foreign: boolean): ProxyParse | undefined {
    if (beginsLike(bytes, v2Signature) && this.#versions.includes(2)) return this.#parseV2(bytes, foreign);
    if (beginsLike(bytes, v1Start) && this.#versions.includes(1)) return this.#parseV1(bytes);
    return { fault: 'not-proxy' };
  }

  #parseV1(bytes: Uint8Array): ProxyParse | undefined {
    const end = endOfLine(bytes);
    if (end < 0) return bytes.length >= maxV1Bytes ? { fault: 'line-too-long' } : undefined;
    this.#headerBytes = end + 1;
    return parseProxyV1(bytes, end);
  }

  #parseV2(bytes: Uint8Array, foreign: boolean): ProxyParse | undefined {
    // What is wrong in the fixed part is wrong at once: no waiting for a length that a stranger chose.
    if (bytes.length > 12 && bytes[12] >> 4 !== 2) return { fault: 'unknown-version' };
    if (bytes.length > 12 && (bytes[12] & 15) > 1) return { fault: 'unknown-command' };
    if (bytes.length < v2HeadBytes) return undefined;
    const total = v2HeadBytes + ((bytes[14] << 8) | bytes[15]);
    if (total > this.#maxBytes) return { fault: 'too-long' };
    if (bytes.length < total) return undefined;
    this.#headerBytes = total;
    const whole = bytes.subarray(0, total);
    // Beyond its addresses lie TLVs, which are handed out: Buffer's own `slice` would not copy them.
    const plainBytes = v2HeadBytes + (bytes[13] >> 4 === 2 ? 36 : 12);
    const copied = foreign && total > plainBytes;
    return parseProxyV2(copied ? Uint8Array.prototype.slice.call(whole) : whole, this.#transports);
  }
}
