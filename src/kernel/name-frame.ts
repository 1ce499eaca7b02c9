// Datagrams to a whole link as Ethernet frames: hostile bytes in, answers of decoys out. Pure.
// Sources: IEEE 802.3 (II), RFC 768, RFC 791, RFC 8200. Checksums are not looked at: on virtual links they are left for
// the hardware to fill in, and a wrong one harms nobody but its sender.

import { type DatagramEnds, renderDatagram } from './datagram-frame.ts';
import { protocolUdp } from './packet-header.ts';

/** Views into the frame: copy what is kept. */
export interface NameFrame {
  readonly family: 4 | 6;
  /** The group's, or everybody's. */
  readonly toMac: Uint8Array;
  readonly fromMac: Uint8Array;
  readonly source: Uint8Array;
  readonly sourcePort: number;
  readonly destination: Uint8Array;
  readonly destinationPort: number;
  readonly payload: Uint8Array;
}

/** Undefined for anything but a whole UDP datagram to a group or a broadcast address. */
export function parseNameFrame(frame: Uint8Array): NameFrame | undefined {
  if (frame.length < 42 || (frame[0] & 1) === 0) return undefined;
  const word = (at: number): number => (frame[at] << 8) | frame[at + 1];
  const type = word(12);
  let udp: number;
  let end: number;
  let family: 4 | 6;
  if (type === 0x0800) {
    const headerBytes = (frame[14] & 15) * 4;
    if (frame[14] >> 4 !== 4 || headerBytes < 20 || frame[23] !== protocolUdp || (word(20) & 0x3fff) !== 0) return undefined;
    family = 4;
    udp = 14 + headerBytes;
    end = 14 + word(16);
  } else if (type === 0x86dd) {
    if (frame.length < 62 || frame[14] >> 4 !== 6 || frame[20] !== protocolUdp) return undefined;
    family = 6;
    udp = 54;
    end = 54 + word(18);
  } else return undefined;
  if (end > frame.length || udp + 8 > end) return undefined;
  const udpBytes = word(udp + 4);
  if (udpBytes < 8 || udp + udpBytes > end) return undefined;
  return {
    family,
    toMac: frame.subarray(0, 6),
    fromMac: frame.subarray(6, 12),
    source: family === 4 ? frame.subarray(26, 30) : frame.subarray(22, 38),
    sourcePort: word(udp),
    destination: family === 4 ? frame.subarray(30, 34) : frame.subarray(38, 54),
    destinationPort: word(udp + 2),
    payload: frame.subarray(udp + 8, udp + udpBytes),
  };
}

/** A whole frame; the caller knows the MACs. */
export function renderNameFrame(toMac: Uint8Array, fromMac: Uint8Array, ends: DatagramEnds, payload: Uint8Array): Uint8Array {
  const packet = renderDatagram(ends, payload);
  const frame = new Uint8Array(14 + packet.length);
  frame.set(toMac, 0);
  frame.set(fromMac, 6);
  frame.set(ends.source.family === 4 ? [0x08, 0x00] : [0x86, 0xdd], 12);
  frame.set(packet, 14);
  return frame;
}
