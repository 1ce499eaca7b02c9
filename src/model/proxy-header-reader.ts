// Reads one PROXY header from a stream that may come byte by byte. Keeps at most one header; time limits are the owner's.

import {
  maxV1Bytes,
  type ProxyFault,
  type ProxyHeader,
  parseProxyLine,
  parseProxyV2,
  v2HeadBytes,
  v2Signature,
} from './proxy-protocol.ts';

export type ProxyReading =
  | { readonly state: 'more' }
  /** `rest` is what came after the header: the client's own first bytes. */
  | { readonly state: 'done'; readonly header: ProxyHeader; readonly rest: Uint8Array }
  | { readonly state: 'bad'; readonly fault: ProxyFault };

export interface ProxyReaderOptions {
  /** v2: the longest header taken, with its 16 fixed bytes; default 4,096. */
  readonly maxBytes?: number;
  /** Versions that are expected; default both. */
  readonly versions?: readonly (1 | 2)[];
}

const more: ProxyReading = { state: 'more' };
const prefix1 = Uint8Array.from([0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]);

export class ProxyHeaderReader {
  readonly #maxBytes: number;
  readonly #versions: readonly (1 | 2)[];
  #held: Uint8Array = new Uint8Array(0);
  #result: ProxyReading = more;

  constructor(options: ProxyReaderOptions = {}) {
    this.#maxBytes = options.maxBytes ?? 4096;
    this.#versions = options.versions ?? [1, 2];
  }

  /** The next bytes of the stream. After `done` or `bad` the answer stays what it was. */
  push(bytes: Uint8Array): ProxyReading {
    if (this.#result.state !== 'more') return this.#result;
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    this.#result = this.#read(all);
    this.#held = this.#result.state === 'more' ? all.slice() : new Uint8Array(0);
    return this.#result;
  }

  #read(all: Uint8Array): ProxyReading {
    if (this.#versions.includes(2) && startsAlike(all, v2Signature)) return this.#readV2(all);
    if (this.#versions.includes(1) && startsAlike(all, prefix1)) return this.#readV1(all);
    return { state: 'bad', fault: 'not-proxy' };
  }

  #readV1(all: Uint8Array): ProxyReading {
    const end = all.subarray(0, maxV1Bytes).indexOf(0x0a);
    if (end < 0) return all.length >= maxV1Bytes ? { state: 'bad', fault: 'line-too-long' } : more;
    if (all[end - 1] !== 0x0d) return { state: 'bad', fault: 'bad-line' };
    const parsed = parseProxyLine(Buffer.from(all.subarray(0, end - 1)).toString('latin1'));
    if ('fault' in parsed) return { state: 'bad', fault: parsed.fault };
    return { state: 'done', header: parsed.header, rest: all.subarray(end + 1) };
  }

  #readV2(all: Uint8Array): ProxyReading {
    // What is wrong in the fixed part is wrong at once: no waiting for a length that a stranger chose.
    if (all.length > 12 && all[12] >> 4 !== 2) return { state: 'bad', fault: 'unknown-version' };
    if (all.length > 12 && (all[12] & 15) > 1) return { state: 'bad', fault: 'unknown-command' };
    if (all.length < v2HeadBytes) return more;
    const total = v2HeadBytes + ((all[14] << 8) | all[15]);
    if (total > this.#maxBytes) return { state: 'bad', fault: 'too-long' };
    if (all.length < total) return more;
    // A copy: the TLVs outlive the caller's buffer.
    const parsed = parseProxyV2(all.slice(0, total));
    if ('fault' in parsed) return { state: 'bad', fault: parsed.fault };
    return { state: 'done', header: parsed.header, rest: all.subarray(total) };
  }
}

function startsAlike(bytes: Uint8Array, signature: Uint8Array): boolean {
  const length = Math.min(bytes.length, signature.length);
  for (let index = 0; index < length; index += 1) if (bytes[index] !== signature[index]) return false;
  return true;
}
