// `weir export FORMAT`: whole sessions, and other records, for other tools, streamed at the reader's pace.

import { open } from 'node:fs/promises';
import path from 'node:path';
import { Argument } from 'commander';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type ExportFormat, type ExportKind, exportFormats, exportKinds } from '../record/exporters/export.ts';
import type { CommonOptions } from './command-context.ts';
import {
  type FilterOptions,
  type FindingOptions,
  filterTextOf,
  findingTextOf,
  type Verb,
  verbCommand,
  withFilter,
  withFindings,
} from './verb.ts';
import { plural, renderBytes } from './wording.ts';

interface Options extends CommonOptions, FilterOptions, FindingOptions {
  readonly output?: string;
  readonly kinds?: string;
}

function kindsOf(format: ExportFormat, text = 'sessions'): ExportKind[] {
  const kinds = text.split(',').map((part) => part.trim() as ExportKind);
  const wrong = kinds.find((kind) => !exportKinds.includes(kind));
  if (wrong !== undefined)
    throw new WeirError('bad-request', `--kinds: '${printable(wrong, 40)}' is none of ${exportKinds.join(', ')}`);
  if (format !== 'jsonl' && text !== 'sessions')
    throw new WeirError('bad-request', `--kinds: only jsonl can choose, ${format} holds what it holds`);
  return kinds;
}

const countLines = (piece: Uint8Array): number => {
  let lines = 0;
  for (const byte of piece) if (byte === 10) lines += 1;
  return lines;
};

export const exportVerb: Verb = (run) =>
  withFindings(
    withFilter(
      verbCommand('export', 'records and indicators for other tools', [
        'weir export jsonl --since 1d > day.jsonl',
        'weir export blocklist --since 7d -o attackers.txt',
        'weir export parquet --since 30d --country NL -o month.parquet',
      ]),
    ),
  )
    .addArgument(new Argument('<format>', 'the shape').choices(Object.keys(exportFormats)))
    .option('--kinds <kinds>', `what jsonl holds, with commas: ${exportKinds.join(', ')} (default: sessions)`)
    .option('-o, --output <file>', 'write there instead of to standard output')
    .action((format: ExportFormat, options: Options) =>
      run(options, (context) =>
        context.read(async (reader) => {
          const file =
            options.output === undefined
              ? undefined
              : await open(path.resolve(context.environment.cwd, options.output), 'w', 0o600);
          let lines = 0;
          let bytes = 0;
          const { stdout, signal } = context.environment;
          let stopped = signal.aborted;
          const stop = (): void => {
            stopped = true;
          };
          // A piece that is being written is written whole.
          signal.addEventListener('abort', stop);
          try {
            const selected = { ...filterTextOf(options), ...findingTextOf(options) };
            for await (const piece of reader.exported(format, kindsOf(format, options.kinds), selected)) {
              if (stdout.closed || stopped) break;
              const data = typeof piece === 'string' ? Buffer.from(piece) : piece;
              lines += countLines(data);
              bytes += data.length;
              if (file) await file.writeFile(data);
              else await stdout.write(data);
            }
          } finally {
            signal.removeEventListener('abort', stop);
            await file?.close();
          }
          await context.note(format === 'parquet' ? renderBytes(bytes) : `${plural(lines, 'line')}, ${renderBytes(bytes)}`);
          return 0;
        }),
      ),
    );
