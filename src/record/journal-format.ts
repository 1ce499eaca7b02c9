// The journal's bytes: segment names, the segment header, and records as [u32 length][u32 crc32][body], little endian.
// Every run of a writer has a random salt that starts its checksums, so that a client's bytes cannot hold a valid
// record: a reader that has to look for the next record after damage never believes what an attacker sent.

import { crc32 } from 'node:zlib';
import type { Micros } from '../base/clock.ts';
import { bodyKinds, maxBodyBytes } from './event-codec.ts';

export const segmentHeaderBytes = 48;
export const recordHeaderBytes = 8;
export const formatVersion = 1;
const magic = Buffer.from('WEIRJNL\n', 'latin1');
const firstKind = bodyKinds.session;
const lastKind = bodyKinds.system;

export interface SegmentHeader {
  readonly version: number;
  /** The run of the writer: the number of its first segment. Grows with every start. */
  readonly epoch: number;
  readonly segment: number;
  readonly created: Micros;
  /** Starting value of every checksum of this run. */
  readonly salt: number;
}

/** `0000000042.wj`; name order is number order. */
export const segmentName = (segment: number): string => `${String(segment).padStart(10, '0')}.wj`;

/** The number in a segment's file name, or -1. */
export function parseSegmentName(name: string): number {
  return /^\d{10}\.wj$/.test(name) ? Number(name.slice(0, 10)) : -1;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes);
  magic.copy(bytes, 0);
  bytes.writeUInt16LE(header.version, 8);
  bytes.writeUInt16LE(segmentHeaderBytes, 10);
  bytes.writeDoubleLE(header.epoch, 16);
  bytes.writeDoubleLE(header.segment, 24);
  bytes.writeDoubleLE(header.created, 32);
  bytes.writeUInt32LE(header.salt, 40);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 44)), 44);
  return bytes;
}

/** Undefined when the bytes are not the header of a segment this version reads. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < segmentHeaderBytes || bytes.compare(magic, 0, 8, 0, 8) !== 0) return undefined;
  if (bytes.readUInt32LE(44) !== crc32(bytes.subarray(0, 44))) return undefined;
  const header = {
    version: bytes.readUInt16LE(8),
    epoch: bytes.readDoubleLE(16),
    segment: bytes.readDoubleLE(24),
    created: bytes.readDoubleLE(32),
    salt: bytes.readUInt32LE(40),
  };
  if (header.version !== formatVersion || bytes.readUInt16LE(10) !== segmentHeaderBytes) return undefined;
  return [header.epoch, header.segment, header.created].every(Number.isSafeInteger) ? header : undefined;
}

/** Puts length and checksum in front of the body that stands at `at + recordHeaderBytes` and ends at `end`. */
export function sealRecord(buffer: Buffer, at: number, end: number, salt: number): void {
  const body = at + recordHeaderBytes;
  buffer.writeUInt32LE(end - body, at);
  buffer.writeUInt32LE(crc32(buffer.subarray(body, end), salt), at + 4);
}

/** What stands at an offset: a whole record (where its body ends), the start of one, or something else. */
export type RecordCheck = { readonly state: 'whole'; readonly end: number } | { readonly state: 'short' | 'damaged' };

const short: RecordCheck = { state: 'short' };
const damaged: RecordCheck = { state: 'damaged' };

/** Looks at the record that starts at `at`; `short` when the bytes so far could be the start of one that ends after `end`. */
export function checkRecord(buffer: Buffer, at: number, end: number, salt: number): RecordCheck {
  if (end - at < recordHeaderBytes) return short;
  const length = buffer.readUInt32LE(at);
  if (length < 9 || length > maxBodyBytes) return damaged;
  const body = at + recordHeaderBytes;
  if (body < end && (buffer[body] < firstKind || buffer[body] > lastKind)) return damaged;
  if (body + length > end) return short;
  if (crc32(buffer.subarray(body, body + length), salt) !== buffer.readUInt32LE(at + 4)) return damaged;
  return { state: 'whole', end: body + length };
}

/** The next offset after `at` where a whole, valid record starts, or -1. */
export function findRecord(buffer: Buffer, at: number, end: number, salt: number): number {
  for (let offset = at + 1; offset + recordHeaderBytes < end; offset += 1) {
    if (checkRecord(buffer, offset, end, salt).state === 'whole') return offset;
  }
  return -1;
}
