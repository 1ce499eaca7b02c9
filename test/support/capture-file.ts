// Packets and capture files for tests, byte by byte: IPv4 and IPv6, TCP, UDP and ICMP, the link layers, pcap and pcapng in all
// their kinds. Checksums are left at zero, as a card that computes them leaves them. Used by tests only.

import { addressBytes, parseAddress } from '../../src/model/address.ts';

export interface PacketEnds {
  readonly from: string;
  readonly to: string;
  readonly fromPort?: number;
  readonly toPort?: number;
}

const bytesOf = (ip: string): Buffer => {
  const address = parseAddress(ip);
  if (!address) throw new Error(ip);
  return Buffer.from(addressBytes(address));
};

/** `next`: IPv6 extension headers between, with the first one's number. */
export function ipPacket(
  { from, to }: PacketEnds,
  protocol: number,
  content: Buffer,
  more: { readonly id?: number; readonly fragment?: number; readonly ttl?: number } = {},
): Buffer {
  const [source, destination] = [bytesOf(from), bytesOf(to)];
  if (source.length === 4) {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(20 + content.length, 2);
    header.writeUInt16BE(more.id ?? 7, 4);
    header.writeUInt16BE(more.fragment ?? 0x4000, 6);
    header[8] = more.ttl ?? 64;
    header[9] = protocol;
    source.copy(header, 12);
    destination.copy(header, 16);
    return Buffer.concat([header, content]);
  }
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(content.length, 4);
  header[6] = protocol;
  header[7] = more.ttl ?? 64;
  source.copy(header, 8);
  destination.copy(header, 24);
  return Buffer.concat([header, content]);
}

export const tcpBits = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

export interface TcpParts extends PacketEnds {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledged?: number;
  readonly data?: string | Buffer;
  readonly options?: Buffer;
  readonly ttl?: number;
  readonly id?: number;
}

export function tcpSegment(parts: TcpParts): Buffer {
  const options = parts.options ?? Buffer.alloc(0);
  const header = Buffer.alloc(20);
  header.writeUInt16BE(parts.fromPort ?? 40_000, 0);
  header.writeUInt16BE(parts.toPort ?? 80, 2);
  header.writeUInt32BE(parts.sequence >>> 0, 4);
  header.writeUInt32BE((parts.acknowledged ?? 0) >>> 0, 8);
  header[12] = ((20 + options.length) / 4) << 4;
  header[13] = parts.flags;
  header.writeUInt16BE(64_240, 14);
  return Buffer.concat([header, options, Buffer.from(parts.data ?? '')]);
}

export const tcpPacket = (parts: TcpParts): Buffer => ipPacket(parts, 6, tcpSegment(parts), parts);

export function udpDatagram({ fromPort = 5000, toPort = 53 }: PacketEnds, data: string | Buffer): Buffer {
  const content = Buffer.from(data);
  const header = Buffer.alloc(8);
  header.writeUInt16BE(fromPort, 0);
  header.writeUInt16BE(toPort, 2);
  header.writeUInt16BE(8 + content.length, 4);
  return Buffer.concat([header, content]);
}

export const udpPacket = (ends: PacketEnds, data: string | Buffer): Buffer => ipPacket(ends, 17, udpDatagram(ends, data));

/** A connection with a request and an answer, ended by the client. */
export function tcpDialogue(ends: PacketEnds, request: string, answer: string, first = 1000): Buffer[] {
  const { fin, syn, psh, ack } = tcpBits;
  const back = { from: ends.to, to: ends.from, fromPort: ends.toPort ?? 80, toPort: ends.fromPort ?? 40_000 };
  const [mine, theirs] = [first + 1, 9001];
  const [sent, got] = [mine + request.length, theirs + answer.length];
  return [
    tcpPacket({ ...ends, flags: syn, sequence: first }),
    tcpPacket({ ...back, flags: syn | ack, sequence: theirs - 1, acknowledged: mine }),
    tcpPacket({ ...ends, flags: ack, sequence: mine, acknowledged: theirs }),
    tcpPacket({ ...ends, flags: psh | ack, sequence: mine, acknowledged: theirs, data: request }),
    tcpPacket({ ...back, flags: psh | ack, sequence: theirs, acknowledged: sent, data: answer }),
    tcpPacket({ ...ends, flags: fin | ack, sequence: sent, acknowledged: got }),
    tcpPacket({ ...back, flags: fin | ack, sequence: got, acknowledged: sent + 1 }),
    tcpPacket({ ...ends, flags: ack, sequence: sent + 1, acknowledged: got + 1 }),
  ];
}

