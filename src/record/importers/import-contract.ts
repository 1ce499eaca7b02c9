// What every import format must do, run by the tests of each; and a way to import text in a test. Used by tests only.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import test from 'node:test';
import fc from 'fast-check';
import type { WeirEvent } from '../../model/event.ts';
import { decodeSpoolBatch } from '../spool-batch.ts';
import { detectFormat, importFormats } from './formats.ts';
import { type FileResult, type ImportRunOptions, runImport } from './import-run.ts';
import type { ImportFormat } from './importer.ts';
import { sampleOf } from './input-file.ts';
import { holdsLaidOutJson } from './json-splitter.ts';

/** 2026-11-22T12:00:00Z */
export const importedAt = Date.UTC(2026, 10, 22, 12) * 1000;

export interface Imported {
  readonly files: readonly FileResult[];
  readonly events: readonly WeirEvent[];
  /** Lines of the rejected files, parsed. */
  readonly rejects: readonly { line: number; reason: string; text: string }[];
}

type Input = string | Buffer | readonly Buffer[];

/** Keeps what importers hand over, as the recorder does: a record it has is not taken twice. */
export class KeptRecords {
  readonly events = new Map<string, WeirEvent>();

  deliver = async (batch: Uint8Array): Promise<number[]> => {
    const known: number[] = [];
    const records = decodeSpoolBatch(batch);
    assert.ok(records, 'a batch that decodes');
    for (const [position, { event }] of records.entries()) {
      assert.ok(event.kind === 'session' || event.kind === 'probe');
      const { id } = event.kind === 'session' ? event.session : event.probe;
      if (this.events.has(id)) known.push(position);
      else this.events.set(id, event);
    }
    return known;
  };
}

/** Imports the inputs as so many files, by `format` or by what they look like. */
export async function importInputs(
  inputs: readonly Input[],
  more: Partial<ImportRunOptions> = {},
  kept = new KeptRecords(),
): Promise<Imported> {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'weir-import-'));
  try {
    const files = await runImport({
      sources: inputs.map((input, index) => ({
        name: `input-${index}`,
        from: {
          stream: Readable.from(typeof input === 'string' ? [Buffer.from(input)] : Buffer.isBuffer(input) ? [input] : input),
        },
      })),
      formats: importFormats,
      dataDirectory,
      now: importedAt,
      zoneMinutes: 0,
      protocolOf: () => undefined,
      deliver: kept.deliver,
      ...more,
    });
    const rejects = files
      .flatMap(({ rejectedFile }) => (rejectedFile ? readFileSync(rejectedFile, 'utf8').trimEnd().split('\n') : []))
      .map((line) => JSON.parse(line) as Imported['rejects'][number]);
    return { files, events: [...kept.events.values()], rejects };
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
}

/** The equation, and that records and sessions are the same number. */
export function assertAdded({ files, events }: Pick<Imported, 'files' | 'events'>, before = 0): void {
  for (const { file, lines, sessions, merged, rejected, probes, notes } of files) {
    assert.equal(lines, sessions + merged + rejected, `${file}: ${JSON.stringify({ lines, sessions, merged, rejected })}`);
    for (const figure of [lines, sessions, merged, rejected, probes, sessions - probes]) assert.ok(figure >= 0);
    assert.ok(!notes.some((note) => note.includes('at fault')), notes.join('; '));
  }
  assert.equal(
    events.length - before,
    files.reduce((sum, { sessions }) => sum + sessions, 0),
  );
}

const hostile: readonly string[] = [
  '{',
  '[]',
  'null',
  '"text"',
  '{}',
  '{"__proto__":{"x":1},"constructor":null}',
  `${'['.repeat(5000)}`,
  `${'{"a":'.repeat(200)}1${'}'.repeat(200)}`,
  `[${'0,'.repeat(60_000)}0]`,
  '\0\0\0\0',
  '\u202eevil\u0007\u001b[2J',
  '-1 99999999999999999999 NaN',
  '{"timestamp":1e308,"session":[],"src_ip":{},"flow":[]}',
];

/** One of the samples' lines with something in it gone wrong: cut, a value of another type, a key twice. */
const damagedLine = (lines: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...lines), fc.nat(400), fc.constantFrom('', '"', 'null', '1e999', '[[]]', '{"a":1}', '\0', '-'))
    .map(
      ([line, at, put]) =>
        line.slice(0, at % (line.length + 1)) + put + (at % 3 === 0 ? '' : line.slice((at % (line.length + 1)) + put.length)),
    );

/**
 * `sample` is a small log of the format, well-formed, whose lines need not be one session each. For formats of lines. Proves
 * the equation on the sample, on garbage, on damaged lines and wherever the pieces end; that importing again changes nothing;
 * that the format knows itself and no other claims it.
 */
export function importContract(format: ImportFormat, sample: string): void {
  const lines = sample.split('\n').filter((line) => line.trim() !== '');
  const one = (input: Input) => importInputs([input], { format });

  test(`${format.name}: knows itself, and nobody else is surer`, () => {
    const found = sampleOf(Buffer.from(sample));
    assert.ok(format.detect(found) >= 0.3);
    assert.equal(detectFormat(found, [format])?.name, format.name);
    assert.equal(detectFormat(found)?.name, format.name);
    assert.equal(format.detect(sampleOf(Buffer.alloc(0))), 0);
  });

  test(`${format.name}: the sample is understood whole, and again changes nothing`, async () => {
    const kept = new KeptRecords();
    const first = await importInputs([sample], { format }, kept);
    assertAdded(first);
    assert.equal(first.files[0].lines, lines.length);
    assert.equal(first.files[0].rejected, 0, JSON.stringify(first.rejects));
    assert.ok(first.files[0].sessions > 0);
    const again = await importInputs([sample], { format }, kept);
    assertAdded(again, first.events.length);
    assert.equal(again.files[0].sessions, 0);
    assert.equal(again.files[0].merged, lines.length);
  });

  test(`${format.name}: wherever pieces end, the records are the same`, async () => {
    const whole = await one(sample);
    const bytes = Buffer.from(sample);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(300), { maxLength: 30 }), async (sizes) => {
        const pieces: Buffer[] = [];
        let at = 0;
        for (const size of sizes) {
          pieces.push(bytes.subarray(at, at + size));
          at += size;
        }
        const cut = await one([...pieces, bytes.subarray(at)].filter((piece) => piece.length > 0));
        assert.deepEqual(cut.events, whole.events);
        assert.deepEqual(cut.files, whole.files);
      }),
      { numRuns: 20 },
    );
  });

  test(`${format.name}: lines are sessions, merged and rejected, whatever they hold`, async () => {
    const line = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...lines) },
      { weight: 4, arbitrary: damagedLine(lines) },
      { weight: 1, arbitrary: fc.constantFrom(...hostile) },
      { weight: 1, arbitrary: fc.string({ maxLength: 200 }).map((text) => text.replace(/[\r\n]/g, '')) },
      { weight: 1, arbitrary: fc.json() },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 60 }), async (mixed) => {
        // Its units would not be lines: json-splitter.test.ts.
        fc.pre(holdsLaidOutJson(Buffer.from(mixed.join('\n'))) !== true);
        const imported = await one(mixed.join('\n'));
        assertAdded(imported);
        assert.equal(imported.files[0].lines, mixed.filter((text) => /[^ \t\n\v\f\r]/.test(text)).length);
        assert.equal(imported.rejects.length, imported.files[0].rejected);
      }),
      { numRuns: 60 },
    );
  });
}
