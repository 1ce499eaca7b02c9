// JSON values that are not one to a line, as bytes in, texts out: one array of objects, or objects laid out over several lines.
// Values are numbered as lines are; what is kept of one is bounded, what is longer is skipped and told. Never fails.

import { type LineSink, maxLineBytes, shownBytes } from './line-splitter.ts';

const [lf, cr, blank, tab] = [10, 13, 32, 9];
const [quote, backslash, comma] = [34, 92, 44];
const [openList, closeList, openObject, closeObject] = [91, 93, 123, 125];

const isSpace = (byte: number): boolean => byte === blank || byte === lf || byte === cr || byte === tab;

/**
 * Whether a file that begins so holds such values: `[`, then `{`; or `{` alone on its line, then a key. Undefined: more of it has
 * to be seen. Lines of JSON and everything else are not.
 */
export function holdsLaidOutJson(start: Uint8Array): boolean | undefined {
  let at = start[0] === 0xef && start[1] === 0xbb && start[2] === 0xbf ? 3 : 0;
  const skip = (): void => {
    while (at < start.length && isSpace(start[at])) at += 1;
  };
  skip();
  if (at >= start.length) return undefined;
  const first = start[at];
  if (first !== openList && first !== openObject) return false;
  at += 1;
  if (first === openObject) {
    while (at < start.length && (start[at] === blank || start[at] === cr || start[at] === tab)) at += 1;
    if (at < start.length && start[at] !== lf) return false;
    skip();
    return at >= start.length ? undefined : start[at] === quote;
  }
  skip();
  return at >= start.length ? undefined : start[at] === openObject;
}

export class JsonSplitter {
  readonly #sink: LineSink;
  /** The beginning of a value that has not ended: copies, at most maxLineBytes in all, or the shown bytes of a longer one. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #skipping = false;
  #number = 0;
  /** Of the value, how many brackets are open; -1 between values. */
  #depth = -1;
  #inString = false;
  #escaped = false;
  /** Blanks at the beginning of the line at hand; -1 behind its first other byte. */
  #indent = 0;
  /** Blanks before the value, where it begins a line; else -1. */
  #column = -1;
  /** Line ends inside the value. */
  #lineEnds = 0;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Takes what it needs of the bytes at once: they may change afterwards. */
  push(bytes: Buffer): void {
    let from = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at];
      if (this.#inString && byte !== lf) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === backslash) this.#escaped = true;
        else if (byte === quote) {
          this.#inString = false;
          if (this.#depth === 0) from = this.#tell(bytes, from, at + 1);
        }
        continue;
      }
      const column = this.#indent;
      if (byte === lf) this.#indent = 0;
      else if (column >= 0) this.#indent = isSpace(byte) ? column + 1 : -1;
      if (this.#depth < 0) {
        if (isSpace(byte) || byte === comma || byte === openList || byte === closeList || isMark(byte)) continue;
        from = at;
        this.#begin(column);
      } else if (byte === openObject && this.#isAnother(column, at - from)) {
        // The one before it never ended: the damage stays its own.
        this.#tell(bytes, from, at);
        from = at;
        this.#begin(column);
      }
      if (byte === quote) this.#inString = true;
      else if (byte === openObject || byte === openList) this.#depth += 1;
      else if (byte === closeObject || byte === closeList) {
        if (this.#depth <= 1) from = this.#tell(bytes, from, this.#depth === 1 || byte === closeObject ? at + 1 : at);
        else this.#depth -= 1;
      } else if (this.#depth === 0 && (byte === comma || isSpace(byte))) from = this.#tell(bytes, from, at);
      else if (byte === lf) {
        // No string goes on in another line.
        this.#inString = false;
        this.#escaped = false;
        this.#lineEnds += 1;
      }
    }
    if (this.#depth >= 0) this.#hold(bytes.subarray(from));
  }

  /** What has not ended is a value too. */
  end(): void {
    if (this.#depth >= 0) this.#tell(Buffer.alloc(0), 0, 0);
  }

  #begin(column: number): void {
    this.#depth = 0;
    this.#column = column;
    this.#lineEnds = 0;
  }

  /** An object under the beginning of one that had a line to itself, or that is too long anyway. */
  #isAnother(column: number, bytes: number): boolean {
    if (this.#depth === 0 || column < 0 || column !== this.#column) return false;
    return this.#lineEnds === 1 || this.#heldBytes + bytes > maxLineBytes;
  }

  #hold(bytes: Buffer): void {
    this.#heldBytes += bytes.length;
    if (this.#skipping || bytes.length === 0) return;
    if (this.#heldBytes <= maxLineBytes) {
      this.#held.push(Buffer.from(bytes));
      // Pieces of a byte each would cost far more than they hold.
      if (this.#held.length >= 64) this.#held = [Buffer.concat(this.#held)];
      return;
    }
    this.#skipping = true;
    this.#held = [Buffer.from(Buffer.concat([...this.#held, bytes]).subarray(0, shownBytes))];
  }

  /** The value ended before `until`; gives where the next may begin. */
  #tell(bytes: Buffer, from: number, until: number): number {
    this.#number += 1;
    this.#depth = -1;
    this.#inString = false;
    this.#escaped = false;
    if (this.#heldBytes === 0 && until - from <= maxLineBytes) {
      this.#sink.line(onOneLine(bytes.toString('utf8', from, until)), this.#number);
      return until;
    }
    this.#hold(bytes.subarray(from, until));
    const text = onOneLine(Buffer.concat(this.#held).toString('utf8'));
    const [length, tooLong] = [this.#heldBytes, this.#skipping];
    this.#held = [];
    this.#heldBytes = 0;
    this.#skipping = false;
    if (tooLong) this.#sink.tooLong(text, length, this.#number);
    else this.#sink.line(text, this.#number);
    return until;
  }
}

/** Of a byte order mark. */
const isMark = (byte: number): boolean => byte === 0xef || byte === 0xbb || byte === 0xbf;

/** Parsers get what fits into a line of a log. */
const onOneLine = (text: string): string => (text.includes('\n') ? text.replace(/[\r\n]+\s*/g, ' ') : text);
