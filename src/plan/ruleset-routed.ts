// What decoys look like on a link behind a router, the end of a tunnel: hop limits, options, windows as their personas have
// them, and no MACs. Desired state to nft data; pure. Links where decoys are somebody's neighbours are ruleset-link.ts.

import {
  match,
  type NftChain,
  type NftRule,
  type NftSet,
  type NftTable,
  type NftVerdict,
  ownTableName,
} from '../kernel/nft-ruleset.ts';
import type { AddressRange, Family } from '../model/address.ts';
import { populationModulus } from '../model/population.ts';
import {
  addressType,
  type DecoyLayout,
  leadRanges,
  onlyPersona,
  personaOf,
  type RangeGroup,
  rangeElements,
  shareIntervals,
  withheldSet,
} from './decoy-layout.ts';
import type { NetworkState } from './desired-state.ts';
import { StackWear } from './ruleset-stack.ts';

export function planRoutedTable(
  desired: NetworkState,
  links: readonly string[],
  layout: DecoyLayout,
  withheld: readonly AddressRange[],
): NftTable {
  const stacks = new StackWear(desired.ports.narrow, desired.announcedSize);
  const sets: NftSet[] = [];
  const entries: NftChain[] = [];
  const leave: NftChain[] = [];
  for (const family of [4, 6] as const) {
    // Kept as everywhere, so that an address can be given back by the same transaction.
    sets.push(withheldSet(withheld, family));
    const field = family === 4 ? 'ip saddr' : 'ip6 saddr';
    const targets: [string, NftVerdict][] = [];
    layout.claimed.forEach((group, index) => {
      const entry = lookOf(group, index, family, layout, stacks, entries);
      if (entry !== undefined)
        targets.push(...rangeElements(group.ranges, family).map((range): [string, NftVerdict] => [range, { goto: entry }]));
    });
    const rules = leadRanges(`look${family}`, family, field, targets, sets);
    const singles = layout.singles.flatMap(({ address, text, persona }) => {
      const chain = persona && address.family === family ? stacks.chainFor(persona, family) : undefined;
      return chain === undefined ? [] : [`${text} : goto ${chain}`];
    });
    if (singles.length > 0) {
      const name = `stack${family}`;
      sets.push({ name, type: addressType(family), data: 'verdict', interval: false, elements: singles });
      rules.unshift([{ do: 'vmap', key: field, map: { map: name } }]);
    }
    leave.push({ name: `leave-ip${family}`, rules });
  }
  const byFamily: NftRule[] = [
    [match('meta protocol', 'ip'), { do: 'verdict', verdict: { goto: 'leave-ip4' } }],
    [match('meta protocol', 'ip6'), { do: 'verdict', verdict: { goto: 'leave-ip6' } }],
  ];
  const egress = links.map((device, index): NftChain => {
    const hook = { type: 'filter', hook: 'egress', device, priority: 0 } as const;
    return { name: `egress-${index}`, hook, rules: byFamily };
  });
  return {
    family: 'netdev',
    name: ownTableName,
    comment: 'Weir decoys; remove with: weir down',
    sets,
    chains: [...stacks.chains, ...entries, ...leave, ...egress],
  };
}

/** Leads what residents of a range send to the chain of each one's stack; undefined where all of them are as the kernel is. */
function lookOf(
  { ranges, population }: RangeGroup,
  index: number,
  family: Family,
  { personas }: DecoyLayout,
  stacks: StackWear,
  chains: NftChain[],
): string | undefined {
  if (rangeElements(ranges, family).length === 0) return undefined;
  const only = onlyPersona(population);
  if (only !== undefined) return stacks.chainFor(personaOf(personas, only), family);
  const entries = shareIntervals(population).flatMap(({ first, last, persona }): [string, NftVerdict][] => {
    const chain = stacks.chainFor(personaOf(personas, persona), family);
    return chain === undefined ? [] : [[`${first}-${last}`, { goto: chain }]];
  });
  if (entries.length === 0) return undefined;
  const name = `look-${index}.v${family}`;
  const key = { hash: family === 4 ? 'ip saddr' : 'ip6 saddr', modulus: populationModulus, seed: population.seed };
  chains.push({ name, rules: [[{ do: 'vmap', key, map: { entries } }]] });
  return name;
}
