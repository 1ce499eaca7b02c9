// Names of one network's decoys, both ways, without a table: a name's number gives back what the address is modulo 9,000,
// and only those few addresses are looked at. Bounded work for any name somebody asks for, however large the ranges. Pure.

import {
  type Address,
  type AddressRange,
  addressBytes,
  type Family,
  rangeHolds,
  rangeSize,
  renderAddress,
  subtractRanges,
  uniteRanges,
} from './address.ts';
import type { Decoy, DecoyDirectory, DecoyGroup } from './decoy.ts';
import { hostName, residueOf, residues } from './host-name.ts';
import { type Persona, portState } from './persona.ts';
import { resident } from './population.ts';
import { RangeIndex } from './range-index.ts';

/** Whose name is meant. */
export interface WhoseName {
  /** Absent: either. */
  readonly family?: Family;
  /** Absent: anybody's. */
  readonly accepts?: (persona: Persona) => boolean;
  /** How much of a name the protocol carries; absent: 63. */
  readonly length?: number;
}

export interface NamedDecoy {
  readonly address: Address;
  readonly decoy: Decoy;
}

/** UDP ports of the protocols that ask a whole link for a name. */
export const netbiosPort = 137;
export const mdnsPort = 5353;
export const llmnrPort = 5355;
const namePorts = [netbiosPort, mdnsPort, llmnrPort];

/** Addresses looked at for one name: a millisecond's work. */
const triesPerName = 256;
/** Ranges up to this size are listed by residue instead of walked: hand-written decoys are single addresses. */
const smallRange = 16n;
const smallLimit = 65_536;
const largeLimit = 1_024;

/** Whether one of these personas answers questions that go to a whole link. */
export const asksWholeLink = (personas: Iterable<Persona>): boolean => {
  for (const persona of personas) if (namePorts.some((port) => portState(persona, 'udp', port) === 'open')) return true;
  return false;
};

/** Personas that the populations of these groups name. */
export const personasOf = (groups: readonly DecoyGroup[], personas: ReadonlyMap<string, Persona>): Persona[] => {
  const names = new Set(groups.flatMap(({ population }) => population.shares.map(({ persona }) => persona)));
  return [...names].flatMap((name) => personas.get(name) ?? []);
};

export class NameBook {
  readonly directory: DecoyDirectory;
  readonly #subnets: readonly AddressRange[];
  readonly #nameless: RangeIndex<true>;
  #prepared = false;
  readonly #personas: Persona[] = [];
  #large: AddressRange[] = [];
  readonly #small = new Map<bigint, Address[]>();

  /**
   * `subnets` are the network's own: whose hosts are on the link. Decoys at `nameless` addresses have a name that is not
   * ours to tell: services answer there with all they have.
   */
  constructor(directory: DecoyDirectory, subnets: readonly AddressRange[] = [], nameless: readonly AddressRange[] = []) {
    this.directory = directory;
    this.#subnets = subnets;
    this.#nameless = new RangeIndex(uniteRanges(nameless).map((range) => ({ range, value: true })));
  }

  /** On the link itself, by its address: in one of the subnets, or link-local. */
  isOnLink(address: Address): boolean {
    if (address.family === 6 && address.value >> 118n === 0x3fan) return true;
    return this.#subnets.some((range) => rangeHolds(range, address));
  }

  /** In one of the subnets or a decoys' range: what a name server of this network would know. */
  isKnown(address: Address): boolean {
    return this.isOnLink(address) || this.directory.groupOf(address) !== undefined;
  }

  /** The living decoy at an address and what it is called. */
  nameOf(address: Address): { decoy: Decoy; name: string } | undefined {
    const decoy = this.#isNameless(address) ? undefined : this.directory.find(renderAddress(address));
    return decoy && { decoy, name: hostName(decoy.persona, address) };
  }

  /**
   * The living decoy of this name, case aside; where several have it the first in the order of the ranges. Undefined also
   * where too many addresses would have to be looked at.
   */
  find(name: string, whose: WhoseName = {}): NamedDecoy | undefined {
    const { length = 63, family, accepts } = whose;
    const wanted = name.slice(0, length).toLowerCase();
    if (wanted === '') return undefined;
    this.#prepare();
    let tries = triesPerName;
    for (const persona of this.#personas) {
      if (accepts && !accepts(persona)) continue;
      for (const residue of residuesOf(persona, wanted, length))
        for (const address of this.#candidates(residue, family)) {
          tries -= 1;
          if (tries < 0) return undefined;
          if (this.#resident(address) !== persona.name || this.#isNameless(address)) continue;
          const decoy = this.directory.find(renderAddress(address));
          if (decoy && hostName(persona, address).slice(0, length).toLowerCase() === wanted) return { address, decoy };
        }
    }
    return undefined;
  }

  #isNameless(address: Address): boolean {
    return this.#nameless.at(address) === true;
  }

