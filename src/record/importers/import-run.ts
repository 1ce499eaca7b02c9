// One import: files in, records out, and for every file the equation lines = sessions + merged + rejected. Reads each file
// once, in pieces, one after the other; those that are joined by time take turns. Parsing is the formats', keeping the caller's.

import type { Micros } from '../../base/clock.ts';
import { WeirError } from '../../base/errors.ts';
import type { Transport } from '../../model/session.ts';
import { describeSample } from './describe-sample.ts';
import { FileReading } from './file-reading.ts';
import { detectFormat } from './formats.ts';
import { type FileTally, ImportTally } from './import-tally.ts';
import { probeEvent, sessionEvent } from './imported-event.ts';
import type { ByteParser, ImportContext, ImportFormat, LineParser, Sample } from './importer.ts';
import { InputFile, type InputSource } from './input-file.ts';
import { LogJoin } from './log-join.ts';
import { type Deliver, RecordQueue } from './record-queue.ts';
import { RejectDirectory } from './reject-file.ts';

export interface ImportProgress {
  readonly file: string;
  readonly readBytes: number;
  /** Of all files whose size is known. */
  readonly totalBytes: number;
  readonly lines: number;
  readonly sessions: number;
}

export interface ImportRunOptions {
  readonly sources: readonly InputSource[];
  readonly formats: readonly ImportFormat[];
  /** One of them, or undefined: each file's is found by its beginning. */
  readonly format?: ImportFormat | undefined;
  /** Rejected lines go to `imports/` in it. */
  readonly dataDirectory: string;
  readonly now: Micros;
  readonly zoneMinutes: number;
  readonly year?: number | undefined;
  readonly bootedAt?: Micros | undefined;
  readonly joinWindowMicros?: Micros | undefined;
  readonly protocolOf: (input: Uint8Array, port: number, transport: Transport) => string | undefined;
  /** Keeps a batch and gives the positions of those records that were kept before. */
  readonly deliver: Deliver;
  readonly onProgress?: (progress: ImportProgress) => void;
  /** Ends the import after the piece at hand; what was delivered stays. */
  readonly signal?: AbortSignal;
}

/** What came of one file. */
export interface FileResult {
  readonly file: string;
  /** Absent when it was not recognised, or could not be read. */
  readonly format?: string;
  readonly lines: number;
  readonly sessions: number;
  /** Of `sessions`, those that are records of packets. */
  readonly probes: number;
  readonly merged: number;
  readonly rejected: number;
  readonly rejectedFile?: string;
  /** Why nothing, or not all of it, was read. */
  readonly error?: string;
  readonly notes: readonly string[];
}

interface OpenFormat {
  readonly format: ImportFormat;
  readonly parser: ReturnType<ImportFormat['open']>;
}

/** What a log has told of for so long, and not ended, may go on; as long as the longest silence of a format without ends. */
const goingOnMicros: Micros = 600e6;

