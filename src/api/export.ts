// GET /api/export/:format: every matching record as JSON lines, streamed at the reader's pace, newest first.
// The shapes are record/exporters.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import { type ExportFormat, type ExportKind, exportFormats, exportKinds, exportLines } from '../record/exporters/export.ts';
import { pieces } from '../record/exporters/pieces.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, filterOf } from './resource.ts';

/** Without a limit in the query everything that matches is given. */
export function exportRoutes({ store, clock, log }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/export/:format', (context) => {
    const format = context.req.param('format') as ExportFormat;
    if (!exportFormats.includes(format))
      throw new WeirError('not-found', `no export format '${String(format).slice(0, 40)}'`, { formats: exportFormats });
    const { limit, ...filter } = filterOf(context, clock, ['kinds']);
    const limited = context.req.query('limit') !== undefined && context.req.query('limit') !== '';
    const kinds = (context.req.query('kinds') || 'sessions').split(',') as ExportKind[];
    for (const kind of kinds)
      if (!exportKinds.includes(kind))
        throw new WeirError('bad-request', `kinds: '${kind.slice(0, 40)}' is none of ${exportKinds.join(', ')}`, {
          parameter: 'kinds',
        });
    const lines = pieces(exportLines(store, format, limited ? { ...filter, limit } : filter, kinds));
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
