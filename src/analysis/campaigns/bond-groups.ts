// Which shared things bind sources: those whose holders share something of another kind far more often than chance would have
// it. A popular tool, list or host comes with everything; a campaign's comes with the same few again and again. Pure.

import type { Bond, BondKind, SourceIndex } from './source-index.ts';

/** Sources one bond holds together. */
export interface BondGroup {
  readonly bond: number;
  /** What its holders share beyond it; empty when it binds alone. */
  readonly partners: readonly number[];
  /** Places, ascending. */
  readonly members: readonly number[];
  /** How far from chance, in natural logarithms; for comparing groups. */
  readonly strength: number;
}

/** Fewer sources are no campaign. */
export const leastMembers = 3;
/** What more of all sources have binds nobody. */
const commonShare = 0.25;
/** In common at least so many times as often as by chance. */
const leastLift = 4;
/** Natural logarithm of the chance that is no chance any more: one in ten million, as thousands of bonds are looked at. */
const surprise = -16;
/** Of a bond's holders: when so many share a partner, the bond is the group's own and all its holders belong; of a rare bond fewer do. */
const ownShare = 0.8;
const rareOwnShare = 0.5;
/** Of holders: for a half-hour to be theirs together. Half-hours of one visit are not independent, so their surprises count half. */
const togetherShare = 0.5;
const timeTrust = 0.5;
/** Of the holders, for a partner to count. */
const partnerShare = 0.2;
/** A host or a list binds alone when so few of all have it. */
const soloShare = 0.01;
const soloListShare = 0.05;
/** Triples of one list that are as good as the list; one that so many times as many have shows that the list is anybody's. */
const leastTriples = 4;
const anybodys = 2;

/** Bonds of holders that are looked at. */
const workLimit = 8_000_000;

/** Kinds that come from one cause prove nothing about each other: a tool has its payload and its fingerprint. */
const causes: Readonly<Record<BondKind, string>> = {
  host: 'place',
  url: 'place',
  name: 'place',
  credentials: 'list',
  family: 'tool',
  fingerprint: 'tool',
  network: 'network',
  time: 'time',
};

/** Strongest first; one for each bond that binds. */
export function findBondGroups(index: SourceIndex): BondGroup[] {
  const { bonds, bondsOf, population } = index;
  const counts = new Int32Array(bonds.length);
  const activityOf = index.sources.map(({ halfHours }) => halfHours.length);
  const allActivity = Math.max(
    1,
    activityOf.reduce((sum, count) => sum + count, 0),
  );
  const groups: BondGroup[] = [];
  // The rarest first: when there is too much to compare, what binds least is left out.
  const order = bonds
    .map((_, number) => number)
    .filter((number) => mayBind(bonds[number], population))
    .sort((a, b) => bonds[a].holders.length - bonds[b].holders.length || a - b);
  let work = 0;
  for (const number of order) {
    const bond = bonds[number];
    const { holders, kind } = bond;
    for (const holder of holders) work += bondsOf[holder].length;
    if (work > workLimit) break;
    const touched: number[] = [];
    for (const holder of holders)
      for (const other of bondsOf[holder]) {
        if (counts[other] === 0) touched.push(other);
        counts[other] += 1;
      }
    const partners: number[] = [];
    const times: number[] = [];
    let strength = 0;
    let together = 0;
    let siblings = 0;
    let widest = 0;
    const activity = holders.reduce((sum, holder) => sum + activityOf[holder], 0);
    for (const other of touched) {
      const count = counts[other];
      counts[other] = 0;
      if (other === number) continue;
      const partner = bonds[other];
      if (partner.kind === kind && kind === 'credentials' && count >= togetherShare * holders.length) {
        siblings += 1;
        widest = Math.max(widest, partner.holders.length);
      }
      if (causes[partner.kind] === causes[kind] || count < Math.max(leastMembers, partnerShare * holders.length)) continue;
      if (partner.kind === 'time') {
        if (count < togetherShare * holders.length) continue;
        // Who is here often is here together with others often.
        together += surpriseOf(count, (activity * partner.holders.length) / allActivity);
        times.push(other);
        continue;
      }
      if (partner.holders.length > commonShare * population) continue;
      const surprised = surpriseOf(count, (holders.length * partner.holders.length) / population);
      if (surprised > surprise) continue;
      partners.push(other);
      strength = Math.min(strength, surprised);
    }
    if (together * timeTrust <= surprise) {
      partners.push(...times);
      strength = Math.min(strength, together * timeTrust);
    }
    const solo = bindsAlone(bond, siblings, widest, population);
    if (partners.length === 0 && !solo) continue;
    const members = membersOf(index, holders, new Set(partners), solo);
    // What binds alone is as far from chance as so many meeting by chance would be.
    const alone = solo ? -members.length * Math.log(population / holders.length) : 0;
    if (members.length >= leastMembers) groups.push({ bond: number, partners, members, strength: Math.min(strength, alone) });
  }
  return groups.sort((a, b) => a.strength - b.strength || b.members.length - a.members.length || compare(bonds, a.bond, b.bond));
}

const mayBind = ({ kind, holders }: Bond, population: number): boolean =>
  kind !== 'network' && kind !== 'time' && holders.length >= leastMembers && holders.length <= commonShare * population;

/** Logarithm of a bound on the chance of `count` where `expected` is what chance gives (Chernoff's, for rare events); 0 below the lift. */
function surpriseOf(count: number, expected: number): number {
  return count < leastLift * expected ? 0 : count - expected + count * Math.log(expected / count);
}

/** Where a payload would have been fetched from, and a whole list in its order, are nobody's by accident, as long as they are rare. */
function bindsAlone({ kind, holders }: Bond, siblings: number, widest: number, population: number): boolean {
  const share = holders.length / population;
  if (kind === 'host') return share <= soloShare;
  return kind === 'credentials' && share <= soloListShare && siblings + 1 >= leastTriples && widest <= anybodys * holders.length;
}

function membersOf(
  { bondsOf, population }: SourceIndex,
  holders: readonly number[],
  partners: ReadonlySet<number>,
  solo: boolean,
): readonly number[] {
  if (solo) return holders;
  const joined = holders.filter((holder) => bondsOf[holder].some((bond) => partners.has(bond)));
  const enough = holders.length <= soloShare * population ? rareOwnShare : ownShare;
  return joined.length >= enough * holders.length ? holders : joined;
}

/** By what they are, never by their numbers: those hang on what else there is. */
export function compare(bonds: readonly Bond[], a: number, b: number): number {
  const left = `${bonds[a].kind} ${bonds[a].value}`;
  const right = `${bonds[b].kind} ${bonds[b].value}`;
  return left < right ? -1 : left > right ? 1 : 0;
}
