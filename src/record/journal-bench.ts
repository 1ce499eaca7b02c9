// `weir bench journal`: sessions per second into the journal, framed, checksummed and durable, against a bare write stream
// of JSON lines with the same facts that is synced once at its end. Interleaved rounds in the same process.

import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import { JournalWriter } from './journal-writer.ts';

export interface JournalBenchOptions {
  /** Where to write; a directory of its own is made below it and removed. */
  readonly directory: string;
  readonly events?: number;
  readonly rounds?: number;
}

export interface JournalBenchResult {
  readonly events: number;
  readonly payloadBytes: number;
  /** Events per second, one figure a round. */
  readonly journal: readonly number[];
  readonly jsonLines: readonly number[];
  readonly journalMedian: number;
  readonly jsonLinesMedian: number;
  /** Journal over JSON lines, medians. */
  readonly ratio: number;
  readonly journalBytesPerEvent: number;
  readonly jsonBytesPerEvent: number;
}

const payloadBytes = 120;
/** The event loop is given a turn after this many events, as a gateway does. */
const turn = 2000;

function sample(index: number): WeirEvent {
  const start = systemClock();
  return {
    kind: 'session',
    session: {
      id: createIdentifier(start),
      sequence: 0,
      start,
      end: start + 1200,
      outcome: 'client-closed',
      transport: 'tcp',
      source: { ip: `192.0.2.${index % 250}`, port: 1024 + (index % 60_000) },
      destination: { ip: `10.64.${index % 256}.7`, port: index % 65_536 },
      sourceReliable: true,
      diversion: 'dmz',
      service: 'catch-all',
      persona: 'windows-server',
      protocol: 'http',
      bytesIn: payloadBytes,
      bytesOut: 0,
      firstChunk: 0,
      chunks: [{ at: start + 300, direction: 'in', bytes: Buffer.alloc(payloadBytes, index) }],
      truncated: false,
    },
  };
}

const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function journalRound(directory: string, events: number): Promise<{ perSecond: number; bytes: number }> {
  const journal = new JournalWriter({ directory, clock: systemClock, log: silentLog });
  const started = performance.now();
  for (let index = 0; index < events; index += 1) {
    journal.append(sample(index));
    if (index % turn === turn - 1) await breathe();
  }
  await journal.flush();
  const seconds = (performance.now() - started) / 1000;
  const { bytes, droppedRecords, strippedRecords } = journal.counters();
  await journal.close();
  if (droppedRecords + strippedRecords > 0) throw new Error('the disk is too slow for this many events: records were dropped');
  return { perSecond: events / seconds, bytes };
}

async function jsonRound(path: string, events: number): Promise<{ perSecond: number; bytes: number }> {
  const stream = createWriteStream(path);
  const started = performance.now();
  let bytes = 0;
  for (let index = 0; index < events; index += 1) {
    const line = `${JSON.stringify(sample(index), (_, value) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value))}\n`;
    bytes += line.length;
    if (!stream.write(line)) await new Promise<void>((resolve) => stream.once('drain', () => resolve()));
  }
  await new Promise<void>((resolve) => stream.end(() => resolve()));
  const handle = await open(path, 'r+');
  await handle.datasync();
  const seconds = (performance.now() - started) / 1000;
  await handle.close();
  return { perSecond: events / seconds, bytes };
}

const median = (figures: readonly number[]): number => [...figures].sort((a, b) => a - b)[figures.length >> 1];

/** Writes some 30 MB a round to `directory`. Throws when the disk cannot keep up. */
export async function benchJournal(options: JournalBenchOptions): Promise<JournalBenchResult> {
  const events = options.events ?? 60_000;
  const rounds = options.rounds ?? 5;
  const scratch = mkdtempSync(join(options.directory, 'weir-bench-journal-'));
  const journal: number[] = [];
  const jsonLines: number[] = [];
  let journalBytes = 0;
  let jsonBytes = 0;
  try {
    for (let round = 0; round < rounds; round += 1) {
      const ours = await journalRound(join(scratch, `journal-${round}`), events);
      const theirs = await jsonRound(join(scratch, `lines-${round}.jsonl`), events);
      journal.push(Math.round(ours.perSecond));
      jsonLines.push(Math.round(theirs.perSecond));
      journalBytes = ours.bytes;
      jsonBytes = theirs.bytes;
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return {
    events,
    payloadBytes,
    journal,
    jsonLines,
    journalMedian: median(journal),
    jsonLinesMedian: median(jsonLines),
    ratio: Math.round((median(journal) / median(jsonLines)) * 100) / 100,
    journalBytesPerEvent: Math.round(journalBytes / events),
    jsonBytesPerEvent: Math.round(jsonBytes / events),
  };
}
