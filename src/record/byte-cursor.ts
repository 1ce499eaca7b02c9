// Reading and writing of the journal's primitive values in a Buffer: varints, doubles, short strings, addresses.
// The writer trusts its caller about room (event-codec.ts computes a bound first); the reader trusts nothing.

import { parseIpv4Number } from '../model/address.ts';

/** Longest text a record keeps, in UTF-16 units; the rest is cut. */
export const maxTextLength = 16_384;

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
    if (length < 32) {
      let text = '';
      for (let index = at; index < at + length; index += 1) {
        const code = this.buffer[index];
        if (code > 127) return this.buffer.toString('utf8', at, at + length);
        text += String.fromCharCode(code);
      }
      return text;
    }
    return this.buffer.toString('utf8', at, at + length);
  }

  address(): string {
    const tag = this.u8();
    if (tag === 0) return this.text();
    if (tag !== 4) throw new DecodeError('unknown address kind');
    const at = this.#need(4);
    const bytes = this.buffer;
    return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
  }

  /** A copy: what was read does not pin the block it came from. */
  bytes(length: number): Uint8Array {
    const at = this.#need(length);
    const copy = new Uint8Array(length);
    copy.set(this.buffer.subarray(at, at + length));
    return copy;
  }
}
