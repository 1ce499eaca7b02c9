// Who lives where, computed from the configuration by the arithmetic the kernel uses, network by network: two of them may
// use the same addresses. How it is shown is decoys.ts.

import { networkInterfaces } from 'node:os';
import {
  type Address,
  type AddressRange,
  overlapRanges,
  parseRange,
  rangeHolds,
  renderAddress,
  subtractRanges,
} from '../model/address.ts';
import { type Configuration, type Diversion, hostDiversions } from '../model/configuration.ts';
import { type Decoy, DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import { describeAttachment, reservedInSegment } from '../model/segment.ts';

/** Decoys that share an address space. */
interface DecoyNetwork {
  /** Empty: this machine's own. */
  readonly name: string;
  /** `vlan 110 on eth1`; absent for this machine's own network. */
  readonly attachment?: string;
  readonly directory: DecoyDirectory;
  /** Where to look, in the order of the configuration. */
  readonly ranges: readonly AddressRange[];
}

export interface LivingDecoy extends Decoy {
  readonly network: string;
  readonly attachment?: string;
  readonly claim?: DecoyGroup['claim'];
  /** `catch-all`, or who gets its packets by the kernel path. */
  readonly service: string;
}

export interface LivingDecoys {
  readonly decoys: readonly LivingDecoy[];
  /** The ranges looked through, all networks together. */
  readonly ranges: readonly AddressRange[];
  /** False: more may live there. */
  readonly complete: boolean;
}

/** How many addresses are looked at for one list: enough for a /16 of which few live. */
const maxLookedAt = 262_144;

/** What answers where nothing is bound. */
export const builtInService = 'catch-all';

/** This machine's addresses, for groups of kind `own` whose ranges the configuration leaves to the machine. */
function ownRanges(interfaceName: string | undefined): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    if (interfaceName !== undefined && name !== interfaceName) continue;
    for (const { address, internal } of addresses ?? []) {
      const range = internal || address.startsWith('fe80:') ? undefined : parseRange(address);
      if (range) ranges.push(range);
    }
  }
  return ranges;
}

/** Groups with the ranges in which somebody can live: own addresses filled in, those a segment needs itself left out. */
function groupsOf(diversion: Diversion, claimed: readonly AddressRange[]): DecoyGroup[] {
  const reserved = diversion.kind === 'network' ? reservedInSegment(diversion) : [];
  const holes = reserved.map(({ address: { family, value } }) => ({ family, first: value, last: value }));
  return diversion.groups.map((group) => {
    if (group.kind !== 'own') return holes.length > 0 ? { ...group, ranges: subtractRanges(group.ranges, holes) } : group;
    const link = diversion.kind === 'host' ? diversion.interface : undefined;
    return group.ranges.length === 0 ? { ...group, ranges: subtractRanges(ownRanges(link), claimed) } : group;
  });
}

function networksOf(
  { diversions, personas }: Configuration,
  wanted: AddressRange | undefined,
  only: string | undefined,
): DecoyNetwork[] {
  const networks: DecoyNetwork[] = [];
  // A decoy that is an address on an interface is seen there like the machine's own.
  const claimed = hostDiversions(diversions).flatMap(({ groups }) =>
    groups.filter(({ claim }) => claim !== undefined).flatMap(({ ranges }) => ranges),
  );
  const add = (name: string, attachment: string | undefined, members: readonly Diversion[]): void => {
    // The directory of a network is whole: whose an address is does not depend on what is asked for.
    const groups = members.flatMap((diversion) => groupsOf(diversion, claimed));
    const asked = groups.filter(({ diversion }) => only === undefined || diversion === only);
    const ranges = asked.flatMap((group) => (wanted ? overlapRanges(group.ranges, [wanted]) : group.ranges));
    if (ranges.length === 0) return;
    networks.push({ name, ...(attachment ? { attachment } : {}), directory: new DecoyDirectory(groups, personas), ranges });
  };
  add('', undefined, hostDiversions(diversions));
  for (const diversion of diversions)
    if (diversion.kind === 'network') add(diversion.name, describeAttachment(diversion.attachment), [diversion]);
  return networks;
}

function serviceOf({ bindings }: Configuration, diversion: string, address: Address): string {
  const binding = bindings.find(
    (one) => one.diversion === diversion && one.addresses.some((range) => rangeHolds(range, address)),
  );
  return binding?.service ?? builtInService;
}

/** The living decoys of a range (of all, without one) in order, until `limit` are found or enough addresses were looked at. */
export function findLiving(
  configuration: Configuration,
  { wanted, diversion, limit }: { readonly wanted?: AddressRange; readonly diversion?: string; readonly limit: number },
): LivingDecoys {
  const networks = networksOf(configuration, wanted, diversion);
  const ranges = networks.flatMap((network) => network.ranges);
  const decoys: LivingDecoy[] = [];
  let looked = 0;
  for (const { name, attachment, directory, ranges: own } of networks)
    for (const range of own)
      for (let value = range.first; value <= range.last; value += 1n) {
        if (decoys.length >= limit || looked >= maxLookedAt) return { decoys, ranges, complete: false };
        looked += 1;
        const address: Address = { family: range.family, value };
        const decoy = directory.find(renderAddress(address));
        if (!decoy) continue;
        const claim = directory.groupOf(address)?.claim;
        decoys.push({
          ...decoy,
          network: name,
          ...(attachment ? { attachment } : {}),
          ...(claim ? { claim } : {}),
          service: serviceOf(configuration, decoy.diversion, address),
        });
      }
  return { decoys, ranges, complete: true };
}

/** Which network an address was touched in: that of the diversion, where it is still configured. */
export function networkNamer({ diversions }: Configuration): (diversion: string) => string {
  const names = new Set(diversions.flatMap(({ kind, name }) => (kind === 'network' ? [name] : [])));
  return (diversion) => (names.has(diversion) ? diversion : '');
}
