// Addresses given back to live hosts, one range each: which of them stay so, and what that is in the kernel. Pure.

import { renderAddition } from '../kernel/nft-apply.ts';
import { type AddressRange, overlapRanges, renderAddress, subtractRanges } from '../model/address.ts';
import type { NetworkState } from './desired-state.ts';

/** Addresses given back at run time beyond this are refused: something else is wrong then. */
export const maxWithheld = 65_536;

const claimedRanges = ({ groups }: Pick<NetworkState, 'groups'>): AddressRange[] =>
  groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges);

/** Addresses given back stay so as long as some decoys hold them. */
export function keepWithheld(desired: NetworkState, withheld: readonly AddressRange[]): readonly AddressRange[] {
  return withheld.length === 0 ? withheld : overlapRanges(claimedRanges(desired), withheld).flatMap(expand);
}

/** Which of these addresses are decoys still. */
export const freshWithheld = (
  desired: NetworkState,
  asked: readonly AddressRange[],
  withheld: readonly AddressRange[],
): AddressRange[] => subtractRanges(overlapRanges(claimedRanges(desired), asked), withheld).flatMap(expand);

/** nft text that gives them back from the next packet on. */
export function renderWithheld(desired: NetworkState, fresh: readonly AddressRange[]): string {
  const tables = desired.macLinks.length > 0 ? (['inet', 'netdev'] as const) : (['inet'] as const);
  return tables
    .flatMap((table) => ([4, 6] as const).map((family) => renderAddition(table, `withheld${family}`, textOf(fresh, family))))
    .join('');
}

const textOf = (ranges: readonly AddressRange[], family: 4 | 6): string[] =>
  ranges.filter((range) => range.family === family).map((range) => renderAddress({ family, value: range.first }));

function expand(range: AddressRange): AddressRange[] {
  const singles: AddressRange[] = [];
  for (let value = range.first; value <= range.last && singles.length <= maxWithheld; value += 1n)
    singles.push({ family: range.family, first: value, last: value });
  return singles;
}
