// Which decoys have an address on a link or a macvlan device of their own, what changes between two lists of them, and in
// words which way each group of decoys goes and why. Pure; making them is kernel/claim-link.ts.

import { createHash } from 'node:crypto';
import { claimKey, type OwnClaim } from '../kernel/claim-link.ts';
import { type Address, type AddressRange, rangeHolds, renderAddress, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { layOutDecoys } from './decoy-layout.ts';
import type { NetworkState } from './desired-state.ts';

/** Name of the macvlan device of a decoy, the same every time; see isClaimDevice. */
export const claimDevice = (address: Address): string =>
  `weir-${createHash('sha256').update(renderAddress(address)).digest('hex').slice(0, 8)}`;

/** Every living decoy of the state that is claimed one by one; those given back are left out. */
export function planClaims(desired: NetworkState | undefined, withheld: readonly AddressRange[]): OwnClaim[] {
  if (!desired?.groups.some(({ claim }) => claim !== undefined)) return [];
  const claims: OwnClaim[] = [];
  for (const { claim, address, interface: link, persona, mac } of layOutDecoys(desired).singles) {
    if (claim === undefined || persona === undefined) continue;
    if (withheld.some((range) => rangeHolds(range, address))) continue;
    claims.push(
      claim === 'address'
        ? { way: 'address', link, address }
        : { way: 'macvlan', link, address, device: claimDevice(address), ...(mac ? { mac } : {}) },
    );
  }
  return claims;
}

/** What changes between two lists. */
export function compareClaims(wanted: readonly OwnClaim[], there: readonly OwnClaim[]): { add: OwnClaim[]; remove: OwnClaim[] } {
  const before = new Set(there.map(claimKey));
  const after = new Set(wanted.map(claimKey));
  return {
    add: wanted.filter((claim) => !before.has(claimKey(claim))),
    remove: there.filter((claim) => !after.has(claimKey(claim))),
  };
}

/** `macvlan weir-1a2b3c4d for 10.0.0.5 on eth0`, `address 10.0.0.5 on eth0`. */
export const describeClaim = ({ way, link, address, device }: OwnClaim): string =>
  way === 'address'
    ? `address ${renderAddress(address)} on ${link}`
    : `macvlan ${device} for ${renderAddress(address)} on ${link}`;

const ways = {
  anyip: 'by AnyIP: one route for all of them and nothing in the kernel for each',
  macvlan: 'a macvlan device each, as asked for (`claim: macvlan`): an interface of its own with the MAC of its persona',
  address: 'an address on the interface each, as asked for (`claim: address`): they show the MAC of the interface',
} as const;

/** One sentence for each diversion and way: how its decoys become ours, and why so. */
export function describeWays(groups: readonly DecoyGroup[]): string[] {
  const found = new Map<string, { diversion: string; way: keyof typeof ways; ranges: AddressRange[] }>();
  for (const { kind, diversion, claim, ranges } of groups) {
    if (kind !== 'claimed') continue;
    const way = claim ?? 'anyip';
    const entry = found.get(`${diversion} ${way}`) ?? { diversion, way, ranges: [] };
    entry.ranges.push(...ranges);
    found.set(`${diversion} ${way}`, entry);
  }
  return [...found.values()].map(({ diversion, way, ranges }) => {
    const shown = ranges.slice(0, 3).map(renderRange).join(', ');
    const rest = ranges.length > 3 ? ` and ${ranges.length - 3} more` : '';
    return `${diversion}: ${shown}${rest} ${ways[way]}`;
  });
}
