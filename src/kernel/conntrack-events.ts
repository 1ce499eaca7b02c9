// Connections the kernel has forgotten, as conntrack tells: the true tuple, marks, counters, times. Opening and reading;
// what a connection was is relay/flow-tracker.ts. Numbers come from the kernel, addresses from attackers.
// Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h.

import { AF_NETLINK, bindSocket, EAGAIN, EINTR, insideNetns, openSocket, receive, SOCK_RAW } from './libc.ts';
import { orClose, setReceiveBuffer } from './tproxy-socket.ts';

export interface EndedConnection {
  mark: number;
  /** IP protocol number. */
  protocol: number;
  /** 4 or 16: bytes of each address. */
  addressBytes: number;
  /** Places of source and destination of the first packet in `bytes`. */
  bytes: Uint8Array;
  sourceAt: number;
  destinationAt: number;
  sourcePort: number;
  destinationPort: number;
  /** IPS_SEEN_REPLY and IPS_ASSURED: packets went both ways, and the handshake was completed. */
  answered: boolean;
  assured: boolean;
  /** With all headers from the IP header on; both directions as the first packet's sender saw them. */
  packetsIn: number;
  packetsOut: number;
  bytesIn: number;
  bytesOut: number;
  /** Microseconds; 0 when the kernel keeps none. */
  start: number;
  end: number;
}

const NETLINK_NETFILTER = 12;
/** Bit of NFNLGRP_CONNTRACK_DESTROY, which is 3, in sockaddr_nl's nl_groups. */
const destroyGroup = 1 << 2;
const messageDelete = (1 << 8) | 2;
const bufferBytes = 16 << 20;

/** Needs CAP_NET_ADMIN in the namespace to open; reading it afterwards needs nothing. */
export function openConntrackSocket(netns: string): number {
  return insideNetns(netns, () => {
    const fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    return orClose(fd, () => {
      const address = new Uint8Array(12);
      address[0] = AF_NETLINK;
      new DataView(address.buffer).setUint32(8, destroyGroup, true);
      bindSocket(fd, address);
      setReceiveBuffer(fd, bufferBytes);
      return fd;
    });
  });
}

const IPS_SEEN_REPLY = 2;
const IPS_ASSURED = 4;

export class ConntrackReader {
  readonly fd: number;
  readonly #buffer = new Uint8Array(65_536);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #ended: EndedConnection = {
    mark: 0,
    protocol: 0,
    addressBytes: 0,
    bytes: this.#buffer,
    sourceAt: 0,
    destinationAt: 0,
    sourcePort: 0,
    destinationPort: 0,
    answered: false,
    assured: false,
    packetsIn: 0,
    packetsOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    start: 0,
    end: 0,
  };

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Reads one datagram: messages in it, 0 when nothing is there, or the negated errno (-ENOBUFS: some were dropped). */
  read(visit: (ended: EndedConnection) => void): number {
    const got = receive(this.fd, this.#buffer);
    if (got < 0) return got === -EAGAIN || got === -EINTR ? 0 : got;
    let messages = 0;
    for (let at = 0; at + 16 <= got; ) {
      const length = this.#view.getUint32(at, true);
      if (length < 16 || at + length > got) break;
      messages += 1;
      if (this.#view.getUint16(at + 4, true) === messageDelete && this.#parse(at + 20, at + length)) visit(this.#ended);
      at += (length + 3) & ~3;
    }
    return messages;
  }

  #parse(from: number, end: number): boolean {
    const ended = this.#ended;
    ended.mark = 0;
    ended.addressBytes = 0;
    ended.protocol = 0;
    ended.start = 0;
    ended.end = 0;
    ended.packetsIn = ended.packetsOut = ended.bytesIn = ended.bytesOut = 0;
    this.#each(from, end, (type, at, stop) => {
      if (type === 1) this.#tuple(at, stop);
      else if (type === 3) {
        const status = this.#view.getUint32(at);
        ended.answered = (status & IPS_SEEN_REPLY) !== 0;
        ended.assured = (status & IPS_ASSURED) !== 0;
      } else if (type === 8) ended.mark = this.#view.getUint32(at);
      else if (type === 9 || type === 10)
        this.#each(at, stop, (counter, value, valueEnd) => {
          if (valueEnd - value < 8) return;
          const count = Number(this.#view.getBigUint64(value));
          if (counter === 1) ended[type === 9 ? 'packetsIn' : 'packetsOut'] = count;
          else if (counter === 2) ended[type === 9 ? 'bytesIn' : 'bytesOut'] = count;
        });
      else if (type === 20)
        this.#each(at, stop, (which, value, valueEnd) => {
          if (valueEnd - value < 8) return;
          const micros = Number(this.#view.getBigUint64(value) / 1000n);
          if (which === 1) ended.start = micros;
          else if (which === 2) ended.end = micros;
        });
    });
    return ended.addressBytes > 0 && ended.protocol > 0;
  }

  #tuple(from: number, end: number): void {
    const ended = this.#ended;
    ended.sourcePort = 0;
    ended.destinationPort = 0;
    this.#each(from, end, (type, at, stop) => {
      this.#each(at, stop, (field, value, valueEnd) => {
        if (type === 1) {
          if (field === 1 || field === 3) ended.sourceAt = value;
          else if (field === 2 || field === 4) ended.destinationAt = value;
          else return;
          ended.addressBytes = valueEnd - value >= 16 ? 16 : 4;
        } else if (type === 2) {
          if (field === 1) ended.protocol = this.#buffer[value];
          else if (field === 2) ended.sourcePort = this.#view.getUint16(value);
          else if (field === 3) ended.destinationPort = this.#view.getUint16(value);
        }
      });
    });
  }

  #each(from: number, end: number, visit: (type: number, at: number, stop: number) => void): void {
    for (let at = from; at + 4 <= end; ) {
      const size = this.#view.getUint16(at, true);
      if (size < 4 || at + size > end) return;
      visit(this.#view.getUint16(at + 2, true) & 0x3fff, at + 4, at + size);
      at += (size + 3) & ~3;
    }
  }
}
