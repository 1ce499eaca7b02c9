// Chunks of a session as one value in a store's row. Bodies over the inline limit are taken out, one per direction, and
// live in the blob store under the hash of exactly those bytes.

import type { Micros } from '../base/clock.ts';
import type { Chunk, Direction } from '../model/session.ts';
import { ByteReader, ByteWriter, DecodeError } from './byte-cursor.ts';

/** `in` and `out` bytes of one record that together are longer than this are bodies. */
export const inlineLimitBytes = 64 * 1024;

export interface PackedChunks {
  readonly packed: Buffer;
  /** Bytes that are not in `packed`, by direction. */
  readonly bodies: Readonly<Partial<Record<Direction, Buffer>>>;
}

export function packChunks(chunks: readonly Chunk[], start: Micros): PackedChunks {
  const total = { in: 0, out: 0 };
  for (const { direction, bytes } of chunks) total[direction] += bytes.length;
  const outside = { in: total.in > inlineLimitBytes, out: total.out > inlineLimitBytes };
  const writer = new ByteWriter();
  const inline = (outside.in ? 0 : total.in) + (outside.out ? 0 : total.out);
  writer.buffer = Buffer.allocUnsafe(16 + chunks.length * 20 + inline);
  writer.u8((outside.in ? 1 : 0) | (outside.out ? 2 : 0));
  writer.varint(chunks.length);
  let previous = start;
  for (const { at, direction, bytes } of chunks) {
    writer.signed(at - previous);
    previous = at;
    writer.varint(bytes.length * 2 + (direction === 'out' ? 1 : 0));
    if (!outside[direction]) writer.bytes(bytes);
  }
  const body = (direction: Direction): Buffer =>
    Buffer.concat(chunks.filter((chunk) => chunk.direction === direction).map(({ bytes }) => bytes));
  return {
    packed: writer.buffer.subarray(0, writer.at),
    bodies: { ...(outside.in && { in: body('in') }), ...(outside.out && { out: body('out') }) },
  };
}

/** Inverse of packChunks; a body that is missing gives empty chunks. Undefined when the bytes do not parse. */
export function unpackChunks(
  packed: Uint8Array,
  start: Micros,
  bodies: Readonly<Partial<Record<Direction, Uint8Array>>>,
): Chunk[] | undefined {
  const reader = new ByteReader(Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength));
  try {
    const flags = reader.u8();
    const outside = { in: (flags & 1) !== 0, out: (flags & 2) !== 0 };
    const taken = { in: 0, out: 0 };
    const count = reader.varint();
    const chunks: Chunk[] = [];
    let at = start;
    for (let index = 0; index < count; index += 1) {
      at += reader.signed();
      const value = reader.varint();
      const direction: Direction = value % 2 ? 'out' : 'in';
      const length = Math.floor(value / 2);
      if (!outside[direction]) chunks.push({ at, direction, bytes: reader.bytes(length) });
      else {
        const from = taken[direction];
        taken[direction] += length;
        chunks.push({ at, direction, bytes: bodies[direction]?.slice(from, from + length) ?? new Uint8Array(0) });
      }
    }
    return chunks;
  } catch (error) {
    if (error instanceof DecodeError || error instanceof RangeError) return undefined;
    throw error;
  }
}
