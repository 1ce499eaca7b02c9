// `weir rules`: what it lists, how it tells what is wrong where, exit codes.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { CommandBed } from '../../test/support/command-bed.ts';

const rule = (id: string, match: string, tests = '{ match: "a word" }, { miss: "a world" }'): string =>
  `- id: ${id}\n  name: Rule ${id}\n  intention: exploit\n  severity: high\n  cves: [CVE-2020-1234]\n  match: [${match}]\n  tests: [${tests}]\n`;

describe('weir rules', () => {
  const bed = new CommandBed();
  const at = (name: string): string => path.join(bed.directory, name);
  before(() => {
    mkdirSync(at('rules'));
    writeFileSync(at('rules/shipped.yaml'), rule('shipped-one', '{ contains: " word" }'));
    writeFileSync(at('own.yaml'), rule('own-one', '{ contains: " word" }') + rule('own-two', '{ contains: "d" }'));
    writeFileSync(at('red.yaml'), rule('red-one', '{ contains: " worl" }'));
    writeFileSync(at('taken.yaml'), rule('shipped-one', '{ contains: " word" }'));
    writeFileSync(at('empty.yaml'), '[]\n');
  });
  beforeEach(async () => {
    await bed.reset();
    bed.configured = { analysis: { rules: [at('own.yaml')] } } as never;
  });
  after(() => bed.close());

  it('lists the rules of Weir and those of weir.yaml, and says which are left out', async () => {
    const { code, out, err } = await bed.run('rules');
    assert.equal(code, 0);
    assert.match(
      out,
      /^RULE +SEVERITY +INTENTION +CVE +WHAT IT IS\nown-one +high +exploit +CVE-2020-1234 +Rule own-one\nshipped-one /,
    );
    assert.match(err, /left out: own\.yaml:13: no condition needs a literal of 3 bytes/);
    const lines = (await bed.run('rules --json')).out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ id, severity, cves, tests }) => [id, severity, cves, tests]),
      [
        ['shipped-one', 'high', ['CVE-2020-1234'], 2],
        ['own-one', 'high', ['CVE-2020-1234'], 2],
      ],
    );
  });

  it('tries their tests and ends with 1 when one fails, with its place', async () => {
    bed.configured = { analysis: { rules: [] } } as never;
    const good = await bed.run('rules test');
    assert.deepEqual([good.code, good.out], [0, '1 rule; 2 of 2 tests passed\n']);
    const red = await bed.run('rules test red.yaml');
    assert.equal(red.code, 1);
    assert.equal(
      red.out,
      'fails  red.yaml:7: red-one: it does not match; shipped-one did\nfails  red.yaml:7: red-one: it matches what it has to miss\n1 rule; 0 of 2 tests passed\n',
    );
    const json = JSON.parse((await bed.run('rules test --json red.yaml')).out);
    assert.deepEqual([json.rules, json.tests, json.failures.length, json.mistakes], [1, 2, 2, []]);
  });

  it('ends with 2 when a rule is wrong', async () => {
    const { code, out } = await bed.run('rules test own.yaml');
    assert.equal(code, 2);
    assert.match(
      out,
      /^wrong {2}own\.yaml:13: .*\n {7}next: add `ports:`[\s\S]*\n1 rule; 2 of 2 tests passed; 1 mistake, what they are in is left out\n$/,
    );
  });

  it('checks a file beside the rules there are', async () => {
    assert.deepEqual((await bed.run('rules check red.yaml')).code, 0);
    const taken = await bed.run('rules check taken.yaml');
    assert.equal(taken.code, 2);
    assert.match(taken.err, /taken\.yaml:1: there is a rule `shipped-one` already, at .*shipped\.yaml:1/);
    assert.equal((await bed.run('rules check empty.yaml')).code, 2);
    assert.equal((await bed.run('rules check nowhere.yaml')).code, 2);
    assert.equal((await bed.run('rules check')).code, 2);
  });
});
