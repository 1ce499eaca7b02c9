// `weir bench import`: each format's log of 100,000 and of a million lines through a process of its own: lines a second, and the
// most memory it ever had. One row goes the whole way into a store; JSON.parse of every line is the comparison.

import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WeirError } from '../../base/errors.ts';
import type { BenchSettings } from '../../cli/actions.ts';
import type { BenchReport, Say } from './bench.ts';
import { generatedFormats, generateLog } from './import-logs.ts';
import type { ImportFigures, ImportTask } from './import-process.ts';

const fewLines = 100_000;
const manyLines = 1_000_000;
/** Of sessions and the packet filter's lines about them, read together. */
const joinedRow = 'joined';
const storeRow = 'into-store';
const parseRow = 'json-parse';

interface Row {
  readonly name: string;
  readonly few: ImportFigures;
  readonly many: ImportFigures;
}

export async function benchImport(say: Say, { only }: BenchSettings): Promise<BenchReport> {
  const names = [parseRow, ...generatedFormats, joinedRow, storeRow];
  const wrong = only?.find((name) => !names.includes(name));
  if (wrong !== undefined) throw new WeirError('bad-request', `--only: ${wrong} is none of ${names.join(', ')}`);
  const directory = mkdtempSync(join(tmpdir(), 'weir-bench-import-'));
  try {
    const rows: Row[] = [];
    for (const name of names.filter((each) => !only || only.includes(each))) {
      say(`${name} ...`);
      const [few, many] = [await measure(name, fewLines, directory), await measure(name, manyLines, directory)];
      rows.push({ name, few, many });
    }
    return reportOf(rows);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Files of so many lines in all, imported by a process that did nothing else. */
async function measure(name: string, lines: number, directory: string): Promise<ImportFigures> {
  const formats = name === joinedRow ? ['tcppc', 'netfilter-log'] : [name === storeRow || name === parseRow ? 'tcppc' : name];
  const files = formats.map((format) => writeLog(format, lines / formats.length, join(directory, `${format}.log`)));
  const way = name === storeRow ? 'store' : name === parseRow ? 'parse' : 'import';
  const task: ImportTask = { files, way, data: join(directory, 'data') };
  try {
    return await inProcess(task);
  } finally {
    for (const file of [...files, task.data]) rmSync(file, { recursive: true, force: true });
  }
}

function writeLog(format: string, lines: number, path: string): string {
  const descriptor = openSync(path, 'w', 0o600);
  for (const piece of generateLog(format, lines)) writeSync(descriptor, piece);
  closeSync(descriptor);
  return path;
}

async function inProcess(task: ImportTask): Promise<ImportFigures> {
  const program = fileURLToPath(new URL('./import-process.js', import.meta.url));
  const child = spawn(process.execPath, ['--max-old-space-size=512', '--max-semi-space-size=16', program, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', resolve);
  });
  let text = '';
  for await (const piece of child.stdout.setEncoding('utf8')) text += piece;
  if ((await gone) !== 0) throw new WeirError('fault', `the import of ${task.files.join(', ')} ended early`);
  return JSON.parse(text) as ImportFigures;
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

function reportOf(rows: readonly Row[]): BenchReport {
  const uneven = rows.filter(({ few, many }) =>
    [few, many].some(({ lines, sessions, merged, rejected }) => lines !== sessions + merged + rejected),
  );
  const text = [
    `a log of ${manyLines} lines of each format (and of ${fewLines}), one process each:`,
    `  ${'format'.padEnd(14)} ${'lines/s'.padStart(9)} ${'seconds'.padStart(8)} ${'sessions'.padStart(9)} ${'merged'.padStart(8)} ${'rejected'.padStart(8)} ${'peak MiB'.padStart(9)} ${'of 100,000'.padStart(11)}`,
    ...rows.map(({ name, few, many }) => {
      const { lines, seconds, sessions, merged, rejected, peakBytes } = many;
      const cells = [(lines / seconds).toFixed(0).padStart(9), seconds.toFixed(1).padStart(8), String(sessions).padStart(9)];
      const more = [String(merged).padStart(8), String(rejected).padStart(8), megabytes(peakBytes).padStart(9)];
      return `  ${name.padEnd(14)} ${[...cells, ...more].join(' ')} ${megabytes(few.peakBytes).padStart(11)}`;
    }),
    uneven.length === 0
      ? 'lines = sessions + merged + rejected in every row'
      : `NOT lines = sessions + merged + rejected: ${uneven.map(({ name }) => name).join(', ')}`,
  ].join('\n');
  return { text, json: { rows }, exitCode: uneven.length === 0 ? 0 : 1 };
}
