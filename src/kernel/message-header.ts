// struct msghdr, mmsghdr, iovec and cmsghdr as bytes: one array of them over buffers that never move, for recvmmsg and
// sendmmsg, and the walk over ancillary data. 64-bit little-endian layout (libc.ts refuses others).
// Sources: include/linux/socket.h, cmsg(3).

import { addressOf } from './libc.ts';

export const messageHeaderBytes = 56;
/** struct mmsghdr: a msghdr, the length, padding. */
export const batchEntryBytes = 64;

export interface BatchShape {
  readonly count: number;
  readonly nameBytes: number;
  readonly dataBytes: number;
  readonly controlBytes: number;
}

/** `count` messages with a name, one data and one control buffer each, all inside arrays this object keeps alive. */
export class MessageBatch {
  readonly shape: BatchShape;
  readonly headers: Uint8Array;
  readonly names: Uint8Array;
  readonly data: Uint8Array;
  readonly control: Uint8Array;
  readonly #vectors: Uint8Array;
  readonly #view: DataView;
  readonly #vectorView: DataView;

  constructor(shape: BatchShape) {
    this.shape = shape;
    this.headers = new Uint8Array(shape.count * batchEntryBytes);
    this.names = new Uint8Array(Math.max(1, shape.count * shape.nameBytes));
    this.data = new Uint8Array(shape.count * shape.dataBytes);
    this.control = new Uint8Array(Math.max(1, shape.count * shape.controlBytes));
    this.#vectors = new Uint8Array(shape.count * 16);
    this.#view = new DataView(this.headers.buffer);
    this.#vectorView = new DataView(this.#vectors.buffer);
    const names = addressOf(this.names);
    const data = addressOf(this.data);
    const control = addressOf(this.control);
    const vectors = addressOf(this.#vectors);
    for (let index = 0; index < shape.count; index += 1) {
      const at = index * batchEntryBytes;
      if (shape.nameBytes > 0) this.#view.setBigUint64(at, names + BigInt(index * shape.nameBytes), true);
      this.#vectorView.setBigUint64(index * 16, data + BigInt(index * shape.dataBytes), true);
      this.#view.setBigUint64(at + 16, vectors + BigInt(index * 16), true);
      this.#view.setBigUint64(at + 24, 1n, true);
      if (shape.controlBytes > 0) this.#view.setBigUint64(at + 32, control + BigInt(index * shape.controlBytes), true);
    }
    this.reset(shape.count);
  }

  /** Gives the first `count` messages their full buffers back: the kernel has shortened what it filled. */
  reset(count: number): void {
    const { nameBytes, dataBytes, controlBytes } = this.shape;
    for (let index = 0; index < count; index += 1) {
      const at = index * batchEntryBytes;
      this.#view.setUint32(at + 8, nameBytes, true);
      this.#vectorView.setUint32(index * 16 + 8, dataBytes, true);
      this.#view.setUint32(at + 40, controlBytes, true);
      this.#view.setUint32(at + 48, 0, true);
    }
  }

  /** Bytes of message `index` to send. */
  setDataLength(index: number, length: number): void {
    this.#vectorView.setUint32(index * 16 + 8, length, true);
  }

  setControlLength(index: number, length: number): void {
    this.#view.setUint32(index * batchEntryBytes + 40, length, true);
  }

  nameLength(index: number): number {
    return this.#view.getUint32(index * batchEntryBytes + 8, true);
  }

  controlLength(index: number): number {
    return this.#view.getUint32(index * batchEntryBytes + 40, true);
  }

  flags(index: number): number {
    return this.#view.getUint32(index * batchEntryBytes + 48, true);
  }

  /** Bytes received in message `index`, as recvmmsg reports them. */
  length(index: number): number {
    return this.#view.getUint32(index * batchEntryBytes + 56, true);
  }
}

/**
 * Place and length of the payload of the first control message of this level and type between `start` and `start + length`;
 * -1 when there is none. Source: CMSG_FIRSTHDR, CMSG_NXTHDR.
 */
export function findControl(control: Uint8Array, start: number, length: number, level: number, type: number): number {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  let at = start;
  const end = start + length;
  while (at + 16 <= end) {
    const size = view.getUint32(at, true);
    if (size < 16 || at + size > end) return -1;
    if (view.getInt32(at + 8, true) === level && view.getInt32(at + 12, true) === type) return at + 16;
    at += (size + 7) & ~7;
  }
  return -1;
}

/** Bytes of payload of the control message whose payload is at `payloadAt`. */
export const controlPayloadBytes = (control: Uint8Array, payloadAt: number): number =>
  new DataView(control.buffer, control.byteOffset).getUint32(payloadAt - 16, true) - 16;
