// Undoes one layer of what payloads are wrapped in: URL escapes, HTML entities, string escapes, shell separators, Telnet commands,
// UTF-16. Each is one pass over the bytes, never longer than its input, and knows where chosen offsets went.

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

/** What a decoder writes to: never longer than the input. One at a time. */
class Output {
  readonly bytes: Buffer;
  length = 0;
  changed = false;
  readonly #marks: Marks | undefined;

  constructor(capacity: number, marks: Marks | undefined) {
    if (scratch.length < capacity) scratch = Buffer.allocUnsafe(capacity);
    this.bytes = scratch;
    this.#marks = marks;
  }

  /** Before the input at `at` is read. */
  reach(at: number): void {
    const marks = this.#marks;
    if (marks === undefined) return;
    while (marks.to.length < marks.from.length && marks.from[marks.to.length] <= at) marks.to.push(this.length);
  }

  put(byte: number): void {
    this.bytes[this.length] = byte;
    this.length += 1;
  }

  /** As UTF-8 above 0xff, as a byte below; at most three bytes, which every escape of it is longer than. */
  character(code: number): void {
    this.changed = true;
    if (code < 0x100) this.put(code);
    else if (code < 0x800) {
      this.put(0xc0 | (code >> 6));
      this.put(0x80 | (code & 0x3f));
    } else {
      this.put(0xe0 | ((code >> 12) & 0x0f));
      this.put(0x80 | ((code >> 6) & 0x3f));
      this.put(0x80 | (code & 0x3f));
    }
  }

  end(inputLength: number): Buffer | undefined {
    this.reach(inputLength);
    return this.changed ? Buffer.from(this.bytes.subarray(0, this.length)) : undefined;
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

/** Chance puts a `%` into most binary payloads. */
function hasPercentEscape(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += 1)
    if (bytes[at] === 0x25 && ((bytes[at + 1] | 0x20) === 0x75 ? hexAt(bytes, at + 2, 4) : hexAt(bytes, at + 1, 2)) >= 0)
      return true;
  return false;
}

const percent = (bytes: Buffer, marks: Marks | undefined, plusIsSpace: boolean): Buffer | undefined => {
  if (marks === undefined && !plusIsSpace && !hasPercentEscape(bytes)) return undefined;
  const out = new Output(bytes.length, marks);
  for (let at = 0; at < bytes.length; at += 1) {
    out.reach(at);
    const byte = bytes[at];
    if (byte === 0x25) {
      const wide = (bytes[at + 1] | 0x20) === 0x75;
      const code = wide ? hexAt(bytes, at + 2, 4) : hexAt(bytes, at + 1, 2);
      if (code >= 0) {
        out.character(code);
        at += wide ? 5 : 2;
        continue;
      }
    } else if (byte === 0x2b && plusIsSpace) {
      out.character(0x20);
      continue;
    }
    out.put(byte);
  }
  return out.end(bytes.length);
};

/** `%41`, `%u0041`. */
export const decodePercent: Decoder = (bytes, marks) => percent(bytes, marks, false);
/** The same, and `+` for a space, as forms write it. */
export const decodeForm: Decoder = (bytes, marks) => percent(bytes, marks, true);

const entities: Readonly<Record<string, number>> = { lt: 0x3c, gt: 0x3e, amp: 0x26, quot: 0x22, apos: 0x27, nbsp: 0x20 };

/** `&lt;`, `&#60;`, `&#x3c;`. */
export const decodeHtml: Decoder = (bytes, marks) => {
  const out = new Output(bytes.length, marks);
  for (let at = 0; at < bytes.length; at += 1) {
    out.reach(at);
    if (bytes[at] === 0x26) {
      const found = /^&(?:#(?:x([0-9a-f]{1,6})|([0-9]{1,7}))|(lt|gt|amp|quot|apos|nbsp));?/i.exec(
        bytes.toString('latin1', at, at + 10),
      );
      if (found) {
        const code = found[3]
          ? entities[found[3].toLowerCase()]
          : found[1]
            ? Number.parseInt(found[1], 16)
            : Number.parseInt(found[2], 10);
        if (code < 0x10000) {
          out.character(code);
          at += found[0].length - 1;
          continue;
        }
      }
    }
    out.put(bytes[at]);
  }
  return out.end(bytes.length);
};

const simpleEscapes: Readonly<Record<number, number>> = { 110: 10, 114: 13, 116: 9, 47: 0x2f, 34: 0x22, 92: 0x5c };

/** What strings of JSON, JavaScript, C and `echo -e` write with a backslash: `\x41`, `\u0041`, `\101`, `\/`, `\n`. */
export const decodeEscapes: Decoder = (bytes, marks) => {
  const out = new Output(bytes.length, marks);
  for (let at = 0; at < bytes.length; at += 1) {
    out.reach(at);
    const byte = bytes[at];
    if (byte === 0x5c && at + 1 < bytes.length) {
      const next = bytes[at + 1];
      const digits = next === 0x78 ? 2 : next === 0x75 ? 4 : 0;
      const code = digits > 0 ? hexAt(bytes, at + 2, digits) : -1;
      if (code >= 0) {
        out.character(code);
        at += 1 + digits;
        continue;
      }
      const octal = /^[0-3][0-7]{2}/.exec(bytes.toString('latin1', at + 1, at + 4));
      if (octal) {
        out.character(Number.parseInt(octal[0], 8));
        at += 3;
        continue;
      }
      const simple = simpleEscapes[next];
      if (simple !== undefined) {
        out.character(simple);
        at += 1;
        continue;
      }
    }
    out.put(byte);
  }
  return out.end(bytes.length);
};

const separator = /^\$(?:\{IFS(?:%\?+|:[^}]{0,16})?\}|IFS)(?:\$(?:[0-9@*]|\{[0-9@*]\}))?/i;

