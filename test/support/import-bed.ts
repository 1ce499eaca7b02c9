// Runs an import format over lines of files as the engine does, without files, journal or bounds of its own: what came of each
// line, and what was handed over. Used by tests only.

import assert from 'node:assert/strict';
import { detect } from '../../src/honeypot/detect.ts';
import type { ImportContext, ImportedProbe, ImportedSession, ImportFormat, Sample } from '../../src/record/importers/importer.ts';
import { Rejection } from '../../src/record/importers/importer.ts';

export interface ImportRun {
  readonly sessions: ImportedSession[];
  readonly probes: ImportedProbe[];
  /** One for each line or packet. */
  readonly outcomes: string[];
  readonly rejections: string[];
  readonly counts: { readonly lines: number; readonly sessions: number; readonly merged: number; readonly rejected: number };
}

/** 2024-01-01. */
export const importNow = 1_704_067_200_000_000;

function contextOf(run: ImportRun): ImportContext {
  return {
    now: importNow,
    zoneMinutes: 0,
    session: (session) => run.sessions.push(session),
    probe: (probe) => run.probes.push(probe),
    unfinished: (give) => give(),
    note: () => {},
    protocolOf: (input, _port, transport) => {
      const found = transport === 'tcp' ? detect(Buffer.from(input), undefined, true) : undefined;
      return found?.verdict === 'match' ? found.protocol : undefined;
    },
  };
}

/** Also checks that every line has one outcome and every session's line exactly one record. */
export function runImport(format: ImportFormat, ...files: (readonly string[] | readonly Uint8Array[])[]): ImportRun {
  const run = {
    sessions: [],
    probes: [],
    outcomes: [],
    rejections: [],
    counts: { lines: 0, sessions: 0, merged: 0, rejected: 0 },
  };
  const result = run as unknown as ImportRun & { counts: { lines: number; sessions: number; merged: number; rejected: number } };
  const owed = new Set<string>();
  const count = (kind: 'sessions' | 'merged' | 'rejected', place: { file: number; line: number }, reason?: string): void => {
    result.counts.lines += 1;
    result.counts[kind] += 1;
    result.outcomes.push(reason ?? kind);
    if (reason !== undefined) result.rejections.push(reason);
    if (kind === 'sessions') owed.add(`${place.file}:${place.line}`);
  };
  const context = contextOf(result);
  const parser = format.open(context);
  for (const [index, file] of files.entries()) {
    const facts = { index, name: `file-${index}` };
    parser.begin?.(facts);
    let line = 0;
    if (format.reads === 'lines') {
      for (const text of file as readonly string[]) {
        line += 1;
        const place = { file: index, line };
        const outcome = (parser as ReturnType<Extract<ImportFormat, { reads: 'lines' }>['open']>).take(text, place);
        if (outcome instanceof Rejection) count('rejected', place, outcome.reason);
        else count(outcome === 'session' ? 'sessions' : 'merged', place);
      }
      parser.finish?.(facts, undefined as never);
      continue;
    }
    const tally = {
      session: () => {
        line += 1;
        count('sessions', { file: index, line });
        return { file: index, line };
      },
      merged: () => {
        line += 1;
        count('merged', { file: index, line });
      },
      rejected: (reason: string) => {
        line += 1;
        count('rejected', { file: index, line }, reason);
      },
    };
    const bytes = parser as ReturnType<Extract<ImportFormat, { reads: 'bytes' }>['open']>;
    for (const piece of file as readonly Uint8Array[]) bytes.take(piece, tally);
    bytes.finish?.(facts, tally);
  }
  parser.end();
  for (const { place } of [...result.sessions, ...result.probes]) {
    const key = `${place.file}:${place.line}`;
    assert.ok(owed.delete(key), `a record of line ${key}, which did not begin one`);
  }
  assert.equal(owed.size, 0, `lines without the record they began: ${[...owed].slice(0, 5).join(' ')}`);
  return result;
}

/** As the engine makes it of a file's first lines. */
export function sampleOf(lines: readonly string[]): Sample {
  const objects: Record<string, unknown>[] = [];
  for (const line of lines.slice(0, 100)) {
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) objects.push(value as Record<string, unknown>);
    } catch {
      // Not JSON.
    }
  }
  return { bytes: Buffer.from(lines.join('\n')).subarray(0, 65_536), lines: lines.slice(0, 100), objects };
}