  /** The persona that lives at an address; cheaper than the whole decoy. */
  #resident(address: Address): string | undefined {
    const group = this.directory.groupOf(address);
    return group?.population.shares[resident(group.population, address)]?.persona;
  }

  *#candidates(residue: bigint | undefined, wanted: Family | undefined): Generator<Address> {
    if (residue === undefined) for (const addresses of this.#small.values()) yield* ofFamily(addresses, wanted);
    else yield* ofFamily(this.#small.get(residue) ?? [], wanted);
    for (const { family, first, last } of this.#large) {
      if (wanted !== undefined && family !== wanted) continue;
      const step = residue === undefined ? 1n : residues;
      const start = residue === undefined ? first : first + ((residue - (first % residues) + residues) % residues);
      for (let value = start; value <= last; value += step) yield { family, value };
    }
  }

  #prepare(): void {
    if (this.#prepared) return;
    this.#prepared = true;
    const { groups, personas, withheld } = this.directory;
    this.#personas.push(...personasOf(groups, personas));
    let listed = 0;
    for (const group of groups)
      for (const range of withheld.length > 0 ? subtractRanges(group.ranges, withheld) : group.ranges) {
        if (rangeSize(range) > smallRange) {
          if (this.#large.length < largeLimit) this.#large.push(range);
          continue;
        }
        for (let value = range.first; value <= range.last && listed < smallLimit; value += 1n, listed += 1) {
          const address = { family: range.family, value };
          const known = this.#small.get(value % residues);
          if (known) known.push(address);
          else this.#small.set(value % residues, [address]);
        }
      }
  }
}

const ofFamily = (addresses: readonly Address[], family: Family | undefined): readonly Address[] =>
  family === undefined ? addresses : addresses.filter((one) => one.family === family);

/** Residues of the numbers that a name may have been made with; undefined among them: any. */
function* residuesOf(persona: Persona, wanted: string, length: number): Generator<bigint | undefined> {
  const pattern = persona.hostname.toLowerCase() || 'host-{n}';
  const at = pattern.indexOf('{n}');
  if (at < 0) {
    if (pattern.slice(0, length) === wanted) yield undefined;
    return;
  }
  const suffix = pattern.slice(at + 3);
  if (!wanted.startsWith(pattern.slice(0, at))) return;
  const cut = at + 4 + suffix.length > length;
  const digits = wanted.slice(at, cut ? undefined : at + 4);
  if (!/^\d{1,4}$/.test(digits) || (!cut && wanted.slice(at + 4) !== suffix)) return;
  // A name cut short has lost some digits: each ending is possible.
  const endings = 10 ** (4 - digits.length);
  for (let ending = 0; ending < endings; ending += 1) {
    const residue = residueOf(Number(digits) * endings + ending);
    if (residue !== undefined) yield residue;
  }
}

/** `7.128.99.10.in-addr.arpa`, or nibbles below `ip6.arpa`, as an address (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function parseReverseName(labels: readonly string[]): Address | undefined {
  const zone = labels.slice(-2).join('.').toLowerCase();
  const parts = labels.slice(0, -2).reverse();
  if (
    zone === 'in-addr.arpa' &&
    parts.length === 4 &&
    parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)
  )
    return { family: 4, value: parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n) };
  if (zone === 'ip6.arpa' && parts.length === 32 && parts.every((part) => /^[0-9a-f]$/i.test(part)))
    return { family: 6, value: BigInt(`0x${parts.join('')}`) };
  return undefined;
}

/** Inverse of parseReverseName. */
export function renderReverseName(address: Address): string[] {
  const bytes = Array.from(addressBytes(address));
  if (address.family === 4) return [...bytes.reverse().map(String), 'in-addr', 'arpa'];
  const nibbles = bytes.flatMap((byte) => [byte >> 4, byte & 15]);
  return [...nibbles.reverse().map((nibble) => nibble.toString(16)), 'ip6', 'arpa'];
}
