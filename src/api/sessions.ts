// GET /api/sessions and /api/sessions/:id: lists newest first with a cursor, and one session with its bytes.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { identifierTime } from '../model/identifier.ts';
import { sessionDocument, storedSessionDocument } from '../record/documents.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf, nextOf } from './resource.ts';

export function sessionRoutes({ store, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/sessions', async (context) => {
    const filter = filterOf(context, clock);
    const sessions = await store.sessions(filter);
    return context.json({ items: sessions.map(sessionDocument), next: nextOf(filter, sessions) });
  });
  routes.get('/sessions/:id', async (context) => {
    const id = context.req.param('id');
    if (Number.isNaN(identifierTime(id)))
      throw new WeirError('bad-request', 'a session identifier has 19 characters', { id: id.slice(0, 40) });
    const stored = await store.session(id);
    if (!stored) throw new WeirError('not-found', `no session ${id}`, { id });
    return context.json(storedSessionDocument(stored));
  });
  return routes;
}
