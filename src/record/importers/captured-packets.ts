// Packets of a capture to flows: who began each, which packet belongs to which, when it is over. Every packet is told to the
// tally once: it began a session or probe, belongs to one, or is refused. Tables are bounded in number, bytes and the capture's
// own time.
// Sources: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443.

import type { Micros } from '../../base/clock.ts';
import {
  be16,
  be32,
  layOut,
  type PacketLayout,
  parseSyn,
  protocolIcmp,
  protocolIcmpv6,
  protocolTcp,
  protocolUdp,
} from '../../kernel/packet-header.ts';
import { renderAddressAt } from '../../model/address.ts';
import type { Transport } from '../../model/session.ts';
import { guessSystem } from '../../model/syn-fingerprint.ts';
import type { CapturedFrame } from './capture-reader.ts';
import { CapturedFlow, tcpFlag } from './captured-flow.ts';
import type { ImportContext, UnitTally } from './importer.ts';
import { fragmentOf, IpFragments } from './ip-fragments.ts';
import { knownLinkTypes, networkPart } from './link-layer.ts';
import { OpenSessions } from './open-sessions.ts';
import { SessionTable } from './session-table.ts';

const handshakeIdleMicros = 75e6;
const connectionIdleMicros = 7200e6;
const datagramIdleMicros = 120e6;
/** A SYN with other numbers into a connection this silent begins another. */
const stillMicros = 60e6;
/** What is needed of a TCP header: its ports, numbers and flags. A capture of 68 bytes a packet has no more of it over IPv6. */
const tcpToFlags = 14;
const most = 65_536;
const mostBytes = 64 << 20;

interface Packet {
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
  readonly layout: PacketLayout;
  readonly at: Micros;
  readonly macAt: number;
  readonly mac: Buffer;
  readonly cut: boolean;
  /** Where it ended on the wire: behind `end` where it was cut. */
  readonly wireEnd: number;
}

export class CapturedPackets {
  /** Handshakes under way. */
  readonly #context: ImportContext;
  readonly #undecided: OpenSessions<CapturedFlow>;
  readonly #connections: SessionTable<CapturedFlow>;
  readonly #datagrams: SessionTable<CapturedFlow>;
  readonly #echoes: OpenSessions<CapturedFlow>;
  readonly #fragments: IpFragments;
  #tally: UnitTally | undefined;

