// Messages on the control stream of a link: one JSON object a line, both directions, bounded. What a line may say is
// link-messages.ts.

import type { LinkStream } from './link-flow.ts';

const lineFeed = 0x0a;

/** Puts lines together; keeps at most one, of at most `maxBytes`. */
export class ControlReader {
  readonly #maxBytes: number;
  readonly #onLine: (line: string) => void;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(maxBytes: number, onLine: (line: string) => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** False: a line is longer than it may be; nothing more is to be read then. */
  push(bytes: Buffer): boolean {
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      const piece = bytes.subarray(start, end);
      start = end + 1;
      if (this.#heldBytes + piece.length > this.#maxBytes) return false;
      const line = this.#heldBytes === 0 ? piece : Buffer.concat([...this.#held, piece]);
      this.#held = [];
      this.#heldBytes = 0;
      this.#onLine(line.toString('utf8'));
    }
    if (start === bytes.length) return true;
    this.#heldBytes += bytes.length - start;
    if (this.#heldBytes > this.#maxBytes) return false;
    // A copy: the piece may be the end of a large buffer that would be kept with it.
    this.#held.push(Buffer.from(bytes.subarray(start)));
    return true;
  }
}

/** False: the stream has ended, or more than `maxWaitingBytes` wait already; nothing of the message is sent. */
export function sendLine(stream: LinkStream, message: object, maxWaitingBytes: number): boolean {
  if (stream.destroyed || !stream.writable || stream.writableLength > maxWaitingBytes) return false;
  stream.write(`${JSON.stringify(message)}\n`);
  return true;
}
