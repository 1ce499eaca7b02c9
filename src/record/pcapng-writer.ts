// Blocks of a pcapng file: a section that says who captured with which filter, interfaces, packets with comments, statistics. Pure: bytes
// are handed to whoever keeps them. Reading is importers/capture-reader.ts.
// Source: draft-ietf-opsawg-pcapng.

import type { Micros } from '../base/clock.ts';

const sectionBlock = 0x0a0d0d0a;
const interfaceBlock = 1;
const statisticsBlock = 5;
const packetBlock = 6;
const [optionComment, optionApplication, optionName, optionFilter, optionFlags] = [1, 4, 2, 11, 2];
const [optionReceived, optionDropped] = [4, 7];
/** A comment is cut there: an option holds at most 65,535 bytes. */
const longestComment = 4096;
/** In UTF-8 code units of a length that is no multiple of four, the rest is zeros. */
const padded = (length: number): number => (length + 3) & ~3;

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + padded(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  value.copy(bytes, 4);
  return bytes;
}

const text = (code: number, value: string): Buffer => option(code, Buffer.from(value, 'utf8').subarray(0, longestComment));
const number64 = (code: number, value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return option(code, bytes);
};
const endOfOptions = Buffer.alloc(4);

function block(type: number, fixed: Buffer, options: readonly Buffer[]): Buffer {
  const all = options.length > 0 ? [...options, endOfOptions] : [];
  const length = 12 + padded(fixed.length) + all.reduce((sum, { length: bytes }) => sum + bytes, 0);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(length, 0);
  return Buffer.concat([head, fixed, Buffer.alloc(padded(fixed.length) - fixed.length), ...all, tail]);
}

export interface CaptureInterface {
  readonly name: string;
  /** LINKTYPE_*. */
  readonly linkType: number;
  /** The expression that was applied. */
  readonly filter?: string;
}

/** The beginning of a file. `comments` say how it came about. */
export function renderSection(application: string, comments: readonly string[] = []): Buffer {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32LE(0x1a2b3c4d, 0);
  fixed.writeUInt16LE(1, 4);
  fixed.writeBigInt64LE(-1n, 8);
  return block(sectionBlock, fixed, [
    text(optionApplication, application),
    ...comments.map((comment) => text(optionComment, comment)),
  ]);
}

/** Interfaces are numbered from 0 in the order they are written. Times are microseconds. */
export function renderInterface({ name, linkType, filter }: CaptureInterface): Buffer {
  const fixed = Buffer.alloc(8);
  fixed.writeUInt16LE(linkType, 0);
  const options = [text(optionName, name)];
  // Zero first: libpcap's text; see the registry of if_filter.
  if (filter !== undefined)
    options.push(option(optionFilter, Buffer.concat([Buffer.alloc(1), Buffer.from(filter, 'utf8').subarray(0, longestComment)])));
  return block(interfaceBlock, fixed, options);
}

/** A time before 1970 has no form there: it becomes the first there is. */
const timeOf = (bytes: Buffer, at: Micros, offset: number): void => {
  const units = Math.max(0, at);
  bytes.writeUInt32LE(Math.floor(units / 2 ** 32), offset);
  bytes.writeUInt32LE(units % 2 ** 32, offset + 4);
};

export interface CapturePacket {
  readonly interface: number;
  readonly at: Micros;
  readonly bytes: Uint8Array;
  readonly wireLength: number;
  readonly outgoing?: boolean;
  readonly comments?: readonly string[];
}

export function renderPacket({ interface: number, at, bytes, wireLength, outgoing, comments = [] }: CapturePacket): Buffer {
  const fixed = Buffer.alloc(20 + bytes.length);
  fixed.writeUInt32LE(number, 0);
  timeOf(fixed, at, 4);
  fixed.writeUInt32LE(bytes.length, 12);
  fixed.writeUInt32LE(wireLength, 16);
  fixed.set(bytes, 20);
  const options = comments.map((comment) => text(optionComment, comment));
  if (outgoing !== undefined) options.push(option(optionFlags, Buffer.from([outgoing ? 2 : 1, 0, 0, 0])));
  return block(packetBlock, fixed, options);
}

const flagsBytes = 12;

/** Of a packet without comments, as `fillPacket` writes it. */
export const packetBytes = (length: number, flags: boolean): number => 32 + padded(length) + (flags ? flagsBytes : 0);

/** `renderPacket` without comments into room that is there: `packetBytes` from `at`. For the path of every packet. */
export function fillPacket(into: Buffer, at: number, packet: Omit<CapturePacket, 'comments'>): void {
  const { bytes, outgoing } = packet;
  const total = packetBytes(bytes.length, outgoing !== undefined);
  into.writeUInt32LE(packetBlock, at);
  into.writeUInt32LE(total, at + 4);
  into.writeUInt32LE(packet.interface, at + 8);
  timeOf(into, packet.at, at + 12);
  into.writeUInt32LE(bytes.length, at + 20);
  into.writeUInt32LE(packet.wireLength, at + 24);
  into.set(bytes, at + 28);
  let next = at + 28 + bytes.length;
  for (const end = at + 28 + padded(bytes.length); next < end; next += 1) into[next] = 0;
  if (outgoing !== undefined) {
    into.writeUInt16LE(optionFlags, next);
    into.writeUInt16LE(4, next + 2);
    into.writeUInt32LE(outgoing ? 2 : 1, next + 4);
    into.writeUInt32LE(0, next + 8);
  }
  into.writeUInt32LE(total, at + total - 4);
}

/** Last, for each interface: what the kernel took and what it had no room for. */
export function renderStatistics(
  number: number,
  at: Micros,
  received: number,
  dropped: number,
  comments: readonly string[] = [],
): Buffer {
  const fixed = Buffer.alloc(12);
  fixed.writeUInt32LE(number, 0);
  timeOf(fixed, at, 4);
  return block(statisticsBlock, fixed, [
    number64(optionReceived, received),
    number64(optionDropped, dropped),
    ...comments.map((comment) => text(optionComment, comment)),
  ]);
}
