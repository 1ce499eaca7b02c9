// Says in words where the kernel is no longer as Weir left it. Pure; reading it is the controller's.

import type { OwnClaim } from '../kernel/claim-link.ts';
import type { OwnRoute } from '../kernel/ip-route.ts';
import type { Link } from '../kernel/link-state.ts';
import { renderRange } from '../model/address.ts';
import { describeClaim } from './claims.ts';
import type { NetworkState } from './desired-state.ts';
import { compareRoutes } from './difference.ts';

export interface DriftInput {
  readonly desired: NetworkState;
  readonly expectedListing: string;
  readonly listing: string;
  readonly expectedRoutes: readonly OwnRoute[];
  readonly routes: readonly OwnRoute[];
  /** What is missing, and what is there and should not be. */
  readonly claims: { readonly add: readonly OwnClaim[]; readonly remove: readonly OwnClaim[] };
  readonly links: readonly Link[];
  readonly sysctls: Readonly<Record<string, string | undefined>>;
}

const maxLines = 10;

export function describeDrift(input: DriftInput): string[] {
  const words: string[] = [];
  if (input.listing === '' && input.expectedListing !== '') words.push('the nft tables named weir are gone');
  else if (input.listing !== input.expectedListing) words.push(...describeRules(input.expectedListing, input.listing));
  const { add, remove } = compareRoutes(input.expectedRoutes, input.routes);
  words.push(...bounded(add.map(({ destination }) => `route local ${destination} is gone`)));
  words.push(...bounded(remove.map(({ destination }) => `route local ${destination} carries our mark but is not ours`)));
  words.push(...bounded(input.claims.add.map((claim) => `${describeClaim(claim)} is gone`)));
  words.push(...bounded(input.claims.remove.map((claim) => `${describeClaim(claim)} carries our mark but is not ours`)));
  for (const name of input.desired.macLinks) {
    const link = input.links.find((candidate) => candidate.name === name);
    if (!link) words.push(`interface ${name} is gone`);
    else if (!link.promiscuous) words.push(`interface ${name} is no longer promiscuous`);
  }
  for (const { key, value } of input.desired.sysctls)
    if (input.sysctls[key] !== value) words.push(`sysctl ${key} is ${input.sysctls[key] ?? 'gone'}, not ${value}`);
  words.push(...describeOwnAddresses(input));
  return words;
}

/** What differs between two listings of our tables. */
export function describeRules(expected: string, actual: string): string[] {
  const lost = tablesIn(expected).filter((table) => !tablesIn(actual).includes(table));
  const inLost = (line: string): boolean => lost.some((table) => line.startsWith(`${table},`));
  const before = tagged(expected).filter((line) => !inLost(line));
  const after = tagged(actual);
  const words = [
    ...lost.map((table) => `gone: ${table}`),
    ...difference(before, after).map((line) => `gone: ${line}`),
    ...difference(after, before).map((line) => `not ours: ${line}`),
  ];
  if (words.length > 0) return bounded(words);
  return elementsIn(expected) === elementsIn(actual)
    ? ['the rules in the nft tables named weir are in another order']
    : ['elements of sets were added or removed'];
}

const tablesIn = (listing: string): string[] => [...listing.matchAll(/^(table \S+ \S+) \{$/gm)].map(([, table]) => table);

/** See HomeChanger.listing. */
const elementsIn = (listing: string): string => /^elements \S+$/m.exec(listing)?.[0] ?? '';

/** Each line with its table and chain, so that equal rules in different chains stay apart. */
function tagged(listing: string): string[] {
  const lines: string[] = [];
  let table = '';
  let block = '';
  for (const line of listing.split('\n')) {
    const text = line.trim();
    if (/^elements /.test(line)) continue;
    if (/^table /.test(line)) {
      table = text.replace(' {', '');
      block = '';
    } else if (/^\t(chain|set|map) /.test(line)) {
      block = text.replace(' {', '');
      lines.push(`${table}, ${block}`);
    } else if (text !== '' && text !== '}') lines.push(`${table}, ${block}: ${text}`);
  }
  return lines;
}

/** Lines of `a` beyond those of `b`, counting repeats. */
function difference(a: readonly string[], b: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of b) counts.set(line, (counts.get(line) ?? 0) + 1);
  return a.filter((line) => {
    const left = counts.get(line) ?? 0;
    if (left > 0) counts.set(line, left - 1);
    return left === 0;
  });
}

const bounded = (words: readonly string[]): string[] =>
  words.length <= maxLines ? [...words] : [...words.slice(0, maxLines), `and ${words.length - maxLines} more`];

function describeOwnAddresses(input: DriftInput): string[] {
  const here = new Set(
    input.links.flatMap(({ addresses }) => addresses.map(({ address }) => `${address.family} ${address.value}`)),
  );
  const lost: string[] = [];
  for (const group of input.desired.groups) {
    if (group.kind !== 'own') continue;
    for (const range of group.ranges)
      for (let value = range.first; value <= range.last; value += 1n)
        if (!here.has(`${range.family} ${value}`))
          lost.push(
            `${renderRange({ family: range.family, first: value, last: value })} is no longer an address of this machine`,
          );
  }
  return bounded(lost);
}
