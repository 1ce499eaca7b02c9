// GET /api/campaigns: sources that act as one, largest first, with the reason each belongs; `member=ADDRESS` for those of one.

import { Hono } from 'hono';
import { campaignsOf, readCampaigns } from '../analysis/read-campaigns.ts';
import { WeirError } from '../base/errors.ts';
import { parseAddress, renderAddress } from '../model/address.ts';
import { Answers } from './answers.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf, keyOf } from './resource.ts';

/** They are costly and change slowly. */
const freshMs = 60_000;
const minute = 60e6;

const wholeMinute = (at: number | undefined): number | undefined =>
  at === undefined ? undefined : Math.floor(at / minute) * minute;

export function campaignRoutes({ store, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const answers = new Answers(freshMs);
  routes.get('/campaigns', async (context) => {
    const { limit, since, until, ...rest } = filterOf(context, clock, ['member']);
    const text = context.req.query('member');
    const member = text ? parseAddress(text) : undefined;
    if (text && !member) throw new WeirError('bad-request', `member: '${text.slice(0, 60)}' is not an address`);
    const [from, to] = [wholeMinute(since), wholeMinute(until)];
    // One answer for all limits and members of about the same time.
    const filter = { ...rest, limit: 1, ...(from !== undefined && { since: from }), ...(to !== undefined && { until: to }) };
    const campaigns = await answers.get(`campaigns ${keyOf(filter)}`, () => readCampaigns(store, filter));
    const found = member ? campaignsOf(campaigns, renderAddress(member)) : campaigns;
    return context.json({ items: found.slice(0, limit) });
  });
  return routes;
}
