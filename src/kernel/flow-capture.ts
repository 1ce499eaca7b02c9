// Reads whole packets that rules of the kernel path logged, with the number of their port, direction and time. One buffer, valid until the
// next read; hostile packet bytes are passed on as they came. What becomes of them is relay/flow-tracker.ts.
// Source: include/uapi/linux/netfilter/nfnetlink_log.h.

import { EAGAIN, EINTR, receive } from './libc.ts';
import { nflogBatchBytes, openNflogSocket } from './tproxy-socket.ts';

/** `in` from the attacker, `out` from the service, `odd` from the attacker and part of no connection. */
export type CaptureDirection = 'in' | 'out' | 'odd';

export interface CapturedPacket {
  direction: CaptureDirection;
  /** Of the port, from the prefix or the packet's own mark. */
  mark: number;
  /** It has been routed, and has one hop less than when it arrived. */
  routed: boolean;
  /** When the kernel saw it; microseconds. 0 when it does not say. */
  at: number;
  /** Starts with the IP header. Valid during the call. */
  bytes: Uint8Array;
  start: number;
  end: number;
  /** Of the sender's MAC in `bytes`; -1 without one. */
  macAt: number;
}

/** The largest packet an attribute of netlink can hold. */
const copyBytes = 65_531;
/** What waits for the reader: about a second of a full machine. Beyond it the kernel drops, and the sequence tells how many. */
const bufferBytes = 64 << 20;

/** As openNflogSocket; one for each group and namespace. */
export const openCaptureSocket = (group: number, netns?: string): number =>
  openNflogSocket(group, { ...(netns === undefined ? {} : { netns }), copyBytes, bufferBytes });

const NFULNL_MSG_PACKET = 4 << 8;
const NFULA_MARK = 2;
const NFULA_TIMESTAMP = 3;
const NFULA_HWADDR = 8;
const NFULA_PAYLOAD = 9;
const NFULA_PREFIX = 10;
const NFULA_SEQ = 12;
const digitZero = 0x30;
const letterColon = 0x3a;
const letterI = 0x69;
const letterU = 0x75;

export class FlowCaptureReader {
  readonly fd: number;
  readonly #buffer = new Uint8Array(copyBytes + nflogBatchBytes + 4096);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #packet: CapturedPacket = {
    direction: 'in',
    mark: 0,
    routed: true,
    at: 0,
    bytes: this.#buffer,
    start: 0,
    end: 0,
    macAt: -1,
  };
  #expected = -1;
  /** Packets the kernel could not deliver, by gaps in the group's sequence. */
  lost = 0;
  packets = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Reads one netlink datagram: packets in it, 0 when nothing is there, or the negated errno (-ENOBUFS: there is more). */
  read(visit: (packet: CapturedPacket) => void): number {
    const got = receive(this.fd, this.#buffer);
    if (got < 0) return got === -EAGAIN || got === -EINTR ? 0 : got;
    let packets = 0;
    for (let at = 0; at + 16 <= got; ) {
      const length = this.#view.getUint32(at, true);
      if (length < 16 || at + length > got) break;
      if (this.#view.getUint16(at + 4, true) === NFULNL_MSG_PACKET && length >= 20) {
        if (this.#parse(at + 20, at + length)) visit(this.#packet);
        packets += 1;
      }
      at += (length + 3) & ~3;
    }
    this.packets += packets;
    return packets;
  }

  #parse(from: number, end: number): boolean {
    const packet = this.#packet;
    packet.mark = 0;
    packet.routed = true;
    packet.at = 0;
    packet.start = -1;
    packet.macAt = -1;
    for (let at = from; at + 4 <= end; ) {
      const size = this.#view.getUint16(at, true);
      if (size < 4 || at + size > end) break;
      switch (this.#view.getUint16(at + 2, true) & 0x3fff) {
        case NFULA_MARK:
          if (packet.routed) packet.mark = this.#view.getUint32(at + 4);
          break;
        case NFULA_TIMESTAMP:
          packet.at = Number(this.#view.getBigUint64(at + 4)) * 1_000_000 + Number(this.#view.getBigUint64(at + 12));
          break;
        case NFULA_HWADDR:
          if (size >= 16 && this.#view.getUint16(at + 4) === 6) packet.macAt = at + 8;
          break;
        case NFULA_PAYLOAD:
          packet.start = at + 4;
          packet.end = at + size;
          break;
        case NFULA_PREFIX: {
          // `weir:in`, `weir:out`, `weir:odd`: the sixth and seventh letters tell; `weir:in:16001` was on no route.
          const inward = this.#buffer[at + 9] === letterI;
          packet.direction = inward ? 'in' : this.#buffer[at + 10] === letterU ? 'out' : 'odd';
          const colon = at + (inward ? 11 : 12);
          if (colon < at + size && this.#buffer[colon] === letterColon) {
            packet.routed = false;
            packet.mark = 0;
            for (let digit = colon + 1; digit < at + size && this.#buffer[digit] !== 0; digit += 1)
              packet.mark = packet.mark * 10 + this.#buffer[digit] - digitZero;
          }
          break;
        }
        case NFULA_SEQ: {
          const sequence = this.#view.getUint32(at + 4);
          if (this.#expected >= 0) this.lost += (sequence - this.#expected) >>> 0;
          this.#expected = (sequence + 1) >>> 0;
          break;
        }
      }
      at += (size + 3) & ~3;
    }
    return packet.start >= 0;
  }
}
