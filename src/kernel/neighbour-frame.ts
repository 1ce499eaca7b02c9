// ARP, Neighbour Solicitation and Neighbour Advertisement as whole Ethernet frames: hostile bytes in, frames out. Pure.
// Sources: RFC 826, RFC 5227, RFC 4861 sections 4.3 and 4.4, RFC 4862.

import { transportChecksum } from '../model/checksum.ts';
import { protocolIcmpv6 } from './packet-header.ts';

/** What a frame says about who has an address. Byte arrays are views into the frame: copy what is kept. */
export interface NeighbourFrame {
  readonly kind: 'arp-request' | 'arp-reply' | 'solicitation' | 'advertisement';
  /** Of the Ethernet header. */
  readonly frameMac: Uint8Array;
  /** The MAC the message claims for the sender (ARP sender, link-layer option), else the frame's. */
  readonly mac: Uint8Array;
  /** ARP sender address, IPv6 source. All zero: a probe, the sender has no address yet. */
  readonly sender: Uint8Array;
  /** ARP target address, ND target. */
  readonly target: Uint8Array;
  readonly solicited: boolean;
}

export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** Undefined when it is neither, cut short, or breaks a MUST of the RFCs (hop limit 255, code 0, checksum). */
export function parseNeighbourFrame(frame: Uint8Array): NeighbourFrame | undefined {
  if (frame.length < 42) return undefined;
  const type = (frame[12] << 8) | frame[13];
  const frameMac = frame.subarray(6, 12);
  if (type === 0x0806) {
    // Ethernet and IPv4 with their lengths, then the operation.
    if (frame[14] !== 0 || frame[15] !== 1 || frame[16] !== 8 || frame[17] !== 0 || frame[18] !== 6 || frame[19] !== 4)
      return undefined;
    const operation = (frame[20] << 8) | frame[21];
    if (operation !== 1 && operation !== 2) return undefined;
    return {
      kind: operation === 1 ? 'arp-request' : 'arp-reply',
      frameMac,
      mac: frame.subarray(22, 28),
      sender: frame.subarray(28, 32),
      target: frame.subarray(38, 42),
      solicited: false,
    };
  }
  if (type !== 0x86dd || frame.length < 14 + 40 + 24 || frame[14] >> 4 !== 6) return undefined;
  const payloadBytes = (frame[18] << 8) | frame[19];
  const end = 54 + payloadBytes;
  if (frame[20] !== protocolIcmpv6 || frame[21] !== 255 || payloadBytes < 24 || end > frame.length || frame[55] !== 0)
    return undefined;
  const icmpType = frame[54];
  if (icmpType !== 135 && icmpType !== 136) return undefined;
  // With the checksum in place the sum over everything is zero.
  if (transportChecksum(frame, 22, 32, protocolIcmpv6, 54, end) !== 0) return undefined;
  const target = frame.subarray(62, 78);
  if (target[0] === 0xff) return undefined;
  let mac = frameMac;
  const wanted = icmpType === 135 ? 1 : 2;
  for (let at = 78; at + 8 <= end; ) {
    const length = frame[at + 1] * 8;
    if (length === 0 || at + length > end) return undefined;
    if (frame[at] === wanted && length === 8) mac = frame.subarray(at + 2, at + 8);
    at += length;
  }
  return {
    kind: icmpType === 135 ? 'solicitation' : 'advertisement',
    frameMac,
    mac,
    sender: frame.subarray(22, 38),
    target,
    solicited: icmpType === 136 && (frame[58] & 0x40) !== 0,
  };
}

/** RFC 5227 probe: who has `target`, asked by nobody, so that no cache learns from the question. 42 bytes. */
export function renderArpProbe(ownMac: Uint8Array, target: Uint8Array): Uint8Array {
  const frame = new Uint8Array(42);
  frame.fill(0xff, 0, 6);
  frame.set(ownMac, 6);
  frame.set([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1], 12);
  frame.set(ownMac, 22);
  frame.set(target, 38);
  return frame;
}

/** RFC 5227 announcement: `address` is at `mac`, said to everybody as a request from and for itself. 42 bytes. */
export function renderArpAnnouncement(mac: Uint8Array, address: Uint8Array): Uint8Array {
  const frame = renderArpProbe(mac, address);
  frame.set(address, 28);
  return frame;
}

/** Where the target address stands in an ARP probe, for senders that change only that. */
export const arpProbeTargetAt = 38;

/** RFC 4862 duplicate address detection: a solicitation from `::` to the solicited-node group. 78 bytes. */
export function renderAddressProbe(ownMac: Uint8Array, target: Uint8Array): Uint8Array {
  const frame = new Uint8Array(78);
  frame.set([0x33, 0x33, 0xff, target[13], target[14], target[15]], 0);
  frame.set(ownMac, 6);
  ipv6Header(frame, 24);
  frame.set([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, target[13], target[14], target[15]], 38);
  frame[54] = 135;
  frame.set(target, 62);
  return withChecksum(frame);
}

/**
 * The advertisement of `target` at `mac`: to the asker, or to all nodes when the asker had no address (`to` all zero).
 * 86 bytes.
 */
export function renderAdvertisement(mac: Uint8Array, target: Uint8Array, toMac: Uint8Array, to: Uint8Array): Uint8Array {
  const frame = new Uint8Array(86);
  const unspecified = isZero(to);
  frame.set(unspecified ? [0x33, 0x33, 0, 0, 0, 1] : toMac, 0);
  frame.set(mac, 6);
  ipv6Header(frame, 32);
  frame.set(target, 22);
  frame.set(unspecified ? [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] : to, 38);
  frame[54] = 136;
  frame[58] = unspecified ? 0x20 : 0x60;
  frame.set(target, 62);
  frame[78] = 2;
  frame[79] = 1;
  frame.set(mac, 80);
  return withChecksum(frame);
}

function ipv6Header(frame: Uint8Array, payloadBytes: number): void {
  frame.set([0x86, 0xdd, 0x60, 0, 0, 0, 0, payloadBytes, protocolIcmpv6, 255], 12);
}

function withChecksum(frame: Uint8Array): Uint8Array {
  const sum = transportChecksum(frame, 22, 32, protocolIcmpv6, 54, frame.length);
  frame[56] = sum >> 8;
  frame[57] = sum & 255;
  return frame;
}
