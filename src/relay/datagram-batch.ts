// Diverted datagrams packed into one buffer, to travel between threads without copies or objects. Pure.
// Per datagram: payload length u32, family u8, 3 bytes of padding, source port u16, destination port u16, 4 bytes of padding,
// time f64, source and destination address 16 bytes each, then the payload, padded to 8.

import type { Micros } from '../base/clock.ts';

export const datagramHeaderBytes = 56;

/** Bytes one datagram takes in a batch. */
export const packedBytes = (payloadBytes: number): number => (datagramHeaderBytes + payloadBytes + 7) & ~7;

/** Writes one at `at`; the place of the next. The addresses are sockaddr_in or sockaddr_in6 of one family. */
export function packDatagram(
  into: Uint8Array,
  view: DataView,
  at: number,
  time: Micros,
  source: Uint8Array,
  sourceAt: number,
  destination: Uint8Array,
  destinationAt: number,
  data: Uint8Array,
  dataAt: number,
  length: number,
): number {
  const four = source[sourceAt] === 2;
  view.setUint32(at, length, true);
  into[at + 4] = four ? 4 : 6;
  into[at + 8] = source[sourceAt + 2];
  into[at + 9] = source[sourceAt + 3];
  into[at + 10] = destination[destinationAt + 2];
  into[at + 11] = destination[destinationAt + 3];
  view.setFloat64(at + 16, time, true);
  const addressAt = four ? 4 : 8;
  const addressBytes = four ? 4 : 16;
  for (let index = 0; index < addressBytes; index += 1) {
    into[at + 24 + index] = source[sourceAt + addressAt + index];
    into[at + 40 + index] = destination[destinationAt + addressAt + index];
  }
  into.set(data.subarray(dataAt, dataAt + length), at + datagramHeaderBytes);
  return at + packedBytes(length);
}

export interface PackedDatagram {
  readonly family: 4 | 6;
  readonly at: Micros;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** 4 or 16 bytes each, and the payload: views into the batch. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly payload: Uint8Array;
}

export function* unpackDatagrams(batch: Uint8Array): Generator<PackedDatagram> {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let at = 0; at + datagramHeaderBytes <= batch.length; ) {
    const length = view.getUint32(at, true);
    const family = batch[at + 4] === 4 ? 4 : 6;
    const addressBytes = family === 4 ? 4 : 16;
    yield {
      family,
      at: view.getFloat64(at + 16, true),
      sourcePort: view.getUint16(at + 8),
      destinationPort: view.getUint16(at + 10),
      source: batch.subarray(at + 24, at + 24 + addressBytes),
      destination: batch.subarray(at + 40, at + 40 + addressBytes),
      payload: batch.subarray(at + datagramHeaderBytes, at + datagramHeaderBytes + length),
    };
    at += packedBytes(length);
  }
}
