// What is kept of a captured packet beyond the capture's buffer, and what counters of whole packets say of payload. Pure.

import type { EndedConnection } from '../kernel/conntrack-events.ts';
import type { CapturedPacket } from '../kernel/flow-capture.ts';
import { protocolTcp } from '../kernel/packet-header.ts';
import type { Direction } from '../model/session.ts';

/** Kept of a packet: both headers, and extension headers of IPv6 as far as somebody might hide behind them. */
const headerBytes = 240;

/** Payload at most, each way: options of the headers are not known. */
export function payloadBytes(ended: EndedConnection): Record<Direction, number> {
  const { addressBytes, protocol, bytesIn, bytesOut, packetsIn, packetsOut } = ended;
  const header = (addressBytes === 4 ? 20 : 40) + (protocol === protocolTcp ? 20 : 8);
  return { in: Math.max(0, bytesIn - packetsIn * header), out: Math.max(0, bytesOut - packetsOut * header) };
}

/** Both headers with all options, and the hop limit as it arrived: a routed packet is seen one hop on (ip_forward). */
export function headersOf({ bytes, start, end, routed }: CapturedPacket): Uint8Array {
  const copy = bytes.slice(start, Math.min(end, start + headerBytes));
  const hopsAt = copy[0] >> 4 === 4 ? 8 : 7;
  if (routed && copy[hopsAt] < 255) copy[hopsAt] += 1;
  return copy;
}

/** A copy as long as its headers, with the sender's MAC. */
export function keepHeaders({ direction, mark, routed, at, bytes, start, end, macAt }: CapturedPacket): CapturedPacket {
  const headers = bytes.subarray(start, Math.min(end, start + headerBytes));
  const copy = new Uint8Array(6 + headers.length);
  if (macAt >= 0) copy.set(bytes.subarray(macAt, macAt + 6));
  copy.set(headers, 6);
  return { direction, mark, routed, at, bytes: copy, start: 6, end: copy.length, macAt: macAt < 0 ? -1 : 0 };
}
