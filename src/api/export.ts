// GET /api/export/:format: every matching record in another tool's shape, streamed at the reader's pace, newest first.
// The shapes are record/exporters.

import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import {
  checkFindings,
  type ExportFormat,
  type ExportKind,
  exportFormats,
  exportKinds,
  exportPieces,
} from '../record/exporters/export.ts';
import { parseFindings } from '../record/filter-text.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, sessionFilterOf } from './resource.ts';

const contentTypes: Partial<Record<ExportFormat, string>> = {
  csv: 'text/csv; charset=utf-8',
  parquet: 'application/vnd.apache.parquet',
  cef: 'text/plain; charset=utf-8',
  blocklist: 'text/plain; charset=utf-8',
  stix: 'application/stix+json;version=2.1',
  misp: 'application/json',
};

/** Without a limit in the query everything that matches is given. */
export function exportRoutes({ store, clock, log }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/export/:format', (context) => {
    const format = context.req.param('format') as ExportFormat;
    if (!Object.hasOwn(exportFormats, format))
      throw new WeirError('not-found', `no export format '${String(format).slice(0, 40)}'`, {
        formats: Object.keys(exportFormats),
      });
    const { limit, ...filter } = sessionFilterOf(context, clock, ['kinds']);
    const limited = context.req.query('limit') !== undefined && context.req.query('limit') !== '';
    const kinds = (context.req.query('kinds') || 'sessions').split(',') as ExportKind[];
    for (const kind of kinds)
      if (!exportKinds.includes(kind))
        throw new WeirError('bad-request', `kinds: '${kind.slice(0, 40)}' is none of ${exportKinds.join(', ')}`, {
          parameter: 'kinds',
        });
    checkFindings(parseFindings(context.req.query()), format, kinds);
    const lines = exportPieces(store, format, limited ? { ...filter, limit } : filter, clock(), kinds);
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const { done, value } = await lines.next();
            if (done) controller.close();
            else controller.enqueue(typeof value === 'string' ? encoder.encode(value) : value);
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
    context.header('Content-Type', contentTypes[format] ?? 'application/x-ndjson');
    return context.body(body);
  });
  return routes;
}
