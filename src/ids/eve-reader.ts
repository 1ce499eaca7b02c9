// The pipe by which Suricata's alerts come, line by line. A pipe, not a socket: Suricata writes to a socket without waiting and
// drops what finds no room, but waits for a pipe. Lines beyond a bound are passed over and counted.

import { Socket } from 'node:net';

/** An alert of ours has a few kilobytes. */
const maxLineBytes = 64 << 10;
const newline = 10;

export class EveReader {
  readonly #onLine: (line: string) => void;
  readonly #socket: Socket;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #skipping = false;
  /** Lines longer than the bound. */
  overlong = 0;

  /** `fd` is a nonblocking pipe, whose reading end is this one's from now on. `onBroken`: it cannot be read any more. */
  constructor(fd: number, onLine: (line: string) => void, onBroken: (why: string) => void) {
    this.#onLine = onLine;
    this.#socket = new Socket({ fd, readable: true, writable: false });
    this.#socket.on('data', (bytes: Buffer) => this.#read(bytes));
    this.#socket.on('error', (error) => onBroken(error.message));
    this.#socket.on('end', () => onBroken('it ended'));
    this.#socket.resume();
  }

  /** Idempotent. What is in the pipe stays there as long as somebody holds it. */
  close(): void {
    this.#socket.destroy();
  }

  #read(bytes: Buffer): void {
    let from = 0;
    for (;;) {
      const end = bytes.indexOf(newline, from);
      if (end < 0) break;
      this.#line(bytes.subarray(from, end));
      from = end + 1;
    }
    if (from === bytes.length) return;
    const rest = bytes.subarray(from);
    if (this.#heldBytes + rest.length > maxLineBytes) {
      this.#skipping = true;
      this.#held = [];
      this.#heldBytes = 0;
    } else if (!this.#skipping) {
      this.#held.push(rest);
      this.#heldBytes += rest.length;
    }
  }

  #line(end: Buffer): void {
    const whole = this.#held.length === 0 ? end : Buffer.concat([...this.#held, end]);
    this.#held = [];
    this.#heldBytes = 0;
    if (this.#skipping || whole.length > maxLineBytes) {
      this.#skipping = false;
      this.overlong += 1;
      return;
    }
    if (whole.length > 0) this.#onLine(whole.toString('utf8'));
  }
}
