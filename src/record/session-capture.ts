// One recorded session as a pcap file of well-formed Ethernet frames: handshake, segments, acknowledgements, end, right
// checksums. Rebuilt from what was recorded, so inside TLS it is the plain text. Pure; capturing from the wire is kernel/.
// Source: the libpcap file format (draft-ietf-opsawg-pcap), RFC 791, 793, 768, 1071, 8200.

import { parseMicros } from '../base/clock.ts';
import { addressBytes, parseAddress } from '../model/address.ts';
import type { StoredSessionDocument } from './documents.ts';

export interface Capture {
  readonly bytes: Uint8Array;
  readonly frames: number;
}

const ethernetHeader = 14;
const maxSegment = 1440;
/** IPv4's length field, less the IPv4 and UDP headers. */
const maxDatagram = 65_507;
const flag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
const window = 64_240;

/** RFC 1071 over several pieces; each but the last has an even length. */
function checksum(pieces: readonly Uint8Array[]): number {
  let sum = 0;
  for (const piece of pieces) {
    for (let at = 0; at + 1 < piece.length; at += 2) sum += (piece[at] << 8) | piece[at + 1];
    if (piece.length % 2 === 1) sum += piece[piece.length - 1] << 8;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}

function macBytes(text: string | undefined, fallback: number): Buffer {
  const hex = text?.replaceAll(/[:-]/g, '') ?? '';
  return /^[0-9a-fA-F]{12}$/.test(hex) ? Buffer.from(hex, 'hex') : Buffer.from([0x02, 0, 0, 0, 0, fallback]);
}

interface End {
  readonly ip: Uint8Array;
  readonly port: number;
  readonly mac: Buffer;
  /** Hop limit its packets arrive with. */
  readonly ttl: number;
}

class CaptureWriter {
  readonly #parts: Buffer[] = [];
  #last = 0;
  frames = 0;

  constructor() {
    const header = Buffer.alloc(24);
    header.writeUInt32LE(0xa1b2c3d4, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(262_144, 16);
    header.writeUInt32LE(1, 20);
    this.#parts.push(header);
  }

  /** Time never runs backwards inside the file. */
  packet(at: number, from: End, to: End, protocol: number, transport: Buffer, payload: Uint8Array): void {
    this.#last = Math.max(at, this.#last);
    const network =
      from.ip.length === 4
        ? this.#ipv4(from, to, protocol, transport, payload)
        : this.#ipv6(from, to, protocol, transport, payload);
    const ethernet = Buffer.concat([to.mac, from.mac, Buffer.from(from.ip.length === 4 ? [0x08, 0x00] : [0x86, 0xdd])]);
    const record = Buffer.alloc(16);
    const length = ethernetHeader + network.length + transport.length + payload.length;
    record.writeUInt32LE(Math.floor(this.#last / 1e6), 0);
    record.writeUInt32LE(this.#last % 1e6, 4);
    record.writeUInt32LE(length, 8);
    record.writeUInt32LE(length, 12);
    this.#parts.push(record, ethernet, network, transport, Buffer.from(payload));
    this.frames += 1;
  }

  finish(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  #ipv4(from: End, to: End, protocol: number, transport: Buffer, payload: Uint8Array): Buffer {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(20 + transport.length + payload.length, 2);
    header.writeUInt16BE(this.frames & 0xffff, 4);
    header.writeUInt16BE(0x4000, 6);
    header[8] = from.ttl;
    header[9] = protocol;
    header.set(from.ip, 12);
    header.set(to.ip, 16);
    header.writeUInt16BE(checksum([header]), 10);
    return header;
  }

  #ipv6(from: End, to: End, protocol: number, transport: Buffer, payload: Uint8Array): Buffer {
    const header = Buffer.alloc(40);
    header[0] = 0x60;
    header.writeUInt16BE(transport.length + payload.length, 4);
    header[6] = protocol;
    header[7] = from.ttl;
    header.set(from.ip, 8);
    header.set(to.ip, 24);
    return header;
  }
}

function pseudoHeader(from: End, to: End, protocol: number, length: number): Uint8Array {
  const tail = Buffer.alloc(from.ip.length === 4 ? 4 : 8);
  if (from.ip.length === 4) {
    tail[1] = protocol;
    tail.writeUInt16BE(length, 2);
  } else {
    tail.writeUInt32BE(length, 0);
    tail[7] = protocol;
  }
  return Buffer.concat([from.ip, to.ip, tail]);
}

class TcpTalk {
  readonly #out: CaptureWriter;
  readonly #next: Map<End, number>;

  constructor(out: CaptureWriter, client: End, server: End, clientSequence: number, serverSequence: number) {
    this.#out = out;
    this.#next = new Map([
      [client, clientSequence],
      [server, serverSequence],
    ]);
  }

  send(at: number, from: End, to: End, flags: number, payload: Uint8Array = new Uint8Array(0)): void {
    const options = flags & flag.syn ? Buffer.from([2, 4, maxSegment >> 8, maxSegment & 255]) : Buffer.alloc(0);
    const header = Buffer.alloc(20 + options.length);
    const sequence = this.#next.get(from) ?? 0;
    header.writeUInt16BE(from.port, 0);
    header.writeUInt16BE(to.port, 2);
    header.writeUInt32BE(sequence, 4);
    header.writeUInt32BE(flags & flag.ack ? (this.#next.get(to) ?? 0) : 0, 8);
    header[12] = (header.length / 4) << 4;
    header[13] = flags;
    header.writeUInt16BE(window, 14);
    header.set(options, 20);
    header.writeUInt16BE(checksum([pseudoHeader(from, to, 6, header.length + payload.length), header, payload]), 16);
    this.#out.packet(at, from, to, 6, header, payload);
    const consumed = payload.length + (flags & (flag.syn | flag.fin) ? 1 : 0);
    this.#next.set(from, (sequence + consumed) >>> 0);
  }
}

const endings: Readonly<Record<string, 'client-fin' | 'client-rst' | 'server-fin' | 'none'>> = {
  open: 'none',
  interrupted: 'none',
  'client-closed': 'client-fin',
  'client-reset': 'client-rst',
};

/** Two numbers that look chosen by chance and are the same each time. */
function sequencesOf(id: string): [number, number] {
  let hash = 2_166_136_261;
  for (const character of id) hash = Math.imul(hash ^ character.charCodeAt(0), 16_777_619) >>> 0;
  return [hash, Math.imul(hash, 2_654_435_761) >>> 0];
}

/** The whole session as a capture, attacker first. A chunk longer than a segment or datagram becomes several. */
export function renderSessionCapture({ session, chunks }: StoredSessionDocument): Capture {
  const endOf = (ip: string, port: number, mac: string | undefined, ttl: number, number: number): End => {
    const address = parseAddress(ip);
    return { ip: address ? addressBytes(address) : new Uint8Array(4), port, mac: macBytes(mac, number), ttl };
  };
  const client = endOf(session.source.ip, session.source.port, session.source.mac, session.weir.syn?.ttl ?? 64, 1);
  const server = endOf(session.destination.ip, session.destination.port, undefined, 64, 2);
  const out = new CaptureWriter();
  const start = parseMicros(session.event.start);
  const end = session.event.end === undefined ? start : parseMicros(session.event.end);
  if (session.network.transport === 'udp') {
    for (const chunk of chunks) {
      const [from, to] = chunk.direction === 'in' ? [client, server] : [server, client];
      const bytes = Buffer.from(chunk.bytes, 'base64');
      for (let at = 0; at === 0 || at < bytes.length; at += maxDatagram)
        sendDatagram(out, parseMicros(chunk.at), from, to, bytes.subarray(at, at + maxDatagram));
    }
    return { bytes: out.finish(), frames: out.frames };
  }
  const [random, serverSequence] = sequencesOf(session.event.id);
  const talk = new TcpTalk(out, client, server, session.weir.syn?.sequence ?? random, serverSequence);
  talk.send(start, client, server, flag.syn);
  talk.send(start, server, client, flag.syn | flag.ack);
  talk.send(start, client, server, flag.ack);
  for (const chunk of chunks) {
    const [from, to] = chunk.direction === 'in' ? [client, server] : [server, client];
    const bytes = Buffer.from(chunk.bytes, 'base64');
    const time = parseMicros(chunk.at);
    for (let at = 0; at < bytes.length; at += maxSegment)
      talk.send(time, from, to, flag.psh | flag.ack, bytes.subarray(at, at + maxSegment));
    if (bytes.length > 0) talk.send(time, to, from, flag.ack);
  }
  const ending = endings[session.weir.session.outcome] ?? 'server-fin';
  if (ending === 'client-rst') talk.send(end, client, server, flag.rst | flag.ack);
  else if (ending !== 'none') {
    const [first, second] = ending === 'client-fin' ? [client, server] : [server, client];
    talk.send(end, first, second, flag.fin | flag.ack);
    talk.send(end, second, first, flag.fin | flag.ack);
    talk.send(end, first, second, flag.ack);
  }
  return { bytes: out.finish(), frames: out.frames };
}

function sendDatagram(out: CaptureWriter, at: number, from: End, to: End, payload: Uint8Array): void {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from.port, 0);
  header.writeUInt16BE(to.port, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  header.writeUInt16BE(checksum([pseudoHeader(from, to, 17, 8 + payload.length), header, payload]) || 0xffff, 6);
  out.packet(at, from, to, 17, header, payload);
}
