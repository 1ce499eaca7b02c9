// GET /api/probes, /api/alerts, /api/system: the other kinds of records, newest first with a cursor.

import { Hono } from 'hono';
import { alertDocument, probeDocument } from '../record/documents.ts';
import { renderSystem } from '../record/exporters/jsonl.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf, nextOf } from './resource.ts';

export function recordRoutes({ store, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/probes', async (context) => {
    const filter = filterOf(context, clock);
    const probes = await store.probes(filter);
    return context.json({ items: probes.map(probeDocument), next: nextOf(filter, probes) });
  });
  routes.get('/alerts', async (context) => {
    const filter = filterOf(context, clock);
    const alerts = await store.alerts(filter);
    return context.json({ items: alerts.map(alertDocument), next: nextOf(filter, alerts) });
  });
  routes.get('/system', async (context) => {
    const filter = filterOf(context, clock);
    const events = await store.systemEvents(filter);
    return context.json({ items: events.map(renderSystem), next: nextOf(filter, events) });
  });
  return routes;
}
