// `weir report`: the analysis as one page, as JSON, or as a table; remembers where the last one ended, so that the next can
// say what is new. What stands in it is analysis/report.

import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Report } from '../analysis/report/report.ts';
import { renderReportPage } from '../analysis/report/report-page.ts';
import { renderReportTable } from '../analysis/report/report-table.ts';
import { writeDurably } from '../base/durable-file.ts';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { CommandContext, CommonOptions } from './command-context.ts';
import { type Verb, verbCommand } from './verb.ts';
import { plural, renderBytes } from './wording.ts';

interface Options extends CommonOptions {
  readonly from?: string;
  readonly to?: string;
  readonly day?: string;
  readonly newSince?: string;
  readonly output?: string;
}

const forms: Readonly<Record<string, (report: Report) => string>> = {
  '.html': renderReportPage,
  '.json': (report) => `${JSON.stringify(report, null, 2)}\n`,
  '.csv': (report) => [...renderReportTable(report)].join(''),
};

const extensions = Object.keys(forms).join(', ');

/** Where the last report ended, as ISO 8601. */
const memory = async (context: CommandContext): Promise<string> =>
  path.join((await context.configuration()).data, 'reports', 'last.json');

async function lastEnd(context: CommandContext): Promise<string | undefined> {
  try {
    const { to } = JSON.parse(await readFile(await memory(context), 'utf8')) as { to?: unknown };
    return typeof to === 'string' && !Number.isNaN(Date.parse(to)) ? to : undefined;
  } catch {
    return undefined;
  }
}

/** Of the newest record it could have seen: the next report calls new what comes after. */
async function remember(context: CommandContext, report: Report): Promise<void> {
  const to = report.to < report.made ? report.to : report.made;
  // A report of long ago is no later one than that of this morning; one that ends in days to come was a wrong clock's.
  const last = Date.parse((await lastEnd(context)) ?? '');
  if (last >= Date.parse(to) && last <= Date.parse(report.made)) return;
  try {
    const file = await memory(context);
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    await writeDurably(file, `${JSON.stringify({ to })}\n`);
  } catch (error) {
    await context.note(`the next report will not know of this one: ${asWeirError(error).message}`);
  }
}

async function run(options: Options, context: CommandContext): Promise<number> {
  const { output } = options;
  const form = output === undefined ? undefined : forms[path.extname(output).toLowerCase()];
  if (output !== undefined && !form)
    throw new WeirError('bad-request', `-o ${output}: what it should be is told by its ending: one of ${extensions}`);
  const last = options.newSince === undefined ? await lastEnd(context) : undefined;
  const { report, earlier } = await context.read(async (reader) => {
    const report = await reader.report({
      ...(options.from ? { from: options.from } : {}),
      ...(options.to ? { to: options.to } : {}),
      ...(options.day ? { day: options.day } : {}),
      ...(options.newSince ? { 'new-since': options.newSince } : {}),
      ...(last ? { 'last-report': last } : {}),
    });
    return { report, earlier: options.from ? undefined : await reader.counts({ until: report.from }) };
  });
  if (earlier && earlier.sessions + earlier.probes > 0)
    await context.note(
      `${plural(earlier.sessions, 'session')} and ${plural(earlier.probes, 'probe packet')} before ${report.from.slice(0, 10)} ` +
        'are not in it: --from says from when on',
    );
  if (context.json && output === undefined) {
    await context.print(JSON.stringify(report));
    return 0;
  }
  const file = path.resolve(context.environment.cwd, output ?? `weir-report-${report.to.slice(0, 10)}.html`);
  const content = (form ?? renderReportPage)(report);
  await writeDurably(file, content, 0o600);
  await remember(context, report);
  const { totals, from, to } = report;
  if (context.json) await context.print(JSON.stringify({ file, bytes: Buffer.byteLength(content), from, to }));
  else
    await context.print(
      `${file}: ${renderBytes(Buffer.byteLength(content))}, ${from.slice(0, 10)} to ${to.slice(0, 10)}, ` +
        `${plural(totals.sessions, 'session')}, ${plural(totals.probes, 'probe packet')}, ${plural(totals.sources, 'source')}`,
    );
  return 0;
}

export const reportVerb: Verb = (start) =>
  verbCommand('report', 'what was done, with pictures: one page, or the same as JSON or a table', [
    'weir report -o monday.html',
    'weir report --from 7d --new-since 1d -o week.html',
    'weir report --from 2026-11-01 --to 2026-12-01 -o november.csv',
  ])
    .option(
      '--from <time>',
      'from then on: 7d, 2026-01-31 or 2026-01-31T12:00:00Z (default: all there is while that is a quarter, else its last 30 days)',
    )
    .option('--to <time>', 'before then')
    .option('--day <day>', 'the day to show large: 2026-01-31 (default: that with most hits)')
    .option('--new-since <time>', 'what is new since then (default: since the last report)')
    .option('-o, --output <file>', `where: FILE${extensions} (default: weir-report-DAY.html)`)
    .action((options: Options) => start(options, (context) => run(options, context)));
