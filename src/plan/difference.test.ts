// Steps carried out on a model of the kernel: whatever was there, the desired state comes out, in an order that never
// leaves an address without rules, and every step's inverse takes it back.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { everybody, group, state } from '../../test/support/golden-states.ts';
import { claimKey, type OwnClaim } from '../kernel/claim-link.ts';
import type { OwnRoute } from '../kernel/ip-route.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { type AddressRange, parseRange, renderRange, subtractRanges, uniteRanges } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { planClaims } from './claims.ts';
import { type DesiredState, decodeState, encodeState } from './desired-state.ts';
import {
  nothingSaved,
  type PresentState,
  parseNotes,
  planDifference,
  planRoutes,
  planSettings,
  renderNotes,
  type SavedValues,
  saveBefore,
} from './difference.ts';
import { planRuleset } from './ruleset.ts';
import { invertStep, type Step } from './step.ts';

interface Model {
  routes: Map<string, OwnRoute>;
  claims: Map<string, OwnClaim>;
  tables: readonly NftTable[];
  promiscuous: Set<string>;
  sysctls: Record<string, string>;
}

const copy = (model: Model): Model => ({
  routes: new Map(model.routes),
  claims: new Map(model.claims),
  tables: model.tables,
  promiscuous: new Set(model.promiscuous),
  sysctls: { ...model.sysctls },
});

function carryOut(model: Model, step: Step): void {
  if (step.kind === 'routes') {
    for (const route of step.add) model.routes.set(route.destination, route);
    for (const route of step.remove) model.routes.delete(route.destination);
  } else if (step.kind === 'claims') {
    for (const claim of step.remove) assert.ok(model.claims.delete(claimKey(claim)), 'removed what is not there');
    for (const claim of step.add) model.claims.set(claimKey(claim), claim);
  } else if (step.kind === 'ruleset') model.tables = step.to;
  else if (step.kind === 'sysctl') model.sysctls[step.key] = step.to;
  else if (step.kind === 'promiscuous' && step.on) model.promiscuous.add(step.link);
  else if (step.kind === 'promiscuous') model.promiscuous.delete(step.link);
  else assert.fail(`no such step in one network: ${step.kind}`);
}

const links = ['eth0', 'eth1'];
const key = (link: string): string => `net/ipv4/conf/${link}/arp_ignore`;
const rangeOfRoute = ({ destination }: OwnRoute): AddressRange => parseRange(destination) as AddressRange;

/** Everything whose packets are ours. */
const heldBy = (model: Model): AddressRange[] => [
  ...[...model.routes.values()].map(rangeOfRoute),
  ...[...model.claims.values()].map(({ address: { family, value } }) => ({ family, first: value, last: value })),
];

/** Addresses that some rule of these tables looks at. */
function ruled(tables: readonly NftTable[]): AddressRange[] {
  const inet = tables.find(({ family }) => family === 'inet');
  const elements = inet?.sets.filter(({ name }) => /^(claimed|single)[46]$/.test(name)).flatMap((set) => set.elements) ?? [];
  const rules = inet?.chains.find(({ name }) => name === 'divert')?.rules ?? [];
  const compared = rules.flatMap(([first]) =>
    first.do === 'match' && first.left === 'ip daddr' && typeof first.right === 'string' ? [first.right] : [],
  );
  return uniteRanges([...elements, ...compared].map((element) => parseRange(element.split(' : ')[0]) as AddressRange));
}

const desiredStates = fc
  .tuple(fc.array(fc.tuple(fc.nat(40), fc.nat(15)), { maxLength: 6 }), fc.subarray(links), fc.boolean(), fc.nat(2))
  .map(([spans, macLinks, strict, own]): DesiredState => {
    const ranges = uniteRanges(
      spans.map(([first, length]) => ({
        family: 4 as const,
        first: BigInt(first) + 0x0a000000n,
        last: BigInt(first + length) + 0x0a000000n,
      })),
    );
    if (ranges.length === 0) return state([]);
    const claimed = ['macvlan', 'address', undefined].slice(own);
    const parts = ranges.map((range, index) => ({ range, claim: claimed[index % claimed.length] as DecoyGroup['claim'] }));
    const groups = [undefined, 'macvlan', 'address'].flatMap((claim) => {
      const some = parts.filter((part) => part.claim === claim).map(({ range }) => renderRange(range));
      const more = claim === undefined ? {} : { claim: claim as 'macvlan' | 'address' };
      return some.length === 0 ? [] : [group('dmz', 'claimed', some, everybody('web'), more)];
    });
    return state(groups, {
      macLinks,
      sysctls: strict ? macLinks.map((link) => ({ key: key(link), value: '0', why: 'test' })) : [],
    });
  });

