// Reads IPv4, IPv6, TCP, UDP and ICMP headers out of hostile bytes: what is cut short or lies about its length gives
// undefined, nothing is read past the end. Pure. What a SYN tells about its sender is model/syn-fingerprint.ts.
// Sources: RFC 791, RFC 8200, RFC 9293, RFC 7323, RFC 2018, RFC 792, RFC 4443.

import type { SynDetails } from '../model/session.ts';

/** Where things are in a packet that starts with its IP header. Offsets into the same bytes. */
export interface PacketLayout {
  readonly version: 4 | 6;
  /** IP protocol of the transport header, extension headers skipped. */
  readonly protocol: number;
  readonly transportAt: number;
  readonly ttl: number;
  /** True for a fragment that is not the first: there is no transport header in it. */
  readonly laterFragment: boolean;
}

export const protocolTcp = 6;
export const protocolUdp = 17;
export const protocolIcmp = 1;
export const protocolIcmpv6 = 58;

/** IPv6 extension headers skipped before giving up (hop-by-hop, routing, fragment, authentication, destination options). */
const maxExtensions = 8;

export function layOut(bytes: Uint8Array, start = 0, end = bytes.length): PacketLayout | undefined {
  if (end - start < 20) return undefined;
  const version = bytes[start] >> 4;
  if (version === 4) {
    const headerBytes = (bytes[start] & 15) * 4;
    if (headerBytes < 20 || start + headerBytes > end) return undefined;
    return {
      version: 4,
      protocol: bytes[start + 9],
      transportAt: start + headerBytes,
      ttl: bytes[start + 8],
      laterFragment: (((bytes[start + 6] & 0x1f) << 8) | bytes[start + 7]) !== 0,
    };
  }
  if (version !== 6 || end - start < 40) return undefined;
  let protocol = bytes[start + 6];
  let at = start + 40;
  for (let count = 0; count < maxExtensions; count += 1) {
    if (protocol === 0 || protocol === 43 || protocol === 60) {
      if (at + 8 > end) return undefined;
      protocol = bytes[at];
      at += (bytes[at + 1] + 1) * 8;
    } else if (protocol === 51) {
      // Counted in another unit than the others: RFC 4302, 2.2.
      if (at + 8 > end) return undefined;
      protocol = bytes[at];
      at += (bytes[at + 1] + 2) * 4;
    } else if (protocol === 44) {
      if (at + 8 > end) return undefined;
      const later = ((bytes[at + 2] << 8) | bytes[at + 3]) >> 3 !== 0;
      protocol = bytes[at];
      at += 8;
      if (later) return { version: 6, protocol, transportAt: at, ttl: bytes[start + 7], laterFragment: true };
    } else break;
    if (at > end) return undefined;
  }
  return { version: 6, protocol, transportAt: at, ttl: bytes[start + 7], laterFragment: false };
}

const optionNames: Readonly<Record<number, string>> = { 0: 'eol', 1: 'nop', 2: 'mss', 3: 'ws', 4: 'sok', 5: 'sack', 8: 'ts' };

export const be16 = (bytes: Uint8Array, at: number): number => (bytes[at] << 8) | bytes[at + 1];
export const be32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;

/**
 * The facts of a TCP segment that starts with its IP header (a SYN saved by the kernel, or a captured one). Options stop
 * at the first that lies about its length; that place is marked `?`. Undefined when the fixed headers are not all there.
 */
export function parseSyn(bytes: Uint8Array, start = 0, end = bytes.length): SynDetails | undefined {
  const layout = layOut(bytes, start, end);
  if (!layout || layout.protocol !== protocolTcp || layout.laterFragment) return undefined;
  const tcp = layout.transportAt;
  if (tcp + 20 > end) return undefined;
  const dataAt = Math.min(end, tcp + (bytes[tcp + 12] >> 4) * 4);
  let options = '';
  let mss: number | undefined;
  let windowScale: number | undefined;
  let at = tcp + 20;
  while (at < dataAt) {
    const kind = bytes[at];
    if (options !== '') options += ',';
    if (kind === 0) {
      options += 'eol';
      break;
    }
    if (kind === 1) {
      options += 'nop';
      at += 1;
      continue;
    }
    const length = at + 1 < dataAt ? bytes[at + 1] : 0;
    if (length < 2 || at + length > dataAt) {
      options += '?';
      break;
    }
    options += optionNames[kind] ?? String(kind);
    if (kind === 2 && length === 4) mss = be16(bytes, at + 2);
    else if (kind === 3 && length === 3) windowScale = bytes[at + 2];
    at += length;
  }
  return {
    ttl: layout.ttl,
    ipId: layout.version === 4 ? be16(bytes, start + 4) : 0,
    doNotFragment: layout.version === 4 && (bytes[start + 6] & 0x40) !== 0,
    window: be16(bytes, tcp + 14),
    sequence: be32(bytes, tcp + 4),
    options,
    ...(mss === undefined ? {} : { mss }),
    ...(windowScale === undefined ? {} : { windowScale }),
  };
}
