// What an agent's spool is handed over as: whole journal bodies behind each other, [u32 length][body], little endian. Both
// ends of the link use it; the centre treats every byte as hostile. The bodies are event-codec.ts.

import type { Micros } from '../base/clock.ts';
import type { WeirEvent } from '../model/event.ts';
import { bodyBound, decodeEvent, encodeEvent, maxBodyBytes } from './event-codec.ts';

/** Longer batches are neither made nor believed: one record of the longest kind fits. */
export const maxSpoolBatchBytes = maxBodyBytes + 4;
/** Records of one batch, at most; the smallest body has about 20 bytes. */
export const maxSpoolBatchRecords = 10_000;

/**
 * The journal's writer (`journal/agents/`) under which the centre keeps what came out of spools. Its sessions are open in
 * processes elsewhere: that the gateway started anew says nothing about them, and whoever held them ends them.
 */
export const spoolWriter = 'agents';

export interface SpoolRecord {
  readonly event: WeirEvent;
  /** When the agent wrote it, by the centre's clock as far as the agent knew it. */
  readonly recordedAt: Micros;
}

/** When it was recorded, as far as it says so; else when it happened. */
export function recordTime(event: WeirEvent): Micros {
  if (event.kind === 'session') return event.session.recordedAt ?? event.session.end ?? event.session.start;
  if (event.kind === 'probe') return event.probe.end;
  return event.kind === 'alert' ? event.alert.at : event.system.at;
}

/** Collects records up to the bounds of a batch. */
export class SpoolBatch {
  #bytes = Buffer.allocUnsafe(64 * 1024);
  #used = 0;
  #records = 0;

  get records(): number {
    return this.#records;
  }

  get sizeBytes(): number {
    return this.#used;
  }

  /** False when there is no room for it any more; an empty batch has room for whatever a journal holds. */
  add(event: WeirEvent, recordedAt = recordTime(event)): boolean {
    const bound = bodyBound(event) + 4;
    if (this.#records >= maxSpoolBatchRecords || this.#used + bound > maxSpoolBatchBytes) return false;
    if (this.#used + bound > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#used + bound));
      this.#bytes.copy(larger, 0, 0, this.#used);
      this.#bytes = larger;
    }
    const end = encodeEvent(event, recordedAt, this.#bytes, this.#used + 4);
    this.#bytes.writeUInt32LE(end - this.#used - 4, this.#used);
    this.#used = end;
    this.#records += 1;
    return true;
  }

  clear(): void {
    this.#used = 0;
    this.#records = 0;
  }

  /** The batch so far; a view, valid until the next `add` or `clear`. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#used);
  }
}

/** All records, or undefined when the bytes are not exactly a batch. */
export function decodeSpoolBatch(bytes: Uint8Array): SpoolRecord[] | undefined {
  if (bytes.length > maxSpoolBatchBytes) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: SpoolRecord[] = [];
  let at = 0;
  while (at < buffer.length) {
    if (buffer.length - at < 4 || records.length >= maxSpoolBatchRecords) return undefined;
    const body = at + 4;
    const end = body + buffer.readUInt32LE(at);
    if (end > buffer.length || end - body > maxBodyBytes) return undefined;
    const record = decodeEvent(buffer, body, end);
    if (!record) return undefined;
    records.push(record);
    at = end;
  }
  return records;
}
