// GET /api/rollups: hits, sources, ports by half hour or day, oldest first.

import { Hono } from 'hono';
import { rollupDocument } from '../record/insight-documents.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf, filterOf, keyOf } from './resource.ts';

export function rollupRoutes({ store, answers, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/rollups', async (context) => {
    const step = choiceOf(context, 'step', ['half-hour', 'day'], 'half-hour');
    const filter = filterOf(context, clock, ['step'], 1000);
    const rows = await answers.get(`rollups ${step} ${keyOf(filter)}`, () => store.rollups(step, filter));
    return context.json({ step, items: rows.map(rollupDocument) });
  });
  return routes;
}
