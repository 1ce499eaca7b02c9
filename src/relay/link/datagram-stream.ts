// Datagrams of one source and destination over a stream of the link, both ways: each is its length in two bytes and its
// payload. What finds the stream full is dropped, as datagrams are.

import { ByteGatherer } from '../../base/byte-gatherer.ts';
import { closeStream, type LinkStream } from './link-flow.ts';

export interface DatagramStreamOptions {
  /** What may wait for the link before more is dropped. */
  readonly waitingBytes: number;
  /** Shared with other streams of the link. */
  readonly budget?: WaitingBudget;
  /** The bytes are the receiver's own. */
  onDatagram(bytes: Uint8Array): void;
  /** Once, whoever ended it. */
  onEnd(): void;
}

const maxPayload = 65_535;
/** What each frame that waits costs beside its bytes. */
const frameCost = 128;

/** Bytes that wait for the link, of many streams together. */
export class WaitingBudget {
  readonly #most: number;
  #waiting = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get waiting(): number {
    return this.#waiting;
  }

  /** False: no room, and nothing was taken. */
  take(bytes: number): boolean {
    if (this.#waiting + bytes > this.#most) return false;
    this.#waiting += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#waiting -= bytes;
  }
}

export class DatagramStream {
  readonly stream: LinkStream;
  readonly #options: DatagramStreamOptions;
  /** The beginning of a frame, at most one. */
  readonly #held = new ByteGatherer();
  /** How many bytes the frame that has begun will have, as far as known. */
  #wanted = 2;
  #ended = false;
  /** Of the budget. */
  #taken = 0;
  lastAtMs = performance.now();

  constructor(stream: LinkStream, options: DatagramStreamOptions) {
    this.stream = stream;
    this.#options = options;
    stream.on('data', (bytes: Buffer) => this.take(bytes));
    stream.on('end', () => this.close());
    stream.on('error', () => {});
    stream.on('close', () => {
      // A write whose stream is cut may never be answered.
      this.#giveBack(this.#taken);
      this.#end();
    });
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** False: dropped. */
  send(bytes: Uint8Array): boolean {
    if (this.#ended || !this.stream.writable || bytes.length > maxPayload) return false;
    if (this.stream.writableLength > this.#options.waitingBytes) return false;
    const cost = bytes.length + frameCost;
    if (this.#options.budget?.take(cost) === false) return false;
    this.#taken += cost;
    const frame = Buffer.allocUnsafe(2 + bytes.length);
    frame.writeUInt16BE(bytes.length);
    frame.set(bytes, 2);
    this.stream.write(frame, () => this.#giveBack(Math.min(cost, this.#taken)));
    this.lastAtMs = performance.now();
    return true;
  }

  /** Ends our half; what still comes is dropped. The gateway, which may, ends the stream. */
  close(): void {
    if (this.#ended) return;
    this.#end();
    if (this.stream.destroyed) return;
    this.stream.end();
    this.stream.resume();
  }

  /** Gateway's end only (link-flow.ts says why). */
  terminate(): void {
    this.#end();
    closeStream(this.stream);
    this.stream.resume();
  }

  /** Bytes of the stream's body, whoever read them. */
  take(bytes: Buffer): void {
    if (this.#ended) return;
    if (bytes.length === 0) return;
    this.lastAtMs = performance.now();
    let all = bytes;
    if (this.#held.length + bytes.length < this.#wanted || this.#held.length > 0) {
      this.#held.add(bytes);
      if (this.#held.length < this.#wanted) return;
      all = this.#held.take();
    }
    this.#wanted = 2;
    while (all.length >= 2) {
      const end = 2 + all.readUInt16BE(0);
      if (all.length < end) {
        this.#wanted = end;
        break;
      }
      this.#options.onDatagram(Uint8Array.prototype.slice.call(all, 2, end));
      if (this.#ended) return;
      all = all.subarray(end);
    }
    if (all.length > 0) this.#held.add(all);
  }

  #giveBack(bytes: number): void {
    this.#taken -= bytes;
    this.#options.budget?.giveBack(bytes);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#held.take();
    this.#options.onEnd();
  }
}
