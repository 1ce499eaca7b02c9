// Bytes of any length in, lines out: what is kept of a line is bounded, what is longer is skipped and told. Lines end at LF; a
// CR before it goes. Blank lines are numbered and otherwise not told.

/** Bytes of the longest line that is kept. */
export const maxLineBytes = 1 << 20;
/** Of a line that is too long, so much is shown. */
export const shownBytes = 512;

export interface LineSink {
  /** Invalid UTF-8 is replaced (U+FFFD); NULs stay. */
  line(text: string, number: number): void;
  /** The line had `bytes` in all; `start` is how it began. */
  tooLong(start: string, bytes: number, number: number): void;
}

const lf = 10;
const cr = 13;

export class LineSplitter {
  readonly #sink: LineSink;
  /** The beginning of a line that has not ended: copies, at most maxLineBytes in all, or the shown bytes of a long one. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #skipping = false;
  #number = 0;
  #first = true;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Takes what it needs of the bytes at once: they may change afterwards. */
  push(bytes: Buffer): void {
    let from = 0;
    for (let end = bytes.indexOf(lf); end >= 0; end = bytes.indexOf(lf, from)) {
      this.#endLine(bytes, from, end);
      from = end + 1;
    }
    if (from < bytes.length) this.#hold(bytes.subarray(from));
  }

  /** What stands behind the last line end is a line too. */
  end(): void {
    if (this.#heldBytes > 0) this.#endLine(Buffer.alloc(0), 0, 0);
  }

  #hold(bytes: Buffer): void {
    this.#heldBytes += bytes.length;
    if (this.#skipping) return;
    if (this.#heldBytes <= maxLineBytes) {
      this.#held.push(Buffer.from(bytes));
      // Pieces of a byte each would cost far more than they hold.
      if (this.#held.length >= 64) this.#held = [Buffer.concat(this.#held)];
      return;
    }
    this.#skipping = true;
    this.#held = [Buffer.concat([...this.#held, bytes]).subarray(0, shownBytes)].map((shown) => Buffer.from(shown));
  }

  #endLine(bytes: Buffer, from: number, end: number): void {
    this.#number += 1;
    if (this.#heldBytes === 0 && end - from <= maxLineBytes) {
      this.#tell(bytes, from, end);
      return;
    }
    this.#hold(bytes.subarray(from, end));
    const [held, length, tooLong] = [Buffer.concat(this.#held), this.#heldBytes, this.#skipping];
    this.#held = [];
    this.#heldBytes = 0;
    this.#skipping = false;
    if (tooLong) this.#sink.tooLong(held.toString('utf8'), length, this.#number);
    else this.#tell(held, 0, held.length);
  }

  #tell(bytes: Buffer, from: number, until: number): void {
    let at = from;
    let end = until;
    if (this.#first) {
      this.#first = false;
      // A byte order mark is no part of the first line.
      if (end - at >= 3 && bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf) at += 3;
    }
    if (end > at && bytes[end - 1] === cr) end -= 1;
    for (let index = at; index < end; index += 1) {
      const byte = bytes[index];
      if (byte === 32 || (byte >= 9 && byte <= 13)) continue;
      this.#sink.line(bytes.toString('utf8', at, end), this.#number);
      return;
    }
  }
}
