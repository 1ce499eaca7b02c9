// `weir import FORMAT FILE...`: other honeypots' and sensors' logs as records of ours. Counts every line; what was not understood
// is set aside and said. The work is programs/.

import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { importFormats } from '../record/importers/formats.ts';
import type { FileResult, ImportProgress } from '../record/importers/import-run.ts';
import type { ImportText } from './actions.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import type { Column } from './table.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderBytes } from './wording.ts';

interface Options extends CommonOptions {
  readonly list?: boolean;
  readonly zone?: string;
  readonly year?: string;
  readonly booted?: string;
  readonly joinWindow?: string;
}

/** Where nobody watches a terminal, progress is a line now and then. */
const remarkEveryMs = 10_000;

export const importVerb: Verb = (run) =>
  verbCommand('import', 'logs of other honeypots and sensors, as records of ours; the same file twice changes nothing', [
    'weir import auto /var/log/cowrie/cowrie.json*',
    'weir import tcppc sensor-*.jsonl.gz',
    'weir import auto tcppc.jsonl kern.log',
    'zstd -dc --long=27 eve.json.zst | weir import eve -',
    'weir import --list',
  ])
    .argument('[format]', 'auto, or one of --list')
    .argument('[files...]', 'plain, gzip or zstd; - is standard input')
    .option('--list', 'which formats are known')
    .option('--zone <offset>', 'zone of times that have none: +02:00 (default: UTC)')
    .option('--year <year>', "of each file's first time without one, as syslog's are (default: by the file's last change)")
    .option('--booted <time>', 'when the machine of a dmesg log started: 2026-01-31T12:00:00Z')
    .option('--join-window <seconds>', 'how far apart a session and its packet filter line may be (default: 5)')
    .action((format: string | undefined, files: string[], options: Options) =>
      run(options, (context) => (options.list ? list(context) : importFiles(context, format, files, options))),
    );

async function list(context: CommandContext): Promise<number> {
  const rows = importFormats.map(({ name, title }) => ({ name, title }));
  if (context.json) await context.printJsonLines(rows);
  else
    await context.printTable(
      [
        { title: 'FORMAT', text: ({ name }) => name },
        { title: 'WHAT IT IS', text: ({ title }) => title },
      ] satisfies Column<(typeof rows)[number]>[],
      rows,
    );
  return 0;
}

function wishOf(format: string | undefined, files: readonly string[], options: Options): ImportText {
  const known = ['auto', ...importFormats.map(({ name }) => name)];
  if (format === undefined || !known.includes(format))
    throw new WeirError(
      'bad-request',
      format === undefined ? 'which format?' : `'${printable(format, 40)}' is no import format`,
      {
        known,
        next: `weir import auto FILE..., or one of: ${known.slice(1).join(', ')}`,
      },
    );
  if (files.length === 0) throw new WeirError('bad-request', 'which files? - is standard input');
  if (files.filter((file) => file === '-').length > 1) throw new WeirError('bad-request', 'standard input can be read once');
  const { zone, year, booted, joinWindow } = options;
  return {
    format,
    files,
    zoneMinutes: zone === undefined ? 0 : parseZone(zone),
    ...(year !== undefined && { year: parseYear(year) }),
    ...(booted !== undefined && { bootedAt: parseBooted(booted) }),
    ...(joinWindow !== undefined && { joinWindowMs: parseWindow(joinWindow) }),
  };
}

function parseZone(text: string): number {
  const match = /^(?:UTC|Z|([+-])(\d\d):?(\d\d))$/i.exec(text);
  const minutes = match?.[1] ? Number(match[2]) * 60 + Number(match[3]) : 0;
  if (!match || minutes > 14 * 60) throw new WeirError('bad-request', '--zone is an offset from UTC, such as +02:00 or -0530');
  return match[1] === '-' ? -minutes : minutes;
}

function parseYear(text: string): number {
  if (!/^(19|20)\d\d$/.test(text)) throw new WeirError('bad-request', '--year is a year, such as 2024');
  return Number(text);
}

function parseBooted(text: string): number {
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new WeirError('bad-request', '--booted is a time such as 2026-01-31T12:00:00Z');
  return ms * 1000;
}

function parseWindow(text: string): number {
  const match = /^(\d{1,4}(?:\.\d{1,3})?)s?$/.exec(text);
  if (!match || Number(match[1]) > 3600) throw new WeirError('bad-request', '--join-window is a number of seconds, at most 3600');
  return Math.round(Number(match[1]) * 1000);
}

