// The decoys of one configuration as groups with disjoint ranges: populations, seeds, exclusions, single addresses
// gathered, overlaps found in O(n log n). The kernel's view of a group is plan/.

import { type Address, type AddressRange, renderAddress, renderRange, subtractRanges, uniteRanges } from '../model/address.ts';
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

/** Gathers the entries of all host diversions; `finish` gives each diversion's groups after checking for overlaps. */
export class DecoyGathering {
  readonly #vocabulary: Vocabulary;
  readonly #mistakes: Mistakes;
  readonly #file: string;
  readonly #claims: Claim[] = [];
  readonly #own: { interface: string | undefined; path: readonly PropertyKey[] }[] = [];
  readonly #populations = new Map<string, Population>();

  constructor(vocabulary: Vocabulary, mistakes: Mistakes, file: string) {
    this.#vocabulary = vocabulary;
    this.#mistakes = mistakes;
    this.#file = file;
  }

  /** Groups of one diversion; entries that did not parse are undefined. Entries of one address are gathered into one group per population. */
  groupsOf(
    diversion: { readonly name: string; readonly interface?: string; readonly decoys: readonly (DecoyEntry | undefined)[] },
    path: readonly PropertyKey[],
  ): DecoyGroup[] {
    const groups: DecoyGroup[] = [];
    const seed = defaultSeed(diversion.name);
    const singles = new Map<Population, { ranges: AddressRange[]; macs: Record<string, string>; path: readonly PropertyKey[] }>();
    for (let index = 0; index < diversion.decoys.length && !this.#mistakes.full; index += 1) {
      const entry = diversion.decoys[index];
      if (!entry) continue;
      const at = [...path, 'decoys', index];
      const population = this.#populationOf(entry, entry.seed ?? seed, at);
      const ranges = this.#rangesOf(entry, diversion.interface, at);
      if (!population || !ranges) continue;
      if (ranges === 'own') {
        groups.push(this.#group(diversion.name, 'own', [], population, {}, at));
        continue;
      }
      const single = ranges.length === 1 && ranges[0].first === ranges[0].last;
      if (entry.mac !== undefined && !single) {
        this.#mistakes.add(
          [...at, 'mac'],
          '`mac` stands with more than one address',
          'give each of them its own entry, or leave `mac` out',
        );
        continue;
      }
      for (const range of ranges) this.#claims.push({ range, path: at });
      if (!single) {
        groups.push(this.#group(diversion.name, 'claimed', ranges, population, {}, at));
        continue;
      }
      let gathered = singles.get(population);
      if (!gathered) {
        gathered = { ranges: [], macs: {}, path: at };
        singles.set(population, gathered);
      }
      gathered.ranges.push(ranges[0]);
      if (entry.mac !== undefined) gathered.macs[renderAddress({ family: ranges[0].family, value: ranges[0].first })] = entry.mac;
    }
    for (const [population, { ranges, macs, path: at }] of singles)
      groups.push(this.#group(diversion.name, 'claimed', uniteRanges(ranges), population, macs, at));
    return groups;
  }

  /** Call once after all diversions: every address may be claimed once. Gives a look-up from address to line. */
  finish(): (address: Address) => number {
    const claims = this.#claims.sort(
      (a, b) => a.range.family - b.range.family || (a.range.first < b.range.first ? -1 : a.range.first > b.range.first ? 1 : 0),
    );
    let widest: Claim | undefined;
    for (const claim of claims) {
      if (this.#mistakes.full) break;
      if (widest && widest.range.family === claim.range.family && claim.range.first <= widest.range.last)
        this.#addOverlap(widest, claim);
      if (!widest || widest.range.family !== claim.range.family || claim.range.last > widest.range.last) widest = claim;
    }
    return (address) => {
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
    ranges: readonly AddressRange[],
    population: Population,
    macs: Readonly<Record<string, string>>,
    path: readonly PropertyKey[],
  ): DecoyGroup {
    const place = { file: this.#file, line: this.#mistakes.lineOf(path) };
    return Object.freeze({ diversion, kind, ranges: Object.freeze(ranges), population, macs: Object.freeze(macs), place });
  }

  #rangesOf(entry: DecoyEntry, link: string | undefined, at: readonly PropertyKey[]): AddressRange[] | 'own' | undefined {
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
    if (written === 'own') {
      if (entry.exclude !== undefined)
        this.#mistakes.add(
          [...at, 'exclude'],
          '`exclude` does not go with `own`',
          'use `management: { ports: [..] }` to keep ports',
        );
      if (entry.mac !== undefined)
        this.#mistakes.add([...at, 'mac'], '`mac` does not go with `own`', 'leave it out: own addresses keep their MAC');
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
    if (link === undefined) {
      this.#mistakes.add(
        at.slice(0, 2),
        '`interface` is missing',
        'add `interface:` with the one that these addresses are to appear on',
      );
      return undefined;
    }
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
