// Tails the journals of all writers below one directory from a checkpoint: bounded batches, woken by the file system and
// by a slow poll. Reads only; what becomes of the events is recorder.ts, the files are segment-cursor.ts.

import { existsSync, type FSWatcher, readdirSync, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import { segmentName } from './journal-format.ts';
import { listSegments } from './journal-tail.ts';
import { type JournalDamage, SegmentCursor } from './segment-cursor.ts';
import type { Checkpoint } from './store.ts';

export interface JournalReaderOptions {
  /** `journal/`, with a directory for each writer. */
  readonly directory: string;
  readonly checkpoint: Checkpoint;
  readonly log: Log;
  /** Only the journals of these; absent: all. */
  readonly writers?: readonly string[];
  /** Bounds of a batch; defaults 2,000 events and 2 MiB of chunk bytes. */
  readonly maxEvents?: number;
  readonly maxBytes?: number;
}

export interface WriterRun {
  readonly writer: string;
  readonly epoch: number;
}

export interface JournalBatch {
  /** Runs that began at this point, before `events`: sessions of the writer's earlier runs can get no more records. */
  readonly runs: readonly WriterRun[];
  readonly events: readonly WeirEvent[];
  readonly damage: readonly JournalDamage[];
  /** Where every writer's reading stands after this batch. */
  readonly checkpoint: Checkpoint;
}

const pollMs = 1000;

export class JournalReader {
  readonly #directory: string;
  readonly #log: Log;
  readonly #writers: readonly string[] | undefined;
  readonly #maxEvents: number;
  readonly #maxBytes: number;
  readonly #cursors = new Map<string, SegmentCursor>();
  readonly #start: Checkpoint;
  readonly #watchers = new Map<string, FSWatcher>();
  #pendingRuns: WriterRun[] = [];
  #news = true;
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(options: JournalReaderOptions) {
    this.#directory = options.directory;
    this.#start = options.checkpoint;
    this.#log = options.log;
    this.#writers = options.writers;
    this.#maxEvents = options.maxEvents ?? 2000;
    this.#maxBytes = options.maxBytes ?? 2 * 1024 * 1024;
  }

  /** The next batch, or undefined when every journal is read to its end. One call at a time. */
  async read(): Promise<JournalBatch | undefined> {
    this.#news = false;
    this.#discover();
    const events: WeirEvent[] = [];
    const damage: JournalDamage[] = [];
    const runs = this.#pendingRuns;
    this.#pendingRuns = [];
    let bytes = 0;
    for (const cursor of this.#cursors.values()) {
      while (events.length < this.#maxEvents && bytes < this.#maxBytes) {
        const step = await cursor.next();
        if (step.kind === 'end') break;
        if (step.kind === 'event') {
          events.push(step.event);
          if (step.event.kind === 'session') for (const chunk of step.event.session.chunks) bytes += chunk.bytes.length;
        } else if (step.kind === 'damage') damage.push(step.damage);
        else if (events.length === 0) runs.push({ writer: cursor.writer, epoch: step.epoch });
        else {
          // The run belongs in front of what follows it: this batch ends here.
          this.#pendingRuns.push({ writer: cursor.writer, epoch: step.epoch });
          this.#news = true;
          return { runs, events, damage, checkpoint: this.checkpoint() };
        }
      }
    }
    if (events.length >= this.#maxEvents || bytes >= this.#maxBytes) this.#news = true;
    if (events.length === 0 && runs.length === 0 && damage.length === 0) return undefined;
    return { runs, events, damage, checkpoint: this.checkpoint() };
  }

  checkpoint(): Checkpoint {
    const checkpoint: Record<string, { segment: number; offset: number }> = { ...this.#start };
    for (const [writer, { segment, offset }] of this.#cursors) checkpoint[writer] = { segment, offset };
    return checkpoint;
  }

  /** Resolves when there may be something to read, at the latest after a second or `close`. */
  async wait(): Promise<void> {
    if (this.#news || this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, pollMs);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = done;
    });
    this.#wake = undefined;
  }

  /** Bytes of the journals behind `from`, such as what of them is applied; also of writers nobody has read yet. */
  async lagBytes(from: Checkpoint): Promise<number> {
    let lag = 0;
    for (const writer of this.#names()) {
      const directory = join(this.#directory, writer);
      const { segment: first, offset } = from[writer] ?? { segment: 0, offset: 0 };
      for (const segment of listSegments(directory)) {
        if (segment < first) continue;
        const { size } = await stat(join(directory, segmentName(segment))).catch(() => ({ size: 0 }));
        lag += segment === first ? Math.max(0, size - offset) : size;
      }
    }
    return lag;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    this.#wake?.();
    for (const cursor of this.#cursors.values()) await cursor.close();
  }

  /** Writers that are read. */
  #names(): string[] {
    try {
      return readdirSync(this.#directory, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
        .filter((name) => this.#writers?.includes(name) ?? true);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  #discover(): void {
    const names = this.#names();
    if (existsSync(this.#directory)) this.#watch(this.#directory);
    for (const name of names) {
      const directory = join(this.#directory, name);
      this.#watch(directory);
      if (this.#cursors.has(name)) continue;
      const from = this.#start[name];
      this.#cursors.set(name, new SegmentCursor(name, directory, from?.segment ?? 0, from?.offset ?? 0));
    }
  }

  #watch(directory: string): void {
    if (this.#watchers.has(directory) || this.#closed) return;
    try {
      const watcher = watch(directory, { persistent: false }, () => {
        this.#news = true;
        this.#wake?.();
      });
      watcher.on('error', (error) => {
        this.#log.warn('a journal directory cannot be watched; it is polled', { directory, error: error.message });
        watcher.close();
      });
      this.#watchers.set(directory, watcher);
    } catch (error) {
      // Out of inotify watches: the poll goes on.
      this.#log.debug('no watch', { directory, error: String(error) });
    }
  }
}
