// What a captured frame holds, as far as netops judges by it: addresses, ports, flags, numbers, window, options, and where the payload
// is. Pure; hostile bytes give undefined, nothing is read past the end.
// Sources: RFC 791, RFC 8200, RFC 9293, RFC 7323, RFC 768.

import { be16, be32, layOut, protocolTcp, protocolUdp } from '../../kernel/packet-header.ts';
import { renderAddressAt } from '../../model/address.ts';
import { networkPart } from '../../record/importers/link-layer.ts';

export interface TcpView {
  readonly sequence: number;
  readonly acknowledgement: number;
  /** The low byte: FIN 1, SYN 2, RST 4, PSH 8, ACK 16. */
  readonly flags: number;
  readonly window: number;
  /** Of the options, in bytes; 0 without any. */
  readonly optionBytes: number;
  /** Of the timestamp option. */
  readonly timestamp?: number;
  /** Shift of the window scale option; in a SYN alone. */
  readonly windowScale?: number;
  readonly mss?: number;
}

export interface PacketView {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl: number;
  /** IPv4 identification; 0 over IPv6. */
  readonly ipId: number;
  readonly doNotFragment: boolean;
  readonly laterFragment: boolean;
  /** Of TCP and UDP. */
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tcp?: TcpView;
  /** Outermost first. */
  readonly vlans: readonly number[];
  /** Of the transport's payload in the frame. */
  readonly payloadAt: number;
  readonly payloadEnd: number;
  /** Of the transport's payload as the IP header says it; more than is there where the frame was cut. */
  readonly payloadLength: number;
  /** Sender's hardware address, where there is one. */
  readonly mac?: string;
}

export const tcpFlags = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

/** `SA`, `R`, `.`: as tcpdump writes them, a dot for ACK. */
export const renderFlags = (flags: number): string =>
  `${flags & 2 ? 'S' : ''}${flags & 1 ? 'F' : ''}${flags & 4 ? 'R' : ''}${flags & 8 ? 'P' : ''}${flags & 32 ? 'U' : ''}${flags & 16 ? '.' : ''}` ||
  'none';

function vlansOf(bytes: Buffer, start: number, end: number, linkType: number): number[] {
  const tags: number[] = [];
  if (linkType !== 1) return tags;
  for (let at = start + 12; at + 4 <= end && tags.length < 4 && [0x8100, 0x88a8, 0x9100].includes(be16(bytes, at)); at += 4)
    tags.push(be16(bytes, at + 2) & 0xfff);
  return tags;
}

const noTcp = { windowScale: undefined, mss: undefined, timestamp: undefined };

function optionsOf(bytes: Buffer, from: number, to: number): { timestamp?: number; windowScale?: number; mss?: number } {
  let found: { timestamp?: number; windowScale?: number; mss?: number } = {};
  for (let at = from; at < to; ) {
    const kind = bytes[at];
    if (kind === 0) break;
    if (kind === 1) {
      at += 1;
      continue;
    }
    const length = at + 1 < to ? bytes[at + 1] : 0;
    if (length < 2 || at + length > to) break;
    if (kind === 8 && length === 10) found = { ...found, timestamp: be32(bytes, at + 2) };
    else if (kind === 3 && length === 3) found = { ...found, windowScale: bytes[at + 2] };
    else if (kind === 2 && length === 4) found = { ...found, mss: be16(bytes, at + 2) };
    at += length;
  }
  return found;
}

