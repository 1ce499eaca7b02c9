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
    length += 1;
    if (byte === 0x7d && open.length > 0) {
      const start = open.pop() as number;
      const folded = resolve(out.toString('latin1', start + 2, Math.min(length - 1, start + 2 + maxLookup)), length - 3 - start);
      if (folded !== undefined) {
        changed = true;
        length = start + out.write(folded, start, 'latin1');
        reached.shrink(length);
      }
    }
  }
  reached.at(bytes.length, length);
  return changed ? out.subarray(0, length) : undefined;
};

/** Longer ones are kept as they are. */
const maxLookup = 512;

/** What `${inner}` becomes; undefined when it stays. */
function resolve(inner: string, length: number): string | undefined {
  if (length > maxLookup || /^jndi:/i.test(inner)) return undefined;
  const cased = /^(lower|upper):([\s\S]*)$/i.exec(inner);
  if (cased) return cased[1].toLowerCase() === 'lower' ? lower(cased[2]) : upper(cased[2]);
  const quoted = /^date:'([^']*)'$/i.exec(inner);
  if (quoted) return quoted[1];
  const coded = /^base64:([A-Za-z0-9+/=_-]{2,})$/i.exec(inner);
  if (coded) return Buffer.from(coded[1], 'base64').toString('latin1');
  const fallback = inner.indexOf(':-');
  return fallback >= 0 ? inner.slice(fallback + 2) : undefined;
}

/** ASCII only: upper(ı) is I in Log4j too, which is used to hide `jndi`; its UTF-8 bytes are c4 b1. */
const upper = (text: string): string =>
  text.replaceAll('\u00c4\u00b1', 'I').replace(/[a-z]+/g, (letters) => letters.toUpperCase());
const lower = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

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