async function importFiles(
  context: CommandContext,
  format: string | undefined,
  files: readonly string[],
  options: Options,
): Promise<number> {
  const wish = wishOf(format, files, options);
  const teller = new ProgressTeller(context);
  const outcome = await context.environment.actions.import(wish, (progress) => teller.tell(progress), context.action);
  teller.clear();
  if (context.json) await context.printJson({ files: outcome.files.map(fileDocument), seconds: outcome.seconds });
  else {
    await context.printTable(columns, [...outcome.files, ...(outcome.files.length > 1 ? [totalOf(outcome.files)] : [])]);
    for (const { file, lines, rejected, notes, error, rejectedFile } of outcome.files) {
      for (const note of notes) await context.note(`${file}: ${note}`);
      if (rejected > 0 && rejected === lines && wish.format !== 'auto')
        await context.note(`${file}: not a line of it is ${wish.format}: \`weir import auto\` tells what it is`);
      if (rejectedFile !== undefined) await context.note(`${file}: rejected lines are in ${rejectedFile}`);
      if (error !== undefined) await context.note(`${file}: ${printable(error, 1000)}`);
    }
    const lines = outcome.files.reduce((sum, each) => sum + each.lines, 0);
    const seconds = outcome.seconds.toFixed(1);
    const where = outcome.running ? '' : '; no recorder runs, so the store was written directly';
    await context.note(`${plural(lines, 'line')} in ${seconds} s${where}`);
  }
  return outcome.files.some(({ error }) => error !== undefined) ? 1 : 0;
}

/** As interface.md has it, and what else there is to say. */
const fileDocument = ({ file, format, lines, sessions, probes, merged, rejected, rejectedFile, error, notes }: FileResult) => ({
  file,
  format: format ?? null,
  lines,
  sessions,
  probes,
  merged,
  rejected,
  rejected_file: rejectedFile ?? null,
  ...(error !== undefined && { error }),
  ...(notes.length > 0 && { notes }),
});

const totalOf = (files: readonly FileResult[]): FileResult => {
  const sum = (of: (file: FileResult) => number): number => files.reduce((total, file) => total + of(file), 0);
  return {
    file: 'all',
    lines: sum(({ lines }) => lines),
    sessions: sum(({ sessions }) => sessions),
    probes: sum(({ probes }) => probes),
    merged: sum(({ merged }) => merged),
    rejected: sum(({ rejected }) => rejected),
    notes: [],
  };
};

const columns: readonly Column<FileResult>[] = [
  { title: 'FILE', text: ({ file }) => printable(file, 200) },
  { title: 'FORMAT', text: ({ format, error }) => format ?? (error === undefined ? '' : 'not read') },
  { title: 'LINES', text: ({ lines }) => String(lines), align: 'right' },
  { title: 'SESSIONS', text: ({ sessions }) => String(sessions), align: 'right' },
  { title: 'PROBES', text: ({ probes }) => String(probes), align: 'right' },
  { title: 'MERGED', text: ({ merged }) => String(merged), align: 'right' },
  { title: 'REJECTED', text: ({ rejected }) => String(rejected), align: 'right' },
];

/** One line that is drawn again on a terminal; elsewhere a line every ten seconds. */
class ProgressTeller {
  readonly #context: CommandContext;
  readonly #begunMs = performance.now();
  #saidMs = performance.now();
  #drawn = false;

  constructor(context: CommandContext) {
    this.#context = context;
  }

  tell({ file, readBytes, totalBytes, lines, sessions }: ImportProgress): void {
    const { stderr } = this.#context.environment;
    const nowMs = performance.now();
    if (!stderr.isTerminal && nowMs - this.#saidMs < remarkEveryMs) return;
    this.#saidMs = nowMs;
    const rate = Math.round(lines / Math.max(0.001, (nowMs - this.#begunMs) / 1000));
    const text = `${renderBytes(readBytes)} of ${renderBytes(totalBytes)}, ${plural(lines, 'line')} (${rate}/s), ${plural(sessions, 'session')}: ${file}`;
    this.#drawn = stderr.isTerminal;
    void stderr.write(stderr.isTerminal ? `\r\u001b[K${text.slice(0, Math.max(20, stderr.columns() - 1))}` : `weir: ${text}\n`);
  }

  clear(): void {
    if (this.#drawn) void this.#context.environment.stderr.write('\r\u001b[K');
  }
}
