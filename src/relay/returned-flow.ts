// A client's connection with everything that was read from it in front again, for when its end was read as well: a stream that
// has ended takes nothing back itself. What is written, ended and reset is the client's.

import { Duplex } from 'node:stream';
import type { FlowStream } from './arrival.ts';

export class ReturnedFlow extends Duplex implements FlowStream {
  readonly #client: FlowStream;
  readonly #fault: Error | undefined;
  #writing: ((error?: Error | null) => void) | undefined;

  /** Nobody else listens to `client`, which has said `said` and no more; `fault`: it is gone, and this is how. */
  constructor(client: FlowStream, said: readonly Buffer[], fault?: Error) {
    super({ allowHalfOpen: true });
    this.#client = client;
    this.#fault = fault;
    client.on('error', (error) => this.destroy(error));
    for (const bytes of said) this.push(bytes);
    if (fault) {
      this.#failWhenRead();
      return;
    }
    this.push(null);
    client.on('drain', () => {
      const done = this.#writing;
      this.#writing = undefined;
      done?.();
    });
    client.on('close', () => this.destroy());
  }

  resetAndDestroy(): this {
    this.#client.resetAndDestroy();
    return this.destroy();
  }

  override read(size?: number): unknown {
    const bytes = super.read(size);
    this.#failWhenRead();
    return bytes;
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (!this.#client.writable || this.#client.write(bytes)) done();
    else this.#writing = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#client.writable) this.#client.end(() => done());
    else done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#writing = undefined;
    if (!this.#client.destroyed && !this.#client.writableEnded) this.#client.destroy();
    done(error);
  }

  #failWhenRead(): void {
    // In the next turn: whoever gets it attaches its listeners first.
    if (this.#fault && this.readableLength === 0) setImmediate(() => this.destroy(this.#fault));
  }
}
