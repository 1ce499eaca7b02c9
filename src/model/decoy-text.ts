// Decoy groups and personas as plain JSON, for the hand-over from netd to the gateway: numbers as text, nothing lost.
// The reader checks shape: the two ends run as different users.

import { WeirError } from '../base/errors.ts';
import { parseRange, renderAddress } from './address.ts';
import type { DecoyGroup } from './decoy.ts';
import type { Persona } from './persona.ts';

/** JSON shape of a DecoyGroup: ranges as `first-last`. */
export type DecoyGroupText = Omit<DecoyGroup, 'ranges'> & { readonly ranges: readonly string[] };

export const renderGroup = (group: DecoyGroup): DecoyGroupText => ({
  ...group,
  ranges: group.ranges.map(
    ({ family, first, last }) => `${renderAddress({ family, value: first })}-${renderAddress({ family, value: last })}`,
  ),
});

/** Throws `bad-request` naming the range that does not parse. */
export function parseGroup(text: DecoyGroupText): DecoyGroup {
  return {
    ...text,
    ranges: text.ranges.map((part) => {
      const range = parseRange(part);
      if (!range) throw new WeirError('bad-request', `not an address range: ${part}`);
      return range;
    }),
  };
}

/** Everything the gateway must know to answer as the decoys of one applied configuration. */
export interface DecoyDescription {
  /** Rises with every apply. */
  readonly generation: number;
  readonly groups: readonly DecoyGroupText[];
  readonly personas: readonly Persona[];
  /** Ranges given back to live hosts, as text. */
  readonly withheld: readonly string[];
}
