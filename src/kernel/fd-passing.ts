// Frames with descriptors over a connected Unix stream socket, both ways, without blocking: headers that carry the
// descriptors (SCM_RIGHTS) and a body of any bounded length. Who may speak and what it means is handover-*.ts.
// Node's net cannot pass descriptors; a datagram cannot carry a description of several megabytes.

import { asWeirError, WeirError } from '../base/errors.ts';
import {
  callFailed,
  closeDescriptor,
  duplicate,
  EAGAIN,
  EINTR,
  errnoName,
  MSG_CTRUNC,
  receiveMessage,
  SCM_RIGHTS,
  SOL_SOCKET,
  sendMessage,
  sendTo,
} from './libc.ts';
import { controlPayloadBytes, findControl, MessageBatch } from './message-header.ts';
import { Readiness } from './readiness.ts';

/** `fds` of a received frame belong to the receiver; those of a sent one stay the sender's. */
export interface DescriptorFrame {
  readonly kind: number;
  readonly generation: number;
  readonly body: Uint8Array;
  readonly fds: readonly number[];
}

export interface DescriptorChannelOptions {
  /** Longest body accepted; a peer that announces more is cut off. */
  readonly maxBodyBytes: number;
  readonly onFrame: (frame: DescriptorFrame) => void;
  /** Once, when the peer is gone or broke the rules; not after `close`. */
  readonly onClose: (error?: WeirError) => void;
}

/** Magic, kind, descriptors with this header, generation, bytes of the body, headers of the frame still to come. */
const headerBytes = 20;
const magic = 0x52494557; // "WEIR"
/** Of one frame: thousands of networks with a few sockets each. */
export const maxDescriptors = 65_536;
/** With one header; the kernel's own limit is SCM_MAX_FD, 253 (include/net/scm.h). */
const descriptorsPerHeader = 128;
const controlBytes = 16 + descriptorsPerHeader * 4;
const chunkBytes = 65_536;

/** A frame on its way out. */
interface Leaving {
  readonly frame: DescriptorFrame;
  /** Those not sent yet. */
  fds: readonly number[];
  /** Duplicates of ours, because the frame could not leave while the caller vouched for its descriptors. */
  owned: boolean;
  headersLeft: number;
  /** Of the body. */
  sent: number;
}

/** Owns the connected descriptor. At most one frame of each kind waits: a newer one replaces it. */
export class DescriptorChannel {
  readonly #fd: number;
  readonly #options: DescriptorChannelOptions;
  readonly #readiness: Readiness;
  #closed = false;

  readonly #in = new MessageBatch({ count: 1, nameBytes: 0, dataBytes: chunkBytes, controlBytes });
  readonly #header = new Uint8Array(headerBytes);
  #headerFilled = 0;
  /** Descriptors the frame's headers so far announced. */
  #announced = 0;
  #body: Uint8Array | undefined;
  #bodyFilled = 0;
  /** Received, waiting for the rest of their frame. */
  #pendingFds: number[] = [];

  readonly #out = new MessageBatch({ count: 1, nameBytes: 0, dataBytes: headerBytes, controlBytes });
  #current: Leaving | undefined;
  #waiting: Leaving[] = [];

