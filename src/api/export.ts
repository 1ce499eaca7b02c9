// GET /api/export/:format: every matching session as JSON lines, streamed at the reader's pace, newest first.
// The shapes are record/exporters; this file only pages through the store.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { type ExportFormat, exportFormats, exportLines } from '../record/export-sessions.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf } from './resource.ts';

/** Without a limit in the query everything that matches is given. */
export function exportRoutes({ store, clock, log }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/export/:format', (context) => {
    const format = context.req.param('format') as ExportFormat;
    if (!exportFormats.includes(format))
      throw new WeirError('not-found', `no export format '${String(format).slice(0, 40)}'`, { formats: exportFormats });
    const limited = context.req.query('limit') !== undefined && context.req.query('limit') !== '';
    const filter = filterOf(context, clock);
    const lines = exportLines(store, format, filter, limited ? filter.limit : Number.POSITIVE_INFINITY);
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const { done, value } = await lines.next();
            if (done) controller.close();
            else controller.enqueue(encoder.encode(value));
          } catch (error) {
            log.error('export ended early', { error: (error as Error).message });
            controller.error(error);
          }
        },
        async cancel() {
          await lines.return(undefined);
        },
      },
      { highWaterMark: 1 },
    );
    context.header('Content-Type', 'application/x-ndjson');
    return context.body(body);
  });
  return routes;
}
