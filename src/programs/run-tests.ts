// `weir test [PATTERN]`: formatting and lint, unit tests, then tests that share the kernel, one at a time. The last
// line is always `N passed, N failed`. Installing what tests need is the launcher's part (./weir).

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
/** A file that takes longer than this has hung. */
const fileTimeoutMs = 10 * 60_000;
/** Rooms whose tests make namespaces and load the machine: never two at once. */
const aloneRooms = /^dist\/test\/(kernel|e2e|guest)\//;
/** What tests beside the source name that do the same, or need root. */
const aloneWords = /support\/namespace|namespace-lab|getuid/;

interface Tally {
  passed: number;
  skipped: number;
  failed: string[];
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

const isAlone = (file: string): boolean => aloneRooms.test(file) || aloneWords.test(readFileSync(path.join(home, file), 'utf8'));

async function runFiles(files: string[], concurrency: number, names: string | undefined, tally: Tally): Promise<void> {
  if (files.length === 0) return;
  const stream = run({
    files: files.map((file) => path.join(home, file)),
    concurrency,
    timeout: fileTimeoutMs,
    ...(names === undefined ? {} : { testNamePatterns: [names] }),
  });
  stream.on('test:pass', (data) => {
    if (data.details.type === 'suite' || data.skip === 'test name does not match pattern') return;
    if (data.skip !== undefined && data.skip !== false) tally.skipped += 1;
    else tally.passed += 1;
  });
  stream.on('test:fail', (data) => {
    const file = data.file === undefined ? '' : path.relative(home, data.file).replace(/^dist\//, '');
    // Whatever only holds a failed test is not a second failure.
    if ((data.details.error as { failureType?: string }).failureType === 'subtestsFailed') return;
    tally.failed.push(`${file}: ${data.name}`);
  });
  const report = stream.compose(new spec());
  report.pipe(process.stdout, { end: false });
  await new Promise<void>((resolve, reject) => {
    report.once('end', resolve);
    report.once('error', reject);
  });
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
const tally: Tally = { passed: 0, skipped: 0, failed: [] };
const all = testFiles();
const matching = pattern === undefined ? all : all.filter((file) => file.includes(pattern));
// What matches no file is looked for among the tests' names.
const names = pattern !== undefined && matching.length === 0 ? pattern : undefined;
const files = names === undefined ? matching : all;

if (pattern === undefined) runLint(tally);
await runFiles(
  files.filter((file) => !isAlone(file)),
  availableParallelism(),
  names,
  tally,
);
await runFiles(files.filter(isAlone), 1, names, tally);

if (tally.passed + tally.failed.length + tally.skipped === 0) tally.failed.push(`no test matches ${pattern}`);
const lines = tally.failed.map((name) => `failed: ${name}\n`).join('');
const skipped = tally.skipped > 0 ? `${tally.skipped} skipped (WEIR_TESTS=required makes what is missing a failure)\n` : '';
process.exitCode = tally.failed.length === 0 ? 0 : 1;
process.stdout.write(`\n${lines}${skipped}${tally.passed} passed, ${tally.failed.length} failed\n`);
