// A group of sources in words: what binds it, why each member belongs, and a name that stays while the bond does. Pure; what
// attackers chose is made safe to show.

import { printable } from '../../base/printable.ts';
import type { Campaign, CampaignMember } from '../../model/insight.ts';
import type { SourceFeatures } from '../../record/analysis-store.ts';
import { compare } from './bond-groups.ts';
import { type Bond, type BondKind, digestOf, type SourceIndex } from './source-index.ts';

const memberLimit = 100;
const bondLimit = 8;
const reasonLimit = 6;
const valueLimit = 80;
/** Of the members: who has less of them does not bind the group. */
const tellingShare = 0.3;
const namingShare = 0.6;
/** Of all sources: what more have is nothing to tell a group by. */
const commonShare = 0.25;

/** In the order in which people ask. */
const kinds: readonly BondKind[] = ['host', 'url', 'credentials', 'name', 'family', 'fingerprint', 'network', 'time'];

interface GroupBond {
  readonly bond: number;
  readonly count: number;
}

/** `taken` holds the identifiers given so far. */
export function describeCampaign(index: SourceIndex, members: readonly number[], taken: Set<string>): Campaign {
  const counts = countBonds(index, members);
  const bonds = groupBonds(index, counts, members.length);
  const rows = members.map((member) => index.sources[member]);
  const shown = members
    .map((member) => ({ member, row: index.sources[member] }))
    .sort((a, b) => b.row.hits - a.row.hits || (a.row.source < b.row.source ? -1 : 1))
    .slice(0, memberLimit);
  return {
    id: nameCampaign(index, counts, members.length, taken),
    label: labelOf(index, bonds, members.length),
    start: rows.reduce((least, { firstSeen }) => Math.min(least, firstSeen), Number.POSITIVE_INFINITY),
    end: rows.reduce((most, { lastSeen }) => Math.max(most, lastSeen), 0),
    size: members.length,
    members: shown.map(({ member, row }) => describeMember(index, member, row, bonds, counts, members.length)),
    bonds: bonds.slice(0, bondLimit).map(({ bond }) => nameBond(index.bonds[bond])),
    hits: rows.reduce((sum, { hits }) => sum + hits, 0),
  };
}

/** How many of the group have each bond. */
function countBonds({ bondsOf }: SourceIndex, members: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const member of members) for (const bond of bondsOf[member]) counts.set(bond, (counts.get(bond) ?? 0) + 1);
  return counts;
}

/** How much a bond says of a group: how many have it, by how rare it is among all. */
const weigh = ({ bonds, population }: SourceIndex, { bond, count }: GroupBond): number =>
  count * Math.log(population / bonds[bond].holders.length);

/** What many of the group have and few others: of each kind the most shared first; of a credential list one triple stands for all. */
function groupBonds(index: SourceIndex, counts: ReadonlyMap<number, number>, size: number): GroupBond[] {
  const { bonds, population } = index;
  const telling = [...counts]
    .map(([bond, count]) => ({ bond, count }))
    .filter(
      ({ bond, count }) => count >= Math.max(2, tellingShare * size) && bonds[bond].holders.length <= commonShare * population,
    )
    .sort((a, b) => weigh(index, b) - weigh(index, a) || compare(bonds, a.bond, b.bond));
  return kinds.flatMap((kind) =>
    telling.filter(({ bond }) => bonds[bond].kind === kind).slice(0, kind === 'credentials' || kind === 'time' ? 1 : 3),
  );
}

/** By the first kind of bond that most have, which is there on other days too; two groups with the same one are told apart by more. */
function nameCampaign(index: SourceIndex, counts: ReadonlyMap<number, number>, size: number, taken: Set<string>): string {
  const { bonds, population } = index;
  const rank = (bond: number): number => kinds.indexOf(bonds[bond].kind);
  const held = [...counts.keys()].filter((bond) => bonds[bond].holders.length <= commonShare * population);
  const most = held.filter((bond) => (counts.get(bond) ?? 0) >= namingShare * size);
  const order = (most.length > 0 ? most : held).sort((a, b) => rank(a) - rank(b) || compare(bonds, a, b));
  let text = '';
  for (const bond of order) {
    text += `${bonds[bond].kind} ${bonds[bond].value}\n`;
    if (!taken.has(digestOf(text))) break;
  }
  while (taken.has(digestOf(text))) text += '\n';
  taken.add(digestOf(text));
  return digestOf(text);
}

function labelOf({ bonds }: SourceIndex, found: readonly GroupBond[], size: number): string {
  const seen = new Set<BondKind>();
  const parts: string[] = [];
  for (const { bond } of found) {
    const { kind } = bonds[bond];
    if (seen.has(kind) || (kind === 'url' && seen.has('host')) || kind === 'time' || parts.length === 2) continue;
    seen.add(kind);
    parts.push(nameBond(bonds[bond]));
  }
  return `${size} sources: ${parts.join(', ')}`;
}

function describeMember(
  index: SourceIndex,
  member: number,
  { source, firstSeen, lastSeen, hits }: SourceFeatures,
  found: readonly GroupBond[],
  counts: ReadonlyMap<number, number>,
  size: number,
): CampaignMember {
  const own = new Set(index.bondsOf[member]);
  const others = index.sources.length - size;
  let reasons = found.filter(({ bond }) => own.has(bond));
  // Who came in by something few of the group have, came in by its rarest.
  if (reasons.every(({ bond }) => ['network', 'time'].includes(index.bonds[bond].kind)))
    reasons = [...reasons, ...nearest(index, own, counts)];
  return {
    source,
    firstSeen,
    lastSeen,
    hits,
    reasons: reasons.slice(0, reasonLimit).map(({ bond, count }) => {
      const elsewhere = index.bonds[bond].holders.length - count;
      return `${nameBond(index.bonds[bond])}: ${count} of ${size} members have it, and ${elsewhere} of ${others} other sources`;
    }),
  };
}

function nearest({ bonds }: SourceIndex, own: ReadonlySet<number>, counts: ReadonlyMap<number, number>): GroupBond[] {
  return [...own]
    .map((bond) => ({ bond, count: counts.get(bond) ?? 0 }))
    .filter(({ bond, count }) => count > 1 && bonds[bond].kind !== 'network' && bonds[bond].kind !== 'time')
    .sort((a, b) => bonds[a.bond].holders.length - bonds[b.bond].holders.length || compare(bonds, a.bond, b.bond))
    .slice(0, 2);
}

/** `family 3fa9…`, `download host 192.0.2.9`, `AS64500`, `credentials root:root, …`. */
export function nameBond({ kind, value }: Bond): string {
  const text = printable(value, valueLimit);
  switch (kind) {
    case 'host':
      return `host ${text}`;
    case 'name':
      return `name ${text}`;
    case 'url':
      return `URL ${text}`;
    case 'credentials':
      return `credentials ${value
        .split('\n')
        .map((one) => printable(one, valueLimit / 2))
        .join(', ')} in this order`;
    case 'family':
      return `payload family ${text}`;
    case 'fingerprint':
      return `fingerprint ${text}`;
    case 'network':
      return `AS${text}`;
    case 'time':
      return `the half-hour of ${new Date(Number(value) * 1_800_000).toISOString().slice(0, 16)}Z`;
  }
}
