// Which live hosts are looked for before a claim: those in ranges not held yet, link by link. How a link is probed is the
// caller's matter. Segments are not probed before they exist; the gateway sweeps them when they begin, and watches what
// speaks in them afterwards.

import { type AddressRange, subtractRanges } from '../model/address.ts';
import { type Configuration, hostDiversions } from '../model/configuration.ts';
import type { DesiredState } from './desired-state.ts';

/** Finds addresses of these ranges that answer on a link. Called only for ranges not yet claimed. */
export type LiveHostProbe = (link: string, ranges: readonly AddressRange[]) => Promise<readonly AddressRange[]>;

/** Live hosts in claimed ranges of host diversions that `current` does not hold; none without a probe. */
export async function probeFreshRanges(
  configuration: Configuration,
  probe: LiveHostProbe | undefined,
  current: DesiredState | undefined,
): Promise<AddressRange[]> {
  if (!probe) return [];
  const held = (current?.groups ?? []).filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges);
  const byLink = new Map<string, AddressRange[]>();
  for (const diversion of hostDiversions(configuration.diversions))
    for (const group of diversion.groups) {
      if (group.kind !== 'claimed' || diversion.interface === undefined) continue;
      const ranges = byLink.get(diversion.interface) ?? [];
      ranges.push(...group.ranges);
      byLink.set(diversion.interface, ranges);
    }
  const found: AddressRange[] = [];
  for (const [link, ranges] of byLink) {
    const fresh = subtractRanges(ranges, held);
    if (fresh.length > 0) found.push(...(await probe(link, fresh)));
  }
  return found;
}
