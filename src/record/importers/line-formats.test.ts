// What holds for every line format: it recognises its own log and nobody else's, and says of every line, whatever it holds, what
// became of it. The equation itself is checked by the bed.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { runImport, sampleOf } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { importFormats } from './formats.ts';
import type { ImportFormat } from './importer.ts';

const formats = importFormats.filter(({ name }) => name in importSamples);
const named = (name: string): ImportFormat => {
  const format = formats.find((one) => one.name === name);
  assert.ok(format, name);
  return format;
};

/** Lines, sessions, merged, rejected, of which probes. */
const expected: Readonly<Record<string, readonly number[]>> = {
  cowrie: [11, 2, 9, 0, 0],
  adbhoney: [5, 2, 3, 0, 0],
  honeytrap: [2, 1, 1, 0, 0],
  dionaea: [6, 5, 1, 0, 1],
  heralding: [3, 2, 1, 0, 0],
  'honeytrap-go': [5, 3, 2, 0, 1],
  opencanary: [7, 4, 3, 0, 1],
  eve: [6, 3, 3, 0, 2],
  zeek: [12, 5, 7, 0, 3],
};

describe('line formats', () => {
  for (const [name, [lines, sessions, merged, rejected, probes]] of Object.entries(expected)) {
    test(`${name}: counts of its sample, again in any split into files`, () => {
      const sample = importSamples[name];
      const run = runImport(named(name), sample);
      assert.deepEqual(run.counts, { lines, sessions, merged, rejected });
      assert.equal(run.probes.length, probes);
      const split = runImport(named(name), sample.slice(0, 6), sample.slice(6));
      if (name !== 'zeek') assert.deepEqual(split.counts, run.counts);
    });
  }

  test('each is recognised by its own lines alone, also by one of them', () => {
    for (const [owner, lines] of Object.entries(importSamples)) {
      for (const format of importFormats) {
        const score = format.detect(sampleOf(lines));
        if (format.name === owner) assert.ok(score >= 0.9, `${owner} by itself: ${score}`);
        else assert.equal(score, 0, `${owner} by ${format.name}`);
      }
    }
    for (const format of importFormats) {
      assert.equal(format.detect(sampleOf([])), 0, format.name);
      assert.equal(
        format.detect(sampleOf(['{"message":"hello","timestamp":"2024-01-01T00:00:00Z"}', '[]', 'text'])),
        0,
        format.name,
      );
    }
  });

  /** One line of the sample with something in it replaced, cut or doubled. */
  const spoiled = (lines: readonly string[]): fc.Arbitrary<string> =>
    fc
      .tuple(
        fc.constantFrom(...lines),
        fc.nat(),
        fc.nat({ max: 40 }),
        fc.oneof(fc.string(), fc.constantFrom('null', '-1', '[]', '{}', '"', '1e99', '99999')),
      )
      .map(([line, at, length, text]) => {
        const from = at % (line.length + 1);
        return line.slice(0, from) + text + line.slice(from + length);
      });
  /** One line of the sample in which a member has a value of any type. */
  const retyped = (lines: readonly string[]): fc.Arbitrary<string> =>
    fc.tuple(fc.constantFrom(...lines), fc.nat(), fc.json({ maxDepth: 2 })).map(([line, which, value]) => {
      try {
        const object = JSON.parse(line) as Record<string, unknown>;
        const keys = Object.keys(object);
        object[keys[which % keys.length]] = JSON.parse(value);
        return JSON.stringify(object);
      } catch {
        return value;
      }
    });

  for (const name of Object.keys(expected)) {
    test(`${name}: every line has an outcome, whatever it holds`, () => {
      const lines = importSamples[name];
      const line = fc.oneof(fc.constantFrom(...lines), spoiled(lines), retyped(lines), fc.json(), fc.string());
      fc.assert(
        fc.property(fc.array(fc.array(line, { maxLength: 30 }), { minLength: 1, maxLength: 3 }), (files) => {
          const { counts } = runImport(named(name), ...files);
          assert.equal(counts.lines, files.flat().length);
          assert.equal(counts.lines, counts.sessions + counts.merged + counts.rejected);
        }),
        { numRuns: 60 },
      );
    });
  }
});
