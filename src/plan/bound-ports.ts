// Ports of decoys that are open because a service is bound to them, whatever their persona says: from bindings to disjoint
// sets of addresses with their ports, and to matches of nft. Pure; the same order decides in model/relayed-service.ts.

import { match, type NftSet, type NftStatement } from '../kernel/nft-ruleset.ts';
import { type AddressRange, type Family, overlapRanges, subtractRanges, uniteRanges } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { allPorts, noPorts, type PortSet, renderPorts, subtractPorts, unitePorts } from '../model/port-set.ts';
import { bySpecificity, type RelayBinding } from '../model/relayed-service.ts';
import { addressType, rangeElements } from './decoy-layout.ts';
import type { BoundPorts } from './desired-state.ts';

interface Region {
  readonly ranges: readonly AddressRange[];
  readonly tcp: PortSet;
  readonly udp: PortSet;
}

/**
 * Only ports that a binding names; where it names none, the persona decides which are open, as it does where a more specific
 * binding gives ports back to the catch-all.
 */
export function planBoundPorts(bindings: readonly RelayBinding[], groups: readonly DecoyGroup[]): BoundPorts[] {
  const bound: BoundPorts[] = [];
  for (const diversion of new Set(groups.map((group) => group.diversion))) {
    const own = bindings.filter((binding) => binding.diversion === diversion);
    if (own.length === 0) continue;
    const ranges = uniteRanges(groups.filter((group) => group.diversion === diversion).flatMap((group) => group.ranges));
    // The more specific ones come last, and have the last word.
    let regions: readonly Region[] = [{ ranges, tcp: noPorts, udp: noPorts }];
    for (const binding of bySpecificity(own).reverse()) regions = gather(regions.flatMap((region) => divide(region, binding)));
    for (const { ranges: where, tcp, udp } of regions)
      if (tcp.length + udp.length > 0) bound.push({ diversion, ...(regions.length > 1 ? { ranges: where } : {}), tcp, udp });
  }
  return bound;
}

/** The part of a region that a binding is about, and the rest. */
function divide(region: Region, binding: RelayBinding): Region[] {
  const { addresses, ports, transport, service } = binding;
  const inside = addresses ? overlapRanges(region.ranges, addresses) : region.ranges;
  if (inside.length === 0) return [region];
  const change = (before: PortSet): PortSet =>
    service === 'catch-all' || ports === undefined ? subtractPorts(before, ports ?? allPorts) : unitePorts([...before, ...ports]);
  const changed: Region = {
    ranges: inside,
    tcp: transport === 'udp' ? region.tcp : change(region.tcp),
    udp: transport === 'tcp' ? region.udp : change(region.udp),
  };
  const rest = addresses ? subtractRanges(region.ranges, addresses) : [];
  return rest.length > 0 ? [changed, { ...region, ranges: rest }] : [changed];
}

/** Regions of the same ports are one. */
function gather(regions: readonly Region[]): Region[] {
  const known = new Map<string, Region>();
  for (const region of regions) {
    const key = `${renderPorts(region.tcp)} ${renderPorts(region.udp)}`;
    const before = known.get(key);
    known.set(key, before ? { ...before, ranges: uniteRanges([...before.ranges, ...region.ranges]) } : region);
  }
  return [...known.values()];
}

export const isAllPorts = (ports: PortSet): boolean => ports.length === 1 && ports[0].first <= 1 && ports[0].last === 65535;

/** The same as statements, one list for each family; an empty one where addresses need not be asked. */
export interface BoundMatch extends Pick<BoundPorts, 'diversion' | 'tcp' | 'udp'> {
  /** Unlike a persona's name. */
  readonly name: string;
  readonly addresses: readonly (readonly NftStatement[])[];
}

const families: readonly Family[] = [4, 6];

/** Adds the sets of addresses that the matches name. */
export function planBoundMatches(bound: readonly BoundPorts[], sets: NftSet[]): BoundMatch[] {
  return bound.map(({ diversion, ranges, tcp, udp }, index) => {
    const name = `bound.${index}`;
    if (!ranges) return { diversion, name, tcp, udp, addresses: [[]] };
    const addresses = families.flatMap((family) => {
      const elements = rangeElements(ranges, family);
      if (elements.length === 0) return [];
      const set = `bound${family}.${index}`;
      sets.push({ name: set, type: addressType(family), interval: true, elements });
      return [[match(family === 4 ? 'ip daddr' : 'ip6 daddr', { set })]];
    });
    return { diversion, name, tcp, udp, addresses };
  });
}
