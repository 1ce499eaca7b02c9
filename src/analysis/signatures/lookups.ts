// Folds Log4j's nested lookups to what the logger would make of them, so that `${${lower:j}ndi:…}` reads `${jndi:…}`
// (Apache Log4j 2, "Lookups" and "Property Substitution"). Nothing is ever looked up. One pass; nesting beyond a bound stays as it is.

import { lowerByte, skipBytes } from './byte-set.ts';
import type { Decoder, Marks } from './decoders.ts';

const maxNesting = 24;

/** Undefined when nothing folds. */
export const foldLookups: Decoder = (bytes, marks) => {
  const out = Buffer.allocUnsafe(bytes.length);
  const open: number[] = [];
  let length = 0;
  let changed = false;
  // Where the last `:-` is, at most.
  let fallback = -1;
  const reached = new Reached(marks);
  for (let at = 0; at < bytes.length; at += 1) {
    reached.at(at, length);
    const byte = bytes[at];
    if (byte === 0x24 && bytes[at + 1] === 0x7b) {
      // With too many open the outermost is given up: what is inside still folds.
      if (open.length >= maxNesting) open.shift();
      open.push(length);
    }
    out[length] = byte;
    if (byte === 0x2d && out[length - 1] === 0x3a && length > 0) fallback = length - 1;
    length += 1;
    if (byte === 0x7d && open.length > 0) {
      const start = open.pop() as number;
      const isLong = length - 3 - start > maxLookup;
      if (isLong || (fallback < start + 2 && nameAt(out, start + 2) < 0)) continue;
      const end = resolve(out, start, length - 1);
      if (end < 0) continue;
      changed = true;
      length = end;
      reached.shrink(length);
      // There may be one in what it became.
      fallback = length;
    }
  }
  reached.at(bytes.length, length);
  return changed ? out.subarray(0, length) : undefined;
};

/** Longer ones are kept as they are. */
const maxLookup = 512;

const names = ['lower:', 'upper:', "date:'", 'base64:', 'jndi:'].map((name) => Buffer.from(name, 'latin1'));

/** Which of those a look-up begins with there, in either case; -1 when with none. */
function nameAt(bytes: Buffer, at: number): number {
  const first = bytes[at] | 0x20;
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index];
    if (name[0] !== first) continue;
    let length = 1;
    while (length < name.length && (bytes[at + length] === name[length] || (bytes[at + length] | 0x20) === name[length]))
      length += 1;
    if (length === name.length) return index;
  }
  return -1;
}

/** Place of a byte, or `end`. Behind that are bytes nobody wrote yet, which must not be searched for each look-up. */
function firstOf(bytes: Buffer, byte: number, from: number, end: number): number {
  let at = from;
  while (at < end && bytes[at] !== byte) at += 1;
  return at;
}

/** Makes what it stands for of the look-up from `start` to the bracket at `end`, in its place. Where that ends, or -1 when it stays. */
function resolve(bytes: Buffer, start: number, end: number): number {
  const from = start + 2;
  const name = nameAt(bytes, from);
  const rest = from + (name < 0 ? 0 : names[name].length);
  if (rest <= end)
    switch (name) {
      case 0:
        return start + writeLower(bytes, start, rest, end);
      case 1:
        return start + writeUpper(bytes, start, rest, end);
      case 2:
        if (end > rest && firstOf(bytes, quote, rest, end) === end - 1) return start + bytes.copy(bytes, start, rest, end - 1);
        break;
      case 3:
        if (end - rest >= 2 && skipBytes(bytes, rest, end, base64Flags) === end)
          return start + writeBase64(bytes, start, rest, end);
        break;
      case 4:
        return -1;
    }
  for (let at = from; at + 1 < end; at += 1)
    if (bytes[at] === colon && bytes[at + 1] === dash) return start + bytes.copy(bytes, start, at + 2, end);
  return -1;
}

const quote = 0x27;
const colon = 0x3a;
const dash = 0x2d;
const padding = 0x3d;
/** By its digits' values; those of both alphabets, and `=`. */
const base64Values = new Uint8Array(256);
const base64Flags = new Uint8Array(256);
for (const [value, digit] of [...Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')].entries()) {
  base64Values[digit] = value;
  base64Flags[digit] = 1;
}
base64Values[0x2d] = 62;
base64Values[0x5f] = 63;
base64Flags
  .fill(1, padding, padding + 1)
  .fill(1, 0x2d, 0x2e)
  .fill(1, 0x5f, 0x60);

/** Up to the padding, whatever stands behind it. */
function writeBase64(bytes: Buffer, start: number, from: number, end: number): number {
  let to = start;
  let bits = 0;
  let held = 0;
  for (let at = from; at < end && bytes[at] !== padding; at += 1) {
    held = ((held << 6) | base64Values[bytes[at]]) & 0xfff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[to] = held >> bits;
    to += 1;
  }
  return to - start;
}

/** ASCII letters alone, as in the next one; both say how many bytes came out. */
function writeLower(bytes: Buffer, start: number, from: number, end: number): number {
  for (let at = from; at < end; at += 1) bytes[start + at - from] = lowerByte(bytes[at]);
  return end - from;
}

/** upper(ı) is I in Log4j too, which is used to hide `jndi`; its UTF-8 bytes are c4 b1. */
function writeUpper(bytes: Buffer, start: number, from: number, end: number): number {
  let to = start;
  for (let at = from; at < end; at += 1) {
    const byte = bytes[at];
    const isDotless = byte === 0xc4 && at + 1 < end && bytes[at + 1] === 0xb1;
    bytes[to] = isDotless ? 0x49 : byte >= 0x61 && byte <= 0x7a ? byte - 32 : byte;
    to += 1;
    if (isDotless) at += 1;
  }
  return to - start;
}

/** Where offsets of the input went; those within a fold end where it begins to be shorter. */
class Reached {
  readonly #marks: Marks | undefined;
  constructor(marks: Marks | undefined) {
    this.#marks = marks;
  }
  at(input: number, output: number): void {
    const marks = this.#marks;
    if (marks === undefined) return;
    while (marks.to.length < marks.from.length && marks.from[marks.to.length] <= input) marks.to.push(output);
  }
  shrink(length: number): void {
    const to = this.#marks?.to;
    if (to === undefined) return;
    for (let index = to.length - 1; index >= 0 && to[index] > length; index -= 1) to[index] = length;
  }
}