/** `${IFS}` and `$IFS$9`, by which a shell command does without spaces. */
export const decodeShell: Decoder = (bytes, marks) => {
  const out = new Output(bytes.length, marks);
  for (let at = 0; at < bytes.length; at += 1) {
    out.reach(at);
    if (bytes[at] === 0x24) {
      const found = separator.exec(bytes.toString('latin1', at, at + 32));
      if (found) {
        out.character(0x20);
        at += found[0].length - 1;
        continue;
      }
    }
    out.put(bytes[at]);
  }
  return out.end(bytes.length);
};

/** Telnet's commands taken out (RFC 854): IAC IAC is a byte, options take three, subnegotiations end at IAC SE. */
export const stripTelnet: Decoder = (bytes, marks) => {
  const out = new Output(bytes.length, marks);
  // Of the next one, found once for all beginnings before it.
  let end = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    out.reach(at);
    if (bytes[at] !== 0xff || at + 1 >= bytes.length || bytes[at + 1] < 0xf0) {
      out.put(bytes[at]);
      continue;
    }
    const command = bytes[at + 1];
    out.changed = true;
    if (command === 0xff) out.put(0xff);
    else if (command === 0xfa) {
      // One without its end, or a very long one, is no subnegotiation: what follows stays to be looked at.
      if (end < at + 2) end = bytes.indexOf(subnegotiationEnd, at + 2);
      if (end < 0) end = bytes.length;
      if (end < bytes.length && end <= at + longestSubnegotiation) at = end;
    } else if (command >= 0xfb) at += 1;
    at += 1;
  }
  return out.end(bytes.length);
};
/** With its beginning. */
const longestSubnegotiation = 512;
const subnegotiationEnd = Buffer.from([0xff, 0xf0]);

const isPrintable = (byte: number): boolean => (byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13;
/** Fewer characters in a row are chance. */
const shortestWide = 6;

/** Runs of UTF-16 (either order of bytes) within printable ASCII, as their letters; everything else stays. */
export const decodeWide: Decoder = (bytes, marks) => {
  const out = new Output(bytes.length, marks);
  for (let at = 0; at < bytes.length; ) {
    out.reach(at);
    let end = at;
    if (isPrintable(bytes[at])) while (end + 1 < bytes.length && bytes[end + 1] === 0 && isPrintable(bytes[end])) end += 2;
    if ((end - at) / 2 >= shortestWide) {
      for (; at < end; at += 2) {
        out.reach(at);
        out.put(bytes[at]);
      }
      out.changed = true;
    } else if (end > at) {
      // Looked at once is enough.
      for (; at < end; at += 1) {
        out.reach(at);
        out.put(bytes[at]);
      }
    } else {
      out.put(bytes[at]);
      at += 1;
    }
  }
  return out.end(bytes.length);
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
