// How events become rows of a partition's tables. Which of them, and when, is duckdb-apply.ts.

import type { DuckDBAppender } from '@duckdb/node-api';
import type { Micros } from '../base/clock.ts';
import type { ProbeRecord, WeirEvent } from '../model/event.ts';
import type { SessionRecord } from '../model/session.ts';
import { appendBytes, appendKey, appendText, type RowBytes } from './duckdb-row.ts';
import { appendSession, type RowExtra } from './duckdb-schema.ts';
import { bodyBound, decodeEvent, encodeEvent } from './event-codec.ts';

/** Chunks of a session that took several records. */
export interface Piece {
  readonly id: string;
  readonly firstChunk: number;
  readonly bytes: RowBytes;
}

/** A row of `sessions` or `open_records`. */
export interface Row {
  readonly record: SessionRecord;
  readonly extra: RowExtra;
  readonly bytes: RowBytes;
}

export const appendRow = (to: DuckDBAppender, { record, extra, bytes }: Row): void => appendSession(to, record, extra, bytes);

export function appendPiece(to: DuckDBAppender, { id, firstChunk, bytes }: Piece): void {
  to.appendVarchar(id);
  to.appendUInteger(firstChunk);
  appendBytes(to, bytes.packed);
  appendText(to, bytes.inBody);
  appendText(to, bytes.outBody);
  to.endRow();
}

function encoded(event: WeirEvent, at: Micros): Buffer {
  const buffer = Buffer.allocUnsafe(bodyBound(event));
  return buffer.subarray(0, encodeEvent(event, at, buffer, 0));
}

export function appendProbe(to: DuckDBAppender, probe: ProbeRecord): void {
  to.appendVarchar(probe.id);
  to.appendBigInt(BigInt(probe.start));
  to.appendVarchar(probe.source);
  appendKey(to, probe.source);
  to.appendVarchar(probe.diversion);
  to.appendBigInt(BigInt(probe.targets.reduce((sum, { count }) => sum + count, probe.unlisted)));
  to.appendBlob(encoded({ kind: 'probe', probe }, probe.start));
  to.endRow();
}

export function appendTargets(to: DuckDBAppender, probe: ProbeRecord): void {
  for (const target of probe.targets) {
    to.appendVarchar(probe.id);
    to.appendBigInt(BigInt(probe.start));
    to.appendVarchar(probe.source);
    appendKey(to, probe.source);
    to.appendVarchar(probe.diversion);
    to.appendVarchar(target.ip);
    appendKey(to, target.ip);
    to.appendUSmallInt(target.port);
    to.appendVarchar(target.transport);
    to.appendVarchar(target.kind);
    to.appendBigInt(BigInt(target.count));
    to.endRow();
  }
}

export function appendNotice(
  to: DuckDBAppender,
  { id, at, name }: { id: string; at: Micros; name: string },
  event: WeirEvent,
): void {
  to.appendVarchar(id);
  to.appendBigInt(BigInt(at));
  to.appendVarchar(name);
  to.appendBlob(encoded(event, at));
  to.endRow();
}

/** The event of a `body` column. */
export function readBody(body: unknown): WeirEvent | undefined {
  if (!(body instanceof Uint8Array)) return undefined;
  return decodeEvent(Buffer.from(body.buffer, body.byteOffset, body.byteLength))?.event;
}
