// `weir test [PATTERN]`: formatting and lint, tests of single processes, tests in namespaces of their own, then those that
// take the whole machine: which is which is test-order.ts. The last line is always `N passed, N failed`. Installing what tests
// need is the launcher's part (./weir).

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { run } from 'node:test';
import { spec, type TestEvent } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';
import { planTestOrder } from './test-order.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
/** A file that takes longer than this has hung. */
const fileTimeoutMs = 10 * 60_000;
/** What is shown of one file's report: its beginning. */
const maxReport = 4 << 20;

const ended = new AbortController();

/** A file as it is called in what is printed. */
const shown = (file: string): string => file.replace(/^dist\//, '');

interface Tally {
  passed: number;
  skipped: number;
  failed: string[];
  /** Files that have not ended. */
  readonly waiting: Set<string>;
}

function testFiles(): string[] {
  return ['dist/src', 'dist/test']
    .filter((room) => existsSync(path.join(home, room)))
    .flatMap((room) =>
      readdirSync(path.join(home, room), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.test.js'))
        .map((entry) => path.relative(home, path.join(entry.parentPath, entry.name))),
    )
    .sort();
}

/** Runs one file in a process of its own; its report is written in one piece, so that those of others do not mix with it. */
async function runFile(file: string, names: string | undefined, tally: Tally): Promise<void> {
  const start = performance.now();
  const stream = run({
    files: [path.join(home, file)],
    concurrency: 1,
    timeout: fileTimeoutMs,
    signal: ended.signal,
    ...(names === undefined ? {} : { testNamePatterns: [names] }),
  });
  stream.on('test:pass', (data) => {
    if (data.details.type === 'suite' || data.skip === 'test name does not match pattern') return;
    if (data.skip !== undefined && data.skip !== false) tally.skipped += 1;
    else tally.passed += 1;
  });
  stream.on('test:fail', (data) => {
    const place = data.file === undefined ? '' : shown(path.relative(home, data.file));
    // Whatever only holds a failed test is not a second failure.
    if ((data.details.error as { failureType?: string }).failureType === 'subtestsFailed') return;
    tally.failed.push(`${place}: ${data.name}`);
  });
  let report = '';
  for await (const text of Readable.from(withoutCounts(stream)).compose(new spec())) {
    const left = maxReport - report.length;
    if (left > 0) report += String(text).slice(0, left);
  }
  tally.waiting.delete(file);
  if (report.trim() === '') return;
  process.stdout.write(`${shown(file)}: ${((performance.now() - start) / 1000).toFixed(1)} s\n${report}`);
}

/** What no file said is Node's own counts, which say nothing that our last line does not. */
async function* withoutCounts(events: AsyncIterable<TestEvent>): AsyncIterable<TestEvent> {
  for await (const event of events) if (event.type !== 'test:diagnostic' || event.data.file !== undefined) yield event;
}

/** As many lanes as told; each takes the next file. What becomes of one file changes nothing for the others. */
async function runFiles(files: readonly string[], lanes: number, names: string | undefined, tally: Tally): Promise<void> {
  const rest = files.values();
  const lane = async (): Promise<void> => {
    for (const file of rest)
      await runFile(file, names, tally).catch((error) => {
        tally.waiting.delete(file);
        tally.failed.push(`${shown(file)}: ${error}`);
      });
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** Biome over the whole tree counts as one test: what it finds is a failure. */
function runLint(tally: Tally): void {
  const biome = path.join(home, 'node_modules/@biomejs/biome/bin/biome');
  const { status } = spawnSync(process.execPath, [biome, 'check', '--error-on-warnings', '.'], { cwd: home, stdio: 'inherit' });
  if (status === 0) tally.passed += 1;
  else tally.failed.push('biome check: formatting or lint (npx biome check --write .)');
}

/** True when a folder above the checkout keeps other accounts out: some tests run parts of the program as another user. */
function isHidden(): boolean {
  for (let directory = path.dirname(home); ; directory = path.dirname(directory)) {
    if ((statSync(directory).mode & 0o001) === 0) return true;
    if (directory === path.dirname(directory)) return false;
  }
}

/** Runs this again where every account can read it: the same files, mounted elsewhere in a mount namespace of its own. */
function runElsewhere(): never {
  // Below /tmp, which everybody may enter: TMPDIR may be anywhere.
  const place = mkdtempSync('/tmp/weir-tests-');
  const script = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"';
  const again = [process.execPath, path.join(place, 'dist/src/programs/run-tests.js'), ...process.argv.slice(2)];
  const { status } = spawnSync(
    'unshare',
    ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', home, place, ...again],
    {
      stdio: 'inherit',
    },
  );
  rmdirSync(place);
  process.exit(status ?? 1);
}

if (process.getuid?.() === 0 && isHidden()) runElsewhere();

const [pattern] = process.argv.slice(2);
const all = testFiles();
const matching = pattern === undefined ? all : all.filter((file) => file.includes(pattern));
// What matches no file is looked for among the tests' names.
const names = pattern !== undefined && matching.length === 0 ? pattern : undefined;
const files = names === undefined ? matching : all;
const tally: Tally = { passed: 0, skipped: 0, failed: [], waiting: new Set(files) };

function showTally(): void {
  const lines = tally.failed.map((name) => `failed: ${name}\n`).join('');
  const skipped = tally.skipped > 0 ? `${tally.skipped} skipped (WEIR_TESTS=required makes what is missing a failure)\n` : '';
  process.stdout.write(`\n${lines}${skipped}${tally.passed} passed, ${tally.failed.length} failed\n`);
}

// What was found until then is told, also by a run that somebody's time limit ends.
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => {
    tally.failed.push(...[...tally.waiting].map((file) => `${shown(file)}: ${signal} before it ended`));
    ended.abort();
    showTally();
    process.exit(code);
  });

if (pattern === undefined) runLint(tally);
const { plain, labs, alone } = planTestOrder(files, (file) => readFileSync(path.join(home, file), 'utf8'));
await runFiles(plain, availableParallelism(), names, tally);
await runFiles(labs, availableParallelism(), names, tally);
await runFiles(alone, 1, names, tally);

if (tally.passed + tally.failed.length + tally.skipped === 0) tally.failed.push(`no test matches ${pattern}`);
process.exitCode = tally.failed.length === 0 ? 0 : 1;
showTally();
