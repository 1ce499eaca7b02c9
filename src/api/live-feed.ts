// Turns the recorder's stream of events into at most four messages a second for each follower, whatever the flood.
// Owns the buffers and their bounds; knows nothing of HTTP (live.ts) and keeps no history (activity.ts, the store).

import { type Clock, renderMicros } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { WeirEvent } from '../model/event.ts';
import type { Insights, Place, SessionInsight, Verdict } from '../model/insight.ts';
import type { SessionRecord } from '../model/session.ts';
import { alertDocument, listedDocument } from '../record/documents.ts';
import { matchesFindings, matchesSession } from '../record/filter-match.ts';
import { renderFilter } from '../record/filter-text.ts';
import { verdictDocument } from '../record/insight-documents.ts';
import { extendPreview, summaryOf } from '../record/session-summary.ts';
import type { SessionFilter, SessionSummary } from '../record/store.ts';
import { Activity } from './activity.ts';

/** Calls back with every batch of events that is safely in the store; gives the function that ends it. */
export type Subscribe = (listener: (events: readonly WeirEvent[], insights?: Insights) => void) => () => void;

const tickMs = 250;
/** Sessions kept between two ticks; what comes beyond is counted as skipped. */
const maxBuffered = 10_000;
const maxAlerts = 100;
/** Verdicts that are new or grew between two ticks; the newest stand for the rest, which the store has. */
const maxVerdicts = 100;
export const maxFollowers = 32;
/** The most sessions one message carries. */
export const maxRowsPerMessage = 1000;

interface Follower {
  readonly filter: SessionFilter;
  readonly rows: number;
  readonly key: string;
  /** False when the follower cannot take it now; the next message it takes says how many it missed. */
  readonly deliver: (message: string) => boolean;
  missed: number;
}

/** One message: only what changed since the previous one. */
export interface LiveMessage {
  readonly at: string;
  /** Newest first, each the newest version of its session. */
  readonly sessions: readonly unknown[];
  /** Sessions not in `sessions`: they matched and did not fit, or came too fast to be looked at. */
  readonly skipped: number;
  readonly alerts: readonly unknown[];
  /** New ones and those that grew, each as it is now. */
  readonly verdicts: readonly unknown[];
  /** Alerts and verdicts that are in neither: they came too fast. */
  readonly unsaid: number;
  /** The seconds that changed, as `[second, sessions, probe packets]`; each replaces what was known of it. */
  readonly rate: readonly (readonly [number, number, number])[];
}

export class LiveFeed {
  readonly activity = new Activity();
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #followers = new Set<Follower>();
  readonly #unsubscribe: () => void;
  #sessions = new Map<string, SessionSummary>();
  #overflow = 0;
  #alerts: unknown[] = [];
  #unsaid = 0;
  readonly #placeOf: (ip: string) => Place | undefined;
  #insights = new Map<string, SessionInsight>();
  #verdicts = new Map<string, Verdict>();
  #timer: NodeJS.Timeout | undefined;
  #lastSeen = -1;
  #lastTick = 0;

  constructor(subscribe: Subscribe, clock: Clock, log: Log, placeOf: (ip: string) => Place | undefined = () => undefined) {
    this.#clock = clock;
    this.#log = log;
    this.#placeOf = placeOf;
    this.#unsubscribe = subscribe((events, insights) => this.#take(events, insights));
  }

  get followers(): number {
    return this.#followers.size;
  }

  /** Undefined when there are already too many followers; else the function that stops it. */
  follow(filter: SessionFilter, rows: number, deliver: (message: string) => boolean): (() => void) | undefined {
    if (this.#followers.size >= maxFollowers) return undefined;
    const follower: Follower = {
      filter,
      rows: Math.min(rows, maxRowsPerMessage),
      key: `${rows} ${JSON.stringify(renderFilter(filter))} ${filter.signature} ${filter.tag} ${filter.family} ${filter.country}`,
      deliver,
      missed: 0,
    };
    this.#followers.add(follower);
    if (!this.#timer) {
      this.#lastTick = this.#clock();
      this.#timer = setInterval(() => this.#tickSafely(), tickMs).unref();
    }
    return () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#rest();
    };
  }

  close(): void {
    this.#unsubscribe();
    this.#followers.clear();
    this.#rest();
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#forget();
  }

