// Undoes one layer of what payloads are wrapped in: URL escapes, HTML entities, string escapes, shell separators, Telnet commands,
// UTF-16. Each is one pass over the bytes, never longer than its input, and knows where chosen offsets went.

import { skipBytes } from './byte-set.ts';

/** Offsets of the input, ascending, and where they are in the output. */
export class Marks {
  readonly from: readonly number[];
  readonly to: number[] = [];
  constructor(from: readonly number[]) {
    this.from = from;
  }
}

/** What decoders write to, one after the other: most of them find nothing to undo, and memory of their own costs more than looking. */
let scratch = Buffer.alloc(4096);
/** Fewer bytes are copied sooner one by one. */
const worthCopying = 24;

/** What a decoder makes of its input: what is not replaced or dropped stays, and is copied in stretches. One at a time. */
class Output {
  readonly #input: Buffer;
  readonly #marks: Marks | undefined;
  #bytes = scratch;
  #length = 0;
  /** Of the input: what lies before it is in the output already. */
  #done = 0;
  #changed = false;

  constructor(input: Buffer, marks: Marks | undefined) {
    this.#input = input;
    this.#marks = marks;
  }

  /** The input from `start` to `end` goes. */
  drop(start: number, end: number): void {
    this.#changed = true;
    this.#copy(start);
    this.#reach(start);
    this.#done = end;
  }

  /** One byte stands for the input from `start` to `end`. */
  replace(start: number, end: number, byte: number): void {
    this.drop(start, end);
    this.#put(byte);
  }

  /** One character does: as UTF-8 above 0xff, as a byte below; at most three bytes, which every escape of it is longer than. */
  character(start: number, end: number, code: number): void {
    this.drop(start, end);
    if (code < 0x100) this.#put(code);
    else if (code < 0x800) {
      this.#put(0xc0 | (code >> 6));
      this.#put(0x80 | (code & 0x3f));
    } else {
      this.#put(0xe0 | ((code >> 12) & 0x0f));
      this.#put(0x80 | ((code >> 6) & 0x3f));
      this.#put(0x80 | (code & 0x3f));
    }
  }

  /** Undefined when nothing was replaced or dropped. */
  end(): Buffer | undefined {
    if (!this.#changed && this.#marks === undefined) return undefined;
    this.#copy(this.#input.length);
    this.#reach(this.#input.length);
    return this.#changed ? Buffer.from(this.#bytes.subarray(0, this.#length)) : undefined;
  }

  /** The input up to `end`, not included. */
  #copy(end: number): void {
    const input = this.#input;
    // Never longer than the input.
    if (this.#bytes.length < input.length) {
      if (scratch.length < input.length) scratch = Buffer.allocUnsafe(input.length);
      this.#bytes = scratch;
    }
    const start = this.#done;
    this.#reach(end - 1);
    if (end - start < worthCopying)
      for (let at = start; at < end; at += 1) {
        this.#bytes[this.#length] = input[at];
        this.#length += 1;
      }
    else {
      input.copy(this.#bytes, this.#length, start, end);
      this.#length += end - start;
    }
    if (end > start) this.#done = end;
  }

  /** Offsets of the input up to `end`, of which all that is before `#done` is in the output; the rest follows as it is. */
  #reach(end: number): void {
    const marks = this.#marks;
    if (marks === undefined) return;
    while (marks.to.length < marks.from.length && marks.from[marks.to.length] <= end)
      marks.to.push(this.#length + Math.max(0, marks.from[marks.to.length] - this.#done));
  }

  #put(byte: number): void {
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }
}

/** Undefined when there is nothing to undo. */
export type Decoder = (bytes: Buffer, marks?: Marks) => Buffer | undefined;

