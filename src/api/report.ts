// GET /api/report: everything a report holds, as JSON, or as the page itself with `as=html`. What it is, is analysis/report.

import { Hono } from 'hono';
import { askReport, type ReportText, reportKeys } from '../analysis/report/ask-report.ts';
import { renderReportPage } from '../analysis/report/report-page.ts';
import { WeirError } from '../base/errors.ts';
import type { ApiEnvironment } from './guard.ts';
import { type ApiContext, choiceOf } from './resource.ts';

export function reportRoutes({ store, answers, clock }: ApiContext): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/report', async (context) => {
    const { as: _, ...query } = context.req.query();
    const form = choiceOf(context, 'as', ['json', 'html'], 'json');
    for (const key of Object.keys(query))
      if (!(reportKeys as readonly string[]).includes(key))
        throw new WeirError('bad-request', `unknown parameter '${key.slice(0, 40)}'`, { known: reportKeys });
    const report = await answers.get(`report ${JSON.stringify(query)}`, () => askReport(store, query as ReportText, clock()));
    if (form === 'json') return context.json(report);
    // The page brings its style with it and runs nothing.
    context.header('Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'");
    return context.html(renderReportPage(report));
  });
  return routes;
}
