// The process that `weir bench import` measures: imports files, into nothing or into a store, and says how long it took and how
// much memory it ever had (getrusage(2), ru_maxrss).

import { mkdirSync } from 'node:fs';
import { systemClock } from '../../base/clock.ts';
import { silentLog } from '../../base/log.ts';
import { detect } from '../../honeypot/detect.ts';
import { DuckDbStore } from '../../record/duckdb-store.ts';
import { ImportIntake } from '../../record/import-intake.ts';
import { importFormats } from '../../record/importers/formats.ts';
import { runImport } from '../../record/importers/import-run.ts';
import { InputFile } from '../../record/importers/input-file.ts';
import { LineSplitter } from '../../record/importers/line-splitter.ts';
import type { Deliver } from '../../record/importers/record-queue.ts';
import { Recorder } from '../../record/recorder.ts';

export interface ImportTask {
  readonly files: readonly string[];
  /** `parse`: only JSON.parse of every line; `import`: all but keeping; `store`: all of it, without analysis. */
  readonly way: 'parse' | 'import' | 'store';
  readonly data: string;
}

export interface ImportFigures {
  readonly lines: number;
  readonly sessions: number;
  readonly merged: number;
  readonly rejected: number;
  readonly seconds: number;
  readonly peakBytes: number;
}

type Counts = Omit<ImportFigures, 'seconds' | 'peakBytes'>;

const task = JSON.parse(process.argv[2]) as ImportTask;

async function parseOnly(): Promise<Counts> {
  let lines = 0;
  for (const [index, path] of task.files.entries()) {
    const splitter = new LineSplitter({
      line(text) {
        JSON.parse(text);
        lines += 1;
      },
      tooLong() {},
    });
    for await (const piece of new InputFile({ name: path, from: { path } }, index).pieces()) splitter.push(piece);
    splitter.end();
  }
  return { lines, sessions: lines, merged: 0, rejected: 0 };
}

async function importAll(deliver: Deliver): Promise<Counts> {
  const files = await runImport({
    sources: task.files.map((path) => ({ name: path, from: { path } })),
    formats: importFormats,
    dataDirectory: task.data,
    now: systemClock(),
    zoneMinutes: 0,
    protocolOf(input) {
      const found = detect(Buffer.from(input.buffer, input.byteOffset, input.length), undefined, true);
      return found.verdict === 'match' ? found.protocol : undefined;
    },
    deliver,
  });
  const sum = (of: (file: (typeof files)[number]) => number): number => files.reduce((total, file) => total + of(file), 0);
  return {
    lines: sum(({ lines }) => lines),
    sessions: sum(({ sessions }) => sessions),
    merged: sum(({ merged }) => merged),
    rejected: sum(({ rejected }) => rejected),
  };
}

async function importIntoStore(): Promise<Counts> {
  mkdirSync(task.data, { recursive: true });
  const store = await DuckDbStore.open({ dataDirectory: task.data, log: silentLog });
  const recorder = new Recorder({
    dataDirectory: task.data,
    store,
    retention: { days: 36_500, sizeBytes: 1e12 },
    clock: systemClock,
    log: silentLog,
  });
  await recorder.start();
  const intake = new ImportIntake({ dataDirectory: task.data, store, clock: systemClock, log: silentLog });
  const counts = await importAll((batch) => intake.take(batch));
  await intake.settled();
  await intake.close();
  await recorder.close();
  await store.close();
  return counts;
}

const begunMs = performance.now();
const counts =
  task.way === 'parse' ? await parseOnly() : task.way === 'store' ? await importIntoStore() : await importAll(async () => []);
const seconds = (performance.now() - begunMs) / 1000;
const figures: ImportFigures = { ...counts, seconds, peakBytes: process.resourceUsage().maxRSS * 1024 };
process.stdout.write(JSON.stringify(figures));
