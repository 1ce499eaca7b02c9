// Groups of decoys after configuration, and the directory that tells who lives at an address. Pure.
// The kernel makes the same decision from the same data: see plan/ruleset.ts.

import { type Address, type AddressRange, parseAddress, subtractRanges } from './address.ts';
import type { Persona } from './persona.ts';
import { decoyMac, type Population, renderMac, resident } from './population.ts';
import { RangeIndex } from './range-index.ts';

/** Where in the configuration something stands, for messages. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

/** Decoys that share a population. `ranges` are disjoint from every other group's, exclusions already taken out. */
export interface DecoyGroup {
  readonly diversion: string;
  /** `own`: addresses that belong to this machine; they keep their MAC and whatever already listens on them. */
  readonly kind: 'own' | 'claimed';
  readonly ranges: readonly AddressRange[];
  readonly population: Population;
  /** How the addresses become ours. Absent: AnyIP routes. `macvlan` and `address`: single addresses with a link, or a place on one, each. */
  readonly claim?: 'macvlan' | 'address';
  /** Exact MACs given by hand, by address text. */
  readonly macs: Readonly<Record<string, string>>;
  readonly place: Place;
}

export interface Decoy {
  readonly ip: string;
  readonly diversion: string;
  readonly persona: Persona;
  /** Absent for addresses of this machine and for decoys that are an address on its interface: they show the interface's own. */
  readonly mac?: string;
}

/** Immutable look-up over all groups. O(log n) in ranges; a miss and a dead address both give undefined. */
export class DecoyDirectory {
  readonly groups: readonly DecoyGroup[];
  readonly personas: ReadonlyMap<string, Persona>;
  readonly withheld: readonly AddressRange[];
  readonly #index: RangeIndex<DecoyGroup>;

  /** `withheld` are addresses given back because a live host has them. */
  constructor(groups: readonly DecoyGroup[], personas: ReadonlyMap<string, Persona>, withheld: readonly AddressRange[] = []) {
    this.groups = groups;
    this.personas = personas;
    this.withheld = withheld;
    this.#index = new RangeIndex(
      groups.flatMap((group) =>
        (withheld.length ? subtractRanges(group.ranges, withheld) : group.ranges).map((range) => ({ range, value: group })),
      ),
    );
  }

  /** The group whose range holds the address, living or dead. */
  groupOf(address: Address): DecoyGroup | undefined {
    return this.#index.at(address);
  }

  /** The living decoy at an address given as text or number. */
  find(ip: string | Address): Decoy | undefined {
    const address = typeof ip === 'string' ? parseAddress(ip) : ip;
    if (!address) return undefined;
    const group = this.groupOf(address);
    if (!group) return undefined;
    const index = resident(group.population, address);
    if (index < 0) return undefined;
    const persona = this.personas.get(group.population.shares[index].persona);
    if (!persona) return undefined;
    const text = typeof ip === 'string' ? ip : undefined;
    const mac =
      group.kind === 'own' || group.claim === 'address'
        ? undefined
        : ((text && group.macs[text]) ?? renderMac(decoyMac(address, persona.macPrefixes, group.population.seed)));
    return { ip: text ?? '', diversion: group.diversion, persona, ...(mac ? { mac } : {}) };
  }
}