/** Throws what `deliver` throws, and `disk-full` when rejected lines cannot be set aside. */
export async function runImport(options: ImportRunOptions): Promise<FileResult[]> {
  const run = new ImportRun(options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

class ImportRun {
  readonly #options: ImportRunOptions;
  readonly #files: InputFile[];
  readonly #tallies: FileTally[];
  readonly #tally: ImportTally;
  readonly #queue: RecordQueue;
  readonly #parsers = new Map<string, OpenFormat>();
  readonly #formatOf = new Map<number, ImportFormat>();
  /** Of files that may be joined: earliest time at their beginning. */
  readonly #starts = new Map<number, Micros>();
  /** Of every file, where there are several: about when it begins, and whether others of its format come first. */
  readonly #orders = new Map<number, { readonly at: Micros | undefined; readonly rank: number }>();
  #join: LogJoin | undefined;
  #near: Micros | undefined;
  /** What is handed over now did not end in the log. */
  #unfinished = false;

  constructor(options: ImportRunOptions) {
    this.#options = options;
    const rejects = new RejectDirectory(options.dataDirectory, options.now);
    this.#files = options.sources.map((source, index) => new InputFile(source, index));
    options.signal?.addEventListener('abort', () => this.#files.forEach((file) => void file.interrupt()), { once: true });
    this.#tally = new ImportTally(this.#files.map((file) => rejects.file(file.index, file.name)));
    this.#tallies = this.#tally.files;
    this.#queue = new RecordQueue(options.deliver, ({ file }, kind) => this.#tally.merge(file, kind));
  }

  async run(): Promise<FileResult[]> {
    for (const file of this.#files) await this.#look(file);
    const joined = this.#joinedFiles();
    await this.#lookBeside(joined);
    for (const files of this.#byFormat(joined)) {
      for (const file of files) {
        const reading = this.#open(file);
        while (!this.#aborted && (await reading.step())) await this.#after(file);
        await this.#after(file);
      }
      await this.#endParsers();
    }
    if (joined.length > 0) await this.#readJoined(joined);
    await this.#endParsers();
    this.#join?.end();
    await this.#queue.finish();
    return this.#files.map((file) => this.#result(file));
  }

  /** Of a format one after the other, the earliest log first: what one parser holds is let go before the next begins. */
  #byFormat(joined: readonly InputFile[]): InputFile[][] {
    const groups = new Map<ImportFormat, InputFile[]>();
    for (const file of this.#files) {
      const format = this.#formatOf.get(file.index);
      if (!format || joined.includes(file)) continue;
      const group = groups.get(format);
      if (group) group.push(file);
      else groups.set(format, [file]);
    }
    return [...groups.values()].map((group) => this.#inOrder(group));
  }

  /**
   * A session may begin in one file of a rotated log and end in the next, and names of rotated files do not sort by age
   * (`eve.json`, `eve.json.1`, ...). A file without times stays behind the one it was given behind.
   */
  #inOrder(files: readonly InputFile[]): InputFile[] {
    let before = Number.NEGATIVE_INFINITY;
    const ordered = files.map((file) => {
      const { at = before, rank = 0 } = this.#orders.get(file.index) ?? {};
      before = at;
      return { file, at, rank };
    });
    ordered.sort((a, b) => a.rank - b.rank || (a.at === b.at ? 0 : a.at - b.at));
    return ordered.map(({ file }) => file);
  }

  /** What a parser that fails here still owes is counted as rejected. An import that was interrupted ends here. */
  async #endParsers(): Promise<void> {
    if (this.#aborted)
      throw new WeirError('timeout', 'the import was interrupted; what was read is kept, and the same command goes on');
    for (const [name, { parser }] of this.#parsers) {
      this.#parsers.delete(name);
      try {
        parser.end();
      } catch (error) {
        this.#tally.note(0, `an importer is at fault: ${(error as Error).message.slice(0, 100)}`);
      }
    }
    await this.#queue.drain();
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
    this.#tally.close();
  }

  get #aborted(): boolean {
    return this.#options.signal?.aborted === true;
  }

  async #look(file: InputFile): Promise<void> {
    const sample = await file.sample();
    const { formats, format } = this.#options;
    if (file.damage !== undefined && sample.bytes.length === 0) return;
    const found = format ?? detectFormat(sample, formats);
    if (found) {
      this.#formatOf.set(file.index, found);
      if (found.joins === 'sessions') this.#starts.set(file.index, this.#startOf(file, found, sample));
      if (this.#files.length > 1) {
        const times = this.#timesOf(file, found, sample);
        // The middle one: a session that ended here may have begun long before.
        this.#orders.set(file.index, { at: times.at(times.length >> 1), rank: found.readRank?.(sample) ?? 0 });
      }
    } else if (sample.bytes.length === 0) this.#tally.note(file.index, 'it is empty');
    else
      file.damage = `its format is not known: it holds ${describeSample(sample)}; known are ${formats.map(({ name }) => name).join(', ')}`;
  }

  /** Those that tell each other something, when both kinds are there. */
  #joinedFiles(): InputFile[] {
    const kind = (file: InputFile) => this.#formatOf.get(file.index)?.joins;
    const files = this.#files.filter((file) => kind(file) !== undefined);
    return new Set(files.map(kind)).size === 2 ? files : [];
  }

  /** What packets' logs leave open of their times the sessions' logs tell. */
  async #lookBeside(joined: readonly InputFile[]): Promise<void> {
    const first = Math.min(...[...this.#starts.values()].filter(Number.isFinite));
    if (joined.length > 0 && Number.isFinite(first)) this.#near = first;
    for (const file of joined) {
      const format = this.#formatOf.get(file.index);
      if (format?.joins === 'packets') this.#starts.set(file.index, this.#startOf(file, format, await file.sample()));
    }
  }

  #open(file: InputFile): FileReading {
    const format = this.#formatOf.get(file.index) as ImportFormat;
    let open = this.#parsers.get(format.name);
    if (!open) {
      open = { format, parser: format.open(this.#context(format)) };
      this.#parsers.set(format.name, open);
    }
    return new FileReading(file, format.reads, open.parser, this.#tally);
  }

  /**
   * The file that is behind in the log's own time goes on, so that both halves of a session come near each other and little
   * waits. A file is begun when the others have come to where it starts.
   */
  async #readJoined(files: readonly InputFile[]): Promise<void> {
    const windowMicros = this.#options.joinWindowMicros;
    const join = new LogJoin({
      ...(windowMicros !== undefined && { windowMicros }),
      release: (event, place) => this.#queue.add(event, place),
      merged: ({ file }) => this.#tally.merge(file, 'probe'),
    });
    this.#join = join;
    const waiting = files.map((file) => ({ file, from: this.#starts.get(file.index) ?? Number.NEGATIVE_INFINITY }));
    waiting.sort((a, b) => a.from - b.from || a.file.index - b.file.index);
    const active: FileReading[] = [];
    const at = (reading: FileReading): Micros => this.#tally.reached(reading.file.index);
    const reached = (kind: 'sessions' | 'packets'): Micros => {
      const times = active.filter(({ file }) => this.#formatOf.get(file.index)?.joins === kind).map(at);
      const next = waiting.find(({ file }) => this.#formatOf.get(file.index)?.joins === kind);
      return Math.min(...times, next ? next.from : Number.POSITIVE_INFINITY);
    };
    while (!this.#aborted && (active.length > 0 || waiting.length > 0)) {
      const slowest = active.reduce<FileReading | undefined>((a, b) => (a && at(a) <= at(b) ? a : b), undefined);
      if (!slowest || (waiting.length > 0 && waiting[0].from <= at(slowest))) {
        active.push(this.#open((waiting.shift() as { file: InputFile }).file));
        continue;
      }
      if (!(await slowest.step())) active.splice(active.indexOf(slowest), 1);
      join.advance(reached('sessions'), reached('packets'));
      await this.#after(slowest.file);
    }
    if (join.hurried > 0)
      this.#tally.note(
        files[0].index,
        `${join.hurried} records could not wait for their other half: too many at once, or too long`,
      );
    const advice = join.joined === 0 ? ': do the clocks and zones of both logs agree (--zone, --join-window)?' : '';
    this.#tally.note(files[0].index, `${join.joined} sessions were told their destination by packet filter lines${advice}`);
  }

  /** Earliest time at the file's beginning, as its format reads it. */
  #startOf(file: InputFile, format: ImportFormat, sample: Sample): Micros {
    return this.#timesOf(file, format, sample)[0] ?? Number.NEGATIVE_INFINITY;
  }

  /** When the records at the file's beginning start, as its format reads them; ascending. */
  #timesOf(file: InputFile, format: ImportFormat, { lines, bytes }: Sample): Micros[] {
    const times: Micros[] = [];
    const told = ({ start }: { start: Micros }): void => void times.push(start);
    const nothing = (): void => {};
    const context = {
      ...this.#context(format),
      session: told,
      probe: told,
      unfinished: (give: () => void) => give(),
      note: nothing,
    };
    const parser = format.open(context);
    // What a parser fails for the reading itself counts.
    const attempt = (work: () => void): void => {
      try {
        work();
      } catch {}
    };
    attempt(() => parser.begin?.(file));
    if (format.reads === 'lines')
      for (const [index, line] of lines.entries())
        attempt(() => (parser as LineParser).take(line, { file: file.index, line: index + 1 }));
    else {
      const place = { file: file.index, line: 0 };
      attempt(() => (parser as ByteParser).take(bytes, { session: () => place, merged: nothing, rejected: nothing }));
    }
    attempt(() => parser.end());
    return times.filter(Number.isFinite).sort((a, b) => a - b);
  }

  #context(format: ImportFormat): ImportContext {
    const { now, zoneMinutes, year, bootedAt, protocolOf } = this.#options;
    return {
      now,
      zoneMinutes,
      alone: this.#files.length === 1,
      ...(year !== undefined && { year }),
      ...(this.#near !== undefined && { near: this.#near }),
      ...(bootedAt !== undefined && { bootedAt }),
      protocolOf,
      note: (file, text) => this.#tally.note(file, text),
      unfinished: (give) => {
        const outer = this.#unfinished;
        this.#unfinished = true;
        try {
          give();
        } finally {
          this.#unfinished = outer;
        }
      },
      session: (session) => {
        const { place, redirected, start } = session;
        if (this.#goesOn(session)) return this.#tally.leave(place);
        const event = sessionEvent(format.name, session, now);
        if (!this.#tally.delivered(place, 'session', event, start)) return;
        if (redirected && this.#join && event.kind === 'session') this.#join.session(event.session, place);
        else this.#queue.add(event, place);
      },
      probe: (probe) => {
        const { place, start } = probe;
        if (this.#goesOn(probe)) return this.#tally.leave(place);
        const event = probeEvent(format.name, probe, now);
        if (!this.#tally.delivered(place, 'probe', event, start)) return;
        if (format.joins === 'packets' && this.#join && event.kind === 'probe') this.#join.packet(event.probe, place);
        else this.#queue.add(event, place);
      },
    };
  }

  #goesOn({ start, end = start }: { readonly start: Micros; readonly end?: Micros }): boolean {
    return this.#unfinished && Math.abs(this.#options.now - end) < goingOnMicros;
  }

  async #after(file: InputFile): Promise<void> {
    await this.#queue.drain();
    const { onProgress } = this.#options;
    if (!onProgress) return;
    const sum = (of: (file: InputFile) => number): number => this.#files.reduce((total, each) => total + of(each), 0);
    onProgress({
      file: file.shown,
      readBytes: sum(({ readBytes }) => readBytes),
      totalBytes: sum(({ sizeBytes, readBytes }) => sizeBytes ?? readBytes),
      lines: sum(({ index }) => this.#tallies[index].lines),
      sessions: sum(({ index }) => this.#tallies[index].sessions),
    });
  }

  #result(file: InputFile): FileResult {
    const { lines, sessions, probes, merged, rejected } = this.#tally.settled(file.index);
    const rejectedFile = this.#tally.rejectedFile(file.index);
    const format = this.#formatOf.get(file.index)?.name;
    return {
      file: file.shown,
      ...(format !== undefined && { format }),
      lines,
      sessions,
      probes,
      merged,
      rejected,
      ...(rejectedFile !== undefined && { rejectedFile }),
      ...(file.damage !== undefined && { error: file.damage }),
      notes: [...this.#tallies[file.index].notes],
    };
  }
}