const macs = Buffer.from('02000000000202000000000a', 'hex');

/** An IP packet in a frame of a link type. `tags`: 802.1Q, outermost first. */
export function frameOf(packet: Buffer, linkType: number, tags: readonly number[] = []): Buffer {
  const type = packet[0] >> 4 === 4 ? 0x0800 : 0x86dd;
  const u16 = (...values: number[]): Buffer => Buffer.concat(values.map((value) => Buffer.from([value >> 8, value & 255])));
  const vlan = Buffer.concat(tags.map((tag, index) => u16(index === 0 && tags.length > 1 ? 0x88a8 : 0x8100, tag)));
  switch (linkType) {
    case 1:
      return Buffer.concat([macs, vlan, u16(type), packet]);
    case 0:
      return Buffer.concat([Buffer.from([2, 0, 0, 0]), packet]);
    case 108:
      return Buffer.concat([Buffer.from([0, 0, 0, 2]), packet]);
    case 113:
      return Buffer.concat([u16(0, 1, 6), macs.subarray(6), u16(0, type), packet]);
    case 276:
      return Buffer.concat([u16(type, 0, 0, 3, 1), Buffer.from([0, 6]), macs.subarray(6), u16(0), packet]);
    default:
      return packet;
  }
}

export interface CaptureOptions {
  readonly little?: boolean;
  readonly nano?: boolean;
  readonly linkType?: number;
  readonly snap?: number;
}

/** Microseconds between frames. */
export const frameGap = 1000;
export const captureStart = 1_700_000_000_123_456;

const writer =
  (little: boolean) =>
  (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [index, value] of values.entries())
      if (little) bytes.writeUInt32LE(value >>> 0, index * 4);
      else bytes.writeUInt32BE(value >>> 0, index * 4);
    return bytes;
  };

export function pcapFile(
  frames: readonly Buffer[],
  { little = true, nano = false, linkType = 1, snap = 65_535 }: CaptureOptions = {},
): Buffer {
  const u32 = writer(little);
  const parts = [u32(nano ? 0xa1b23c4d : 0xa1b2c3d4, little ? 0x00040002 : 0x00020004, 0, 0, snap, linkType)];
  for (const [index, frame] of frames.entries()) {
    const at = captureStart + index * frameGap;
    const kept = frame.subarray(0, snap);
    parts.push(u32(Math.floor(at / 1e6), (at % 1e6) * (nano ? 1000 : 1), kept.length, frame.length), kept);
  }
  return Buffer.concat(parts);
}

/** `resolution`: as if_tsresol has it; `simple`: packets without time. */
export function pcapngFile(
  frames: readonly Buffer[],
  {
    little = true,
    linkType = 1,
    resolution = 6,
    simple = false,
  }: CaptureOptions & { readonly resolution?: number; readonly simple?: boolean } = {},
): Buffer {
  const u32 = writer(little);
  const u16 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 2);
    for (const [index, value] of values.entries())
      if (little) bytes.writeUInt16LE(value, index * 2);
      else bytes.writeUInt16BE(value, index * 2);
    return bytes;
  };
  const block = (type: number, body: Buffer): Buffer => {
    const padded = Buffer.concat([body, Buffer.alloc(-body.length & 3)]);
    return Buffer.concat([u32(type, padded.length + 12), padded, u32(padded.length + 12)]);
  };
  const units = resolution & 0x80 ? 2n ** BigInt(resolution & 0x7f) : 10n ** BigInt(resolution);
  const parts = [
    block(0x0a0d0d0a, Buffer.concat([u32(0x1a2b3c4d), u16(1, 0), u32(0xffffffff, 0xffffffff)])),
    block(1, Buffer.concat([u16(linkType, 0), u32(0), u16(9, 1), Buffer.from([resolution, 0, 0, 0]), u16(0, 0)])),
    block(0x0bad, Buffer.from('a block of somebody else')),
  ];
  for (const [index, frame] of frames.entries()) {
    const time = (BigInt(captureStart + index * frameGap) * units) / 1_000_000n;
    const facts = u32(0, Number(time >> 32n), Number(time & 0xffffffffn), frame.length, frame.length);
    parts.push(simple ? block(3, Buffer.concat([u32(frame.length), frame])) : block(6, Buffer.concat([facts, frame])));
  }
  return Buffer.concat(parts);
}
