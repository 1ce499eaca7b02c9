// What a writer does before it writes: finds its newest segment and cuts what a crash left behind the last good
// record. Synchronous, at start only. Damage before the last good record stays: readers step over it and say so.

import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import {
  checkRecord,
  decodeSegmentHeader,
  findRecord,
  parseSegmentName,
  segmentHeaderBytes,
  segmentName,
} from './journal-format.ts';

export interface TailCut {
  readonly segment: number;
  /** Where the segment ends now. */
  readonly offset: number;
  readonly bytesCut: number;
  /** Bytes before `offset` that are no records: damage in the middle. */
  readonly bytesDamaged: number;
}

/** Segment numbers of a writer's directory, ascending; empty when the directory is missing. */
export function listSegments(directory: string): number[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names
    .map(parseSegmentName)
    .filter((segment) => segment >= 0)
    .sort((a, b) => a - b);
}

/** Where the last good record of a segment's bytes ends, and how many bytes before it are damaged. */
export function findTail(bytes: Buffer): { end: number; bytesDamaged: number } {
  const header = decodeSegmentHeader(bytes);
  if (!header) return { end: 0, bytesDamaged: 0 };
  let at = segmentHeaderBytes;
  let bytesDamaged = 0;
  for (;;) {
    const check = checkRecord(bytes, at, bytes.length, header.salt);
    if (check.state === 'whole') {
      at = check.end;
      continue;
    }
    const next = findRecord(bytes, at, bytes.length, header.salt);
    if (next < 0) return { end: at, bytesDamaged };
    bytesDamaged += next - at;
    at = next;
  }
}

/** Cuts the damaged tail of the newest segment, durably. Undefined when there is nothing to cut. */
export function cutTail(directory: string): TailCut | undefined {
  const segment = listSegments(directory).at(-1);
  if (segment === undefined) return undefined;
  const fd = openSync(join(directory, segmentName(segment)), 'r+');
  try {
    const size = fstatSync(fd).size;
    const bytes = Buffer.allocUnsafe(size);
    let filled = 0;
    while (filled < size) {
      const count = readSync(fd, bytes, filled, size - filled, filled);
      if (count === 0) break;
      filled += count;
    }
    const { end, bytesDamaged } = findTail(bytes.subarray(0, filled));
    if (end === size && bytesDamaged === 0) return undefined;
    if (end < size) {
      ftruncateSync(fd, end);
      fsyncSync(fd);
    }
    return { segment, offset: end, bytesCut: size - end, bytesDamaged };
  } finally {
    closeSync(fd);
  }
}
