// The unix stream socket where Suricata leaves its alerts, line by line. Suricata does not wait: whoever listens here reads at
// once. One connection counts at a time, the newest; lines beyond a bound are passed over and counted.

import { chmodSync, chownSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { WeirError } from '../base/errors.ts';

export interface EveListenerOptions {
  readonly path: string;
  /** Whose processes may connect beside our own. */
  readonly group?: number;
  readonly onLine: (line: string) => void;
  readonly onConnected: () => void;
  readonly onLost: () => void;
}

/** An alert of ours has a few kilobytes. */
const maxLineBytes = 64 << 10;
const newline = 10;

export class EveListener {
  readonly #options: EveListenerOptions;
  readonly #server: Server;
  #socket: Socket | undefined;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #skipping = false;
  /** Lines longer than the bound, and what was cut off by a lost connection. */
  overlong = 0;

  private constructor(options: EveListenerOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** A socket left behind is replaced. Throws `system-call`, `not-permitted`. */
  static async open(options: EveListenerOptions): Promise<EveListener> {
    rmSync(options.path, { force: true });
    const listener = new EveListener(options);
    await new Promise<void>((resolve, reject) => {
      listener.#server.once('error', (error) =>
        reject(new WeirError('system-call', `no socket at ${options.path}: ${error.message}`, { path: options.path }, error)),
      );
      listener.#server.listen(options.path, resolve);
    });
    if (options.group !== undefined) chownSync(options.path, process.getuid?.() ?? 0, options.group);
    chmodSync(options.path, 0o660);
    return listener;
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#socket?.destroy();
    this.#socket = undefined;
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    rmSync(this.#options.path, { force: true });
  }

  #accept(socket: Socket): void {
    const before = this.#socket;
    this.#socket = socket;
    this.#held = [];
    this.#heldBytes = 0;
    this.#skipping = false;
    if (before) {
      before.destroy();
      this.#options.onLost();
    }
    socket.on('data', (bytes: Buffer) => {
      if (this.#socket === socket) this.#read(bytes);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#options.onLost();
    });
    this.#options.onConnected();
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
    if (whole.length > 0) this.#options.onLine(whole.toString('utf8'));
  }
}