/** Value of a hexadecimal digit, or -1. */
function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function hexAt(bytes: Buffer, at: number, digits: number): number {
  if (at + digits > bytes.length) return -1;
  let value = 0;
  for (let index = 0; index < digits; index += 1) {
    const digit = hexValue(bytes[at + index]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

/** Flags of all bytes but these: what each decoder passes over. */
const allBut = (...marks: readonly number[]): Uint8Array => {
  const flags = new Uint8Array(256).fill(1);
  for (const mark of marks) flags[mark] = 0;
  return flags;
};
const allButPercent = allBut(0x25);
const allButPercentAndPlus = allBut(0x25, 0x2b);
const allButAmpersand = allBut(0x26);
const allButBackslash = allBut(0x5c);
const allButDollar = allBut(0x24);
const allButCommand = allBut(0xff);
const allButZero = allBut(0);

const percent = (bytes: Buffer, marks: Marks | undefined, plusIsSpace: boolean): Buffer | undefined => {
  const out = new Output(bytes, marks);
  const plain = plusIsSpace ? allButPercentAndPlus : allButPercent;
  for (let at = 0; ; at += 1) {
    at = skipBytes(bytes, at, bytes.length, plain);
    if (at === bytes.length) break;
    if (bytes[at] === 0x25) {
      const wide = (bytes[at + 1] | 0x20) === 0x75;
      const code = wide ? hexAt(bytes, at + 2, 4) : hexAt(bytes, at + 1, 2);
      if (code < 0) continue;
      const end = at + (wide ? 6 : 3);
      out.character(at, end, code);
      at = end - 1;
    } else out.replace(at, at + 1, 0x20);
  }
  return out.end();
};

/** `%41`, `%u0041`. */
export const decodePercent: Decoder = (bytes, marks) => percent(bytes, marks, false);
/** The same, and `+` for a space, as forms write it. */
export const decodeForm: Decoder = (bytes, marks) => percent(bytes, marks, true);

const entities = (
  [
    ['lt', 0x3c],
    ['gt', 0x3e],
    ['amp', 0x26],
    ['quot', 0x22],
    ['apos', 0x27],
    ['nbsp', 0x20],
  ] as const
).map(([name, code]) => ({ letters: Buffer.from(name, 'latin1'), code }));

/** `&lt;`, `&#60;`, `&#x3c;`, with or without the semicolon. */
export const decodeHtml: Decoder = (bytes, marks) => {
  const out = new Output(bytes, marks);
  for (let at = 0; ; at += 1) {
    at = skipBytes(bytes, at, bytes.length, allButAmpersand);
    if (at === bytes.length) break;
    const isNumber = bytes[at + 1] === 0x23;
    const { code, end } = isNumber ? characterNumber(bytes, at + 2) : namedCharacter(bytes, at + 1);
    if (code < 0 || code >= 0x10000) continue;
    const next = bytes[end] === 0x3b ? end + 1 : end;
    out.character(at, next, code);
    at = next - 1;
  }
  return out.end();
};

interface Reference {
  /** -1 when it is none. */
  readonly code: number;
  readonly end: number;
}

const noReference: Reference = { code: -1, end: 0 };

/** Behind `&#`: up to seven digits, or six hexadecimal ones behind an `x`. */
function characterNumber(bytes: Buffer, from: number): Reference {
  const isHex = (bytes[from] | 0x20) === 0x78;
  const start = isHex ? from + 1 : from;
  const last = Math.min(bytes.length, start + (isHex ? 6 : 7));
  let code = 0;
  let end = start;
  for (; end < last; end += 1) {
    const digit = hexValue(bytes[end]);
    if (digit < 0 || (!isHex && digit > 9)) break;
    code = code * (isHex ? 16 : 10) + digit;
  }
  return end === start ? noReference : { code, end };
}

/** Behind `&`. */
function namedCharacter(bytes: Buffer, start: number): Reference {
  const first = bytes[start] | 0x20;
  for (const { letters, code } of entities) {
    if (letters[0] !== first) continue;
    let length = 1;
    while (length < letters.length && (bytes[start + length] | 0x20) === letters[length]) length += 1;
    if (length === letters.length) return { code, end: start + length };
  }
  return noReference;
}

const simpleEscapes: Readonly<Record<number, number>> = { 110: 10, 114: 13, 116: 9, 47: 0x2f, 34: 0x22, 92: 0x5c };

/** What strings of JSON, JavaScript, C and `echo -e` write with a backslash: `\x41`, `\u0041`, `\101`, `\/`, `\n`. */
export const decodeEscapes: Decoder = (bytes, marks) => {
  const out = new Output(bytes, marks);
  for (let at = 0; ; at += 1) {
    at = skipBytes(bytes, at, bytes.length, allButBackslash);
    if (at + 1 >= bytes.length) break;
    const next = bytes[at + 1];
    const digits = next === 0x78 ? 2 : next === 0x75 ? 4 : 0;
    const code = digits > 0 ? hexAt(bytes, at + 2, digits) : -1;
    const octal = octalAt(bytes, at + 1);
    const simple = simpleEscapes[next];
    let end = at + 2;
    if (code >= 0) {
      end += digits;
      out.character(at, end, code);
    } else if (octal >= 0) {
      end += 2;
      out.character(at, end, octal);
    } else if (simple !== undefined) out.replace(at, end, simple);
    else continue;
    at = end - 1;
  }
  return out.end();
};

/** Three octal digits that make a byte, or -1. */
function octalAt(bytes: Buffer, at: number): number {
  const first = bytes[at] - 0x30;
  const second = bytes[at + 1] - 0x30;
  const third = bytes[at + 2] - 0x30;
  return first >= 0 && first < 4 && second >= 0 && second < 8 && third >= 0 && third < 8 ? first * 64 + second * 8 + third : -1;
}

/** `${IFS}` and `$IFS$9`, by which a shell command does without spaces. */
export const decodeShell: Decoder = (bytes, marks) => {
  const out = new Output(bytes, marks);
  for (let at = 0; ; at += 1) {
    at = skipBytes(bytes, at, bytes.length, allButDollar);
    if (at === bytes.length) break;
    const end = separatorEnd(bytes, at);
    if (end < 0) continue;
    out.replace(at, end, 0x20);
    at = end - 1;
  }
  return out.end();
};

/** Longer ones are none; and what may stand behind the colon. */
const longestSeparator = 32;
const longestSubstring = 16;

/** Behind `$IFS`, `${IFS}`, `${IFS%??}` or `${IFS:0:1}` and an empty parameter such as `$9` that may follow; -1 when there is none. */
function separatorEnd(bytes: Buffer, start: number): number {
  const last = Math.min(bytes.length, start + longestSeparator);
  const isBraced = bytes[start + 1] === 0x7b;
  let at = start + (isBraced ? 2 : 1);
  if (at + 3 > last || (bytes[at] | 0x20) !== 0x69 || (bytes[at + 1] | 0x20) !== 0x66 || (bytes[at + 2] | 0x20) !== 0x73)
    return -1;
  at += 3;
  if (isBraced) {
    if (bytes[at] === 0x25 && bytes[at + 1] === 0x3f) {
      at += 2;
      while (at < last && bytes[at] === 0x3f) at += 1;
    } else if (bytes[at] === 0x3a) {
      const most = at + 1 + longestSubstring;
      at += 1;
      while (at < most && bytes[at] !== 0x7d) at += 1;
    }
    if (at >= last || bytes[at] !== 0x7d) return -1;
    at += 1;
  }
  if (bytes[at] !== 0x24) return at;
  const isParameter = (byte: number): boolean => (byte >= 0x30 && byte <= 0x39) || byte === 0x40 || byte === 0x2a;
  if (at + 2 <= last && isParameter(bytes[at + 1])) return at + 2;
  return at + 4 <= last && bytes[at + 1] === 0x7b && isParameter(bytes[at + 2]) && bytes[at + 3] === 0x7d ? at + 4 : at;
}

/** Telnet's commands taken out (RFC 854): IAC IAC is a byte, options take three, subnegotiations end at IAC SE. */
export const stripTelnet: Decoder = (bytes, marks) => {
  const out = new Output(bytes, marks);
  // Of the next one, found once for all beginnings before it.
  let subnegotiation = 0;
  for (let at = 0; ; at += 1) {
    at = skipBytes(bytes, at, bytes.length, allButCommand);
    if (at + 1 >= bytes.length) break;
    if (bytes[at + 1] < 0xf0) continue;
    const command = bytes[at + 1];
    let end = at + 2;
    if (command === 0xff) out.replace(at, end, 0xff);
    else {
      if (command === 0xfa) {
        // One without its end, or a very long one, is no subnegotiation: what follows stays to be looked at.
        if (subnegotiation < end) subnegotiation = bytes.indexOf(subnegotiationEnd, end);
        if (subnegotiation < 0) subnegotiation = bytes.length;
        if (subnegotiation < bytes.length && subnegotiation <= at + longestSubnegotiation) end = subnegotiation + 2;
      } else if (command >= 0xfb) end += 1;
      out.drop(at, Math.min(end, bytes.length));
    }
    at = end - 1;
  }
  return out.end();
};
/** With its beginning. */
const longestSubnegotiation = 512;
const subnegotiationEnd = Buffer.from([0xff, 0xf0]);

const isPrintable = (byte: number): boolean => (byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13;
/** Fewer characters in a row are chance. */
const shortestWide = 6;

/** Runs of UTF-16 (either order of bytes) within printable ASCII, as their letters; everything else stays. */
export const decodeWide: Decoder = (bytes, marks) => {
  const out = new Output(bytes, marks);
  for (let at = 0; ; ) {
    at = skipBytes(bytes, at + 1, bytes.length, allButZero) - 1;
    if (at + 1 >= bytes.length) break;
    let end = at;
    while (end + 1 < bytes.length && bytes[end + 1] === 0 && isPrintable(bytes[end])) end += 2;
    if ((end - at) / 2 >= shortestWide) for (let zero = at + 1; zero < end; zero += 2) out.drop(zero, zero + 1);
    // Looked at once is enough.
    at = Math.max(at + 1, end);
  }
  return out.end();
};

/** A stretch of the input and what it decodes to. */
export interface Run {
  readonly start: number;
  readonly end: number;
  readonly bytes: Buffer;
}

const base64Flags = new Uint8Array(256);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_')
  base64Flags[character.charCodeAt(0)] = 1;
const hexFlags = new Uint8Array(256);
for (const character of '0123456789abcdefABCDEF') hexFlags[character.charCodeAt(0)] = 1;

/** Runs of flagged bytes of at least `least`: every `least`-th byte is looked at, and where one is flagged its neighbours are. */
function runsOf(bytes: Buffer, flags: Uint8Array, least: number, maxRuns: number): { start: number; end: number }[] {
  const runs: { start: number; end: number }[] = [];
  for (let at = least - 1; at < bytes.length && runs.length < maxRuns; at += least) {
    if (flags[bytes[at]] === 0) continue;
    let start = at;
    const floor = Math.max(0, at - least + 1);
    while (start > floor && flags[bytes[start - 1]] === 1) start -= 1;
    let end = at + 1;
    while (end < bytes.length && flags[bytes[end]] === 1) end += 1;
    if (end - start >= least) {
      runs.push({ start, end });
    }
    // On to the sample after the run; the one before it has seen what comes earlier.
    at = Math.max(at, end - (end % least) - 1);
  }
  return runs;
}

const shortestBase64 = 20;
const shortestHex = 24;
const maxRuns = 32;

/** Base64 (RFC 4648, both alphabets) that holds text, UTF-16 text or compressed data. */
export function decodeBase64(bytes: Buffer): Run[] {
  return runsOf(bytes, base64Flags, shortestBase64, maxRuns)
    .map(({ start, end }) => ({ start, end, bytes: Buffer.from(bytes.toString('latin1', start, end), 'base64') }))
    .filter((run) => isTelling(run.bytes));
}

/** Hexadecimal digits that hold text or compressed data. */
export function decodeHex(bytes: Buffer): Run[] {
  return runsOf(bytes, hexFlags, shortestHex, maxRuns)
    .map(({ start, end }) => ({
      start,
      end,
      bytes: Buffer.from(bytes.toString('latin1', start, end - ((end - start) % 2)), 'hex'),
    }))
    .filter((run) => isTelling(run.bytes));
}

/** What random bytes are not: nearly all printable (or so in UTF-16), or compressed. */
function isTelling(bytes: Buffer): boolean {
  if (bytes.length < 8) return false;
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return true;
  const length = Math.min(bytes.length, 256);
  let printable = 0;
  let zeros = 0;
  for (let at = 0; at < length; at += 1) {
    if (isPrintable(bytes[at])) printable += 1;
    else if (bytes[at] === 0) zeros += 1;
  }
  return printable >= 0.85 * length || (printable + zeros >= 0.9 * length && zeros <= 0.55 * length && printable >= 0.4 * length);
}
