// The decoys of one configuration as groups with disjoint ranges: populations, seeds, exclusions, single addresses
// gathered, overlaps found in O(n log n). The kernel's view of a group is plan/.

import {
  type Address,
  type AddressRange,
  rangeHolds,
  rangeSize,
  renderAddress,
  renderRange,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { jhash, type PersonaShare, type Population, populationModulus } from '../model/population.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { addUnknownPersona, checkShares, type NamedPopulation } from './personas.ts';
import type { DecoyEntry } from './schema.ts';

export interface Vocabulary {
  readonly personas: ReadonlyMap<string, Persona>;
  readonly populations: ReadonlyMap<string, NamedPopulation>;
}

/** A range and the entry that claims it, for overlaps and for `whereIs`. */
interface Claim {
  readonly range: AddressRange;
  readonly path: readonly PropertyKey[];
}

/** What a network diversion says about where its decoys may be. */
export interface SegmentBounds {
  readonly subnets: readonly AddressRange[];
  /** Addresses in them that are somebody's already: `the gateway`. */
  readonly reserved: readonly { readonly address: Address; readonly what: string }[];
}

/** One diversion as the gathering needs it. Entries that did not parse are undefined. */
export interface GatheredDiversion {
  readonly name: string;
  /** Absent: the machine's own network, in which host diversions share one address space. */
  readonly network?: string;
  /** Of a network diversion, when its addresses parse. */
  readonly bounds?: SegmentBounds;
  readonly interface?: string;
  readonly decoys: readonly (DecoyEntry | undefined)[];
}

/** Decoys with a link or a place on one each: beyond this, making and keeping them costs more than it shows. */
export const maxClaimed = 256;

interface Single {
  readonly claim: DecoyGroup['claim'];
  readonly ranges: AddressRange[];
  readonly macs: Record<string, string>;
  readonly path: readonly PropertyKey[];
}

const single = (ranges: readonly AddressRange[]): boolean => ranges.length === 1 && ranges[0].first === ranges[0].last;

/** The seed of a diversion whose decoys name none: stable across restarts, different from its neighbours'. */
export const defaultSeed = (diversion: string): number => jhash(new TextEncoder().encode(diversion), 0x77656972);

/** Largest remainder: the parts are whole and sum to the rounded whole. */
export function scaleShares(shares: Readonly<Record<string, number>>, alive: number): PersonaShare[] {
  const exact = Object.entries(shares).map(([persona, share]) => ({ persona, exact: (share * alive) / populationModulus }));
  const parts = exact.map(({ persona, exact: value }) => ({
    persona,
    share: Math.floor(value),
    rest: value - Math.floor(value),
  }));
  const wanted = Math.round(exact.reduce((sum, { exact: value }) => sum + value, 0));
  let missing = wanted - parts.reduce((sum, { share }) => sum + share, 0);
  for (const part of [...parts].sort((a, b) => b.rest - a.rest)) {
    if (missing <= 0) break;
    part.share += 1;
    missing -= 1;
  }
  return parts.filter(({ share }) => share > 0).map(({ persona, share }) => ({ persona, share }));
}

/** Gathers the entries of all diversions; `finish` checks that no address of a network is a decoy twice. */
export class DecoyGathering {
  readonly #vocabulary: Vocabulary;
  readonly #mistakes: Mistakes;
  readonly #file: string;
  readonly #claims = new Map<string, Claim[]>();
  readonly #own: { interface: string | undefined; path: readonly PropertyKey[] }[] = [];
  readonly #populations = new Map<string, Population>();

  constructor(vocabulary: Vocabulary, mistakes: Mistakes, file: string) {
    this.#vocabulary = vocabulary;
    this.#mistakes = mistakes;
    this.#file = file;
  }

  /** Groups of one diversion. Entries of one address are gathered into one group per population and way of claiming. */
  groupsOf(diversion: GatheredDiversion, path: readonly PropertyKey[]): DecoyGroup[] {
    const groups: DecoyGroup[] = [];
    const seed = defaultSeed(diversion.name);
    const singles = new Map<Population, Single[]>();
    const claims = this.#claimsOf(diversion.network ?? '');
    let claimed = 0n;
    for (let index = 0; index < diversion.decoys.length && !this.#mistakes.full; index += 1) {
      const entry = diversion.decoys[index];
      if (!entry) continue;
      const at = [...path, 'decoys', index];
      const population = this.#populationOf(entry, entry.seed ?? seed, at);
      const ranges = this.#rangesOf(entry, diversion, at);
      if (!population || !ranges) continue;
      if (ranges === 'own') {
        groups.push(this.#group(diversion.name, 'own', undefined, [], population, {}, at));
        continue;
      }
      const claim = entry.claim === 'anyip' ? undefined : entry.claim;
      if (claim !== undefined) {
        const sum = claimed + ranges.reduce((size, range) => size + rangeSize(range), 0n);
        if (sum > maxClaimed && claimed <= maxClaimed) this.#addTooManyClaims(claim, sum, at);
        claimed = sum;
      }
      if (entry.mac !== undefined && !single(ranges)) {
        this.#mistakes.add(
          [...at, 'mac'],
          '`mac` stands with more than one address',
          'give each of them its own entry, or leave `mac` out',
        );
        continue;
      }
      if (entry.mac !== undefined && claim === 'address')
        this.#mistakes.add(
          [...at, 'mac'],
          '`mac` does not go with `claim: address`: an address on the interface shows the MAC of the interface',
          'leave one of them out, or write `claim: macvlan`',
        );
      for (const range of ranges) claims.push({ range, path: at });
      if (!single(ranges)) {
        groups.push(this.#group(diversion.name, 'claimed', claim, ranges, population, {}, at));
        continue;
      }
      const ofPopulation = singles.get(population) ?? [];
      singles.set(population, ofPopulation);
      let gathered = ofPopulation.find((one) => one.claim === claim);
      if (!gathered) {
        gathered = { claim, ranges: [], macs: {}, path: at };
        ofPopulation.push(gathered);
      }
      gathered.ranges.push(ranges[0]);
      if (entry.mac !== undefined) gathered.macs[renderAddress({ family: ranges[0].family, value: ranges[0].first })] = entry.mac;
    }
    for (const [population, gathered] of singles)
      for (const { claim, ranges, macs, path: at } of gathered)
        groups.push(this.#group(diversion.name, 'claimed', claim, uniteRanges(ranges), population, macs, at));
    return groups;
  }

  /**
   * Call once after all diversions: every address of a network may be claimed once. Gives a look-up from an address of a
   * network (empty: the machine's own) to its line.
   */
  finish(): (address: Address, network?: string) => number {
    for (const claims of this.#claims.values()) this.#checkOverlaps(claims);
    return (address, network = '') => {
      const claims = this.#claims.get(network) ?? [];
      let low = 0;
      let high = claims.length - 1;
      while (low <= high) {
        const middle = (low + high) >> 1;
        const { range, path } = claims[middle];
        if (range.family < address.family || (range.family === address.family && range.last < address.value)) low = middle + 1;
        else if (range.family > address.family || range.first > address.value) high = middle - 1;
        else return this.#mistakes.lineOf(path);
      }
      return 0;
    };
  }

  #claimsOf(network: string): Claim[] {
    const claims = this.#claims.get(network) ?? [];
    this.#claims.set(network, claims);
    return claims;
  }

  #checkOverlaps(unsorted: Claim[]): void {
    const claims = unsorted.sort(
      (a, b) => a.range.family - b.range.family || (a.range.first < b.range.first ? -1 : a.range.first > b.range.first ? 1 : 0),
    );
    let widest: Claim | undefined;
    for (const claim of claims) {
      if (this.#mistakes.full) break;
      if (widest && widest.range.family === claim.range.family && claim.range.first <= widest.range.last)
        this.#addOverlap(widest, claim);
      if (!widest || widest.range.family !== claim.range.family || claim.range.last > widest.range.last) widest = claim;
    }
  }

  #addTooManyClaims(claim: 'macvlan' | 'address', count: bigint, at: readonly PropertyKey[]): void {
    this.#mistakes.add(
      [...at, 'claim'],
      `\`claim: ${claim}\` ${claim === 'macvlan' ? 'makes a link' : 'takes a place on the interface'} for each address, and ${count} are more than ${maxClaimed} in one diversion`,
      'choose fewer addresses, or leave `claim` out: one route then holds any number of them',
    );
  }

  #addOverlap(a: Claim, b: Claim): void {
    const [first, second] = this.#mistakes.lineOf(a.path) <= this.#mistakes.lineOf(b.path) ? [a, b] : [b, a];
    const last = a.range.last < b.range.last ? a.range.last : b.range.last;
    const shared = renderRange({ family: b.range.family, first: b.range.first, last });
    const [here, there] = [this.#mistakes.lineOf(second.path), this.#mistakes.lineOf(first.path)];
    this.#mistakes.add(
      second.path,
      `${shared} ${shared.includes('/') || shared.includes('-') ? 'are decoys' : 'is a decoy'} twice: on line ${here} and on line ${there}`,
      `take it out of one of them, for example by \`exclude: [${shared}]\``,
    );
  }

  #group(
    diversion: string,
    kind: DecoyGroup['kind'],
    claim: DecoyGroup['claim'],
    ranges: readonly AddressRange[],
    population: Population,
    macs: Readonly<Record<string, string>>,
    path: readonly PropertyKey[],
  ): DecoyGroup {
    const place = { file: this.#file, line: this.#mistakes.lineOf(path) };
    return Object.freeze({
      diversion,
      kind,
      ranges: Object.freeze(ranges),
      population,
      ...(claim === undefined ? {} : { claim }),
      macs: Object.freeze(macs),
      place,
    });
  }

  #rangesOf(entry: DecoyEntry, diversion: GatheredDiversion, at: readonly PropertyKey[]): AddressRange[] | 'own' | undefined {
    const written = entry.addresses ?? entry.address;
    if (written === undefined || (entry.addresses !== undefined && entry.address !== undefined)) {
      const both = written !== undefined;
      this.#mistakes.add(
        at,
        both ? '`addresses` and `address` both stand here' : '`addresses` is missing',
        both ? 'keep one' : 'add `addresses:` with a list',
      );
      return undefined;
    }
    if (written === 'own') return this.#ownOf(entry, diversion, at);
    if (diversion.network === undefined && diversion.interface === undefined) {
      this.#mistakes.add(
        at.slice(0, 2),
        '`interface` is missing',
        'add `interface:` with the one that these addresses are to appear on',
      );
      return undefined;
    }
    const ranges = this.#withoutExcluded(entry, written, at);
    return diversion.bounds ? this.#withinBounds(ranges, diversion.bounds, at) : ranges;
  }

  #ownOf(entry: DecoyEntry, diversion: GatheredDiversion, at: readonly PropertyKey[]): 'own' | undefined {
    if (diversion.network !== undefined) {
      this.#mistakes.add(
        at,
        "`own` does not go with `kind: network`: Weir's address in a segment is no decoy",
        'write the addresses of the decoys',
      );
      return undefined;
    }
    const extra = {
      exclude: 'use `management: { ports: [..] }` to keep ports',
      mac: 'leave it out: own addresses keep their MAC',
    };
    for (const [key, next] of Object.entries(extra))
      if (entry[key as 'exclude' | 'mac'] !== undefined)
        this.#mistakes.add([...at, key], `\`${key}\` does not go with \`own\``, next);
    if (entry.claim !== undefined)
      this.#mistakes.add([...at, 'claim'], '`claim` does not go with `own`', 'leave it out: these addresses are ours already');
    const link = diversion.interface;
    const before = this.#own.find((other) => other.interface === undefined || link === undefined || other.interface === link);
    if (before)
      this.#mistakes.add(
        at,
        `own addresses are decoys twice: here and on line ${this.#mistakes.lineOf(before.path)}`,
        'keep one of them',
      );
    this.#own.push({ interface: link, path: at });
    return 'own';
  }

  #withoutExcluded(entry: DecoyEntry, written: readonly AddressRange[], at: readonly PropertyKey[]): AddressRange[] {
    if (entry.exclude === undefined) return written.length === 1 ? [...written] : uniteRanges(written);
    const all = uniteRanges(written);
    for (const hole of entry.exclude)
      if (!all.some((range) => range.family === hole.family && range.first <= hole.last && hole.first <= range.last))
        this.#mistakes.add(
          [...at, 'exclude'],
          `\`exclude\`: ${renderRange(hole)} is not among these addresses`,
          'correct it or leave it out',
        );
    const left = subtractRanges(all, entry.exclude);
    if (left.length === 0)
      this.#mistakes.add([...at, 'exclude'], '`exclude` leaves no address', 'exclude less, or remove the entry');
    return left;
  }

  /** Decoys lie in the segment's subnets, and some of them must be free; those that are not are left out by the plan. */
  #withinBounds(
    ranges: AddressRange[],
    { subnets, reserved }: SegmentBounds,
    at: readonly PropertyKey[],
  ): AddressRange[] | undefined {
    const [outside] = subtractRanges(ranges, subnets);
    if (outside !== undefined) {
      this.#mistakes.add(
        at,
        `${renderRange(outside)} ${outside.first === outside.last ? 'lies' : 'lie'} outside the segment, which is ${subnets.map(renderRange).join(', ')}`,
        'correct it, or add an `address:` in its subnet',
      );
      return undefined;
    }
    const holes = reserved.map(({ address }) => ({ family: address.family, first: address.value, last: address.value }));
    if (ranges.length === 0 || subtractRanges(ranges, holes).length > 0) return ranges;
    const taken = reserved.filter(({ address }) => ranges.some((range) => rangeHolds(range, address)));
    this.#mistakes.add(
      at,
      `no decoy is left here: ${taken.map(({ address, what }) => `${renderAddress(address)} is ${what}`).join(', ')}`,
      'choose other addresses of the segment',
    );
    return undefined;
  }

  #populationOf(entry: DecoyEntry, seed: number, at: readonly PropertyKey[]): Population | undefined {
    const alive = entry.alive ?? populationModulus;
    const known = `${seed} ${alive} ${entry.persona ?? ''} ${typeof entry.population === 'object' ? JSON.stringify(entry.population) : (entry.population ?? '')}`;
    const before = this.#populations.get(known);
    if (before && (entry.persona === undefined) !== (entry.population === undefined)) return before;
    const shares = this.#sharesOf(entry, at);
    if (!shares) return undefined;
    const scaled = scaleShares(shares, alive);
    if (scaled.length === 0) {
      this.#mistakes.add(at, 'nobody lives here: every share rounds to nothing', 'raise `alive` or the shares to 0.01% or more');
      return undefined;
    }
    const population = Object.freeze({ seed, shares: Object.freeze(scaled) });
    this.#populations.set(known, population);
    return population;
  }

  #sharesOf(entry: DecoyEntry, at: readonly PropertyKey[]): Readonly<Record<string, number>> | undefined {
    const { personas, populations } = this.#vocabulary;
    if (entry.persona !== undefined && entry.population !== undefined) {
      this.#mistakes.add([...at, 'population'], '`persona` and `population` both stand here', 'keep one');
      return undefined;
    }
    if (entry.persona !== undefined) {
      if (personas.has(entry.persona)) return { [entry.persona]: populationModulus };
      addUnknownPersona(entry.persona, personas, [...at, 'persona'], this.#mistakes);
      return undefined;
    }
    if (entry.population === undefined) {
      this.#mistakes.add(
        at,
        'neither `persona` nor `population` says how these decoys look',
        'add `persona: linux-server`, for example',
      );
      return undefined;
    }
    if (typeof entry.population === 'object') {
      checkShares(entry.population, personas, [...at, 'population'], this.#mistakes);
      return Object.keys(entry.population).every((persona) => personas.has(persona)) ? entry.population : undefined;
    }
    const named = populations.get(entry.population);
    if (named) return named.shares;
    const guess = suggestion(entry.population, populations.keys());
    this.#mistakes.add(
      [...at, 'population'],
      `there is no population \`${entry.population}\``,
      guess === undefined ? `use one of ${[...populations.keys()].join(', ')}, or write shares` : `did you mean \`${guess}\`?`,
    );
    return undefined;
  }
}
