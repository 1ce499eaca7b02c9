// GET /api/verdicts: judgements about sources, newest first with a cursor, each with its evidence.

import { Hono } from 'hono';
import { parseBehaviours } from '../record/behaviour-names.ts';
import { listVerdicts } from '../record/insight-questions.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf } from './resource.ts';

export function verdictRoutes({ store, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/verdicts', async (context) => {
    const filter = { ...filterOf(context, clock, ['behaviour']), ...parseBehaviours(context.req.query('behaviour')) };
    const items = await listVerdicts(store, filter);
    return context.json({ items, next: items.length === filter.limit ? items.at(-1)?.event.id : undefined });
  });
  return routes;
}