  constructor(context: ImportContext) {
    this.#context = context;
    const close = (flow: CapturedFlow): void => flow.handOver(context);
    this.#undecided = new OpenSessions({ close, most, mostBytes, idleMicros: handshakeIdleMicros });
    this.#connections = new SessionTable(context, { close, most, mostBytes, idleMicros: connectionIdleMicros });
    this.#datagrams = new SessionTable(context, { close, most, mostBytes, idleMicros: datagramIdleMicros });
    const echo = (flow: CapturedFlow): void => {
      const { place, key, start, end = start, source, destination, packetsIn } = flow;
      const target = { ip: destination.ip, port: 0, transport: 'icmp', kind: 'echo', count: packetsIn } as const;
      context.probe({ place, key, start, end, source: source.ip, sourcePort: 0, targets: [target] });
    };
    this.#echoes = new OpenSessions({ close: echo, idleMicros: handshakeIdleMicros });
    this.#fragments = new IpFragments((packets) => {
      for (let count = 0; count < packets; count += 1) this.#tally?.rejected('a fragment of a datagram that never was whole');
    });
  }

  frame({ bytes, start, end, linkType, at, cut }: CapturedFrame, tally: UnitTally): void {
    this.#tally = tally;
    if (!knownLinkTypes.has(linkType)) {
      tally.rejected(`link type ${linkType} is not read`);
      return;
    }
    const part = networkPart(bytes, start, end, linkType);
    if (part === 'other') tally.merged();
    else if (!part) tally.rejected('cut before its IP header');
    else this.#packet(bytes, part.at, end, { at, cut, macAt: part.macAt, mac: bytes }, tally);
  }

  /** The file ended: fragments of the next one are of other packets. */
  finish(tally: UnitTally): void {
    this.#tally = tally;
    this.#fragments.end();
    this.#tally = undefined;
  }

  end(): void {
    this.#context.unfinished(() => {
      this.#undecided.end();
      this.#connections.end();
      this.#datagrams.end();
      this.#echoes.end();
    });
  }

  #packet(
    bytes: Buffer,
    start: number,
    captured: number,
    facts: Pick<Packet, 'at' | 'cut' | 'macAt' | 'mac'>,
    tally: UnitTally,
  ): void {
    const length = ipLength(bytes, start, captured);
    if (length === undefined) {
      tally.rejected('no whole IP header');
      return;
    }
    const end = Math.min(captured, start + length);
    const fragment = fragmentOf(bytes, start, end);
    if (fragment) {
      const whole = this.#fragments.take(bytes, fragment, facts.at);
      if (!whole) return;
      for (let count = 0; count < whole.before; count += 1) tally.merged();
      this.#packet(whole.packet, 0, whole.packet.length, { ...facts, cut: false }, tally);
      return;
    }
    const layout = layOut(bytes, start, end);
    if (!layout) {
      tally.rejected('no whole IP header');
      return;
    }
    const wireEnd = start + length;
    // What only the header claims was on no wire.
    const packet = {
      bytes,
      start,
      end,
      layout,
      ...facts,
      cut: facts.cut || wireEnd > captured,
      wireEnd: facts.cut ? wireEnd : end,
    };
    const room = end - layout.transportAt;
    if (layout.protocol === protocolTcp && room >= (packet.cut ? tcpToFlags : 20)) this.#tcp(packet, tally);
    else if (layout.protocol === protocolUdp && room >= 8) this.#udp(packet, tally);
    else if (layout.protocol === protocolIcmp || layout.protocol === protocolIcmpv6) this.#icmp(packet, tally);
    else if (layout.protocol === protocolTcp || layout.protocol === protocolUdp) tally.rejected('cut within its ports or flags');
    else tally.rejected(`IP protocol ${layout.protocol} is not read`);
  }

  #tcp(packet: Packet, tally: UnitTally): void {
    const { bytes, end, wireEnd, layout, at } = packet;
    const tcp = layout.transportAt;
    const dataAt = tcp + (bytes[tcp + 12] >> 4) * 4;
    if (dataAt < tcp + 20) {
      tally.rejected('a TCP header shorter than one');
      return;
    }
    const dataBytes = Math.max(0, wireEnd - dataAt);
    const flags = bytes[tcp + 13];
    const sequence = be32(bytes, tcp + 4);
    const [key, back] = keysOf('t', packet);
    let found = this.#flow(key, at);
    let inward = true;
    if (!found) {
      found = this.#flow(back, at);
      if (found) inward = false;
    }
    const name = inward ? key : back;
    const opening = (flags & (tcpFlag.syn | tcpFlag.ack | tcpFlag.rst)) === tcpFlag.syn;
    if (found && opening && isAnother(found, inward, sequence, at)) {
      this.#hand(name);
      found = undefined;
      inward = true;
    }
    let flow = found;
    if (!flow) {
      inward = startsInward(packet, flags, dataBytes);
      flow = this.#begin(packet, 'tcp', inward, flags, tally);
      this.#undecided.add(inward ? key : back, flow, at, flow.sizeBytes);
    } else tally.merged();
    const held = inward ? key : back;
    if (packet.cut) flow.truncated = true;
    const before = flow.sizeBytes;
    const data = dataAt < end ? bytes.subarray(dataAt, end) : bytes.subarray(end, end);
    flow.segment({ inward, flags, sequence, acknowledged: be32(bytes, tcp + 8), bytes: data, dataBytes, at });
    if (this.#undecided.get(held)) {
      if (flow.established) {
        this.#undecided.take(held);
        this.#connections.add(held, flow, at);
      } else this.#undecided.grew(held, at, flow.sizeBytes - before);
    } else {
      this.#connections.grew(held, at);
      this.#undecided.tick(at);
    }
    if (flow.established && flow.over) this.#connections.ended(held, at);
  }

  #flow(key: string, at: Micros): CapturedFlow | undefined {
    return this.#connections.get(key, at) ?? this.#undecided.get(key, at);
  }

  #hand(key: string): void {
    this.#connections.close(key);
    this.#undecided.close(key);
  }

  #udp(packet: Packet, tally: UnitTally): void {
    const { bytes, end, layout, at } = packet;
    const udp = layout.transportAt;
    const [key, back] = keysOf('u', packet);
    let flow = this.#datagrams.get(key, at);
    let inward = true;
    if (!flow) {
      flow = this.#datagrams.get(back, at);
      if (flow) inward = false;
    }
    const known = flow !== undefined;
    flow ??= this.#begin(packet, 'udp', true, 0, tally);
    if (known) tally.merged();
    if (packet.cut) flow.truncated = true;
    const length = Math.max(8, be16(bytes, udp + 4));
    flow.datagram(inward, bytes.subarray(udp + 8, Math.min(end, udp + length)), at);
    if (known) this.#datagrams.grew(inward ? key : back, at);
    else this.#datagrams.add(key, flow, at);
  }

  #icmp(packet: Packet, tally: UnitTally): void {
    const { bytes, end, layout, at } = packet;
    const icmp = layout.transportAt;
    if (icmp + 8 > end) {
      tally.rejected('cut within its ICMP header');
      return;
    }
    const four = layout.version === 4;
    if (bytes[icmp] === (four ? 3 : 1) && bytes[icmp + 1] === (four ? 3 : 4)) this.#unreachable(packet, icmp + 8);
    if (bytes[icmp] !== (four ? 8 : 128)) {
      tally.merged();
      return;
    }
    const key = addressesOf(packet);
    let flow = this.#echoes.get(key, at);
    if (flow) {
      tally.merged();
      flow.touch(at);
      flow.packetsIn += 1;
      this.#echoes.grew(key, at);
      return;
    }
    flow = this.#begin(packet, 'udp', true, 0, tally);
    flow.packetsIn = 1;
    this.#echoes.add(key, flow, at);
  }

  /** ICMP "port unreachable" brings the head of the datagram nobody took. */
  #unreachable(packet: Packet, inner: number): void {
    const layout = layOut(packet.bytes, inner, packet.end);
    if (layout?.protocol !== protocolUdp || layout.laterFragment || layout.transportAt + 4 > packet.end) return;
    const [key] = keysOf('u', { ...packet, start: inner, layout });
    const flow = this.#datagrams.get(key);
    if (flow) flow.refused = true;
  }

  /** Its first packet, from who began it or, with `inward` false, to them. */
  #begin(packet: Packet, transport: Transport, inward: boolean, flags: number, tally: UnitTally): CapturedFlow {
    const { bytes, start, end, layout, at, mac, macAt } = packet;
    const size = layout.version === 4 ? 4 : 16;
    const from = start + (layout.version === 4 ? 12 : 8);
    const ports = layout.protocol === protocolTcp || layout.protocol === protocolUdp;
    const first = {
      ip: renderAddressAt(bytes, from, layout.version),
      port: ports ? be16(bytes, layout.transportAt) : 0,
    };
    const second = {
      ip: renderAddressAt(bytes, from + size, layout.version),
      port: ports ? be16(bytes, layout.transportAt + 2) : 0,
    };
    const ends = inward ? { source: first, destination: second } : { source: second, destination: first };
    const opening = transport === 'tcp' && (flags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn;
    const number = opening ? `/${be32(bytes, layout.transportAt + 4)}` : '';
    const { source, destination } = ends;
    const key = `${layout.protocol}/${source.ip}:${source.port}>${destination.ip}:${destination.port}${number}`;
    const flow = new CapturedFlow(tally.session(), key, at, ends, transport, { flags, inward });
    if (inward && macAt >= 0) flow.sourceMac = macText(mac, macAt);
    const syn = opening ? parseSyn(bytes, start, end) : undefined;
    if (syn) {
      const target = { port: destination.port, ...(layout.version === 4 && { address: be32(bytes, from + size) }) };
      const system = guessSystem(syn, target);
      flow.syn = system === undefined ? syn : { ...syn, system };
    }
    return flow;
  }
}

