// Campaigns of a time, asked of any store: what sources share is read, who acts as one is campaigns/plan-campaigns.ts.

import { renderMicros } from '../base/clock.ts';
import type { Campaign } from '../model/insight.ts';
import type { AnalysisStore } from '../record/analysis-store.ts';
import type { Filter } from '../record/store.ts';
import { planCampaigns } from './campaigns/plan-campaigns.ts';

export interface CampaignDocument {
  readonly id: string;
  readonly label: string;
  /** When the first and the last of its members were seen. */
  readonly event: { readonly start: string; readonly end: string };
  /** Sources; `members` shows at most 100. */
  readonly size: number;
  readonly hits: number;
  readonly bonds: readonly string[];
  readonly members: readonly {
    readonly source: { readonly ip: string };
    readonly event: { readonly start: string; readonly end: string };
    readonly hits: number;
    readonly reasons: readonly string[];
  }[];
}

/** Sources compared: those with most hits. */
const maxSources = 10_000;

const span = (start: number, end: number) => ({ start: renderMicros(start), end: renderMicros(end) });

const campaignDocument = ({ id, label, start, end, size, hits, bonds, members }: Campaign): CampaignDocument => ({
  id,
  label,
  event: span(start, end),
  size,
  hits,
  bonds,
  members: members.map((member) => ({
    source: { ip: member.source },
    event: span(member.firstSeen, member.lastSeen),
    hits: member.hits,
    reasons: member.reasons,
  })),
});

/** Largest first, all there are. With 10,000 sources it takes seconds: ask seldom. */
export async function readCampaigns(store: Pick<AnalysisStore, 'features'>, filter: Filter): Promise<CampaignDocument[]> {
  const features = await store.features({ ...filter, limit: maxSources });
  return planCampaigns(features).map(campaignDocument);
}

/** Those that show this source among their members. */
export const campaignsOf = (campaigns: readonly CampaignDocument[], ip: string): CampaignDocument[] =>
  campaigns.filter(({ members }) => members.some(({ source }) => source.ip === ip));
