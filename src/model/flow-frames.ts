// One flow as well-formed Ethernet frames, made piece by piece as its bytes come: handshake, segments, acknowledgements, end,
// right checksums; or datagrams. Pure: where frames go is the receiver's. Used for captures of recorded sessions and for
// what an intrusion detection system is shown of them.
// Sources: RFC 9293, 7323, 2018, 768, 791, 8200; IEEE 802.1Q.

import type { Micros } from '../base/clock.ts';
import { type Address, addressBytes, parseAddress } from './address.ts';
import { foldChecksum, sumWords, transportChecksum } from './checksum.ts';
import type { Direction, SessionOutcome, SynDetails, Transport } from './session.ts';

export interface FrameEnd {
  readonly address: Address;
  readonly port: number;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Hop limit its packets arrive with. */
  readonly ttl: number;
}

export interface FlowFramesOptions {
  readonly transport: Transport;
  readonly client: FrameEnd;
  /** Of the client's family; zeros are shown of another. */
  readonly server: FrameEnd;
  /** Each its first sequence number. */
  readonly sequences: readonly [client: number, server: number];
  /** 802.1Q identifier, 1 to 4094; absent: untagged. */
  readonly vlan?: number;
  /** The client's SYN as it arrived: window and options are taken from it. */
  readonly syn?: Pick<SynDetails, 'window' | 'options' | 'mss' | 'windowScale'>;
}

/** `server-rst` ends a flow of which no end was seen. */
export type FlowEnding = 'client-fin' | 'client-rst' | 'server-fin' | 'server-rst' | 'none';

/** Each frame is a buffer of its own. */
export type FrameReceiver = (frame: Uint8Array, at: Micros) => void;

/** Payload bytes of a segment: room for IPv6, a tag and options within 1,500. */
export const segmentBytes = 1440;
/** IPv4's length field, less the IPv4 and UDP headers. */
const maxDatagram = 65_507;
/** In bytes; a receiver says so before more than half of it is under way. */
const window = 64_240;
const segmentsPerAcknowledgement = 16;
const scale = 7;
const flag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
const protocolNumber = { tcp: 6, udp: 17 } as const;
const nothing = new Uint8Array(0);

/** How a session's end looks on the wire. */
export function endingOf(outcome: SessionOutcome): FlowEnding {
  if (outcome === 'open' || outcome === 'interrupted') return 'none';
  if (outcome === 'client-closed') return 'client-fin';
  return outcome === 'client-reset' ? 'client-rst' : 'server-fin';
}

/** Two sequence numbers that look chosen by chance and are the same each time. */
export function sequencesOf(id: string): [client: number, server: number] {
  let hash = 2_166_136_261;
  for (let at = 0; at < id.length; at += 1) hash = Math.imul(hash ^ id.charCodeAt(at), 16_777_619) >>> 0;
  return [hash, Math.imul(hash, 2_654_435_761) >>> 0];
}

/** An end from texts as sessions hold them. Without a readable MAC it gets a locally administered one that ends in `fallback`. */
export function frameEnd(ip: string, port: number, mac: string | undefined, ttl: number, fallback: number): FrameEnd | undefined {
  const address = parseAddress(ip);
  if (!address) return undefined;
  const hex = mac?.replaceAll(/[:-]/g, '') ?? '';
  const bytes = /^[0-9a-fA-F]{12}$/.test(hex) ? Buffer.from(hex, 'hex') : Buffer.from([0x02, 0, 0, 0, 0, fallback]);
  return { address, port, mac: bytes, ttl };
}

/** One of the two, with what is written of it again and again. */
class Side {
  readonly end: FrameEnd;
  readonly bytes: Uint8Array;
  readonly scale: number;
  readonly initialWindow: number;
  next: number;
  identification: number;
  /** What its window is smaller by than the most it offers. */
  narrower = 0;
  /** Sent since the other side last acknowledged. */
  unacknowledged = 0;

  constructor(end: FrameEnd, four: boolean, sequence: number, scaled: number, initialWindow: number) {
    this.end = end;
    // One of the other family cannot be shown in this flow's frames.
    this.bytes = (end.address.family === 4) === four ? addressBytes(end.address) : new Uint8Array(four ? 4 : 16);
    this.scale = scaled;
    this.initialWindow = initialWindow;
    this.next = sequence >>> 0;
    this.identification = (sequence >>> 16) & 0xffff;
  }
}

