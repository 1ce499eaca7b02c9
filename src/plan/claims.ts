// Which decoys have an address on a link or a macvlan device of their own, and in words which way each group of decoys goes
// and why. Pure; making them is kernel/claim-link.ts.

import { createHash } from 'node:crypto';
import type { OwnClaim } from '../kernel/claim-link.ts';
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

/** `macvlan weir-1a2b3c4d for 10.0.0.5 on eth0`, `address 10.0.0.5 on eth0`. */
export const describeClaim = ({ way, link, address, device }: OwnClaim): string =>
  way === 'address'
    ? `address ${renderAddress(address)} on ${link}`
    : `macvlan ${device} for ${renderAddress(address)} on ${link}`;

const ways = {
  anyip: 'by AnyIP: one route for all, nothing in the kernel for each',
  macvlan: 'by a macvlan device each, as asked for (claim: macvlan): an interface of its own with the MAC of the persona',
  address: 'by an address on the interface each, as asked for (claim: address): they show the MAC of the interface',
} as const;

export const wayOf = ({ claim }: Pick<DecoyGroup, 'claim'>): keyof typeof ways => claim ?? 'anyip';

const maxShown = 6;

/** One sentence for each way: which diversions or decoys go it, and why. */
export function describeWays(groups: readonly DecoyGroup[]): string[] {
  const found = new Map<keyof typeof ways, Map<string, AddressRange[]>>();
  for (const group of groups) {
    if (group.kind !== 'claimed') continue;
    const diversions = found.get(wayOf(group)) ?? new Map<string, AddressRange[]>();
    diversions.set(group.diversion, [...(diversions.get(group.diversion) ?? []), ...group.ranges]);
    found.set(wayOf(group), diversions);
  }
  return [...found].map(([way, diversions]) => {
    const words = [...diversions].map(([name, ranges]) =>
      way === 'anyip' ? name : `${name} ${listed(ranges.map(renderRange))}`,
    );
    return `${listed(words)}: ${ways[way]}`;
  });
}

const listed = (words: readonly string[]): string =>
  `${words.slice(0, maxShown).join(', ')}${words.length > maxShown ? ` and ${words.length - maxShown} more` : ''}`;
