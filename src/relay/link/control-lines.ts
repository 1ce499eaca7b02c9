// Messages on the control stream of a link: one JSON object a line, both directions, bounded. What a line may say is
// link-messages.ts.

import { ByteGatherer } from '../../base/byte-gatherer.ts';
import type { LinkStream } from './link-flow.ts';

const lineFeed = 0x0a;

/** Puts lines together; keeps at most one, of at most `maxBytes`. */
export class ControlReader {
  readonly #maxBytes: number;
  readonly #onLine: (line: string) => void;
  readonly #held = new ByteGatherer();

  constructor(maxBytes: number, onLine: (line: string) => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
  }

  get heldBytes(): number {
    return this.#held.length;
  }

  /** False: a line is longer than it may be; nothing more is to be read then. */
  push(bytes: Buffer): boolean {
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      const piece = bytes.subarray(start, end);
      start = end + 1;
      if (this.#held.length + piece.length > this.#maxBytes) return false;
      let line = piece;
      if (this.#held.length > 0) {
        this.#held.add(piece);
        line = this.#held.take();
      }
      this.#onLine(line.toString('utf8'));
    }
    if (this.#held.length + bytes.length - start > this.#maxBytes) return false;
    if (start < bytes.length) this.#held.add(bytes.subarray(start));
    return true;
  }
}

/** False: the stream has ended, or more than `maxWaitingBytes` wait already; nothing of the message is sent. */
export function sendLine(stream: LinkStream, message: object, maxWaitingBytes: number): boolean {
  if (stream.destroyed || !stream.writable || stream.writableLength > maxWaitingBytes) return false;
  stream.write(`${JSON.stringify(message)}\n`);
  return true;
}
