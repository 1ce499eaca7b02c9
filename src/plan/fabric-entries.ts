// What the EVPN fabric announces of a segment before anybody sends a packet: the MACs of its living decoys, and for the
// first of them their addresses (RFC 7432, type-2 routes with MAC alone and with MAC and IP). Pure, and bounded: beyond the
// bounds decoys are found by flooded ARP and unknown unicast, as on any segment. Who lives where is model/population.ts.

import type { AddressRange } from '../model/address.ts';
import { type Address, renderAddress, subtractRanges } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { decoyMac, renderMac, resident } from '../model/population.ts';

/** Ceilings of a whole fabric, shared evenly by its segments, and of one segment. */
export const entryBounds = {
  /** MACs in all; each is an entry of a bridge's table here and a route in every VTEP of the fabric. */
  macs: 65_536,
  macsPerSegment: 16_384,
  /** Addresses in all; each is a permanent neighbour here, which the kernel's collector neither counts nor collects. */
  addresses: 16_384,
  addressesPerSegment: 4096,
  /** Addresses looked at in all while searching for the living. */
  lookedAt: 262_144,
};

export interface EntryBounds {
  readonly macs: number;
  readonly addresses: number;
  readonly lookedAt: number;
}

/** Text as the kernel's tools print it, so that equal is equal. */
export interface AnnouncedAddress {
  readonly address: string;
  readonly mac: string;
}

export interface SegmentEntries {
  /** Sorted as found, without repetition; Weir's own MAC in the segment comes first. */
  readonly macs: readonly string[];
  readonly addresses: readonly AnnouncedAddress[];
  /** False: more decoys live there than are announced. */
  readonly complete: boolean;
}

/** Each segment's share of the fabric's ceilings. */
export const shareBounds = (segments: number): EntryBounds => ({
  macs: Math.min(entryBounds.macsPerSegment, Math.floor(entryBounds.macs / Math.max(segments, 1))),
  addresses: Math.min(entryBounds.addressesPerSegment, Math.floor(entryBounds.addresses / Math.max(segments, 1))),
  lookedAt: Math.floor(entryBounds.lookedAt / Math.max(segments, 1)),
});

export interface EntrySource {
  readonly groups: readonly DecoyGroup[];
  readonly personas: readonly Persona[];
  /** Not decoys: given back to live hosts. */
  readonly withheld: readonly AddressRange[];
  /** Of the segment's link; for its own addresses and for decoys that wear no MAC of their own. */
  readonly ownMac: string;
  readonly ownAddresses: readonly Address[];
}

/** The living decoys in order of their addresses, small groups before large ones, so that single decoys are never cut. */
export function planSegmentEntries(source: EntrySource, bounds: EntryBounds): SegmentEntries {
  const personas = new Map(source.personas.map((persona) => [persona.name, persona]));
  const macs = new Set<string>([source.ownMac]);
  const addresses: AnnouncedAddress[] = source.ownAddresses.map((address) => ({
    address: renderAddress(address),
    mac: source.ownMac,
  }));
  const claimed = source.groups
    .filter(({ kind }) => kind === 'claimed')
    .map((group) => ({ group, ranges: subtractRanges(group.ranges, source.withheld) }))
    .sort((a, b) => compareSizes(sizeOf(a.ranges), sizeOf(b.ranges)));
  let lookedAt = 0;
  for (const { group, ranges } of claimed)
    for (const range of ranges)
      for (let value = range.first; value <= range.last; value += 1n) {
        lookedAt += 1;
        if (macs.size >= bounds.macs || lookedAt > bounds.lookedAt) return { macs: [...macs], addresses, complete: false };
        const address: Address = { family: range.family, value };
        const mac = macOf(group, address, personas, source.ownMac);
        if (mac === undefined) continue;
        macs.add(mac);
        if (addresses.length < bounds.addresses) addresses.push({ address: renderAddress(address), mac });
      }
  return { macs: [...macs], addresses, complete: true };
}

function macOf(group: DecoyGroup, address: Address, personas: ReadonlyMap<string, Persona>, ownMac: string): string | undefined {
  const index = resident(group.population, address);
  const persona = index < 0 ? undefined : personas.get(group.population.shares[index].persona);
  if (!persona) return undefined;
  // An address on the link itself wears the link's MAC.
  if (group.claim === 'address') return ownMac;
  const given = Object.keys(group.macs).length > 0 ? group.macs[renderAddress(address)] : undefined;
  if (given) return given.toLowerCase();
  return persona.macPrefixes.length > 0 ? renderMac(decoyMac(address, persona.macPrefixes, group.population.seed)) : ownMac;
}

