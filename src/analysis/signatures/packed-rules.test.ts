// Packed rules answer as those read from their files do, and stand for nothing but the text and the code they were made from.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { readPackedRules, renderPackedRules } from './packed-rules.ts';
import { checkRules, runTest } from './rule-check.ts';
import { readRuleFiles } from './rule-files.ts';
import { SignatureSet } from './signature-set.ts';

const rules = path.resolve(import.meta.dirname, '../../../../rules/signatures');
const directory = mkdtempSync(path.join(tmpdir(), 'weir-packed-'));
after(() => rmSync(directory, { recursive: true, force: true }));

function packedTo(name: string, content: string) {
  const file = path.join(directory, name);
  writeFileSync(file, content);
  return readPackedRules(file);
}

describe('packed rules', () => {
  const { files } = readRuleFiles([rules]);
  const content = renderPackedRules(files);
  const packed = packedTo('shipped.json', content);

  it('hold every file that comes with Weir, and give the answers of the files to every test of every rule', () => {
    assert.ok(files.length > 0);
    for (const { file, text } of files) assert.ok(packed?.(text), file);
    const read = SignatureSet.load(files).set;
    const unpacked = SignatureSet.load(files, packed);
    assert.deepEqual(unpacked.mistakes, []);
    assert.equal(unpacked.set.literalStates, read.literalStates);
    assert.deepEqual(
      unpacked.set.rules.map(({ id, file, line, references }) => ({ id, file, line, references })),
      read.rules.map(({ id, file, line, references }) => ({ id, file, line, references })),
    );
    let hits = 0;
    for (const [index, rule] of read.rules.entries())
      for (const [number, test] of rule.tests.entries()) {
        const found = runTest(unpacked.set, unpacked.set.rules[index], unpacked.set.rules[index].tests[number]);
        assert.deepEqual(found, runTest(read, rule, test), rule.id);
        hits += found.length;
      }
    assert.ok(hits >= read.size);
    assert.deepEqual(unpacked.set.counts(), read.counts());
  });

  it('do not stand for a text that differs, a file with a mistake, other code, or what is no pack', () => {
    const right = '- { id: my-own, name: Mine, intention: recon, severity: low, match: [{ contains: my-own-word }] }\n';
    const wrong = `${right}- { id: other, name: Other, intention: recon, severity: low, match: [{ contains: ab }] }\n`;
    const own = renderPackedRules([
      { file: 'right.yaml', text: right },
      { file: 'wrong.yaml', text: wrong },
    ]);
    const found = packedTo('own.json', own);
    assert.equal(found?.(right)?.length, 1);
    assert.equal(found?.(`${right} `), undefined);
    assert.equal(found?.(wrong), undefined);
    const { set, mistakes } = SignatureSet.load([{ file: 'wrong.yaml', text: wrong }], found);
    assert.equal(set.size, 1);
    assert.equal(mistakes[0].line, 2);
    assert.equal(packedTo('code.json', own.replace(/"code":"../, '"code":"--')), undefined);
    for (const damaged of ['', '{', 'null', '[]', '{}']) assert.equal(packedTo('damaged.json', damaged), undefined);
    assert.equal(readPackedRules(path.join(directory, 'nowhere.json')), undefined);
  });

  it('share what rules of a set may take, and names, with files that are read', () => {
    const big = (file: string) => ({
      file,
      text: Array.from(
        { length: 130 },
        (_, index) =>
          `- { id: ${file}-${index}, name: Big, intention: recon, severity: low, match: [{ regex: 'literal${index}[a-z]{4000}' }] }\n`,
      ).join(''),
    });
    const first = big('first');
    const found = packedTo('big.json', renderPackedRules([first]));
    const { set, mistakes } = SignatureSet.load([first, first, big('second')], found);
    assert.ok(set.size > 130 && set.size < 260, `${set.size}`);
    assert.match(mistakes[0].mistake, /already, at first:1/);
    assert.match(mistakes.at(-1)?.mistake ?? '', /too much memory/);
    assert.deepEqual(checkRules(set).failures, []);
  });
});
