// What holds for every line format: it recognises its own log and nobody else's, and says of every line, whatever it holds, what
// became of it, through the engine (import-contract.ts).

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runImport, sampleOf } from '../../../test/support/import-bed.ts';
import { importSamples } from '../../../test/support/import-samples.ts';
import { importFormats } from './formats.ts';
import { importContract } from './import-contract.ts';
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
});

for (const name of Object.keys(expected)) importContract(named(name), importSamples[name].join('\n'));
