// GET /api/top, /api/counts, /api/series, /api/status: numbers about many records at once.

import { Hono } from 'hono';
import { renderMicros } from '../base/clock.ts';
import { renderFilter } from '../record/filter-text.ts';
import type { Filter, TopSubject } from '../record/store.ts';
import { activitySpanSeconds } from './activity.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf, filterOf, numberOf } from './resource.ts';

export const topSubjects: readonly TopSubject[] = ['ports', 'sources', 'destinations', 'protocols', 'payloads', 'credentials'];

/** Times relative to now are rounded to a second, so that equal questions of several readers are equal. */
const keyOf = (filter: Filter): string => {
  const round = (at: number | undefined): number | undefined => (at === undefined ? undefined : Math.floor(at / 1e6) * 1e6);
  const { since, until, ...rest } = filter;
  return JSON.stringify(
    renderFilter({
      ...rest,
      ...(since === undefined ? {} : { since: round(since) }),
      ...(until === undefined ? {} : { until: round(until) }),
    }),
  );
};

export function summaryRoutes({ store, feed, answers, status, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/top', async (context) => {
    const subject = choiceOf(context, 'subject', topSubjects, 'ports');
    const by = choiceOf(context, 'by', ['hits', 'sources'], 'hits');
    const filter = filterOf(context, clock, ['subject', 'by'], 20);
    const rows = await answers.get(`top ${subject} ${by} ${keyOf(filter)}`, () => store.top(subject, by, filter));
    return context.json({ subject, by, items: rows });
  });
  routes.get('/counts', async (context) => {
    const filter = filterOf(context, clock);
    const counts = await answers.get(`counts ${keyOf(filter)}`, () => store.counts(filter));
    return context.json(counts);
  });
  routes.get('/series', (context) => {
    const span = numberOf(context, 'span', 10, activitySpanSeconds, 300);
    const step = numberOf(context, 'step', 1, 300, 1);
    const now = clock();
    return context.json({ at: renderMicros(now), stepSeconds: step, points: feed.activity.series(now, span, step) });
  });
  routes.get('/status', async (context) => context.json(await answers.get('status', status)));
  return routes;
}