/** Call `begin`, then `chunk` in order of time, then `end` once. Of datagrams only `chunk` makes frames. */
export class FlowFrames {
  readonly #options: FlowFramesOptions;
  readonly #receive: FrameReceiver;
  readonly #client: Side;
  readonly #server: Side;
  readonly #four: boolean;
  readonly #linkBytes: number;
  readonly #offers: { readonly mss: boolean; readonly scaled: boolean; readonly selective: boolean };
  frames = 0;

  constructor(options: FlowFramesOptions, receive: FrameReceiver) {
    this.#options = options;
    this.#receive = receive;
    const { client, server, sequences, syn } = options;
    this.#four = client.address.family === 4;
    this.#linkBytes = options.vlan === undefined ? 14 : 18;
    const kinds = syn?.options.split(',');
    const offers = (kind: string): boolean => kinds === undefined || kinds.includes(kind);
    this.#offers = { mss: offers('mss'), scaled: offers('ws'), selective: offers('sok') };
    const scaled = this.#offers.scaled ? Math.min(14, syn?.windowScale ?? scale) : 0;
    this.#client = new Side(client, this.#four, sequences[0], scaled, (syn?.window ?? window) & 0xffff);
    this.#server = new Side(server, this.#four, sequences[1], this.#offers.scaled ? scale : 0, window);
  }

