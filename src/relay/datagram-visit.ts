// One datagram with its true source, original destination and decoy, and the ways to answer it: from the decoy, never to an
// address of our own, never more bytes than came in; more only to hosts on the network's own link, for names
// (docs/decisions/0014).

import type { Micros } from '../base/clock.ts';
import { type DatagramEnds, renderDatagram } from '../kernel/datagram-frame.ts';
import { sendTo } from '../kernel/libc.ts';
import { type NameFrame, renderNameFrame } from '../kernel/name-frame.ts';
import { macText } from '../kernel/saved-syn.ts';
import { renderSocketAddress } from '../kernel/socket-address.ts';
import { type Address, addressFromBytes, renderAddress } from '../model/address.ts';
import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionClaim } from '../model/session.ts';
import type { PackedDatagram } from './datagram-batch.ts';

export interface ReplyCounters {
  replies: number;
  replyBytes: number;
  /** Of the replies: to hosts on the link, where they may be longer than what came in. */
  repliesOnLink: number;
  /** Longer than what came in (promise 6), or to be for the link and the source is not on it. */
  repliesTooLong: number;
  /** To a source that is a decoy, a group or nobody: forged. Or to a group that is none of the link's. */
  repliesRefused: number;
  /** The kernel would not send it. */
  repliesFailed: number;
}

export const createReplyCounters = (): ReplyCounters => ({
  replies: 0,
  replyBytes: 0,
  repliesOnLink: 0,
  repliesTooLong: 0,
  repliesRefused: 0,
  repliesFailed: 0,
});

/** Longest answer to a host on the link. */
const onLinkBytes = 512;

/** A question that went to the whole link: where it came from, as Ethernet shows it, and where its answer leaves. */
export interface LinkOrigin extends NameFrame {
  /** Descriptor of the `names` socket. */
  readonly fd: number;
  readonly decoyMac: Uint8Array;
}

/** Sends answers for the datagrams of one network; holds its raw sockets, does not close them. */
export class ReplySender {
  readonly network: string;
  readonly counters: ReplyCounters;
  names: NameBook;
  /** As in IntakeNetwork. */
  agent: string | undefined;
  four = -1;
  six = -1;

  constructor(network: string, names: NameBook, counters = createReplyCounters()) {
    this.network = network;
    this.names = names;
    this.counters = counters;
  }

  send(ends: DatagramEnds, bytes: Uint8Array): boolean {
    const fd = ends.source.family === 4 ? this.four : this.six;
    if (!this.#may(fd, ends.destination, ends.destinationPort)) return false;
    const result = sendTo(fd, renderDatagram(ends, bytes), renderSocketAddress(ends.destination, 0));
    return this.#sent(result, bytes);
  }

  /** As `send`, for the link alone. With `origin` as a frame to whom the question came from, or to its group. */
  sendOnLink(ends: DatagramEnds, bytes: Uint8Array, origin: LinkOrigin | undefined, toGroup: boolean): boolean {
    if (bytes.length > onLinkBytes || !this.names.isOnLink(ends.destination)) {
      this.counters.repliesTooLong += 1;
      return false;
    }
    if (!origin) {
      if (!this.send(ends, bytes)) return false;
    } else {
      if (!this.#may(origin.fd, ends.destination, ends.destinationPort)) return false;
      const group = { ...ends, destination: addressFromBytes(origin.destination), destinationPort: origin.destinationPort };
      if (toGroup && !isLinkGroup(group.destination)) {
        this.counters.repliesRefused += 1;
        return false;
      }
      const frame = renderNameFrame(toGroup ? origin.toMac : origin.fromMac, origin.decoyMac, toGroup ? group : ends, bytes);
      if (!this.#sent(sendTo(origin.fd, frame, null), bytes)) return false;
    }
    this.counters.repliesOnLink += 1;
    return true;
  }

  #may(fd: number, destination: Address, port: number): boolean {
    if (fd < 0) this.counters.repliesFailed += 1;
    else if (!isAnswerable(destination, port) || this.names.directory.groupOf(destination)) this.counters.repliesRefused += 1;
    else return true;
    return false;
  }

  #sent(result: number, bytes: Uint8Array): boolean {
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

/** What no router forwards (RFC 5771, section 4; RFC 4291, section 2.7): a frame to all can hold any address. */
const isLinkGroup = ({ family, value }: Address): boolean =>
  family === 4 ? value >> 8n === 0xe00000n : value >> 112n === 0xff02n;

export class Datagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** As in NamedSocket.network; empty: the machine's own. */
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  readonly names: NameBook;
  readonly agent: string | undefined;
  claim: SessionClaim | undefined;
  readonly onLink: boolean;
  /** The multicast or broadcast address it went to; absent: to the decoy alone. */
  readonly group?: string;
  readonly sourceMac?: string;
  readonly at: Micros;
  /** A view into a shared batch: copy what is kept for long. */
  readonly payload: Uint8Array;
  readonly #packed: PackedDatagram;
  readonly #sender: ReplySender;
  readonly #origin: LinkOrigin | undefined;
  #left: number;

  constructor(
    packed: PackedDatagram,
    source: string,
    destination: string,
    diversion: string,
    persona: Persona,
    sender: ReplySender,
    origin?: LinkOrigin,
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
    this.#origin = origin;
    this.names = sender.names;
    this.agent = sender.agent;
    this.onLink = sender.names.isOnLink(addressFromBytes(packed.source));
    if (origin) {
      this.group = renderAddress(addressFromBytes(origin.destination));
      this.sourceMac = macText(origin.fromMac, 0);
    }
    this.#left = packed.payload.length;
  }

  /** True when sent. All answers to one datagram together are never longer than it was; what would be is not sent. */
  reply(bytes: Uint8Array): boolean {
    if (bytes.length > this.#left || this.#origin) {
      this.#sender.counters.repliesTooLong += 1;
      return false;
    }
    const sent = this.#sender.send(this.#ends(this.persona.ttl), bytes);
    if (sent) this.#left -= bytes.length;
    return sent;
  }

  /** As `reply`, for later: it keeps nothing of the batch, and has an allowance of its own, as large as what is left now. */
  replyLater(): (bytes: Uint8Array) => boolean {
    const ends = this.#ends(this.persona.ttl);
    const sender = this.#sender;
    let left = this.#origin ? 0 : this.#left;
    return (bytes) => {
      if (bytes.length > left) {
        sender.counters.repliesTooLong += 1;
        return false;
      }
      const sent = sender.send(ends, bytes);
      if (sent) left -= bytes.length;
      return sent;
    };
  }

  /** As `reply`, also longer than what came in, to a host on the network's own link or to the group it asked. */
  replyOnLink(bytes: Uint8Array, hopLimit: 1 | 255, toGroup: boolean): boolean {
    return this.#sender.sendOnLink(this.#ends(hopLimit), bytes, this.#origin, toGroup && this.#origin !== undefined);
  }

  #ends(ttl: number): DatagramEnds {
    const { source, sourcePort, destination, destinationPort } = this.#packed;
    return {
      source: addressFromBytes(destination),
      sourcePort: destinationPort,
      destination: addressFromBytes(source),
      destinationPort: sourcePort,
      ttl,
    };
  }
}
