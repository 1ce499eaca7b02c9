// The rules that come with Weir: all are right, each has payloads it matches and near misses, and bad files of a user's cost nothing else.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { checkRules } from './rule-check.ts';
import { openSignatures, readRuleFiles } from './rule-files.ts';
import { SignatureSet } from './signature-set.ts';

const rules = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../../rules/signatures');
const own = mkdtempSync(path.join(tmpdir(), 'weir-rules-'));
after(() => rmSync(own, { recursive: true, force: true }));

describe('the rules that come with Weir', () => {
  const { set, mistakes } = openSignatures(rules, []);

  it('are all right, and at least 150', () => {
    assert.deepEqual(mistakes, []);
    assert.ok(set.size >= 150, `${set.size}`);
  });

  it('match and miss what their tests say, each of them both', () => {
    const { failures, untested, tests } = checkRules(set);
    assert.deepEqual(failures, []);
    assert.deepEqual(untested, []);
    assert.ok(tests >= 2 * set.size);
  });

  it('say what they are about: a technique or a tag, and where a CVE is named a place to read about it', () => {
    for (const { id, hit, references } of set.rules) {
      assert.ok(hit.techniques.length > 0 || hit.intention === 'benign', id);
      assert.ok(hit.tags.length > 0, id);
      assert.ok(hit.cves.length === 0 || references.length > 0, id);
    }
  });

  it('are tried for few sessions that match none: a literal leads to almost all of them', () => {
    const unguided = set.rules.filter((rule) => rule.literals === undefined);
    for (const rule of unguided) assert.ok(rule.ports !== undefined || rule.protocols !== undefined, rule.id);
    assert.ok(unguided.length <= set.size / 8, unguided.map(({ id }) => id).join(' '));
  });
});

describe('rule files', () => {
  it('of a user are read beside them; a bad one is told and left out', () => {
    const at = (name: string): string => path.join(own, name);
    writeFileSync(
      at('good.yaml'),
      '- { id: my-own, name: Mine, intention: recon, severity: low, match: [{ contains: my-own-word }] }\n',
    );
    writeFileSync(
      at('bad.yml'),
      '- { id: log4shell, name: Taken, intention: recon, severity: low, match: [{ contains: abcd }] }\n- [\n',
    );
    writeFileSync(
      at('bomb.yaml'),
      `- { id: bomb, name: Bomb, intention: recon, severity: low, match: [{ regex: '(?:(?:(?:a{99}){99}){99}){99}' }] }\n`,
    );
    writeFileSync(at('notes.txt'), 'not a rule');
    const { set, mistakes } = openSignatures(rules, [own, at('nowhere.yaml'), at('good.yaml'), rules]);
    assert.ok(set.rules.some((rule) => rule.id === 'my-own'));
    assert.ok(set.rules.some((rule) => rule.id === 'log4shell' && rule.hit.name !== 'Taken'));
    assert.ok(!set.rules.some((rule) => rule.id === 'bomb'));
    const told = mistakes.map(({ file, mistake }) => `${path.basename(file)}: ${mistake}`).join('\n');
    for (const [file, what] of [
      ['bad.yml', ''],
      ['bomb.yaml', 'more than 4096'],
      ['nowhere.yaml', 'ENOENT'],
    ])
      assert.match(told, new RegExp(`^${file}: .*${what}`, 'm'));
  });

  it('survive aliases that multiply, and text that is no YAML', () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 8 }, (_, n) => `${'bcdefghi'[n]}: &${'bcdefghi'[n]} [${Array(9).fill(`*${'abcdefgh'[n]}`).join(',')}]`).join('\n')}\n`;
    for (const text of [
      bomb,
      '\0\0\0',
      '- '.repeat(50_000),
      '[',
      '- &a { id: *a }',
      `${bomb.replace(/^/gm, '  ').replace('  a:', '- a:')}  id: *h\n`,
      `- ${'{ all: ['.repeat(5000)}`,
    ]) {
      const { set, mistakes } = SignatureSet.load([{ file: 'x.yaml', text }]);
      assert.equal(set.size, 0);
      assert.ok(mistakes.length > 0);
    }
  });

  it('that are directories of directories are read one level deep', () => {
    assert.ok(readRuleFiles([rules]).files.length >= 10);
    const outer = path.join(own, 'outer');
    mkdirSync(path.join(outer, 'inner'), { recursive: true });
    writeFileSync(path.join(outer, 'inner', 'a.yaml'), '[]');
    assert.deepEqual(readRuleFiles([outer]).files, []);
  });
});
