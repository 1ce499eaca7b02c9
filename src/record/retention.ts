// What is kept and what goes: whole days of the store, and journal segments that no kept day needs any more. Bounds by
// days and by the size of store, bodies and journal together. Called by recorder.ts; the store drops its own days.

import { readdirSync } from 'node:fs';
import { open, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Micros } from '../base/clock.ts';
import type { Retention } from '../model/configuration.ts';
import { dayMicros, dayOf, dayStart } from './day.ts';
import { decodeSegmentHeader, segmentHeaderBytes, segmentName } from './journal-format.ts';
import { listSegments } from './journal-tail.ts';
import type { Checkpoint, Store } from './store.ts';

export interface SegmentFile {
  readonly writer: string;
  readonly segment: number;
  readonly path: string;
  readonly bytes: number;
  /** From its header; the file's own time when that does not parse. */
  readonly created: Micros;
}

/** Every segment of every writer, by writer and number. */
export async function readSegments(journalDirectory: string): Promise<SegmentFile[]> {
  const files: SegmentFile[] = [];
  let writers: string[] = [];
  try {
    writers = readdirSync(journalDirectory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  for (const writer of writers) {
    const directory = join(journalDirectory, writer);
    for (const segment of listSegments(directory)) {
      const path = join(directory, segmentName(segment));
      try {
        const { size, mtimeMs } = await stat(path);
        const created = (await readCreated(path)) ?? Math.floor(mtimeMs * 1000);
        files.push({ writer, segment, path, bytes: size, created });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  }
  return files;
}

async function readCreated(path: string): Promise<Micros | undefined> {
  const handle = await open(path, 'r');
  try {
    const bytes = Buffer.alloc(segmentHeaderBytes);
    const { bytesRead } = await handle.read(bytes, 0, segmentHeaderBytes, 0);
    return bytesRead === segmentHeaderBytes ? decodeSegmentHeader(bytes)?.created : undefined;
  } finally {
    await handle.close();
  }
}

/** Where to start reading so that no record made at or after `since` is missed. Pure. */
export function replayFrom(segments: readonly SegmentFile[], since: Micros): Checkpoint {
  const from: Record<string, { segment: number; offset: number }> = {};
  for (const { writer, segment, created } of segments) {
    if (from[writer] === undefined || created <= since) from[writer] = { segment, offset: 0 };
  }
  return from;
}

/** Segments whose every record was made before `before` and is applied: the next one began by then. Pure. */
export function planExpired(segments: readonly SegmentFile[], checkpoint: Checkpoint, before: Micros): SegmentFile[] {
  return segments.filter((file, index) => {
    const next = segments[index + 1];
    return applied(file, next, checkpoint) && next.created <= before;
  });
}

/** Oldest applied segments to remove until the journal is no larger than `sizeBytes`. Pure. */
export function planTrim(segments: readonly SegmentFile[], checkpoint: Checkpoint, sizeBytes: number): SegmentFile[] {
  let total = segments.reduce((sum, { bytes }) => sum + bytes, 0);
  const candidates = segments.filter((file, index) => applied(file, segments[index + 1], checkpoint));
  const trimmed: SegmentFile[] = [];
  for (const file of candidates.sort((a, b) => a.created - b.created)) {
    if (total <= sizeBytes) break;
    trimmed.push(file);
    total -= file.bytes;
  }
  return trimmed;
}

/** A writer's newest segment is never touched, nor one that is not wholly in the store. */
function applied(file: SegmentFile, next: SegmentFile | undefined, checkpoint: Checkpoint): next is SegmentFile {
  return next !== undefined && next.writer === file.writer && file.segment < (checkpoint[file.writer]?.segment ?? 0);
}

export interface RetentionResult {
  readonly days: readonly string[];
  readonly segments: number;
  /** True when segments went that a kept day would need to be rebuilt. */
  readonly trimmed: boolean;
  readonly journalBytes: number;
  readonly storeBytes: number;
}

/**
 * Applies retention once. The journal may take half of the size; what it has beyond goes first, oldest first. Then
 * whole days go, oldest first, together with their segments, until everything fits.
 */
export async function applyRetention(
  store: Store,
  journalDirectory: string,
  checkpoint: Checkpoint,
  retention: Retention,
  now: Micros,
): Promise<RetentionResult> {
  const days = [...(await store.prune(dayStart(dayOf(now - retention.days * dayMicros)), Number.POSITIVE_INFINITY))];
  let removed = 0;
  let segments = await readSegments(journalDirectory);
  const remove = async (files: readonly SegmentFile[]): Promise<void> => {
    for (const file of files) await unlink(file.path).catch(() => {});
    removed += files.length;
    if (files.length > 0) segments = await readSegments(journalDirectory);
  };
  const expire = async (): Promise<void> => {
    const { oldest } = await store.size();
    if (oldest !== undefined) await remove(planExpired(segments, checkpoint, dayStart(dayOf(oldest))));
  };
  await expire();
  const trim = planTrim(segments, checkpoint, retention.sizeBytes / 2);
  await remove(trim);
  const journalBytes = (): number => segments.reduce((sum, { bytes }) => sum + bytes, 0);
  let storeBytes = (await store.size()).bytes;
  while (storeBytes + journalBytes() > retention.sizeBytes) {
    const dropped = await store.prune(Number.NEGATIVE_INFINITY, storeBytes - 1);
    if (dropped.length === 0) break;
    days.push(...dropped);
    await expire();
    storeBytes = (await store.size()).bytes;
  }
  return { days, segments: removed, trimmed: trim.length > 0, journalBytes: journalBytes(), storeBytes };
}