/** Undefined for what is no IP packet, or not enough of one. */
export function viewPacket(bytes: Buffer, start: number, end: number, linkType: number): PacketView | undefined {
  const part = networkPart(bytes, start, end, linkType);
  if (part === undefined || part === 'other') return undefined;
  const layout = layOut(bytes, part.at, end);
  if (!layout) return undefined;
  const { version, protocol, transportAt, ttl, laterFragment } = layout;
  const four = version === 4;
  const packetEnd = part.at + (four ? be16(bytes, part.at + 2) : 40 + be16(bytes, part.at + 4));
  const kept = Math.min(packetEnd, end);
  const [sourceAt, size] = four ? [part.at + 12, 4] : [part.at + 8, 16];
  const base = {
    family: version,
    source: renderAddressAt(bytes, sourceAt, version),
    destination: renderAddressAt(bytes, sourceAt + size, version),
    protocol,
    ttl,
    ipId: four ? be16(bytes, part.at + 4) : 0,
    doNotFragment: four && (bytes[part.at + 6] & 0x40) !== 0,
    laterFragment,
    vlans: vlansOf(bytes, start, end, linkType),
    ...(part.macAt < 0 ? {} : { mac: bytes.toString('hex', part.macAt, part.macAt + 6).replace(/..(?!$)/g, '$&:') }),
  };
  const plain = (at: number) => ({
    payloadAt: Math.min(at, kept),
    payloadEnd: Math.max(Math.min(at, kept), kept),
    payloadLength: Math.max(0, packetEnd - at),
  });
  if (laterFragment || transportAt + 8 > kept || (protocol !== protocolTcp && protocol !== protocolUdp))
    return { ...base, ...plain(transportAt) };
  const ports = { sourcePort: be16(bytes, transportAt), destinationPort: be16(bytes, transportAt + 2) };
  if (protocol === protocolUdp) return { ...base, ...ports, ...plain(transportAt + 8) };
  if (transportAt + 20 > kept) return { ...base, ...ports, ...plain(transportAt) };
  const headerBytes = Math.max(20, (bytes[transportAt + 12] >> 4) * 4);
  const options = headerBytes > 20 ? optionsOf(bytes, transportAt + 20, Math.min(kept, transportAt + headerBytes)) : noTcp;
  return {
    ...base,
    ...ports,
    tcp: {
      sequence: be32(bytes, transportAt + 4),
      acknowledgement: be32(bytes, transportAt + 8),
      flags: bytes[transportAt + 13],
      window: be16(bytes, transportAt + 14),
      optionBytes: headerBytes - 20,
      ...(options.timestamp === undefined ? {} : { timestamp: options.timestamp }),
      ...(options.windowScale === undefined ? {} : { windowScale: options.windowScale }),
      ...(options.mss === undefined ? {} : { mss: options.mss }),
    },
    ...plain(transportAt + headerBytes),
  };
}

const protocolNames: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  6: 'tcp',
  17: 'udp',
  47: 'gre',
  50: 'esp',
  58: 'icmpv6',
  89: 'ospf',
  132: 'sctp',
};

export const protocolName = (protocol: number): string => protocolNames[protocol] ?? `protocol ${protocol}`;

const endpoint = (ip: string, port: number | undefined): string =>
  port === undefined ? ip : ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;

const etherNames: Readonly<Record<number, string>> = { 2054: 'ARP', 35020: 'LLDP', 34958: '802.1X', 34915: 'PPPoE discovery' };

/** One line without time, of nothing but what we wrote ourselves: no byte of a payload is in it. */
export function describeFrame(bytes: Buffer, start: number, end: number, linkType: number, wireLength: number): string {
  const view = viewPacket(bytes, start, end, linkType);
  if (!view) {
    const type = linkType === 1 && end - start >= 14 ? be16(bytes, start + 12) : undefined;
    const name =
      type === undefined
        ? 'not IP'
        : type < 1536
          ? '802.3'
          : (etherNames[type] ?? `EtherType 0x${type.toString(16).padStart(4, '0')}`);
    return `${name}, ${wireLength} bytes`;
  }
  const { source, destination, sourcePort, destinationPort, tcp, vlans, payloadLength, laterFragment } = view;
  const parts = [`${endpoint(source, sourcePort)} > ${endpoint(destination, destinationPort)} ${protocolName(view.protocol)}`];
  if (tcp) {
    parts.push(`[${renderFlags(tcp.flags)}] seq ${tcp.sequence}`);
    if (tcp.flags & tcpFlags.ack) parts.push(`ack ${tcp.acknowledgement}`);
    parts.push(`win ${tcp.window}`);
  }
  parts.push(`len ${payloadLength}`, `ttl ${view.ttl}`);
  if (laterFragment) parts.push('later fragment');
  if (vlans.length > 0) parts.push(`vlan ${vlans.join('.')}`);
  return parts.join(' ');
}
