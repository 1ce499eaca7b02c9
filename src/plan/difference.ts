// Desired state against what is there: the steps from one to the other, in an order that never shows a decoy without
// its rules. Pure. Carrying out is step.ts.

import { WeirError } from '../base/errors.ts';
import { compareClaims, type OwnClaim, type PresentClaims } from '../kernel/claim-link.ts';
import { type OwnRoute, renderDestination } from '../kernel/ip-route.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { type AddressRange, overlapRanges, parseRange, rangeToCidrs, subtractRanges } from '../model/address.ts';
import { describeClaim } from './claims.ts';
import type { NetworkState } from './desired-state.ts';
import type { Step } from './step.ts';

/** What was there before us, to be put back. */
export interface SavedValues {
  readonly sysctls: Readonly<Record<string, string>>;
  /** Links whose promiscuous flag we switched on; the value is what it was. */
  readonly promiscuous: Readonly<Record<string, boolean>>;
}

export const nothingSaved: SavedValues = { sysctls: {}, promiscuous: {} };

export interface PresentState {
  readonly routes: readonly OwnRoute[];
  readonly claims: PresentClaims;
  /** Tables as last applied by us, to go back to; empty when none or unknown. */
  readonly tables: readonly NftTable[];
  /** `as-applied` when the kernel's listing is what it was right after our last change. */
  readonly ruleset: 'absent' | 'as-applied' | 'changed';
  readonly promiscuous: readonly string[];
  readonly links: readonly string[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly saved: SavedValues;
}

/**
 * Every AnyIP route the state needs: blocks that cover the claimed addresses exactly, without those given back and those
 * with something of their own (claims.ts).
 */
export function planRoutes(desired: NetworkState | undefined, withheld: readonly AddressRange[]): OwnRoute[] {
  if (desired === undefined) return [];
  const routed = desired.groups.filter(({ kind, claim }) => kind === 'claimed' && claim === undefined);
  const claimed = routed.flatMap(({ ranges }) => ranges);
  return coverRanges(subtractRanges(claimed, withheld));
}

const coverRanges = (ranges: readonly AddressRange[]): OwnRoute[] =>
  ranges.flatMap((range) =>
    rangeToCidrs(range).map(({ first, prefixLength }) => ({
      family: range.family,
      destination: renderDestination(first, prefixLength),
    })),
  );

/** What changes between two sets of routes. */
export function compareRoutes(wanted: readonly OwnRoute[], there: readonly OwnRoute[]): { add: OwnRoute[]; remove: OwnRoute[] } {
  const before = new Set(there.map(({ destination }) => destination));
  const after = new Set(wanted.map(({ destination }) => destination));
  return {
    add: wanted.filter(({ destination }) => !before.has(destination)),
    remove: there.filter(({ destination }) => !after.has(destination)),
  };
}

/**
 * `tables`, `routes` and `claims` are those of `desired`; the tables carry the notes of what saveBefore tells to save.
 * `before` is what has to be done once the rules are there and before an address becomes ours.
 */
export function planDifference(
  desired: NetworkState | undefined,
  tables: readonly NftTable[],
  tablesAsApplied: boolean,
  routes: readonly OwnRoute[],
  claims: readonly OwnClaim[],
  present: PresentState,
  before: readonly Step[] = [],
): Step[] {
  // First shrink to what stays, then change the rules, then grow: no address is ours without a rule, and none that
  // stays is let go on the way.
  const held = present.routes.map(rangeOfRoute);
  const wanted = [...routes.map(rangeOfRoute), ...claims.map(rangeOfClaim)];
  const shrinks = subtractRanges(held, wanted).length > 0;
  const between = shrinks ? coverRanges(overlapRanges(held, wanted)) : present.routes;
  const steps: Step[] = [];
  if (shrinks) steps.push(...routesStep(between, present.routes));
  const change = compareClaims(claims, present.claims.claims);
  const lets = change.remove.filter((claim) => overlapRanges(wanted, [rangeOfClaim(claim)]).length === 0);
  steps.push(...claimsStep([], lets, present.claims.broken));
  steps.push(...planRestores(desired, present));
  const ruleset = planRulesetStep(desired, tables, tablesAsApplied, present);
  if (ruleset) steps.push(ruleset);
  steps.push(...planSettings(desired, present), ...before);
  // An address that becomes ours in another way is so in both for a moment.
  const turns = change.remove.filter((claim) => !lets.includes(claim));
  const remade = turns.filter(({ device }) => device !== undefined && change.add.some((claim) => claim.device === device));
  const others = turns.filter((claim) => !remade.includes(claim));
  steps.push(...claimsStep(change.add, remade, []), ...routesStep(routes, between), ...claimsStep([], others, []));
  return steps;
}

/** Sysctls and flags of links that the state needs and the machine does not have. */
export function planSettings(desired: NetworkState | undefined, present: Pick<PresentState, 'sysctls' | 'promiscuous'>): Step[] {
  const steps: Step[] = [];
  for (const { key, value, why } of desired?.sysctls ?? []) {
    const now = present.sysctls[key];
    if (now !== undefined && now !== value)
      steps.push({ kind: 'sysctl', key, from: now, to: value, line: `set ${sysctlName(key)} from ${now} to ${value} (${why})` });
  }
  for (const link of desired?.macLinks ?? [])
    if (!present.promiscuous.includes(link))
      steps.push({ kind: 'promiscuous', link, on: true, line: `make ${link} promiscuous (decoys have MACs of their own)` });
  return steps;
}

function planRulesetStep(
  desired: NetworkState | undefined,
  tables: readonly NftTable[],
  tablesAsApplied: boolean,
  present: PresentState,
): Step | undefined {
  if (desired === undefined || desired.groups.length === 0) {
    if (present.ruleset === 'absent') return undefined;
    return { kind: 'ruleset', to: [], from: present.tables, line: 'remove the nft tables named weir' };
  }
  if (present.ruleset === 'as-applied' && tablesAsApplied) return undefined;
  const what = tables.map(({ family, name }) => `${family} ${name}`).join(', ');
  const size = `${tables.reduce((sum, { chains }) => sum + chains.reduce((rules, chain) => rules + chain.rules.length, 0), 0)} rules`;
  const elements = tables.reduce((sum, { sets }) => sum + sets.reduce((all, set) => all + set.elements.length, 0), 0);
  const verb = { absent: 'create', 'as-applied': 'replace', changed: 'put back (changed by somebody else)' }[present.ruleset];
  return {
    kind: 'ruleset',
    to: tables,
    from: present.tables,
    line: `${verb} nft tables ${what}: ${size}, ${elements} elements in sets`,
  };
}

/** What is no longer needed goes back to what it was. */
function planRestores(desired: NetworkState | undefined, present: PresentState): Step[] {
  const steps: Step[] = [];
  for (const [link, was] of Object.entries(present.saved.promiscuous)) {
    const here = present.links.includes(link);
    if (!was && here && !desired?.macLinks.includes(link) && present.promiscuous.includes(link))
      steps.push({ kind: 'promiscuous', link, on: false, line: `${link} is no longer promiscuous` });
  }
  for (const [key, value] of Object.entries(present.saved.sysctls)) {
    const now = present.sysctls[key];
    if (now !== undefined && now !== value && !desired?.sysctls.some((wanted) => wanted.key === key))
      steps.push({ kind: 'sysctl', key, from: now, to: value, line: `set ${sysctlName(key)} back to ${value}` });
  }
  return steps;
}

/** What has to be remembered once these settings (planSettings) are made. */
export function saveBefore(steps: readonly Step[], saved: SavedValues, desired: NetworkState | undefined): SavedValues {
  const sysctls: Record<string, string> = {};
  const promiscuous: Record<string, boolean> = {};
  for (const { key } of desired?.sysctls ?? []) {
    const step = steps.find((candidate) => candidate.kind === 'sysctl' && candidate.key === key);
    const value = saved.sysctls[key] ?? (step?.kind === 'sysctl' ? step.from : undefined);
    if (value !== undefined) sysctls[key] = value;
  }
  for (const link of desired?.macLinks ?? []) {
    const switched = steps.some((step) => step.kind === 'promiscuous' && step.link === link && step.on);
    if (link in saved.promiscuous) promiscuous[link] = saved.promiscuous[link];
    else if (switched) promiscuous[link] = false;
  }
  return { sysctls, promiscuous };
}

/** For the kernel's own keeping, as comments; see parseNotes. */
export const renderNotes = (saved: SavedValues): string[] => [
  ...Object.entries(saved.sysctls).map(([key, value]) => `sysctl ${key}=${value}`),
  ...Object.entries(saved.promiscuous).map(([link, was]) => `promiscuous ${link}=${was ? 1 : 0}`),
];

/** Inverse of renderNotes; other comments are passed over. */
export function parseNotes(comments: readonly string[]): SavedValues {
  const sysctls: Record<string, string> = {};
  const promiscuous: Record<string, boolean> = {};
  for (const comment of comments) {
    const sysctl = /^sysctl (net\/\S+)=(-?\d+)$/.exec(comment);
    if (sysctl) sysctls[sysctl[1]] = sysctl[2];
    const link = /^promiscuous (\S+)=([01])$/.exec(comment);
    if (link) promiscuous[link[1]] = link[2] === '1';
  }
  return { sysctls, promiscuous };
}

const sysctlName = (key: string): string => key.replaceAll('.', '\u0000').replaceAll('/', '.').replaceAll('\u0000', '/');

function routesStep(wanted: readonly OwnRoute[], there: readonly OwnRoute[]): Step[] {
  const { add, remove } = compareRoutes(wanted, there);
  return add.length + remove.length === 0 ? [] : [{ kind: 'routes', add, remove, line: describeRoutes(add, remove) }];
}

function claimsStep(add: readonly OwnClaim[], remove: readonly OwnClaim[], broken: readonly string[]): Step[] {
  const gone = [...remove.map(describeClaim), ...broken.map((name) => `macvlan ${name} (not working)`)];
  const some = (words: readonly string[]): string =>
    `${words.slice(0, 3).join(', ')}${words.length > 3 ? ` and ${words.length - 3} more` : ''}`;
  const words = [
    ...(add.length > 0 ? [`add ${some(add.map(describeClaim))}`] : []),
    ...(gone.length > 0 ? [`remove ${some(gone)}`] : []),
  ];
  return words.length === 0 ? [] : [{ kind: 'claims', add, remove, broken, line: words.join('; ') }];
}

function describeRoutes(add: readonly OwnRoute[], remove: readonly OwnRoute[]): string {
  const count = (routes: readonly OwnRoute[]): string =>
    routes.length === 1 ? `route local ${routes[0].destination}` : `${routes.length} local routes (${routes[0].destination}, …)`;
  return [...(add.length > 0 ? [`add ${count(add)}`] : []), ...(remove.length > 0 ? [`remove ${count(remove)}`] : [])].join(', ');
}

const rangeOfClaim = ({ address: { family, value } }: OwnClaim): AddressRange => ({ family, first: value, last: value });

function rangeOfRoute({ destination }: OwnRoute): AddressRange {
  const range = parseRange(destination);
  if (!range) throw new WeirError('fault', `not a destination: ${destination}`);
  return range;
}
