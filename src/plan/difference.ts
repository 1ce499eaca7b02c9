// Desired state against what is there: the steps from one to the other, in an order that never shows a decoy without
// its rules. Pure. Carrying out is step.ts.

import { type OwnRoute, renderDestination, routeKey } from '../kernel/ip-route.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import { type AddressRange, overlapRanges, rangeToCidrs, uniteRanges } from '../model/address.ts';
import { type DesiredState, isEmptyState } from './desired-state.ts';
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
  /** Tables as last applied by us, to go back to; empty when none or unknown. */
  readonly tables: readonly NftTable[];
  /** `as-applied` when the kernel's listing is what it was right after our last change. */
  readonly ruleset: 'absent' | 'as-applied' | 'changed';
  readonly promiscuous: readonly string[];
  readonly links: readonly string[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly saved: SavedValues;
}

/** Every AnyIP route the state needs, and a `throw` for each address given back. */
export function planRoutes(desired: DesiredState | undefined, withheld: readonly AddressRange[]): OwnRoute[] {
  if (desired === undefined) return [];
  const claimed = uniteRanges(desired.groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges));
  // A host route that is both would be one key twice; the address that was given back wins.
  const given = overlapRanges(claimed, withheld);
  const routes: OwnRoute[] = [];
  const add = (kind: OwnRoute['kind'], range: AddressRange): void => {
    for (const { first, prefixLength } of rangeToCidrs(range))
      routes.push({ kind, family: range.family, destination: renderDestination(first, prefixLength) });
  };
  for (const range of claimed) add('local', range);
  const returned = new Set<string>();
  for (const range of given) {
    const before = routes.length;
    add('throw', range);
    for (const route of routes.slice(before)) returned.add(route.destination);
  }
  return routes.filter((route) => route.kind === 'throw' || !returned.has(route.destination));
}

/** `tables` are those of `desired`, rendered by ruleset.ts with the notes of `saved` after this difference. */
export function planDifference(
  desired: DesiredState | undefined,
  tables: readonly NftTable[],
  tablesAsApplied: boolean,
  withheld: readonly AddressRange[],
  present: PresentState,
): Step[] {
  const wanted = new Map(planRoutes(desired, withheld).map((route) => [routeKey(route), route]));
  const there = new Map(present.routes.map((route) => [routeKey(route), route]));
  const remove = [...there].filter(([key]) => !wanted.has(key)).map(([, route]) => route);
  const add = [...wanted].filter(([key]) => !there.has(key)).map(([, route]) => route);
  const steps: Step[] = [];
  if (remove.length > 0) steps.push({ kind: 'routes', add: [], remove, line: `remove ${countRoutes(remove)}` });
  steps.push(...planRestores(desired, present));
  const ruleset = planRulesetStep(desired, tables, tablesAsApplied, present);
  if (ruleset) steps.push(ruleset);
  for (const { key, value, why } of desired?.sysctls ?? []) {
    const now = present.sysctls[key];
    if (now !== undefined && now !== value)
      steps.push({ kind: 'sysctl', key, from: now, to: value, line: `set ${sysctlName(key)} from ${now} to ${value} (${why})` });
  }
  for (const link of desired?.macLinks ?? [])
    if (!present.promiscuous.includes(link))
      steps.push({ kind: 'promiscuous', link, on: true, line: `make ${link} promiscuous (decoys have MACs of their own)` });
  if (add.length > 0) steps.push({ kind: 'routes', add, remove: [], line: `add ${countRoutes(add)}` });
  return steps;
}

function planRulesetStep(
  desired: DesiredState | undefined,
  tables: readonly NftTable[],
  tablesAsApplied: boolean,
  present: PresentState,
): Step | undefined {
  if (isEmptyState(desired)) {
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
function planRestores(desired: DesiredState | undefined, present: PresentState): Step[] {
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

/** What has to be remembered once these steps are done. */
export function saveBefore(steps: readonly Step[], saved: SavedValues, desired: DesiredState | undefined): SavedValues {
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

function countRoutes(routes: readonly OwnRoute[]): string {
  const parts: string[] = [];
  for (const kind of ['local', 'throw'] as const) {
    const some = routes.filter((route) => route.kind === kind);
    if (some.length === 1) parts.push(`route ${kind} ${some[0].destination}`);
    else if (some.length > 1) parts.push(`${some.length} ${kind} routes (${some[0].destination}, …)`);
  }
  return parts.join(' and ');
}
