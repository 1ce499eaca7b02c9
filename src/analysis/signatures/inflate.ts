// Inflates DEFLATE (RFC 1951), bare or in zlib's (RFC 1950) or gzip's (RFC 1952) wrapping, up to a number of bytes. Node's zlib gives
// nothing at all when the stream is cut or too large; what an attacker's stream holds up to there is what is wanted here.

const lengthBase = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];
const lengthExtra = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const distanceBase = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289,
  16385, 24577,
];
const distanceExtra = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const codeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** Canonical Huffman code: how many codes of each length, and the symbols in order of their codes. */
interface Code {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

function codeOf(lengths: Uint8Array): Code | undefined {
  const counts = new Uint16Array(16);
  for (const length of lengths) counts[length] += 1;
  let left = 1;
  for (let length = 1; length < 16; length += 1) {
    left = left * 2 - counts[length];
    if (left < 0) return undefined;
  }
  const offsets = new Uint16Array(16);
  for (let length = 1; length < 15; length += 1) offsets[length + 1] = offsets[length] + counts[length];
  const symbols = new Uint16Array(lengths.length);
  lengths.forEach((length, symbol) => {
    if (length !== 0) {
      symbols[offsets[length]] = symbol;
      offsets[length] += 1;
    }
  });
  return { counts, symbols };
}

const fixedLengths = new Uint8Array(288).fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280);
const fixed = { literals: codeOf(fixedLengths) as Code, distances: codeOf(new Uint8Array(30).fill(5)) as Code };

/** What may still be done: every symbol takes one, every code of its own `tableCost`. */
export interface InflateWork {
  left: number;
}

/** A block may hold next to nothing but codes. */
const tableCost = 128;

class Inflater {
  readonly output: Buffer;
  length = 0;
  readonly #bytes: Uint8Array;
  readonly #work: InflateWork;
  #at: number;
  #bits = 0;
  #bitCount = 0;

  constructor(bytes: Uint8Array, at: number, output: Buffer, work: InflateWork) {
    this.#work = work;
    this.#bytes = bytes;
    this.#at = at;
    this.output = output;
  }

