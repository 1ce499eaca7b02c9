// Whole rulesets as text against files in test/golden. To accept a change on purpose: WEIR_GOLDEN=write, then read
// the difference in git before committing it. The kernel's view of the same texts is test/kernel/golden.test.ts.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { goldenNames, goldenPath, goldenState } from '../../test/support/golden-states.ts';
import { renderReplacement } from '../kernel/nft-apply.ts';
import { planRuleset } from './ruleset.ts';

for (const name of goldenNames)
  test(`the ruleset of "${name}" is the golden one`, () => {
    const { desired, withheld, notes } = goldenState(name);
    const text = renderReplacement(planRuleset(desired, withheld, notes));
    const path = join(goldenPath, `${name}.nft`);
    if (process.env.WEIR_GOLDEN === 'write') writeFileSync(path, text);
    assert.equal(text, readFileSync(path, 'utf8'));
  });

test('no decoys, no tables', () => {
  const { desired } = goldenState('own');
  assert.deepEqual(planRuleset({ ...desired, groups: [] }, [], []), []);
});
