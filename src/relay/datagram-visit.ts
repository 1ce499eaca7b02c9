// One diverted datagram with its true source, original destination and decoy, and the one way to answer it: from the
// decoy, never more bytes than came in, never to an address of our own.

import type { Micros } from '../base/clock.ts';
import { type DatagramEnds, renderDatagram } from '../kernel/datagram-frame.ts';
import { sendTo } from '../kernel/libc.ts';
import { renderSocketAddress } from '../kernel/socket-address.ts';
import { type Address, addressFromBytes } from '../model/address.ts';
import type { DecoyDirectory } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint } from '../model/session.ts';
import type { PackedDatagram } from './datagram-batch.ts';

export interface ReplyCounters {
  replies: number;
  replyBytes: number;
  /** Longer than what came in (promise 6). */
  repliesTooLong: number;
  /** To a source that is a decoy, a group or nobody: forged. */
  repliesRefused: number;
  /** The kernel would not send it. */
  repliesFailed: number;
}

export const createReplyCounters = (): ReplyCounters => ({
  replies: 0,
  replyBytes: 0,
  repliesTooLong: 0,
  repliesRefused: 0,
  repliesFailed: 0,
});

/** Sends answers for the datagrams of one network; holds its raw sockets, does not close them. */
export class ReplySender {
  readonly network: string;
  readonly counters: ReplyCounters;
  directory: DecoyDirectory;
  four = -1;
  six = -1;

  constructor(network: string, directory: DecoyDirectory, counters = createReplyCounters()) {
    this.network = network;
    this.directory = directory;
    this.counters = counters;
  }

  send(ends: DatagramEnds, bytes: Uint8Array): boolean {
    const fd = ends.source.family === 4 ? this.four : this.six;
    if (fd < 0) {
      this.counters.repliesFailed += 1;
      return false;
    }
    if (!isAnswerable(ends.destination, ends.destinationPort) || this.directory.groupOf(ends.destination)) {
      this.counters.repliesRefused += 1;
      return false;
    }
    const result = sendTo(fd, renderDatagram(ends, bytes), renderSocketAddress(ends.destination, 0));
    if (result < 0) {
      this.counters.repliesFailed += 1;
      return false;
    }
    this.counters.replies += 1;
    this.counters.replyBytes += bytes.length;
    return true;
  }
}

/** Not unspecified, loopback, multicast or broadcast, and a port somebody can have. */
function isAnswerable(address: Address, port: number): boolean {
  if (port === 0) return false;
  if (address.family === 4) {
    const first = Number(address.value >> 24n);
    return first !== 0 && first !== 127 && first < 224;
  }
  return address.value > 1n && address.value >> 120n !== 0xffn;
}

export class Datagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** As in NamedSocket.network; empty: the machine's own. */
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  readonly at: Micros;
  /** A view into a shared batch: copy what is kept for long. */
  readonly payload: Uint8Array;
  readonly #packed: PackedDatagram;
  readonly #sender: ReplySender;
  #left: number;

  constructor(
    packed: PackedDatagram,
    source: string,
    destination: string,
    diversion: string,
    persona: Persona,
    sender: ReplySender,
  ) {
    this.source = { ip: source, port: packed.sourcePort };
    this.destination = { ip: destination, port: packed.destinationPort };
    this.network = sender.network;
    this.diversion = diversion;
    this.persona = persona;
    this.at = packed.at;
    this.payload = packed.payload;
    this.#packed = packed;
    this.#sender = sender;
    this.#left = packed.payload.length;
  }

  /** True when sent. All answers to one datagram together are never longer than it was; what would be is not sent. */
  reply(bytes: Uint8Array): boolean {
    if (bytes.length > this.#left) {
      this.#sender.counters.repliesTooLong += 1;
      return false;
    }
    const sent = this.#sender.send(
      {
        source: addressFromBytes(this.#packed.destination),
        sourcePort: this.#packed.destinationPort,
        destination: addressFromBytes(this.#packed.source),
        destinationPort: this.#packed.sourcePort,
        ttl: this.persona.ttl,
      },
      bytes,
    );
    if (sent) this.#left -= bytes.length;
    return sent;
  }
}
