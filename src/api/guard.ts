// What stands between a browser and the API: Host check against DNS rebinding, response headers, the session cookie,
// and refusal of requests another site made. The unix socket has none of it: there the file's permissions are the guard.

import { hostname } from 'node:os';
import type { HttpBindings } from '@hono/node-server';
import type { Context, MiddlewareHandler } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { WeirError } from '../base/errors.ts';
import { parseAddress } from '../model/address.ts';
import type { SignIns } from './sign-in.ts';

export interface ApiEnvironment {
  Bindings: HttpBindings;
}

/** Scripts and styles come from this server alone, nothing inline, no string is ever turned into markup. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const responseHeaders: readonly (readonly [string, string])[] = [
  ['Content-Security-Policy', contentSecurityPolicy],
  ['X-Content-Type-Options', 'nosniff'],
  ['X-Frame-Options', 'DENY'],
  ['Referrer-Policy', 'same-origin'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Permissions-Policy', 'camera=(), microphone=(), geolocation=(), payment=(), usb=()'],
];

export const secureHeaders: MiddlewareHandler<ApiEnvironment> = async (context, next) => {
  await next();
  // A page that brings its own style says so itself; everything else has the console's policy.
  for (const [name, value] of responseHeaders)
    if (name !== 'Content-Security-Policy' || !context.res.headers.has(name)) context.header(name, value);
  if (!context.res.headers.has('Cache-Control')) context.header('Cache-Control', 'no-store');
};

/**
 * True for a Host header that a rebinding attack cannot carry: an IP address, localhost, this machine's own name or a
 * name given in the configuration. Such an attack always comes under a name of the attacker's.
 */
export function hostAllowed(host: string | undefined, names: readonly string[]): boolean {
  if (!host) return false;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::\d{1,5})?$/.exec(host);
  if (!match) return false;
  if (match[1] !== undefined) return parseAddress(match[1])?.family !== undefined;
  const name = match[2].toLowerCase().replace(/\.$/, '');
  return parseAddress(name) !== undefined || name === 'localhost' || names.includes(name);
}

/** This machine's names, lower case: `sensor` and `sensor.example.org`. */
export const ownNames = (): string[] => {
  const full = hostname().toLowerCase();
  const [short] = full.split('.');
  return [...new Set([full, short])].filter((name) => name !== '');
};

export const checkHost =
  (names: readonly string[]): MiddlewareHandler<ApiEnvironment> =>
  async (context, next) => {
    if (!hostAllowed(context.req.header('host'), names)) return context.text('unknown host name\n', 421);
    await next();
  };

/**
 * Refuses what another site's page asks for: a browser says so in Sec-Fetch-Site, which no page can forge; older ones
 * only in Origin. A navigation (a link, a bookmark) is let through for pages and never for /api.
 */
export const refuseForeignSites: MiddlewareHandler<ApiEnvironment> = async (context, next) => {
  const site = context.req.header('sec-fetch-site');
  const origin = context.req.header('origin');
  const isPage = context.req.method === 'GET' && !context.req.path.startsWith('/api/');
  const fetchedHere =
    site === undefined
      ? origin === undefined || origin.replace(/^https?:\/\//, '') === context.req.header('host')
      : site === 'same-origin' || site === 'none';
  if (!isPage && !fetchedHere) throw new WeirError('not-permitted', 'the request comes from another site');
  await next();
};

/** Cookies of one host are shared by all its ports: the port in the name keeps two consoles apart. */
export class SessionCookie {
  readonly name: string;
  readonly #secure: boolean;

  constructor(port: number, secure: boolean) {
    this.name = `${secure ? '__Host-' : ''}weir-${port}`;
    this.#secure = secure;
  }

  read(context: Context): string | undefined {
    return getCookie(context, this.name);
  }

  write(context: Context, value: string, maxAgeSeconds: number): void {
    setCookie(context, this.name, value, {
      httpOnly: true,
      sameSite: 'Strict',
      secure: this.#secure,
      path: '/',
      maxAge: maxAgeSeconds,
    });
  }

  clear(context: Context): void {
    deleteCookie(context, this.name, { path: '/', secure: this.#secure });
  }
}

/** `unauthorized` for every request without a valid session cookie. */
export const requireSignIn =
  (signIns: SignIns, cookie: SessionCookie): MiddlewareHandler<ApiEnvironment> =>
  async (context, next) => {
    const value = cookie.read(context);
    if (value === undefined || !signIns.check(value))
      throw new WeirError('unauthorized', 'sign in with a one-time link: weir status');
    await next();
  };
