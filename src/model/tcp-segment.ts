// One TCP segment with its IP header as bytes, checksums right. Pure. Sending it under somebody's name is kernel/raw-sender.ts.
// Sources: RFC 791, RFC 8200, RFC 9293.

import { type Address, addressBytes } from './address.ts';
import { foldChecksum, sumWords, transportChecksum } from './checksum.ts';

export interface SegmentFields {
  readonly source: Address;
  readonly sourcePort: number;
  /** Of the same family. */
  readonly destination: Address;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  /** FIN 1, SYN 2, RST 4, PSH 8, ACK 16. */
  readonly flags: number;
  readonly window?: number;
}

/** Without options and payload; TTL 64, not to be fragmented. */
export function renderSegment(fields: SegmentFields): Uint8Array {
  const { source, destination } = fields;
  const four = source.family === 4;
  const at = four ? 20 : 40;
  const bytes = new Uint8Array(at + 20);
  const view = new DataView(bytes.buffer);
  if (four) {
    bytes[0] = 0x45;
    view.setUint16(2, bytes.length);
    view.setUint16(6, 0x4000);
    bytes[8] = 64;
    bytes[9] = 6;
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, 20);
    bytes[6] = 6;
    bytes[7] = 64;
  }
  const addressesAt = four ? 12 : 8;
  const size = four ? 4 : 16;
  bytes.set(addressBytes(source), addressesAt);
  bytes.set(addressBytes(destination), addressesAt + size);
  if (four) view.setUint16(10, foldChecksum(sumWords(bytes, 0, 20)));
  view.setUint16(at, fields.sourcePort);
  view.setUint16(at + 2, fields.destinationPort);
  view.setUint32(at + 4, fields.sequence >>> 0);
  view.setUint32(at + 8, fields.acknowledgement >>> 0);
  bytes[at + 12] = 5 << 4;
  bytes[at + 13] = fields.flags;
  view.setUint16(at + 14, fields.window ?? 0);
  view.setUint16(at + 16, transportChecksum(bytes, addressesAt, 2 * size, 6, at, bytes.length));
  return bytes;
}
