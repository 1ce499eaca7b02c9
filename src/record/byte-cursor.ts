// Reading and writing of the journal's primitive values in a Buffer: varints, doubles, short strings, addresses.
// The writer trusts its caller about room (event-codec.ts computes a bound first); the reader trusts nothing.

import { parseIpv4Number } from '../model/address.ts';

/** Longest text a record keeps, in UTF-16 units; the rest is cut. */
export const maxTextLength = 16_384;

/** Of an identifier (model/identifier.ts). */
const identifierLength = 19;
/** Up to here a chain of characters is one piece; longer ones are read in one call. */
const plainLength = 19;

/** The latest text at each place, a power of two: the same addresses come over and over. */
const addressPlaces = 16_384;
const addressTexts: string[] = new Array(addressPlaces).fill('');
const addressValues = new Int32Array(addressPlaces);

/** The same text for the same address, mostly: whoever looks it up finds its hash made and compares nothing. */
function renderAddress(bytes: Buffer, at: number): string {
  const value = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  const place = (Math.imul(value, 0x9e3779b1) >>> 18) & (addressPlaces - 1);
  if (addressValues[place] === value && addressTexts[place] !== '') return addressTexts[place];
  const text = Buffer.from(`${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`, 'latin1').toString('latin1');
  addressValues[place] = value;
  addressTexts[place] = text;
  return text;
}

/** The latest short text at each place, a power of two. */
const wordPlaces = 1024;
const words: string[] = new Array(wordPlaces).fill('');

function holds(text: string, codes: Uint8Array, at: number, length: number): boolean {
  if (text.length !== length) return false;
  for (let index = 0; index < length; index += 1) if (text.charCodeAt(index) !== codes[at + index]) return false;
  return true;
}

/** Thrown by ByteReader on any value that does not fit what was announced; never leaves this room. */
export class DecodeError extends Error {}

/** Upper bound of what `ByteWriter.text` writes. */
export const textBound = (text: string): number => 5 + 3 * Math.min(text.length, maxTextLength);

export class ByteWriter {
  buffer: Buffer = Buffer.alloc(0);
  at = 0;

  u8(value: number): void {
    this.buffer[this.at++] = value;
  }

  u16(value: number): void {
    this.buffer[this.at++] = value & 255;
    this.buffer[this.at++] = (value >>> 8) & 255;
  }

  /** A point in time in microseconds; anything that is not a number becomes 0. */
  time(value: number): void {
    this.at = this.buffer.writeDoubleLE(Math.round(value) || 0, this.at);
  }

  /** LEB128 of an integer in 0..2^53-1; what lies outside is clamped. */
  varint(value: number): void {
    let rest = value >= 0 ? Math.floor(value) : 0;
    if (rest > Number.MAX_SAFE_INTEGER) rest = Number.MAX_SAFE_INTEGER;
    while (rest >= 0x80) {
      const low = rest % 128;
      this.buffer[this.at++] = low | 0x80;
      rest = (rest - low) / 128;
    }
    this.buffer[this.at++] = rest || 0;
  }

  /** Signed integer up to 2^52 in magnitude, zigzag. */
  signed(value: number): void {
    const whole = Math.round(value);
    this.varint(whole < 0 ? -whole * 2 - 1 : whole * 2);
  }

  /** UTF-8 with its length in front; cut at `maxTextLength`. */
  text(text: string): void {
    const length = text.length;
    if (length < 48) {
      let at = this.at + 1;
      let index = 0;
      for (; index < length; index += 1) {
        const code = text.charCodeAt(index);
        if (code > 127) break;
        this.buffer[at++] = code;
      }
      if (index === length) {
        this.buffer[this.at] = length;
        this.at = at;
        return;
      }
    }
    const kept = length > maxTextLength ? text.slice(0, maxTextLength) : text;
    this.varint(Buffer.byteLength(kept));
    this.at += this.buffer.write(kept, this.at);
  }

  /** IPv4 as its four bytes, anything else as text. */
  address(text: string): void {
    const value = parseIpv4Number(text);
    if (value < 0) {
      this.buffer[this.at++] = 0;
      this.text(text);
      return;
    }
    this.buffer[this.at++] = 4;
    this.buffer[this.at++] = value >>> 24;
    this.buffer[this.at++] = (value >>> 16) & 255;
    this.buffer[this.at++] = (value >>> 8) & 255;
    this.buffer[this.at++] = value & 255;
  }

  bytes(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }
}

export class ByteReader {
  readonly buffer: Buffer;
  readonly end: number;
  at: number;

  constructor(buffer: Buffer, at = 0, end = buffer.length) {
    this.buffer = buffer;
    this.at = at;
    this.end = end;
  }

  #need(count: number): number {
    const at = this.at;
    if (count > this.end - at) throw new DecodeError('value runs past the record');
    this.at = at + count;
    return at;
  }

  u8(): number {
    return this.buffer[this.#need(1)];
  }

  u16(): number {
    return this.buffer.readUInt16LE(this.#need(2));
  }

  /** A point in time: finite, an integer, within 2^53. */
  time(): number {
    const value = this.buffer.readDoubleLE(this.#need(8));
    if (!Number.isSafeInteger(value)) throw new DecodeError('not a time');
    return value;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError('number too large');
      if (byte < 0x80) return value;
      scale *= 128;
      if (scale > 2 ** 56) throw new DecodeError('number too long');
    }
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  text(): string {
    const length = this.varint();
    const at = this.#need(length);
    if (length > plainLength) return this.buffer.toString('utf8', at, at + length);
    const codes = this.buffer;
    let all = 0;
    let mixed = length;
    for (let index = at; index < at + length; index += 1) {
      all |= codes[index];
      mixed = Math.imul(mixed ^ codes[index], 0x01000193);
    }
    if (all > 127) return codes.toString('utf8', at, at + length);
    // In one call: characters added one by one are a chain that whoever reads the text first has to walk.
    if (length === identifierLength)
      return String.fromCharCode(
        codes[at],
        codes[at + 1],
        codes[at + 2],
        codes[at + 3],
        codes[at + 4],
        codes[at + 5],
        codes[at + 6],
        codes[at + 7],
        codes[at + 8],
        codes[at + 9],
        codes[at + 10],
        codes[at + 11],
        codes[at + 12],
        codes[at + 13],
        codes[at + 14],
        codes[at + 15],
        codes[at + 16],
        codes[at + 17],
        codes[at + 18],
      );
    // Names of protocols, diversions, services and decoys come over and over.
    const place = (mixed ^ (mixed >>> 16)) & (wordPlaces - 1);
    const known = words[place];
    if (holds(known, codes, at, length)) return known;
    let text = '';
    for (let index = at; index < at + length; index += 1) text += String.fromCharCode(codes[index]);
    words[place] = text;
    return text;
  }

  address(): string {
    const tag = this.u8();
    if (tag === 0) return this.text();
    if (tag !== 4) throw new DecodeError('unknown address kind');
    const at = this.#need(4);
    return renderAddress(this.buffer, at);
  }

  /** A copy: what was read does not pin the block it came from. */
  bytes(length: number): Uint8Array {
    const at = this.#need(length);
    const copy = new Uint8Array(length);
    copy.set(this.buffer.subarray(at, at + length));
    return copy;
  }
}
