// Groups of decoys arranged as the kernel needs them: few ranges, which are computed by hash, and many single
// addresses, which are listed exactly. Pure; shared by the rules for packets (ruleset.ts) and for links
// (ruleset-link.ts).

import { WeirError } from '../base/errors.ts';
import { renderVerdict } from '../kernel/nft-render.ts';
import { match, type NftRule, type NftSet, type NftStatement, type NftVerdict, verdict } from '../kernel/nft-ruleset.ts';
import {
  type Address,
  type AddressRange,
  type Family,
  parseAddress,
  rangeHolds,
  renderAddress,
  renderRange,
  uniteRanges,
} from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { decoyMac, type Population, populationModulus, renderMac, resident } from '../model/population.ts';
import type { NetworkState } from './desired-state.ts';

/** Ranges that share diversion and population. */
export interface RangeGroup {
  readonly diversion: string;
  readonly interface: string;
  readonly population: Population;
  readonly ranges: readonly AddressRange[];
}

/** One address whose resident was computed here; no persona means dead. */
export interface SingleDecoy {
  readonly address: Address;
  readonly text: string;
  readonly diversion: string;
  readonly interface: string;
  readonly persona?: Persona;
  /** Of the living; absent for those that show the interface's own. */
  readonly mac?: string;
  /** It has an address or a device of its own in the kernel. */
  readonly claim?: 'macvlan' | 'address';
}

export interface DecoyLayout {
  readonly claimed: readonly RangeGroup[];
  readonly singles: readonly SingleDecoy[];
  /** MACs given by hand for addresses inside `claimed` ranges. */
  readonly macs: readonly { readonly address: Address; readonly text: string; readonly mac: string }[];
  /** Kind `own`; every address is listed. */
  readonly own: readonly RangeGroup[];
  readonly personas: ReadonlyMap<string, Persona>;
}

export function layOutDecoys(desired: NetworkState): DecoyLayout {
  const personas = new Map(desired.personas.map((persona) => [persona.name, persona]));
  const merged = new Map<string, { group: DecoyGroup; ranges: AddressRange[]; macs: Record<string, string> }>();
  for (const group of desired.groups) {
    const key = `${group.kind} ${group.claim ?? ''} ${group.diversion} ${group.population.seed} ${group.population.shares.map(({ persona, share }) => `${persona}=${share}`).join()}`;
    const entry = merged.get(key);
    if (entry) {
      entry.ranges.push(...group.ranges);
      Object.assign(entry.macs, group.macs);
    } else merged.set(key, { group, ranges: [...group.ranges], macs: { ...group.macs } });
  }
  const claimed: RangeGroup[] = [];
  const own: RangeGroup[] = [];
  const singles: SingleDecoy[] = [];
  const macs: { address: Address; text: string; mac: string }[] = [];
  for (const { group, ranges, macs: given } of merged.values()) {
    const { diversion, population, claim } = group;
    const link = desired.interfaces[diversion] ?? '';
    const united = uniteRanges(ranges);
    if (group.kind === 'own') {
      own.push({ diversion, interface: link, population, ranges: united });
      continue;
    }
    const wide = claim === undefined ? united.filter((range) => range.first !== range.last) : [];
    if (wide.length > 0) claimed.push({ diversion, interface: link, population, ranges: wide });
    for (const range of united) {
      if (range.first !== range.last && claim === undefined) continue;
      for (let value = range.first; value <= range.last; value += 1n) {
        const address: Address = { family: range.family, value };
        const text = renderAddress(address);
        const index = resident(population, address);
        const persona = index < 0 ? undefined : personaOf(personas, population.shares[index].persona);
        const wears = persona !== undefined && claim !== 'address';
        const mac = wears ? (given[text] ?? renderMac(decoyMac(address, persona.macPrefixes, population.seed))) : undefined;
        singles.push({
          address,
          text,
          diversion,
          interface: link,
          ...(persona ? { persona } : {}),
          ...(mac ? { mac } : {}),
          ...(claim ? { claim } : {}),
        });
      }
    }
    for (const [text, mac] of Object.entries(given)) {
      const address = parseAddress(text);
      if (address && wide.some((range) => rangeHolds(range, address))) macs.push({ address, text: renderAddress(address), mac });
    }
  }
  return { claimed, singles, macs, own, personas };
}

export function personaOf(personas: ReadonlyMap<string, Persona>, name: string): Persona {
  const persona = personas.get(name);
  if (!persona) throw new WeirError('fault', `the population names an unknown persona: ${name}`);
  return persona;
}

/** Shares as intervals of the hash, `[first, last]`, by index into `shares`; the rest of 0..9999 is dead. */
export function shareIntervals(population: Population): { first: number; last: number; persona: string }[] {
  const intervals: { first: number; last: number; persona: string }[] = [];
  let at = 0;
  for (const { persona, share } of population.shares) {
    if (share > 0) intervals.push({ first: at, last: at + share - 1, persona });
    at += share;
  }
  return intervals;
}

export const aliveShare = (population: Population): number => population.shares.reduce((sum, { share }) => sum + share, 0);

/** The persona everybody of the population has; then no hash is needed. */
export const onlyPersona = (population: Population): string | undefined =>
  population.shares.length === 1 && population.shares[0].share === populationModulus ? population.shares[0].persona : undefined;

/** Elements of an nft interval set or map: `10.64.0.0/12`, `10.0.0.5-10.0.0.9`. */
export const rangeElements = (ranges: readonly AddressRange[], family: Family): string[] =>
  ranges.filter((range) => range.family === family).map(renderRange);

export const addressType = (family: Family): string => (family === 4 ? 'ipv4_addr' : 'ipv6_addr');

/** So few ranges are compared with one by one, which costs a packet less than a look-up in a set of intervals. */
const maxCompared = 2;

/** Whether a field holds an address of these ranges: tests, each for a rule of its own. A set is added where they are many. */
export function testRanges(
  name: string,
  family: Family,
  ranges: readonly string[],
  sets: NftSet[],
): (field: string) => readonly NftStatement[] {
  if (ranges.length <= maxCompared) return (field) => ranges.map((range) => match(field, range));
  sets.push({ name, type: addressType(family), interval: true, elements: ranges });
  return (field) => [match(field, { set: name })];
}

/** The rules that lead from a field's address to what is to be done with its range, which do not overlap; by a map where they are many. */
export function leadRanges(
  name: string,
  family: Family,
  field: string,
  targets: readonly (readonly [range: string, to: NftVerdict])[],
  sets: NftSet[],
): NftRule[] {
  if (targets.length <= maxCompared) return targets.map(([range, to]) => [match(field, range), verdict(to)]);
  const elements = targets.map(([range, to]) => `${range} : ${renderVerdict(to)}`);
  sets.push({ name, type: addressType(family), data: 'verdict', interval: true, elements });
  return [[{ do: 'vmap', key: field, map: { map: name } }]];
}

/** Addresses given back to a live host; grows while we run, so it is there even when empty. */
export const withheldSet = (withheld: readonly AddressRange[], family: Family): NftSet => ({
  name: `withheld${family}`,
  type: addressType(family),
  interval: false,
  elements: withheld.filter((range) => range.family === family).map((range) => renderAddress({ family, value: range.first })),
});
