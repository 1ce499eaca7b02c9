// Puts the API together: the same resources behind two doors. On the unix socket everyone who can open the file is
// trusted; over TCP a browser meets guard.ts first. Errors become JSON here and nowhere else.

import { Hono } from 'hono';
import { renderMicros } from '../base/clock.ts';
import { asWeirError, type ErrorCode } from '../base/errors.ts';
import { type Assets, assetRoutes } from './assets.ts';
import { attackerRoutes } from './attackers.ts';
import { campaignRoutes } from './campaigns.ts';
import { exportRoutes } from './export.ts';
import { familyRoutes } from './families.ts';
import { type ApiEnvironment, checkHost, refuseForeignSites, requireSignIn, type SessionCookie, secureHeaders } from './guard.ts';
import { importRoutes, type TakeImport } from './imports.ts';
import { liveRoutes } from './live.ts';
import { recordRoutes } from './records.ts';
import { reportRoutes } from './report.ts';
import type { ApiContext } from './resource.ts';
import { rollupRoutes } from './rollups.ts';
import { sessionRoutes } from './sessions.ts';
import type { SignIns } from './sign-in.ts';
import { signInRoutes } from './sign-in-pages.ts';
import { summaryRoutes } from './summaries.ts';
import { verdictRoutes } from './verdicts.ts';

const statusOf: Partial<Record<ErrorCode, 400 | 401 | 403 | 404 | 503>> = {
  'bad-request': 400,
  unauthorized: 401,
  'not-permitted': 403,
  'not-found': 404,
  'store-unavailable': 503,
  'store-damaged': 503,
  'disk-full': 503,
  'not-running': 503,
  timeout: 503,
};

function answerErrors(app: Hono<ApiEnvironment>, { log }: ApiContext): void {
  app.onError((thrown, context) => {
    const error = asWeirError(thrown);
    const status = statusOf[error.code] ?? 500;
    if (status === 500) log.error('request failed', { path: context.req.path, error: error.message, stack: error.stack });
    return context.json({ error: { code: error.code, message: error.message, details: error.details } }, status);
  });
  app.notFound((context) =>
    context.json({ error: { code: 'not-found', message: `nothing at ${context.req.path.slice(0, 200)}`, details: {} } }, 404),
  );
}

function resources(
  api: ApiContext,
  allowed: (request: { readonly cookie: string | undefined }) => boolean,
): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  const parts = [
    sessionRoutes(api),
    recordRoutes(api),
    verdictRoutes(api),
    attackerRoutes(api),
    campaignRoutes(api),
    familyRoutes(api),
    summaryRoutes(api),
    rollupRoutes(api),
    exportRoutes(api),
    reportRoutes(api),
    liveRoutes(api, allowed),
  ];
  for (const part of parts) routes.route('/', part);
  return routes;
}

export interface SignInLink {
  readonly url: string;
  /** ISO 8601. */
  readonly expires: string;
}

/** For the unix socket: no sign-in, and the one place that makes sign-in links and takes imported records. */
export function createLocalApp(
  api: ApiContext,
  createLink: () => { url: string; expires: number },
  takeImport?: TakeImport,
): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  answerErrors(app, api);
  app.post('/api/sign-in-links', (context) => {
    const { url, expires } = createLink();
    const link: SignInLink = { url, expires: renderMicros(expires) };
    return context.json(link);
  });
  if (takeImport) app.route('/api', importRoutes(takeImport));
  app.route(
    '/api',
    resources(api, () => true),
  );
  return app;
}

export interface ConsoleDoor {
  readonly signIns: SignIns;
  readonly cookie: SessionCookie;
  readonly assets: Assets;
  /** Host names a browser may use besides IP addresses and localhost; lower case. */
  readonly names: readonly string[];
}

/** For TCP: pages, and the API for who is signed in. */
export function createConsoleApp(api: ApiContext, door: ConsoleDoor): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  answerErrors(app, api);
  app.use(secureHeaders);
  app.use(checkHost(door.names));
  app.use(refuseForeignSites);
  app.route('/', signInRoutes(door.signIns, door.cookie, api.log));
  const signedIn = requireSignIn(door.signIns, door.cookie);
  app.use('/api/*', signedIn);
  app.route(
    '/api',
    resources(api, ({ cookie }) => {
      const value = cookie
        ?.split(/;\s*/)
        .find((pair) => pair.startsWith(`${door.cookie.name}=`))
        ?.slice(door.cookie.name.length + 1);
      return value !== undefined && door.signIns.check(value);
    }),
  );
  app.get('/', (context) => {
    const value = door.cookie.read(context);
    if (value === undefined || !door.signIns.check(value)) return context.redirect('/sign-in', 303);
    const index = door.assets.get('/index.html');
    if (!index) return context.notFound();
    context.header('Content-Type', index.type);
    return context.body(index.body);
  });
  app.route('/', assetRoutes(door.assets));
  return app;
}
