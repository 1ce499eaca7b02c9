// The pages before the console: the one-time link, its refusal, signing out. Whole documents without any script.
// Who is signed in is sign-in.ts.

import { Hono } from 'hono';
import type { Log } from '../base/log.ts';
import type { ApiEnvironment, SessionCookie } from './guard.ts';
import type { SignIns } from './sign-in.ts';

const page = (title: string, body: string, head = ''): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${head}<title>${title} · Weir</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
</head>
<body class="door"><main class="door-card"><img src="/icon.svg" alt="" width="40" height="40"><h1>${title}</h1>${body}</main></body>
</html>
`;

export const signInPage = page(
  'Sign in to Weir',
  `<p>The console opens with a one-time link. On the machine that runs Weir, ask for a new one:</p>
<pre><code>weir status</code></pre>
<p class="quiet">A link works once and for 15 minutes.</p>`,
);

const usedPage = page(
  'This link no longer works',
  `<p>A sign-in link works once and for 15 minutes. Ask for a new one on the machine that runs Weir:</p>
<pre><code>weir status</code></pre>`,
);

/**
 * A redirect would keep the cross-site history of the click, and a SameSite=Strict cookie would then not be sent:
 * this document starts a navigation of its own instead.
 */
const welcomePage = page(
  'Signed in',
  '<p><a href="/">Open the console</a></p>',
  '<meta http-equiv="refresh" content="0;url=/">\n',
);

export function signInRoutes(signIns: SignIns, cookie: SessionCookie, log: Log): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('/sign-in', (context) => {
    const token = context.req.query('token');
    if (token === undefined) return context.html(signInPage);
    const address = context.env.incoming?.socket.remoteAddress ?? 'unknown';
    const result = signIns.redeem(token, address);
    if (result.kind === 'wait') {
      context.header('Retry-After', String(result.seconds));
      return context.html(page('Too many attempts', `<p>Wait ${result.seconds} seconds, then try again.</p>`), 429);
    }
    if (result.kind === 'refused') {
      log.warn('sign-in refused', { address });
      return context.html(usedPage, 403);
    }
    log.info('signed in', { address });
    cookie.write(context, result.cookie, result.maxAgeSeconds);
    return context.html(welcomePage);
  });
  routes.post('/sign-out', (context) => {
    const value = cookie.read(context);
    if (value !== undefined) signIns.signOut(value);
    cookie.clear(context);
    return context.redirect('/sign-in', 303);
  });
  return routes;
}
