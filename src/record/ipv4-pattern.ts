// Ranges of IPv4 addresses as one regular expression (RE2) over their texts. Pure; where numbers are at hand they are cheaper.

import type { AddressRange } from '../model/address.ts';

/** Each is some kilobytes at most. */
const mostRanges = 8;

const octetsOf = (address: bigint): number[] => [24n, 16n, 8n, 0n].map((shift) => Number((address >> shift) & 255n));

const oneOf = (first: number, last: number): string =>
  first === 0 && last === 255
    ? '[0-9]+'
    : `(?:${Array.from({ length: last - first + 1 }, (_, index) => first + index).join('|')})`;

/** From the octet `at` on. */
function between(first: readonly number[], last: readonly number[], at = 0): string {
  const [low, high] = [first[at], last[at]];
  if (at === 3) return oneOf(low, high);
  if (low === high) return `${low}[.]${between(first, last, at + 1)}`;
  const rest = 3 - at;
  const anything = '[.][0-9]+'.repeat(rest);
  const [least, most] = [Array(4).fill(0), Array(4).fill(255)];
  const cutsFirst = first.slice(at + 1).some((octet) => octet > 0);
  const cutsLast = last.slice(at + 1).some((octet) => octet < 255);
  const [from, to] = [cutsFirst ? low + 1 : low, cutsLast ? high - 1 : high];
  const parts = [
    ...(cutsFirst ? [`${low}[.]${between(first, most, at + 1)}`] : []),
    ...(from <= to ? [`${oneOf(from, to)}${anything}`] : []),
    ...(cutsLast ? [`${high}[.]${between(least, last, at + 1)}`] : []),
  ];
  return `(?:${parts.join('|')})`;
}

/** IPv4 mapped into IPv6 without dots, as hardly anybody writes it: `::ffff:c000:201`. Its groups are the halves of the address. */
export const mappedHexPattern = '[0:]*:[fF]{4}:([0-9a-fA-F]{1,4}):([0-9a-fA-F]{1,4})(?:%.*)?';

/**
 * Matches addresses of the ranges as they are recorded: `192.0.2.1`, mapped into IPv6 as `::ffff:192.0.2.1`, either with a zone.
 * Not what `mappedHexPattern` matches. Undefined where the ranges are not of IPv4 alone, none, or too many.
 */
export function ipv4Pattern(ranges: readonly AddressRange[]): string | undefined {
  if (ranges.length === 0 || ranges.length > mostRanges || ranges.some(({ family }) => family !== 4)) return undefined;
  const parts = ranges.map(({ first, last }) => between(octetsOf(first), octetsOf(last)));
  return `(?:[0:]*:[fF]{4}:)?(?:${parts.join('|')})(?:%.*)?`;
}
