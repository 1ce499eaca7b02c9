// How session records become the summary a store shows, the same for every store. Pure.

import { createHash } from 'node:crypto';
import { type Chunk, type SessionRecord, sequenceAfter } from '../model/session.ts';
import type { SessionSummary } from './store.ts';

export const previewBytes = 64;

/** Facts of a record, without its chunks; payload hash and preview are the store's to add. */
export function summaryOf(record: SessionRecord): SessionSummary {
  const { chunks, firstChunk, ...facts } = record;
  return { ...facts, chunkCount: firstChunk + chunks.length };
}

/** The first `in` bytes after what `before` holds, up to `previewBytes`; undefined when there are none. */
export function extendPreview(before: Uint8Array | undefined, chunks: readonly Chunk[]): Uint8Array | undefined {
  if (before && before.length >= previewBytes) return before;
  const parts: Uint8Array[] = before ? [before] : [];
  let length = before?.length ?? 0;
  for (const chunk of chunks) {
    if (length >= previewBytes) break;
    if (chunk.direction !== 'in') continue;
    parts.push(chunk.bytes.subarray(0, previewBytes - length));
    length += Math.min(chunk.bytes.length, previewBytes - length);
  }
  return length === 0 ? undefined : new Uint8Array(Buffer.concat(parts));
}

/** sha256 over all `in` bytes, hex; undefined when there are none. */
export function payloadHashOf(chunks: Iterable<Chunk>): string | undefined {
  let any = false;
  const hash = createHash('sha256');
  for (const chunk of chunks) {
    if (chunk.direction !== 'in' || chunk.bytes.length === 0) continue;
    any = true;
    hash.update(chunk.bytes);
  }
  return any ? hash.digest('hex') : undefined;
}

/** The last record of a session whose writer died: what was known, ended where it was last heard of. */
export function interrupted(summary: SessionSummary): SessionRecord {
  const { chunkCount, payloadHash: _hash, preview: _preview, ...facts } = summary;
  return {
    ...facts,
    sequence: sequenceAfter(summary.sequence),
    outcome: 'interrupted',
    end: Math.max(summary.start, summary.recordedAt ?? summary.start),
    firstChunk: chunkCount,
    chunks: [],
  };
}

/** The name and run in a session's `writer`, such as `gateway#17`; undefined when it carries none. */
export function parseRun(writer: string | undefined): { writer: string; epoch: number } | undefined {
  const match = /^(.+)#(\d+)$/.exec(writer ?? '');
  return match ? { writer: match[1], epoch: Number(match[2]) } : undefined;
}