  /** The handshake. */
  begin(at: Micros): void {
    if (this.#options.transport === 'udp') return;
    this.#segment(at, this.#client, this.#server, flag.syn, nothing);
    this.#segment(at, this.#server, this.#client, flag.syn | flag.ack, nothing);
    this.#segment(at, this.#client, this.#server, flag.ack, nothing);
  }

  /** Bytes longer than a segment or datagram become several, and are acknowledged at once. */
  chunk(at: Micros, direction: Direction, bytes: Uint8Array): void {
    const [from, to] = direction === 'in' ? [this.#client, this.#server] : [this.#server, this.#client];
    if (this.#options.transport === 'udp') {
      for (let sent = 0; sent === 0 || sent < bytes.length; sent += maxDatagram)
        this.#datagram(at, from, to, bytes.subarray(sent, sent + maxDatagram));
      return;
    }
    for (let sent = 0; sent < bytes.length; sent += segmentBytes) {
      this.#segment(at, from, to, flag.psh | flag.ack, bytes.subarray(sent, sent + segmentBytes));
      if (from.unacknowledged >= segmentsPerAcknowledgement) this.#segment(at, to, from, flag.ack, nothing);
    }
    if (from.unacknowledged > 0) this.#segment(at, to, from, flag.ack, nothing);
  }

  /** A segment of this side without bytes, which changes its window: whoever judges what it said by what follows may do so now. */
  updateWindow(at: Micros, direction: Direction): void {
    if (this.#options.transport === 'udp') return;
    const [from, to] = direction === 'in' ? [this.#client, this.#server] : [this.#server, this.#client];
    from.narrower = 1 - from.narrower;
    this.#segment(at, from, to, flag.ack, nothing);
  }

  end(at: Micros, ending: FlowEnding): void {
    if (this.#options.transport === 'udp' || ending === 'none') return;
    const [first, second] = ending.startsWith('client') ? [this.#client, this.#server] : [this.#server, this.#client];
    if (ending.endsWith('rst')) {
      this.#segment(at, first, second, flag.rst | flag.ack, nothing);
      return;
    }
    this.#segment(at, first, second, flag.fin | flag.ack, nothing);
    this.#segment(at, second, first, flag.fin | flag.ack, nothing);
    this.#segment(at, first, second, flag.ack, nothing);
  }

  #segment(at: Micros, from: Side, to: Side, flags: number, payload: Uint8Array): void {
    const options = flags & flag.syn ? this.#synOptions(from) : nothing;
    const headerBytes = 20 + options.length;
    const { frame, transportAt } = this.#frame(from, to, headerBytes + payload.length, 'tcp');
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    view.setUint16(transportAt, from.end.port);
    view.setUint16(transportAt + 2, to.end.port);
    view.setUint32(transportAt + 4, from.next);
    view.setUint32(transportAt + 8, flags & flag.ack ? to.next : 0);
    frame[transportAt + 12] = (headerBytes / 4) << 4;
    frame[transportAt + 13] = flags;
    view.setUint16(
      transportAt + 14,
      flags & flag.syn ? from.initialWindow : Math.min(0xffff, window >> from.scale) - from.narrower,
    );
    frame.set(options, transportAt + 20);
    frame.set(payload, transportAt + headerBytes);
    view.setUint16(transportAt + 16, this.#checksum(frame, transportAt, protocolNumber.tcp));
    from.next = (from.next + payload.length + (flags & (flag.syn | flag.fin) ? 1 : 0)) >>> 0;
    if (payload.length > 0) from.unacknowledged += 1;
    if (flags & flag.ack) to.unacknowledged = 0;
    this.#give(frame, at);
  }

  #datagram(at: Micros, from: Side, to: Side, payload: Uint8Array): void {
    const { frame, transportAt } = this.#frame(from, to, 8 + payload.length, 'udp');
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    view.setUint16(transportAt, from.end.port);
    view.setUint16(transportAt + 2, to.end.port);
    view.setUint16(transportAt + 4, 8 + payload.length);
    frame.set(payload, transportAt + 8);
    view.setUint16(transportAt + 6, this.#checksum(frame, transportAt, protocolNumber.udp) || 0xffff);
    this.#give(frame, at);
  }

  /** MSS, NOP and window scale, two NOPs and SACK permitted, as far as the client offered them. */
  #synOptions(from: Side): Uint8Array {
    const { mss, scaled, selective } = this.#offers;
    const offered = from === this.#client ? (this.#options.syn?.mss ?? 0) : 0;
    const size = offered >= 536 && offered <= 65_495 ? offered : this.#four ? 1460 : segmentBytes;
    return Uint8Array.from([
      ...(mss || from === this.#server ? [2, 4, size >> 8, size & 255] : []),
      ...(scaled ? [1, 3, 3, from.scale] : []),
      ...(selective ? [1, 1, 4, 2] : []),
    ]);
  }

  /** Link and network headers of a new frame with so many bytes of transport, all else zero. */
  #frame(from: Side, to: Side, transportBytes: number, transport: Transport): { frame: Uint8Array; transportAt: number } {
    const networkAt = this.#linkBytes;
    const transportAt = networkAt + (this.#four ? 20 : 40);
    const frame = new Uint8Array(transportAt + transportBytes);
    const view = new DataView(frame.buffer);
    frame.set(to.end.mac);
    frame.set(from.end.mac, 6);
    const { vlan } = this.#options;
    if (vlan !== undefined) {
      view.setUint16(12, 0x8100);
      view.setUint16(14, vlan & 0xfff);
    }
    view.setUint16(networkAt - 2, this.#four ? 0x0800 : 0x86dd);
    if (this.#four) {
      frame[networkAt] = 0x45;
      view.setUint16(networkAt + 2, 20 + transportBytes);
      view.setUint16(networkAt + 4, from.identification);
      from.identification = (from.identification + 1) & 0xffff;
      view.setUint16(networkAt + 6, 0x4000);
      frame[networkAt + 8] = from.end.ttl;
      frame[networkAt + 9] = protocolNumber[transport];
      frame.set(from.bytes, networkAt + 12);
      frame.set(to.bytes, networkAt + 16);
      view.setUint16(networkAt + 10, foldChecksum(sumWords(frame, networkAt, networkAt + 20)));
    } else {
      frame[networkAt] = 0x60;
      view.setUint16(networkAt + 4, transportBytes);
      frame[networkAt + 6] = protocolNumber[transport];
      frame[networkAt + 7] = from.end.ttl;
      frame.set(from.bytes, networkAt + 8);
      frame.set(to.bytes, networkAt + 24);
    }
    return { frame, transportAt };
  }

  #checksum(frame: Uint8Array, transportAt: number, protocol: number): number {
    const addressesBytes = this.#four ? 8 : 32;
    return transportChecksum(frame, transportAt - addressesBytes, addressesBytes, protocol, transportAt, frame.length);
  }

  #give(frame: Uint8Array, at: Micros): void {
    this.frames += 1;
    this.#receive(frame, at);
  }
}