/** Whether a SYN begins another connection between the same ports. */
function isAnother(flow: CapturedFlow, inward: boolean, sequence: number, at: Micros): boolean {
  if (inward && flow.clientSequence === sequence) return false;
  if (flow.over || !flow.established) return inward || flow.over;
  return at - flow.heardAt > stillMicros;
}

/**
 * Of a connection's first packet: whether it is from who began it. In the midst of one the lower port is taken for the
 * server's; what is no part of any connection (neither SYN, ACK nor RST) is from who sent it.
 */
function startsInward({ bytes, layout }: Packet, flags: number, dataBytes: number): boolean {
  if (flags & tcpFlag.syn) return (flags & tcpFlag.ack) === 0;
  if ((flags & (tcpFlag.ack | tcpFlag.rst)) === 0 && dataBytes === 0) return true;
  return be16(bytes, layout.transportAt) >= be16(bytes, layout.transportAt + 2);
}

/** Bytes of the whole packet by its own header, at most what a segmentation offload leaves out; undefined when it lies. */
function ipLength(bytes: Buffer, start: number, end: number): number | undefined {
  if (end - start < 20) return undefined;
  if (bytes[start] >> 4 === 4) {
    const [header, total] = [(bytes[start] & 15) * 4, be16(bytes, start + 2)];
    // 0: a network card was to cut it in pieces, what was captured is all of it.
    if (total === 0) return end - start;
    return header < 20 || total < header ? undefined : total;
  }
  if (end - start < 40) return undefined;
  const payload = be16(bytes, start + 4);
  return payload === 0 ? end - start : 40 + payload;
}

const addressesOf = ({ bytes, start, layout }: Packet): string =>
  layout.version === 4 ? bytes.toString('latin1', start + 12, start + 20) : bytes.toString('latin1', start + 8, start + 40);

/** The flow as its packet goes, and the other way. */
function keysOf(kind: string, { bytes, start, layout }: Pick<Packet, 'bytes' | 'start' | 'layout'>): [string, string] {
  const size = layout.version === 4 ? 4 : 16;
  const from = start + (layout.version === 4 ? 12 : 8);
  const ports = layout.transportAt;
  const source = bytes.toString('latin1', from, from + size) + bytes.toString('latin1', ports, ports + 2);
  const destination = bytes.toString('latin1', from + size, from + 2 * size) + bytes.toString('latin1', ports + 2, ports + 4);
  return [kind + source + destination, kind + destination + source];
}

const macText = (bytes: Buffer, at: number): string => bytes.toString('hex', at, at + 6).replace(/(..)(?=.)/g, '$1:');
