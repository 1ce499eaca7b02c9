// Who is counted where: every line of every file is one of session, merged, rejected, whatever happens to its record later. A
// record that is refused, known already or joined to another moves its line from one to the other.

import type { Micros } from '../../base/clock.ts';
import type { WeirEvent } from '../../model/event.ts';
import { implausibleTime } from './imported-event.ts';
import { type LineOutcome, type Place, Rejection } from './importer.ts';
import type { RejectFile } from './reject-file.ts';

export type RecordKind = 'session' | 'probe';

export interface FileTally {
  lines: number;
  sessions: number;
  /** Of `sessions`. */
  probes: number;
  merged: number;
  rejected: number;
  /** Lines that began a record which was not handed over yet. */
  owed: number;
  /** Records that may still go on and are left for the next import. */
  left: number;
  /** Starts of the last few records. */
  readonly recent: Micros[];
  readonly notes: Set<string>;
}

const maxNotes = 10;
const recentRecords = 8;

export class ImportTally {
  readonly files: FileTally[];
  readonly #rejects: readonly RejectFile[];

  constructor(rejects: readonly RejectFile[]) {
    this.#rejects = rejects;
    this.files = rejects.map(() => ({
      lines: 0,
      sessions: 0,
      probes: 0,
      merged: 0,
      rejected: 0,
      owed: 0,
      left: 0,
      recent: [],
      notes: new Set<string>(),
    }));
  }

  line(place: Place, outcome: LineOutcome, text: string): void {
    const tally = this.files[place.file];
    tally.lines += 1;
    if (outcome === 'merged') tally.merged += 1;
    else if (outcome === 'session') {
      tally.sessions += 1;
      tally.owed += 1;
    } else this.#reject(tally, place, outcome, text);
  }

  #reject(tally: FileTally, place: Place, { reason }: Rejection, text: string): void {
    tally.rejected += 1;
    this.#rejects[place.file].add(place.line, reason, text);
  }

  /** A format handed over what it owed; false when it was refused (`event` says why), which counts as rejected. */
  delivered(place: Place, kind: RecordKind, event: WeirEvent | string, start: Micros): event is WeirEvent {
    const tally = this.files[place.file];
    tally.owed -= 1;
    if (typeof event === 'string') {
      tally.sessions -= 1;
      this.#reject(tally, place, new Rejection(event), '');
      if (event === implausibleTime)
        this.note(
          place.file,
          'it has times before 1990 or after tomorrow, which are rejected: was the clock right, here and there?',
        );
      return false;
    }
    if (kind === 'probe') tally.probes += 1;
    if (tally.recent.push(start) > recentRecords) tally.recent.shift();
    return true;
  }

  /** A format handed over what may still go on: no record of this import. */
  leave({ file }: Place): void {
    const tally = this.files[file];
    tally.owed -= 1;
    tally.sessions -= 1;
    tally.merged += 1;
    tally.left += 1;
  }

  /** The log's own time where the file is being read: of its last few records the earliest, for single ones may be far ahead. */
  reached(file: number): Micros {
    const { recent } = this.files[file];
    return recent.length === 0 ? Number.NEGATIVE_INFINITY : Math.min(...recent);
  }

  /** The record is no record of its own: it is in the store already, or part of another. */
  merge(file: number, kind: RecordKind): void {
    const tally = this.files[file];
    tally.sessions -= 1;
    tally.merged += 1;
    if (kind === 'probe') tally.probes -= 1;
  }

  note(file: number, text: string): void {
    const { notes } = this.files[file];
    if (notes.size < maxNotes) notes.add(text);
  }

  /** At the end: what a format still owes was never a record. */
  settled(file: number): FileTally {
    const tally = this.files[file];
    if (tally.owed !== 0) {
      this.note(file, `its importer is at fault: ${tally.owed} lines that began a session gave none`);
      tally.sessions -= tally.owed;
      tally.rejected += tally.owed;
      tally.owed = 0;
    }
    this.#noteLeft(tally, file);
    return tally;
  }

  #noteLeft(tally: FileTally, file: number): void {
    if (tally.left === 0) return;
    const what = tally.left === 1 ? '1 session was' : `${tally.left} sessions were`;
    this.note(file, `${what} still going on when the log was read: import it again when it is over, and they are taken whole`);
  }

  /** Where the file's rejected lines are, once all are written. */
  rejectedFile(file: number): string | undefined {
    const reject = this.#rejects[file];
    reject.close();
    if (reject.omitted > 0) this.note(file, `${reject.omitted} rejected lines were counted but not set aside: the file is full`);
    return reject.path;
  }

  close(): void {
    for (const reject of this.#rejects) reject.close();
  }
}
