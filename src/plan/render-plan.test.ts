// What `weir plan` shows: changes with signs, decoys, what is left alone, doubts; and the same as JSON.

import assert from 'node:assert/strict';
import test from 'node:test';
import { everybody, group, state } from '../../test/support/golden-states.ts';
import type { Plan } from './controller.ts';
import { nothingSaved, planDifference, planRoutes } from './difference.ts';
import { describePlan, renderPlan } from './render-plan.ts';
import { planRuleset } from './ruleset.ts';

const desired = state([
  group('dmz', 'claimed', ['10.66.0.0/17', '2001:db8:66::/64'], [{ persona: 'web', share: 4000 }]),
  group('self', 'own', ['192.0.2.7'], everybody('all-open')),
]);

const empty = {
  routes: [],
  claims: { claims: [], broken: [] },
  tables: [],
  ruleset: 'absent',
  promiscuous: [],
  links: ['eth0'],
  sysctls: {},
  saved: nothingSaved,
} as const;

const plan: Plan = {
  changes: planDifference(desired, planRuleset(desired, [], []), false, planRoutes(desired, []), [], empty),
  desired,
  notes: ['10.66.0.1 in dmz: a live host answers there, left alone'],
  warnings: ['something'],
};

test('a plan for people', () => {
  assert.equal(
    renderPlan(plan).replace(/\d+ rules, \d+ elements/, 'N rules, M elements'),
    `3 changes:
  + create nft tables inet weir, netdev weir: N rules, M elements in sets
  ~ make eth0 promiscuous (decoys have MACs of their own)
  + add 2 local routes (10.66.0.0/17, …)

Decoys:
    dmz: 10.66.0.0/17, 2001:db8:66::/64 (18446744073709584384 addresses): web 40%
    self: 192.0.2.7 (this machine's own): all-open

How their addresses become ours:
    dmz: by AnyIP: one route for all, nothing in the kernel for each

Left alone:
    10.66.0.1 in dmz: a live host answers there, left alone

Mind:
  ! something
`,
  );
  assert.match(renderPlan({ ...plan, changes: [] }), /^No change: /);
});

test('a plan as JSON says the same and is JSON', () => {
  const json = JSON.parse(JSON.stringify(describePlan(plan)));
  assert.deepEqual(
    json.changes.map(({ kind }: { kind: string }) => kind),
    ['ruleset', 'promiscuous', 'routes'],
  );
  assert.equal(json.decoys[0].addresses, '18446744073709584384');
  assert.equal(json.protected.ports, '22,8443');
});
