// GET /api/families/:id: what the payloads of a family look like.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { familyDocument } from '../record/insight-documents.ts';
import type { ApiEnvironment } from './guard.ts';
import type { ApiContext } from './resource.ts';

export function familyRoutes({ store }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/families/:id', async (context) => {
    const id = context.req.param('id');
    if (!/^[0-9a-f]{16}$/.test(id)) throw new WeirError('bad-request', "a family's identifier has 16 hex digits");
    const family = await store.family(id);
    if (!family) throw new WeirError('not-found', `no family ${id}`, { id });
    return context.json(familyDocument(family));
  });
  return routes;
}
