// GET /api/top, /api/counts, /api/series, /api/status: numbers about many records at once.

import { Hono } from 'hono';
import { renderMicros } from '../base/clock.ts';
import { type AnySubject, insightSubjects, readTop, topSubjects } from '../record/insight-questions.ts';
import { activitySpanSeconds } from './activity.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf, filterOf, keyOf, numberOf } from './resource.ts';

const subjects: readonly AnySubject[] = [...topSubjects, ...insightSubjects];

export function summaryRoutes({ store, feed, answers, status, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/top', async (context) => {
    const subject = choiceOf(context, 'subject', subjects, 'ports');
    const by = choiceOf(context, 'by', ['hits', 'sources'], 'hits');
    const filter = filterOf(context, clock, ['subject', 'by'], 20);
    const rows = await answers.get(`top ${subject} ${by} ${keyOf(filter)}`, () => readTop(store, subject, by, filter));
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