const sizeOf = (ranges: readonly AddressRange[]): bigint =>
  ranges.reduce((total, range) => total + (range.last - range.first + 1n), 0n);

const compareSizes = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

/** Where an entry belongs: the port (MACs) or the bridge (addresses), and the VLAN inside a bridge shared by segments. */
export interface EntryHome {
  readonly port: string;
  readonly vlan?: number;
  readonly neighbourLink: string;
  readonly entries: SegmentEntries;
}

export interface PresentMac {
  readonly mac: string;
  readonly port: string;
  readonly vlan?: number;
  /** Learned from a far VTEP by the routing daemon. */
  readonly far: boolean;
}

export interface PresentNeighbour {
  readonly address: string;
  readonly mac: string;
  readonly link: string;
  readonly far: boolean;
}

export interface PresentEntries {
  readonly macs: readonly PresentMac[];
  readonly neighbours: readonly PresentNeighbour[];
}

export interface EntryChanges {
  readonly addMacs: readonly PresentMac[];
  readonly removeMacs: readonly PresentMac[];
  readonly addNeighbours: readonly PresentNeighbour[];
  readonly removeNeighbours: readonly PresentNeighbour[];
  /** Somebody on the far side has it: left to them (RFC 7432 section 15, the later one wins). By port. */
  readonly taken: ReadonlyMap<string, { readonly macs: readonly string[]; readonly addresses: readonly string[] }>;
}

/** `bridgeOf` names the bridge a port or a VXLAN device belongs to, so that a MAC taken elsewhere is seen. */
export function planEntryChanges(
  homes: readonly EntryHome[],
  present: PresentEntries,
  bridgeOf: (port: string) => string,
): EntryChanges {
  const placeOf = (bridge: string, vlan: number | undefined, mac: string): string => `${bridge} ${vlan ?? 0} ${mac}`;
  const here = new Map<string, PresentMac>();
  for (const entry of present.macs) {
    const place = placeOf(bridgeOf(entry.port), entry.vlan, entry.mac);
    // A far entry is listed twice, as the bridge's and as the VXLAN device's own.
    if (!here.get(place)?.far) here.set(place, entry);
  }
  const neighbours = new Map(present.neighbours.map((entry) => [`${entry.link} ${entry.address}`, entry]));
  const changes = {
    addMacs: [] as PresentMac[],
    removeMacs: [] as PresentMac[],
    addNeighbours: [] as PresentNeighbour[],
    removeNeighbours: [] as PresentNeighbour[],
    taken: new Map<string, { macs: string[]; addresses: string[] }>(),
  };
  const wanted = new Set<string>();
  for (const { port, vlan, neighbourLink, entries } of homes) {
    const taken = { macs: [] as string[], addresses: [] as string[] };
    for (const mac of entries.macs) {
      const place = placeOf(bridgeOf(port), vlan, mac);
      wanted.add(`mac ${place}`);
      const found = here.get(place);
      if (found?.far) taken.macs.push(mac);
      else if (found?.port !== port) changes.addMacs.push({ mac, port, ...(vlan === undefined ? {} : { vlan }), far: false });
    }
    for (const { address, mac } of entries.addresses) {
      const key = `${neighbourLink} ${address}`;
      wanted.add(`neighbour ${key}`);
      const found = neighbours.get(key);
      if (found?.far) taken.addresses.push(address);
      else if (found?.mac !== mac) changes.addNeighbours.push({ address, mac, link: neighbourLink, far: false });
    }
    if (taken.macs.length > 0 || taken.addresses.length > 0) changes.taken.set(port, taken);
  }
  const ports = new Set(homes.map(({ port }) => port));
  for (const [place, entry] of here)
    if (!entry.far && ports.has(entry.port) && !wanted.has(`mac ${place}`)) changes.removeMacs.push(entry);
  const links = new Set(homes.map(({ neighbourLink }) => neighbourLink));
  for (const [key, entry] of neighbours)
    if (!entry.far && links.has(entry.link) && !wanted.has(`neighbour ${key}`)) changes.removeNeighbours.push(entry);
  return changes;
}
