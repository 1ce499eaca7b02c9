// GET /api/attackers and /api/attackers/:ip: sources with what each is and did, and one source's page.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { attackerDocument } from '../record/insight-documents.ts';
import { attackerOrders, readAttacker } from '../record/insight-questions.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf, filterOf, keyOf } from './resource.ts';

export function attackerRoutes({ store, answers, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/attackers', async (context) => {
    const by = choiceOf(context, 'by', attackerOrders, 'hits');
    const filter = filterOf(context, clock, ['by']);
    const attackers = await answers.get(`attackers ${by} ${keyOf(filter)}`, () => store.attackers(by, filter));
    return context.json({ by, items: attackers.map(attackerDocument) });
  });
  routes.get('/attackers/:ip', async (context) => {
    const ip = context.req.param('ip');
    const filter = filterOf(context, clock);
    const page = await answers.get(`attacker ${ip.slice(0, 60)} ${keyOf(filter)}`, () => readAttacker(store, ip, filter));
    if (!page) throw new WeirError('not-found', `nothing of ${ip.slice(0, 60)} is recorded`);
    return context.json(page);
  });
  return routes;
}