  /** False where it breaks off: the input is cut or no DEFLATE, or the output is full. */
  run(): boolean {
    for (;;) {
      this.#work.left -= 1;
      if (this.#work.left < 0) return false;
      const last = this.#take(1);
      const type = this.#take(2);
      if (last < 0 || type < 0) return false;
      const whole =
        type === 0
          ? this.#stored()
          : type === 1
            ? this.#block(fixed.literals, fixed.distances)
            : type === 2
              ? this.#dynamic()
              : false;
      if (!whole) return false;
      if (last === 1) return true;
    }
  }

  /** -1 when the input is at its end. */
  #take(count: number): number {
    while (this.#bitCount < count) {
      if (this.#at >= this.#bytes.length) return -1;
      this.#bits |= this.#bytes[this.#at] << this.#bitCount;
      this.#at += 1;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  /** -1 when the input or the work is at its end, or it is no code. */
  #symbol({ counts, symbols }: Code): number {
    this.#work.left -= 1;
    if (this.#work.left < 0) return -1;
    const bytes = this.#bytes;
    let bits = this.#bits;
    let bitCount = this.#bitCount;
    let at = this.#at;
    let code = 0;
    let first = 0;
    let index = 0;
    let symbol = -1;
    for (let length = 1; length < 16; length += 1) {
      if (bitCount === 0) {
        if (at >= bytes.length) break;
        bits = bytes[at];
        at += 1;
        bitCount = 8;
      }
      code |= bits & 1;
      bits >>>= 1;
      bitCount -= 1;
      const count = counts[length];
      if (code - count < first) {
        symbol = symbols[index + (code - first)];
        break;
      }
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    this.#bits = bits;
    this.#bitCount = bitCount;
    this.#at = at;
    return symbol;
  }

  #stored(): boolean {
    this.#bits = 0;
    this.#bitCount = 0;
    const bytes = this.#bytes;
    if (this.#at + 4 > bytes.length) return false;
    const length = bytes[this.#at] | (bytes[this.#at + 1] << 8);
    if ((length ^ 0xffff) !== (bytes[this.#at + 2] | (bytes[this.#at + 3] << 8))) return false;
    this.#at += 4;
    const there = Math.min(length, bytes.length - this.#at, this.output.length - this.length);
    this.output.set(bytes.subarray(this.#at, this.#at + there), this.length);
    this.#at += there;
    this.length += there;
    return there === length;
  }

  #dynamic(): boolean {
    this.#work.left -= tableCost;
    const literalCount = this.#take(5) + 257;
    const distanceCount = this.#take(5) + 1;
    const codeCount = this.#take(4) + 4;
    // A missing field is -1: then what follows is missing too.
    if (literalCount > 286 || distanceCount > 30 || codeCount < 4) return false;
    const codeLengths = new Uint8Array(19);
    for (let index = 0; index < codeCount; index += 1) {
      const length = this.#take(3);
      if (length < 0) return false;
      codeLengths[codeLengthOrder[index]] = length;
    }
    const code = codeOf(codeLengths);
    if (code === undefined) return false;
    const lengths = new Uint8Array(literalCount + distanceCount);
    for (let index = 0; index < lengths.length; ) {
      const symbol = this.#symbol(code);
      if (symbol < 0) return false;
      if (symbol < 16) {
        lengths[index] = symbol;
        index += 1;
        continue;
      }
      if (symbol === 16 && index === 0) return false;
      const value = symbol === 16 ? lengths[index - 1] : 0;
      const extra = this.#take(symbol === 16 ? 2 : symbol === 17 ? 3 : 7);
      const count = extra + (symbol === 18 ? 11 : 3);
      if (extra < 0 || index + count > lengths.length) return false;
      lengths.fill(value, index, index + count);
      index += count;
    }
    const literals = codeOf(lengths.subarray(0, literalCount));
    const distances = codeOf(lengths.subarray(literalCount));
    return literals !== undefined && distances !== undefined && this.#block(literals, distances);
  }

  #block(literals: Code, distances: Code): boolean {
    const { output } = this;
    for (;;) {
      const symbol = this.#symbol(literals);
      if (symbol < 0) return false;
      if (symbol === 256) return true;
      if (symbol < 256) {
        if (this.length >= output.length) return false;
        output[this.length] = symbol;
        this.length += 1;
        continue;
      }
      if (symbol > 285) return false;
      const moreLength = this.#take(lengthExtra[symbol - 257]);
      const place = this.#symbol(distances);
      if (moreLength < 0 || place < 0 || place > 29) return false;
      const moreDistance = this.#take(distanceExtra[place]);
      const distance = distanceBase[place] + moreDistance;
      if (moreDistance < 0 || distance > this.length) return false;
      const end = this.length + lengthBase[symbol - 257] + moreLength;
      for (; this.length < end; this.length += 1) {
        if (this.length >= output.length) return false;
        output[this.length] = output[this.length - distance];
      }
    }
  }
}

/** Where DEFLATE begins behind gzip's header, or -1 when that is no gzip header or is cut. */
function afterGzipHeader(bytes: Uint8Array): number {
  if (bytes.length < 10 || bytes[0] !== 0x1f || bytes[1] !== 0x8b || bytes[2] !== 8) return -1;
  const flags = bytes[3];
  let at = 10;
  if (flags & 4) at += 2 + (bytes[at] | (bytes[at + 1] << 8));
  for (const flag of [8, 16])
    if (flags & flag) {
      const end = bytes.indexOf(0, at);
      if (end < 0) return -1;
      at = end + 1;
    }
  if (flags & 2) at += 2;
  return at < bytes.length ? at : -1;
}

/** Where DEFLATE begins, or -1. */
function start(bytes: Uint8Array, bare: boolean): number {
  const gzip = afterGzipHeader(bytes);
  if (gzip >= 0) return gzip;
  const isZlib = bytes.length > 6 && (bytes[0] & 0x0f) === 8 && bytes[0] >> 4 <= 7 && ((bytes[0] << 8) | bytes[1]) % 31 === 0;
  return isZlib ? 2 : bare ? 0 : -1;
}

/** Whether it begins like something `inflate` undoes; with `bare` everything may. */
export const mayInflate = (bytes: Uint8Array, bare: boolean): boolean => start(bytes, bare) >= 0;

/** What is inflated before it is known how much that is. */
let scratch = Buffer.alloc(4096);

/**
 * What gzip, zlib or (with `bare`) DEFLATE data holds, at most `limit` bytes of it: also of a stream that breaks off. `whole` tells
 * whether it came to its end. Undefined when it is nothing of the kind or nothing came out. Stops when no `work` is left.
 */
export function inflate(
  bytes: Uint8Array,
  limit: number,
  bare: boolean,
  work: InflateWork,
): { bytes: Buffer; whole: boolean } | undefined {
  const from = start(bytes, bare);
  if (from < 0 || limit <= 0) return undefined;
  if (scratch.length < limit) scratch = Buffer.allocUnsafe(limit);
  const inflater = new Inflater(bytes, from, scratch.subarray(0, limit), work);
  const whole = inflater.run();
  return inflater.length === 0 ? undefined : { bytes: Buffer.from(inflater.output.subarray(0, inflater.length)), whole };
}