  constructor(fd: number, options: DescriptorChannelOptions) {
    this.#fd = fd;
    this.#options = options;
    this.#readiness = new Readiness(fd, { readable: true }, (readable, writable) => {
      if (readable) this.#read();
      if (writable && !this.#closed) this.#write();
    });
  }

  /**
   * Whatever has not begun to leave yet and is of the same kind is replaced. The descriptors may be closed once this
   * returns. Throws `fault` for more than `maxDescriptors`.
   */
  send(frame: DescriptorFrame): void {
    if (frame.fds.length > maxDescriptors)
      throw new WeirError('fault', `${frame.fds.length} descriptors in one frame, at most ${maxDescriptors}`);
    if (this.#closed) return;
    const headersLeft = Math.max(1, Math.ceil(frame.fds.length / descriptorsPerHeader));
    for (const other of this.#waiting) if (other.frame.kind === frame.kind) forget(other);
    this.#waiting = this.#waiting.filter((other) => other.frame.kind !== frame.kind);
    this.#waiting.push({ frame, fds: frame.fds, owned: false, headersLeft, sent: 0 });
    this.#write();
    try {
      if (this.#current) keep(this.#current);
      for (const other of this.#waiting) keep(other);
    } catch (error) {
      this.#fail(asWeirError(error));
    }
  }

  /** Idempotent; closes the descriptor and what was received for an unfinished frame. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    closeDescriptor(this.#fd);
    for (const fd of this.#pendingFds) closeDescriptor(fd);
    this.#pendingFds = [];
    for (const leaving of [...this.#waiting, ...(this.#current ? [this.#current] : [])]) forget(leaving);
    this.#waiting = [];
    this.#current = undefined;
  }

  #fail(error?: WeirError): void {
    if (this.#closed) return;
    this.close();
    this.#options.onClose(error);
  }

  #write(): void {
    for (;;) {
      const current = this.#current ?? this.#waiting.shift();
      if (!current) break;
      this.#current = current;
      const { frame } = current;
      while (current.headersLeft > 0) {
        const result = this.#sendHeader(current);
        if (result === -EAGAIN) {
          this.#readiness.change({ readable: true, writable: true });
          return;
        }
        if (result === -EINTR) continue;
        if (result !== headerBytes) {
          this.#fail(result < 0 ? callFailed('sendmsg', -result) : new WeirError('fault', 'a frame header was torn'));
          return;
        }
        const gone = current.fds.slice(0, descriptorsPerHeader);
        current.fds = current.fds.slice(descriptorsPerHeader);
        current.headersLeft -= 1;
        if (current.owned) for (const fd of gone) closeDescriptor(fd);
      }
      while (current.sent < frame.body.length) {
        const from = current.sent;
        const result = sendTo(this.#fd, frame.body.subarray(from, from + chunkBytes * 4), null);
        if (result === -EAGAIN) {
          this.#readiness.change({ readable: true, writable: true });
          return;
        }
        if (result === -EINTR) continue;
        if (result < 0) {
          this.#fail(callFailed('send', -result));
          return;
        }
        current.sent += result;
      }
      this.#current = undefined;
    }
    this.#readiness.change({ readable: true });
  }

  #sendHeader({ frame, fds: left, headersLeft }: Leaving): number {
    const out = this.#out;
    const fds = left.slice(0, descriptorsPerHeader);
    out.reset(1);
    const header = new DataView(out.data.buffer);
    header.setUint32(0, magic, true);
    header.setUint16(4, frame.kind, true);
    header.setUint16(6, fds.length, true);
    header.setUint32(8, frame.generation, true);
    header.setUint32(12, frame.body.length, true);
    header.setUint32(16, headersLeft - 1, true);
    if (fds.length > 0) {
      const control = new DataView(out.control.buffer);
      control.setBigUint64(0, BigInt(16 + fds.length * 4), true);
      control.setInt32(8, SOL_SOCKET, true);
      control.setInt32(12, SCM_RIGHTS, true);
      for (const [index, fd] of fds.entries()) control.setInt32(16 + index * 4, fd, true);
      out.setControlLength(0, (16 + fds.length * 4 + 7) & ~7);
    } else out.setControlLength(0, 0);
    return sendMessage(this.#fd, out.headers);
  }

  /** Up to 64 chunks, then other work gets its turn. */
  #read(): void {
    for (let count = 0; count < 64 && !this.#closed; count += 1) {
      this.#in.reset(1);
      const got = receiveMessage(this.#fd, this.#in.headers);
      if (got === -EAGAIN) return;
      if (got === -EINTR) continue;
      if (got < 0) {
        this.#fail(errnoName(-got) === 'ECONNRESET' ? undefined : callFailed('recvmsg', -got));
        return;
      }
      this.#collectDescriptors();
      if (got === 0) {
        this.#fail();
        return;
      }
      if (this.#in.flags(0) & MSG_CTRUNC || this.#pendingFds.length > maxDescriptors) {
        this.#fail(new WeirError('bad-request', 'more descriptors than a frame may carry'));
        return;
      }
      if (!this.#parse(got)) return;
    }
  }

  #collectDescriptors(): void {
    const length = this.#in.controlLength(0);
    const at = findControl(this.#in.control, 0, length, SOL_SOCKET, SCM_RIGHTS);
    if (at < 0) return;
    const view = new DataView(this.#in.control.buffer);
    const count = Math.floor(controlPayloadBytes(this.#in.control, at) / 4);
    for (let index = 0; index < count; index += 1) this.#pendingFds.push(view.getInt32(at + index * 4, true));
  }

  #parse(length: number): boolean {
    const data = this.#in.data;
    let at = 0;
    while (at < length || (this.#body && this.#bodyFilled === this.#body.length)) {
      if (!this.#body) {
        const take = Math.min(headerBytes - this.#headerFilled, length - at);
        this.#header.set(data.subarray(at, at + take), this.#headerFilled);
        this.#headerFilled += take;
        at += take;
        if (this.#headerFilled < headerBytes) break;
        const header = new DataView(this.#header.buffer);
        const size = header.getUint32(12, true);
        if (header.getUint32(0, true) !== magic || size > this.#options.maxBodyBytes) {
          this.#fail(new WeirError('bad-request', 'not a frame of ours, or longer than allowed', { sizeBytes: size }));
          return false;
        }
        this.#announced += header.getUint16(6, true);
        if (this.#announced > this.#pendingFds.length) {
          this.#fail(new WeirError('bad-request', 'descriptors of a frame are missing'));
          return false;
        }
        const headersLeft = header.getUint32(16, true);
        if (headersLeft > 0) {
          // Each further header brings descriptors, which are bounded: headers without any would go on for ever.
          if (header.getUint16(6, true) === 0 || headersLeft > maxDescriptors / descriptorsPerHeader) {
            this.#fail(new WeirError('bad-request', 'more headers than a frame may have'));
            return false;
          }
          this.#headerFilled = 0;
          continue;
        }
        this.#body = new Uint8Array(size);
        this.#bodyFilled = 0;
      }
      const take = Math.min(this.#body.length - this.#bodyFilled, length - at);
      this.#body.set(data.subarray(at, at + take), this.#bodyFilled);
      this.#bodyFilled += take;
      at += take;
      if (this.#bodyFilled < this.#body.length) break;
      const header = new DataView(this.#header.buffer);
      const fds = this.#pendingFds.splice(0, this.#announced);
      this.#announced = 0;
      const body = this.#body;
      this.#body = undefined;
      this.#headerFilled = 0;
      this.#options.onFrame({ kind: header.getUint16(4, true), generation: header.getUint32(8, true), body, fds });
      if (this.#closed) return false;
    }
    return true;
  }
}

/** Makes the rest of a frame's descriptors ours: the caller may close its own. */
function keep(leaving: Leaving): void {
  if (leaving.owned || leaving.fds.length === 0) return;
  const fds: number[] = [];
  try {
    for (const fd of leaving.fds) fds.push(duplicate(fd));
  } catch (error) {
    for (const fd of fds) closeDescriptor(fd);
    throw error;
  }
  leaving.fds = fds;
  leaving.owned = true;
}

function forget(leaving: Leaving): void {
  if (leaving.owned) for (const fd of leaving.fds) closeDescriptor(fd);
  leaving.fds = [];
}