function advance(model: Model, saved: SavedValues, current: DesiredState | undefined, desired: DesiredState | undefined) {
  const present: PresentState = {
    routes: [...model.routes.values()],
    claims: { claims: [...model.claims.values()], broken: [] },
    tables: model.tables,
    ruleset: model.tables.length === 0 ? 'absent' : 'as-applied',
    promiscuous: [...model.promiscuous],
    links,
    sysctls: model.sysctls,
    saved,
  };
  const next = saveBefore(planSettings(desired, present), saved, desired);
  const tables = desired === undefined ? [] : planRuleset(desired, [], renderNotes(next));
  const same = current !== undefined && JSON.stringify(tables) === JSON.stringify(model.tables);
  return { steps: planDifference(desired, tables, same, planRoutes(desired, []), planClaims(desired, []), present), next };
}

test('any sequence of states is reached, each step can be taken back, and the way out leads to the beginning', () => {
  fc.assert(
    fc.property(fc.array(desiredStates, { minLength: 1, maxLength: 4 }), fc.subarray(links), (states, already) => {
      const model: Model = {
        routes: new Map(),
        claims: new Map(),
        tables: [],
        promiscuous: new Set(already),
        sysctls: { [key('eth0')]: '1', [key('eth1')]: '0' },
      };
      const beginning = copy(model);
      let saved = nothingSaved;
      let current: DesiredState | undefined;
      for (const desired of [...states, undefined]) {
        const { steps, next } = advance(model, saved, current, desired);
        const before = copy(model);
        const before2 = copy(model);
        for (const step of steps) {
          carryOut(model, step);
          const local = heldBy(model);
          assert.deepEqual(subtractRanges(local, ruled(model.tables)), [], 'an address is ours without a rule');
        }
        for (const step of steps) carryOut(before2, step);
        for (const step of [...steps].reverse()) carryOut(before2, invertStep(step));
        assert.deepEqual(before2, before);
        saved = next;
        current = desired;
        const wanted = desired?.groups.flatMap(({ ranges }) => ranges) ?? [];
        assert.deepEqual(uniteRanges(heldBy(model)), uniteRanges(wanted));
        for (const link of desired?.macLinks ?? []) assert.ok(model.promiscuous.has(link));
        assert.deepEqual(advance(model, saved, current, desired).steps, [], 'a second time there is nothing to do');
        assert.deepEqual(parseNotes(renderNotes(saved)), saved);
      }
      assert.deepEqual(model, beginning);
    }),
    { numRuns: 200 },
  );
});

test('addresses that stay decoys stay routed while ranges are cut and joined', () => {
  fc.assert(
    fc.property(desiredStates, desiredStates, (first, second) => {
      const model: Model = { routes: new Map(), claims: new Map(), tables: [], promiscuous: new Set(), sysctls: {} };
      for (const step of advance(model, nothingSaved, undefined, first).steps) carryOut(model, step);
      const rangesOf = (desired: DesiredState): AddressRange[] => desired.groups.flatMap(({ ranges }) => ranges);
      const gone = subtractRanges(rangesOf(first), rangesOf(second));
      const lasting = subtractRanges(rangesOf(first), gone);
      for (const step of advance(model, nothingSaved, first, second).steps) {
        if (step.kind === 'routes') for (const route of step.add) model.routes.set(route.destination, route);
        carryOut(model, step);
        assert.deepEqual(subtractRanges(lasting, heldBy(model)), []);
      }
    }),
  );
});

test('the state file gives back what was put in', () => {
  fc.assert(
    fc.property(desiredStates, (desired) => {
      assert.deepEqual(decodeState(encodeState(desired)), desired);
    }),
  );
});