  #forget(): void {
    this.#sessions = new Map();
    this.#overflow = 0;
    this.#alerts = [];
    this.#unsaid = 0;
    this.#insights = new Map();
    this.#verdicts = new Map();
  }

  #take(events: readonly WeirEvent[], insights: Insights | undefined): void {
    const followed = this.#followers.size > 0;
    for (const event of events) {
      this.activity.feed(event);
      if (!followed) continue;
      if (event.kind === 'session') this.#keep(event.session);
      else if (event.kind === 'alert') {
        if (this.#alerts.length < maxAlerts) this.#alerts.push(alertDocument(event.alert));
        else this.#unsaid += 1;
      }
    }
    if (!followed || !insights) return;
    for (const insight of insights.sessions) if (this.#sessions.has(insight.id)) this.#insights.set(insight.id, insight);
    for (const verdict of insights.verdicts) {
      this.#verdicts.delete(verdict.id);
      this.#verdicts.set(verdict.id, verdict);
      if (this.#verdicts.size <= maxVerdicts) continue;
      const [oldest] = this.#verdicts.keys();
      this.#verdicts.delete(oldest);
      this.#unsaid += 1;
    }
  }

  #keep(record: SessionRecord): void {
    const known = this.#sessions.get(record.id);
    if (!known && this.#sessions.size >= maxBuffered) {
      this.#overflow += 1;
      return;
    }
    // Without its beginning a session's first bytes are not known here: the reader keeps those it has.
    const preview = record.firstChunk === 0 || known?.preview ? extendPreview(known?.preview, record.chunks) : undefined;
    this.#sessions.set(record.id, { ...summaryOf(record), ...(preview ? { preview } : {}) });
  }

  /** A record that cannot be shown costs one message, never the process. */
  #tickSafely(): void {
    try {
      this.tick();
    } catch (error) {
      this.#log.error('a live message failed', { error: (error as Error).message });
      this.#forget();
    }
  }

  /** Sends what came since the last tick. Nothing is sent when nothing happened. */
  tick(): void {
    const seen = this.activity.sessionsSeen + this.activity.probesSeen + this.activity.alertsSeen;
    const news = this.#sessions.size + this.#alerts.length + this.#verdicts.size;
    if (news === 0 && seen === this.#lastSeen) return;
    this.#lastSeen = seen;
    const now = this.#clock();
    const spanSeconds = Math.min(10, Math.ceil((now - this.#lastTick) / 1e6) + 3);
    this.#lastTick = now;
    const rate = this.activity
      .series(now, spanSeconds, 1)
      .map((point): [number, number, number] => [point.at, point.sessions, point.probes]);
    const newestFirst = [...this.#sessions.values()].reverse();
    const verdicts = [...this.#verdicts.values()].map((verdict) => verdictDocument(verdict, this.#placeOf(verdict.source)));
    const rendered = new Map<string, string>();
    for (const follower of this.#followers) {
      let message = rendered.get(follower.key);
      if (!message) {
        const { sessions, skipped } = this.#select(newestFirst, follower);
        const [alerts, unsaid] = [this.#alerts, this.#unsaid];
        const body: LiveMessage = { at: renderMicros(now), sessions, skipped, alerts, verdicts, unsaid, rate };
        message = JSON.stringify(body);
        rendered.set(follower.key, message);
      }
      const text = follower.missed > 0 ? `${message.slice(0, -1)},"missed":${follower.missed}}` : message;
      if (follower.deliver(text)) follower.missed = 0;
      else follower.missed += 1;
    }
    this.#forget();
  }

  #select(newestFirst: readonly SessionSummary[], follower: Follower): { sessions: unknown[]; skipped: number } {
    const sessions: unknown[] = [];
    let skipped = this.#overflow;
    for (const summary of newestFirst) {
      if (!matchesSession(follower.filter, summary)) continue;
      const insight = this.#insights.get(summary.id);
      const place = this.#placeOf(summary.source.ip);
      if (!matchesFindings(follower.filter, summary, insight, place)) continue;
      if (sessions.length < follower.rows) sessions.push(listedDocument(summary, { insight, place }));
      else skipped += 1;
    }
    return { sessions, skipped };
  }
}
