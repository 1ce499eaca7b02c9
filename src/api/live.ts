// GET /api/live: what happens now, as server-sent events. Owns one stream per reader: its pace, its heartbeat, its end.
// What a message holds is live-feed.ts.

import type { ServerResponse } from 'node:http';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { type ApiEnvironment, contentSecurityPolicy } from './guard.ts';
import { maxRowsPerMessage } from './live-feed.ts';
import { type ApiContext, numberOf, sessionFilterOf } from './resource.ts';

const heartbeatMs = 10_000;
/** A reader that takes nothing for this long is cut off; it may come back. */
const stalledMs = 30_000;

class LiveStream {
  readonly #response: ServerResponse;
  #stalledSince: number | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** False while the reader has not taken what was sent before: at most one message waits in memory. */
  readonly deliver = (message: string): boolean => {
    if (this.#response.destroyed || this.#response.writableEnded) return false;
    if (this.#response.writableNeedDrain) {
      this.#stalledSince ??= performance.now();
      if (performance.now() - this.#stalledSince > stalledMs) this.#response.destroy();
      return false;
    }
    this.#stalledSince = undefined;
    this.#response.write(`data: ${message}\n\n`);
    return true;
  };

  heartbeat(): void {
    if (this.#response.writableNeedDrain) {
      this.#stalledSince ??= performance.now();
      if (performance.now() - this.#stalledSince > stalledMs) this.#response.destroy();
    } else this.#response.write(':\n\n');
  }

  end(): void {
    this.#response.end('event: end\ndata: {}\n\n');
  }
}

/** `allowed` is asked again with every heartbeat: a stream ends when its reader signs out. */
export function liveRoutes(
  { feed, clock }: ApiContext,
  allowed: (request: { readonly cookie: string | undefined }) => boolean,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/live', (context) => {
    const filter = sessionFilterOf(context, clock, ['rows'], 1);
    if (filter.behaviours)
      throw new WeirError('bad-request', 'behaviour: is judged over time and cannot be followed as it happens', {
        parameter: 'behaviour',
      });
    const rows = numberOf(context, 'rows', 1, maxRowsPerMessage, 40);
    const response = context.env.outgoing as ServerResponse;
    const cookie = context.req.header('cookie');
    const stream = new LiveStream(response);
    const stop = feed.follow(filter, rows, stream.deliver);
    if (!stop) throw new WeirError('store-unavailable', 'too many readers follow already');
    response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store',
      'Content-Security-Policy': contentSecurityPolicy,
      'X-Content-Type-Options': 'nosniff',
      'X-Accel-Buffering': 'no',
    });
    response.write('retry: 2000\n: weir\n\n');
    const heart = setInterval(() => {
      if (allowed({ cookie })) stream.heartbeat();
      else stream.end();
    }, heartbeatMs);
    response.once('close', () => {
      clearInterval(heart);
      stop();
    });
    return RESPONSE_ALREADY_SENT;
  });
  return routes;
}
