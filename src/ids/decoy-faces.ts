// The MAC a decoy shows on its link, for frames made of sessions: computed from address, persona and seed as everywhere. Pure.

import { parseAddress, parseRange, rangeHolds } from '../model/address.ts';
import { decoyMac, renderMac } from '../model/population.ts';

/** Decoys of one diversion that share a seed; travels as JSON, ranges as text. */
export interface DecoyFaces {
  readonly diversion: string;
  readonly ranges: readonly string[];
  readonly seed: number;
  /** Given by hand, by address. */
  readonly macs: Readonly<Record<string, string>>;
}

export interface FaceSettings {
  readonly groups: readonly DecoyFaces[];
  /** Vendor prefixes, by persona. */
  readonly prefixes: Readonly<Record<string, readonly string[]>>;
}

export type MacOf = (decoy: {
  readonly diversion: string;
  readonly ip: string;
  readonly persona?: string | undefined;
}) => string | undefined;

/** Undefined for whoever shows no MAC of his own, and where it is not known. */
export function macLookup({ groups, prefixes }: FaceSettings): MacOf {
  const parsed = groups.map((group) => ({
    ...group,
    parsed: group.ranges.flatMap((text) => parseRange(text) ?? []),
  }));
  return ({ diversion, ip, persona }) => {
    const address = parseAddress(ip);
    const vendors = persona === undefined ? undefined : prefixes[persona];
    if (!address || !vendors || vendors.length === 0) return undefined;
    const group = parsed.find((one) => one.diversion === diversion && one.parsed.some((range) => rangeHolds(range, address)));
    return group && (group.macs[ip] ?? renderMac(decoyMac(address, vendors, group.seed)));
  };
}
