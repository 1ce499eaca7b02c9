// Folds Log4j's nested lookups to what the logger would make of them, so that `${${lower:j}ndi:…}` reads `${jndi:…}`
// (Apache Log4j 2, "Lookups" and "Property Substitution"). Nothing is ever looked up. One pass; nesting beyond a bound stays as it is.

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
      if (isLong || (fallback < start + 2 && !isNamed(out, start + 2))) continue;
      const folded = resolve(out.toString('latin1', start + 2, length - 1));
      if (folded === undefined) continue;
      changed = true;
      length = start + out.write(folded, start, 'latin1');
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

/** What `${inner}` becomes; undefined when it stays. */
function resolve(inner: string): string | undefined {
  const colon = inner.indexOf(':');
  const rest = inner.slice(colon + 1);
  switch (inner.slice(0, Math.max(0, Math.min(colon, longestName))).toLowerCase()) {
    case 'jndi':
      return undefined;
    case 'lower':
      return lower(rest);
    case 'upper':
      return upper(rest);
    case 'date':
      if (rest.length > 1 && rest.indexOf("'", 1) === rest.length - 1 && rest[0] === "'") return rest.slice(1, -1);
      break;
    case 'base64':
      if (/^[A-Za-z0-9+/=_-]{2,}$/.test(rest)) return Buffer.from(rest, 'base64').toString('latin1');
  }
  const fallback = inner.indexOf(':-');
  return fallback >= 0 ? inner.slice(fallback + 2) : undefined;
}

/** One more than the longest. */
const longestName = 7;
const names = ['lower:', 'upper:', "date:'", 'base64:'].map((name) => Buffer.from(name, 'latin1'));

/** Whether what begins there is one of those that become something else by their name, in either case. */
function isNamed(bytes: Buffer, at: number): boolean {
  const first = bytes[at] | 0x20;
  for (const name of names) {
    if (name[0] !== first) continue;
    let length = 1;
    while (length < name.length && (bytes[at + length] === name[length] || (bytes[at + length] | 0x20) === name[length]))
      length += 1;
    if (length === name.length) return true;
  }
  return false;
}

/** ASCII only: upper(ı) is I in Log4j too, which is used to hide `jndi`; its UTF-8 bytes are c4 b1. */
const upper = (text: string): string =>
  isAscii(text)
    ? text.toUpperCase()
    : text.replaceAll('\u00c4\u00b1', 'I').replace(/[a-z]+/g, (letters) => letters.toUpperCase());
const lower = (text: string): string =>
  isAscii(text) ? text.toLowerCase() : text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (text.charCodeAt(at) > 127) return false;
  return true;
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
