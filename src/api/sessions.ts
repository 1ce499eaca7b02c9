// GET /api/sessions and /api/sessions/:id: lists newest first with a cursor, and one session with its bytes, also as
// a capture and as the raw bytes that came in.

import { type Context, Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { identifierTime } from '../model/identifier.ts';
import { storedSessionDocument } from '../record/documents.ts';
import { listSessions, readSession } from '../record/insight-questions.ts';
import { renderSessionCapture } from '../record/session-capture.ts';
import type { StoredSession } from '../record/store.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf, nextOf, sessionFilterOf } from './resource.ts';

export function sessionRoutes({ store, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/sessions', async (context) => {
    const filter = sessionFilterOf(context, clock);
    const sessions = await store.sessions(filter);
    return context.json({ items: await listSessions(store, sessions), next: nextOf(filter, sessions) });
  });
  const known = <T>(id: string, stored: T | undefined): T => {
    if (!stored) throw new WeirError('not-found', `no session ${id}`, { id });
    return stored;
  };
  const idOf = (context: Context): string => {
    const id = context.req.param('id') ?? '';
    if (!Number.isNaN(identifierTime(id))) return id;
    throw new WeirError('bad-request', 'a session identifier has 19 characters', { id: id.slice(0, 40) });
  };
  const find = async (id: string): Promise<StoredSession> => known(id, await store.session(id));
  /** For saving, never for showing: a browser must not interpret what an attacker sent. */
  const attachment = (context: Context, name: string, type: string, bytes: Uint8Array): Response => {
    context.header('Content-Type', type);
    context.header('Content-Disposition', `attachment; filename="${name}"`);
    return context.body(new Uint8Array(bytes));
  };
  routes.get('/sessions/:id', async (context) => {
    const id = idOf(context);
    return context.json(known(id, await readSession(store, id)));
  });
  routes.get('/sessions/:id/capture', async (context) => {
    const stored = await find(idOf(context));
    const { bytes } = renderSessionCapture(storedSessionDocument(stored));
    return attachment(context, `${stored.session.id}.pcap`, 'application/vnd.tcpdump.pcap', bytes);
  });
  routes.get('/sessions/:id/payload', async (context) => {
    const direction = choiceOf(context, 'direction', ['in', 'out'], 'in');
    const stored = await find(idOf(context));
    const bytes = Buffer.concat(stored.chunks.filter((chunk) => chunk.direction === direction).map((chunk) => chunk.bytes));
    return attachment(context, `${stored.session.id}-${direction}.bin`, 'application/octet-stream', bytes);
  });
  return routes;
}
