// Reads packets the rules logged to our NFLOG group. One buffer, valid until the next read; hostile packet bytes are
// passed on as they came. Opening is tproxy-socket.ts, what the packets mean is relay/probe-tracker.ts.
// Source: include/uapi/linux/netfilter/nfnetlink_log.h.

import { EAGAIN, EINTR, ENOBUFS, receive } from './libc.ts';
import { nflogBatchBytes } from './tproxy-socket.ts';

/** `bytes[payloadAt..payloadAt+length]` starts with the IP header; `macAt` is -1 without a link-layer sender. */
export type LoggedPacketVisitor = (prefix: string, bytes: Uint8Array, payloadAt: number, length: number, macAt: number) => void;

const NFULNL_MSG_PACKET = 4 << 8;
const NFULA_HWADDR = 8;
const NFULA_PAYLOAD = 9;
const NFULA_PREFIX = 10;
const NFULA_SEQ = 12;

/** Room for one read; shared by readers of one thread, each of which shows it before the next reads. */
export const createLogBuffer = (): Uint8Array => new Uint8Array(nflogBatchBytes * 2);

export class NflogReader {
  readonly fd: number;
  readonly #buffer: Uint8Array;
  readonly #view: DataView;
  #expected = -1;
  #prefixBytes = new Uint8Array(0);
  #prefix = '';
  /** Packets the kernel logged but could not deliver, by gaps in the group's sequence. */
  lost = 0;
  /** Times the kernel said it had to drop. */
  overruns = 0;

  constructor(fd: number, buffer = createLogBuffer()) {
    this.fd = fd;
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer);
  }

  /** Reads one netlink datagram; packets in it, 0 when nothing is there (or only an overrun was told), or the negated errno. */
  read(visit: LoggedPacketVisitor): number {
    const got = receive(this.fd, this.#buffer);
    if (got < 0) {
      if (got === -ENOBUFS) {
        this.overruns += 1;
        return 0;
      }
      return got === -EAGAIN || got === -EINTR ? 0 : got;
    }
    let packets = 0;
    let at = 0;
    while (at + 16 <= got) {
      const length = this.#view.getUint32(at, true);
      if (length < 16 || at + length > got) break;
      if (this.#view.getUint16(at + 4, true) === NFULNL_MSG_PACKET && length >= 20) {
        this.#packet(at + 20, at + length, visit);
        packets += 1;
      }
      at += (length + 3) & ~3;
    }
    return packets;
  }

  #packet(start: number, end: number, visit: LoggedPacketVisitor): void {
    let payloadAt = -1;
    let payloadBytes = 0;
    let macAt = -1;
    let prefixAt = -1;
    let prefixEnd = -1;
    for (let at = start; at + 4 <= end; ) {
      const size = this.#view.getUint16(at, true);
      if (size < 4 || at + size > end) break;
      switch (this.#view.getUint16(at + 2, true) & 0x3fff) {
        case NFULA_PAYLOAD:
          payloadAt = at + 4;
          payloadBytes = size - 4;
          break;
        case NFULA_HWADDR:
          if (size >= 16 && this.#view.getUint16(at + 4) === 6) macAt = at + 8;
          break;
        case NFULA_PREFIX:
          prefixAt = at + 4;
          prefixEnd = at + size;
          break;
        case NFULA_SEQ: {
          const sequence = this.#view.getUint32(at + 4);
          if (this.#expected >= 0) this.lost += (sequence - this.#expected) >>> 0;
          this.#expected = (sequence + 1) >>> 0;
          break;
        }
      }
      at += (size + 3) & ~3;
    }
    if (payloadAt >= 0 && prefixAt >= 0)
      visit(this.#prefixText(prefixAt, prefixEnd), this.#buffer, payloadAt, payloadBytes, macAt);
  }

  /** Almost always the same as before: text is built only when the bytes differ. */
  #prefixText(start: number, end: number): string {
    while (end > start && this.#buffer[end - 1] === 0) end -= 1;
    const known = this.#prefixBytes;
    let same = known.length === end - start;
    for (let index = 0; same && index < known.length; index += 1) same = known[index] === this.#buffer[start + index];
    if (!same) {
      this.#prefixBytes = this.#buffer.slice(start, end);
      this.#prefix = Buffer.from(this.#prefixBytes).toString('latin1');
    }
    return this.#prefix;
  }
}
