// Sources that act as one: groups held together by a bond, those of the same sources joined as long as most share something rare,
// so that no chain of chance likenesses becomes one giant. Pure, bounded, the same for any order of rows.

import type { Campaign } from '../../model/insight.ts';
import type { SourceFeatures } from '../../record/analysis-store.ts';
import { type BondGroup, findBondGroups, leastMembers } from './bond-groups.ts';
import { describeCampaign } from './describe-campaign.ts';
import { indexSources, type SourceIndex } from './source-index.ts';

const sourceLimit = 10_000;
const campaignLimit = 500;
/** Of the smaller of two groups: with so many sources in common they are parts of one. */
const joinShare = 0.5;
/** Of a joined group: who have the bond that holds it. */
const holdShare = 0.6;

/** Largest first. Of more than 10,000 sources those with most hits are looked at. */
export function planCampaigns(features: readonly SourceFeatures[]): Campaign[] {
  const rows =
    features.length <= sourceLimit
      ? features
      : [...features].sort((a, b) => b.hits - a.hits || (a.source < b.source ? -1 : 1)).slice(0, sourceLimit);
  const index = indexSources(rows);
  const taken = new Set<string>();
  return joinGroups(index, findBondGroups(index))
    .map((members) => describeCampaign(index, members, taken))
    .sort((a, b) => b.size - a.size || b.hits - a.hits || (a.id < b.id ? -1 : 1))
    .slice(0, campaignLimit);
}

interface Group {
  readonly members: Set<number>;
  /** How many members have each bond. */
  readonly counts: Map<number, number>;
}

/** The strongest first; each source ends in one group at most. */
function joinGroups(index: SourceIndex, found: readonly BondGroup[]): number[][] {
  const groups: Group[] = [];
  const groupOf = new Map<number, Group>();
  const add = (group: Group, member: number): void => {
    group.members.add(member);
    groupOf.set(member, group);
    for (const bond of index.bondsOf[member]) group.counts.set(bond, (group.counts.get(bond) ?? 0) + 1);
  };
  for (const { members } of found) {
    const overlaps = new Map<Group, number>();
    for (const member of members) {
      const group = groupOf.get(member);
      if (group) overlaps.set(group, (overlaps.get(group) ?? 0) + 1);
    }
    const free = members.filter((member) => !groupOf.has(member));
    if (free.length === 0) continue;
    let most: Group | undefined;
    for (const [group, count] of overlaps) if (count > (most ? (overlaps.get(most) ?? 0) : 0)) most = group;
    if (most && (overlaps.get(most) ?? 0) >= joinShare * Math.min(members.length, most.members.size)) {
      if (holds(index, most, free)) for (const member of free) add(most, member);
    } else if (free.length >= Math.max(leastMembers, joinShare * members.length)) {
      const group: Group = { members: new Set(), counts: new Map() };
      groups.push(group);
      for (const member of free) add(group, member);
    }
  }
  return groups.map(({ members }) => [...members].sort((a, b) => a - b));
}

/** Whether the group with these in it would still have a bond most have; where somebody is and when he comes holds nothing. */
function holds({ bonds, bondsOf }: SourceIndex, group: Group, free: readonly number[]): boolean {
  const needed = holdShare * (group.members.size + free.length);
  const more = new Map<number, number>();
  for (const member of free) for (const bond of bondsOf[member]) more.set(bond, (more.get(bond) ?? 0) + 1);
  for (const [bond, count] of group.counts)
    if (count + (more.get(bond) ?? 0) >= needed && bonds[bond].kind !== 'network' && bonds[bond].kind !== 'time') return true;
  return false;
}
