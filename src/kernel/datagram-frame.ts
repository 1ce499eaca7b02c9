// Builds a UDP packet with its IP header for the raw sender, so that an answer leaves with the decoy as its source. Pure.
// Sources: RFC 768, RFC 791, RFC 8200; raw(7) on what the kernel fills in.

import { type Address, addressBytes } from '../model/address.ts';
import { foldChecksum, sumWords, transportChecksum } from '../model/checksum.ts';
import { protocolUdp } from './packet-header.ts';

export interface DatagramEnds {
  readonly source: Address;
  readonly sourcePort: number;
  /** Of the same family as `source`. */
  readonly destination: Address;
  readonly destinationPort: number;
  /** Hop limit; a persona's own. */
  readonly ttl: number;
}

/** The largest payload whose packet fits the IPv6 minimum MTU: such an answer is never too big to send. */
export const safePayloadBytes = 1232;

/** IP header, UDP header, payload. The kernel sets IPv4's identification and header checksum when they are zero. */
export function renderDatagram(ends: DatagramEnds, payload: Uint8Array): Uint8Array {
  const four = ends.source.family === 4;
  const headerBytes = four ? 20 : 40;
  const udpBytes = 8 + payload.length;
  const bytes = new Uint8Array(headerBytes + udpBytes);
  const view = new DataView(bytes.buffer);
  if (four) {
    bytes[0] = 0x45;
    view.setUint16(2, bytes.length);
    bytes[6] = 0x40;
    bytes[8] = ends.ttl;
    bytes[9] = protocolUdp;
    bytes.set(addressBytes(ends.source), 12);
    bytes.set(addressBytes(ends.destination), 16);
    view.setUint16(10, foldChecksum(sumWords(bytes, 0, 20)));
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, udpBytes);
    bytes[6] = protocolUdp;
    bytes[7] = ends.ttl;
    bytes.set(addressBytes(ends.source), 8);
    bytes.set(addressBytes(ends.destination), 24);
  }
  view.setUint16(headerBytes, ends.sourcePort);
  view.setUint16(headerBytes + 2, ends.destinationPort);
  view.setUint16(headerBytes + 4, udpBytes);
  bytes.set(payload, headerBytes + 8);
  const sum = transportChecksum(bytes, four ? 12 : 8, four ? 8 : 32, protocolUdp, headerBytes, bytes.length);
  view.setUint16(headerBytes + 6, sum === 0 ? 0xffff : sum);
  return bytes;
}
