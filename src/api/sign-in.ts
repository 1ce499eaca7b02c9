// Who may see the console: one-time links, session cookies, and the brake on guessing. All tables are bounded, all
// secrets 256 bits of chance, none kept in clear: a table holds SHA-256 of what was handed out. HTTP is guard.ts.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock, Micros } from '../base/clock.ts';

const linkLifetimeMicros = 15 * 60 * 1e6;
const sessionIdleMicros = 12 * 3600 * 1e6;
const sessionLifetimeMicros = 7 * 24 * 3600 * 1e6;
const maxLinks = 16;
const maxSessions = 64;
/** Wrong tokens from one address before it has to wait, and how long one is remembered. */
const maxFailures = 10;
const failureWindowMicros = 60 * 1e6;
const maxFailingAddresses = 1024;

interface Link {
  readonly digest: Buffer;
  readonly expires: Micros;
}

interface SignedIn {
  readonly digest: Buffer;
  readonly created: Micros;
  seen: Micros;
}

const digestOf = (secret: string): Buffer => createHash('sha256').update(secret).digest();
const createSecret = (): string => randomBytes(32).toString('base64url');

export type SignInResult =
  | { readonly kind: 'signed-in'; readonly cookie: string; readonly maxAgeSeconds: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'wait'; readonly seconds: number };

/** Every comparison of a secret takes the same time whatever is wrong with it. */
export class SignIns {
  readonly #clock: Clock;
  #links: Link[] = [];
  #sessions: SignedIn[] = [];
  readonly #failures = new Map<string, { count: number; since: Micros }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new one-time token, good for 15 minutes. With 16 unused ones the oldest ends. */
  createLink(): { token: string; expires: Micros } {
    const now = this.#clock();
    const token = createSecret();
    const expires = now + linkLifetimeMicros;
    this.#links = [...this.#links.filter((link) => link.expires > now), { digest: digestOf(token), expires }].slice(-maxLinks);
    return { token, expires };
  }

  /** Uses a token up. `address` is who asks, for the brake: ten wrong ones within a minute and it has to wait. */
  redeem(token: string, address: string): SignInResult {
    const now = this.#clock();
    const failed = this.#failures.get(address);
    if (failed && now - failed.since >= failureWindowMicros) this.#failures.delete(address);
    else if (failed && failed.count >= maxFailures)
      return { kind: 'wait', seconds: Math.ceil((failed.since + failureWindowMicros - now) / 1e6) };
    const digest = digestOf(token);
    let found: Link | undefined;
    for (const link of this.#links) if (timingSafeEqual(link.digest, digest) && link.expires > now) found = link;
    if (!found) {
      this.#countFailure(address, now);
      return { kind: 'refused' };
    }
    this.#links = this.#links.filter((link) => link !== found);
    const cookie = createSecret();
    this.#sessions = [
      ...this.#sessions.filter((session) => this.#lives(session, now)),
      { digest: digestOf(cookie), created: now, seen: now },
    ];
    if (this.#sessions.length > maxSessions) {
      this.#sessions.sort((a, b) => a.seen - b.seen);
      this.#sessions.shift();
    }
    return { kind: 'signed-in', cookie, maxAgeSeconds: sessionLifetimeMicros / 1e6 };
  }

  /** True for a cookie that was handed out, not signed out, used in the last 12 hours and no older than a week. */
  check(cookie: string): boolean {
    const now = this.#clock();
    const session = this.#find(cookie);
    if (!session || !this.#lives(session, now)) return false;
    session.seen = now;
    return true;
  }

  signOut(cookie: string): void {
    const session = this.#find(cookie);
    this.#sessions = this.#sessions.filter((other) => other !== session);
  }

  #find(cookie: string): SignedIn | undefined {
    const digest = digestOf(cookie);
    let found: SignedIn | undefined;
    for (const session of this.#sessions) if (timingSafeEqual(session.digest, digest)) found = session;
    return found;
  }

  #lives(session: SignedIn, now: Micros): boolean {
    return now - session.seen < sessionIdleMicros && now - session.created < sessionLifetimeMicros;
  }

  #countFailure(address: string, now: Micros): void {
    const known = this.#failures.get(address);
    if (known) {
      known.count += 1;
      return;
    }
    if (this.#failures.size >= maxFailingAddresses) {
      const [oldest] = this.#failures.keys();
      this.#failures.delete(oldest);
    }
    this.#failures.set(address, { count: 1, since: now });
  }
}
