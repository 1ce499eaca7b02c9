// Bytes of a text file in, its units out: lines, or the values of JSON that is not one to a line, as its first bytes say.

import { holdsLaidOutJson, JsonSplitter } from './json-splitter.ts';
import { type LineSink, LineSplitter } from './line-splitter.ts';

/** Blanks a file may begin with before it is taken for lines. */
const maxBlanks = 4096;

export class UnitSplitter {
  readonly #sink: LineSink;
  #splitter: LineSplitter | JsonSplitter | undefined;
  /** What was seen before it was clear. */
  #start: Buffer = Buffer.alloc(0);

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /** Takes what it needs of the bytes at once: they may change afterwards. */
  push(bytes: Buffer): void {
    if (this.#splitter) {
      this.#splitter.push(bytes);
      return;
    }
    const start = Buffer.concat([this.#start, bytes]);
    const laidOut = holdsLaidOutJson(start);
    if (laidOut === undefined && start.length < maxBlanks) this.#start = start;
    else this.#choose(laidOut === true, start);
  }

  /** What stands behind the last end is a unit too. */
  end(): void {
    if (!this.#splitter) this.#choose(false, this.#start);
    this.#splitter?.end();
  }

  #choose(laidOut: boolean, start: Buffer): void {
    this.#splitter = laidOut ? new JsonSplitter(this.#sink) : new LineSplitter(this.#sink);
    this.#start = Buffer.alloc(0);
    this.#splitter.push(start);
  }
}
