// Each golden ruleset in a real kernel: it is taken whole, its listing is the golden one, and every transition from
// one to another is a single transaction that leaves nothing of the first.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { applyTransaction, removeTables, renderReplacement } from '../../src/kernel/nft-apply.ts';
import { readRuleset } from '../../src/kernel/nft-read.ts';
import { planRuleset } from '../../src/plan/ruleset.ts';
import { goldenNames, goldenPath, goldenState } from '../support/golden-states.ts';
import { lacksKernelTests, withLab } from '../support/namespace.ts';

test('golden rulesets load, list as expected, and replace one another', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const namespace = await lab.namespace('g');
    await namespace.ip('link add eth0 type veth peer name peer0\nlink add eth1 type veth peer name peer1\n');
    const runner = createCommandRunner(namespace.path);
    const listings = new Map<string, string>();
    const texts = new Map(
      goldenNames.map((name) => {
        const { desired, withheld, notes } = goldenState(name);
        return [name, renderReplacement(planRuleset(desired, withheld, notes))];
      }),
    );
    for (const [name, text] of texts) {
      await removeTables(runner);
      await applyTransaction(runner, text);
      const { stdout } = await namespace.run(['nft', '-s', '-n', 'list', 'ruleset']);
      const path = join(goldenPath, `${name}.listing`);
      if (process.env.WEIR_GOLDEN === 'write') writeFileSync(path, stdout);
      assert.equal(stdout, readFileSync(path, 'utf8'), name);
      listings.set(name, (await readRuleset(runner)).own);
    }
    for (const first of goldenNames)
      for (const second of goldenNames) {
        await applyTransaction(runner, texts.get(first) ?? '');
        await applyTransaction(runner, texts.get(second) ?? '');
        // A table the first had and the second has not is still emptied and deleted: families of both are ours.
        assert.equal((await readRuleset(runner)).own, listings.get(second), `${first} -> ${second}`);
      }
    await removeTables(runner);
    assert.equal((await namespace.run(['nft', 'list', 'ruleset'])).stdout, '');
  }),
);

test('a transaction with one bad line changes nothing', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const namespace = await lab.namespace('b');
    const runner = createCommandRunner(namespace.path);
    const { desired, withheld, notes } = goldenState('own');
    const text = renderReplacement(planRuleset(desired, withheld, notes));
    await applyTransaction(runner, text);
    const before = (await readRuleset(runner)).own;
    await assert.rejects(applyTransaction(runner, `${text}\nadd rule inet weir nowhere accept\n`), { code: 'kernel-refused' });
    assert.equal((await readRuleset(runner)).own, before);
  }),
);
