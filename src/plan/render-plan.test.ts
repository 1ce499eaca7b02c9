// What `weir plan` shows: changes with signs, decoys, what is left alone, doubts; and the same as JSON.

import assert from 'node:assert/strict';
import test from 'node:test';
import { everybody, group, state } from '../../test/support/golden-states.ts';
import { vxlanSegment, withSegments } from '../../test/support/segment-bed.ts';
import type { Plan } from './controller.ts';
import { planSegment } from './desired-segment.ts';
import { nothingSaved, planDifference, planRoutes } from './difference.ts';
import { describePlan, renderPlan } from './render-plan.ts';
import { planRuleset } from './ruleset.ts';
import { emptySegment, planSegmentDifference } from './segment-difference.ts';

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

test('segments: one line each for what changes and for what is there, and not without end', () => {
  const planned = Array.from({ length: 60 }, (_, index) => {
    const diversion = vxlanSegment(`floor-${index}`, { vni: 100 + index, gateways: ['192.168.50.1'] });
    const ports = { tcp: 7, udp: 8, narrow: 9 };
    const facts = { links: [], gateways: [] };
    return planSegment(diversion, { configuration: withSegments([diversion]), facts, ports, tag: '0a1b' }).segment;
  });
  const steps = planned.flatMap((segment) =>
    planSegmentDifference(segment, planRuleset(segment.inside, [], []), false, [], emptySegment, '0a1b'),
  );
  const names = planned.map(({ netns }) => netns);
  const many: Plan = {
    changes: [{ kind: 'netns', add: names.slice(1), remove: [], line: 'create 59 network namespaces' }, ...steps],
    desired: { ...state([]), segments: planned },
    notes: Array.from({ length: 100 }, (_, index) => `note ${index}`),
    warnings: [],
  };
  const text = renderPlan(many);
  assert.match(
    text,
    /^241 changes:\n {2}\+ create 59 network namespaces\n {2}~ floor-0: create nft tables .*; make lan promiscuous .*; lan: add /,
  );
  assert.match(text, /^ {2}\+ floor-1: create/m);
  assert.match(
    text,
    /^ {4}floor-0: vni 100, vtep 10\.99\.0\.2, 1 remote, mtu 1450, 192\.168\.50\.2\/24 by way of 192\.168\.50\.1: 241 addresses \(linux-server\), in weir-0a1b-floor-0$/m,
  );
  assert.equal(text.match(/^ {2}[+~] floor-/gm)?.length, 40);
  assert.match(text, /and 20 more\n/);
  assert.match(text, /and 60 more\n/);
  assert.ok(text.split('\n').length < 180);
  const json = JSON.parse(JSON.stringify(describePlan(many)));
  assert.deepEqual([json.segments.length, json.segments[0].attachment], [60, 'vni 100, vtep 10.99.0.2, 1 remote']);
  assert.equal(json.changes[1].network, 'floor-0');
});
