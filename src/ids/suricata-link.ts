// Whether Suricata is there: a connection to its command socket that stays open as long as its process lives. Says nothing of
// whether it works; that is the feed's.

import { connect, type Socket } from 'node:net';

export interface SuricataLinkOptions {
  readonly path: string;
  readonly onConnected: () => void;
  /** Its process ended, or hung up. */
  readonly onLost: () => void;
  /** Between attempts; default 100 ms. */
  readonly retryMs?: number;
}

/** It greets, and says no more unasked. */
const maxAnswerBytes = 4096;

export class SuricataLink {
  readonly #options: SuricataLinkOptions;
  #socket: Socket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #connected = false;
  #closed = false;

  constructor(options: SuricataLinkOptions) {
    this.#options = options;
    this.#connect();
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #connect(): void {
    const socket = connect(this.#options.path);
    this.#socket = socket;
    let heard = 0;
    socket.on('connect', () => socket.write('{"version":"0.2"}\n'));
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.length;
      if (heard > maxAnswerBytes) socket.destroy();
      else if (!this.#connected && bytes.includes('OK')) {
        this.#connected = true;
        this.#options.onConnected();
      }
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      const was = this.#connected;
      this.#connected = false;
      if (this.#closed) return;
      this.#retry = setTimeout(() => this.#connect(), this.#options.retryMs ?? 100);
      if (was) this.#options.onLost();
    });
  }
}
