// The sessions of one format that lines still come for, by the log's own key: bounded by OpenSessions, handed to the engine when
// they are over. One that ended waits a little for lines that come late, such as a download's.

import type { Micros } from '../../base/clock.ts';
import type { ImportContext } from './importer.ts';
import { OpenSessions } from './open-sessions.ts';
import type { SessionDraft } from './session-draft.ts';

export interface SessionTableOptions<T extends SessionDraft> {
  /** A session without a line for so long is over; default a day. */
  readonly idleMicros?: Micros;
  /** At most this many open ones, and bytes of them in all; as OpenSessions. */
  readonly most?: number;
  readonly mostBytes?: number;
  /** How long an ended one waits for late lines, by the log's time; default a minute. */
  readonly lingerMicros?: Micros;
  /** Hands it over; default: to the context as it is. */
  readonly close?: (draft: T, key: string) => void;
}

export class SessionTable<T extends SessionDraft = SessionDraft> {
  readonly #context: ImportContext;
  readonly #open: OpenSessions<T>;
  readonly #ended: OpenSessions<T>;
  readonly #counted = new WeakMap<T, number>();

  constructor(context: ImportContext, options: SessionTableOptions<T> = {}) {
    this.#context = context;
    const close = options.close ?? ((draft: T): void => context.session(draft.done(context)));
    const { idleMicros, most, mostBytes } = options;
    this.#open = new OpenSessions({
      close,
      ...(idleMicros !== undefined && { idleMicros }),
      ...(most !== undefined && { most }),
      ...(mostBytes !== undefined && { mostBytes }),
    });
    this.#ended = new OpenSessions({ close, most: 5000, mostBytes: 16 << 20, idleMicros: options.lingerMicros ?? 60e6 });
  }

  /** Open, or ended a moment ago; with `at`, only if it is so still by then. */
  get(key: string, at?: Micros): T | undefined {
    return this.#open.get(key, at) ?? this.#ended.get(key, at);
  }

  hasEnded(key: string): boolean {
    return this.#ended.get(key) !== undefined;
  }

  /** `key` must not be held. */
  add(key: string, draft: T, at: Micros): void {
    this.#counted.set(draft, draft.sizeBytes);
    this.#open.add(key, draft, at, draft.sizeBytes);
    this.#ended.tick(at);
  }

  /** A line at `at` was put into the draft of `key`. */
  grew(key: string, at: Micros): void {
    const draft = this.get(key);
    if (!draft) return;
    const bytes = draft.sizeBytes - (this.#counted.get(draft) ?? 0);
    this.#counted.set(draft, draft.sizeBytes);
    (this.#open.get(key) ? this.#open : this.#ended).grew(key, at, bytes);
  }

  /** What is known of it now, in place of what was. */
  replace(key: string, draft: T, at: Micros): void {
    this.#open.take(key);
    this.#ended.take(key);
    this.add(key, draft, at);
  }

  /** The log has come to this time. */
  tick(at: Micros): void {
    this.#open.tick(at);
    this.#ended.tick(at);
  }

  /** Takes it out without handing it over. */
  take(key: string): T | undefined {
    return this.#open.take(key) ?? this.#ended.take(key);
  }

  /** It is over, but for late lines. */
  ended(key: string, at: Micros): void {
    const draft = this.#open.take(key);
    if (draft) this.#ended.add(key, draft, at, draft.sizeBytes);
  }

  /** Hands it over now. */
  close(key: string): void {
    this.#open.close(key);
    this.#ended.close(key);
  }

  end(): void {
    this.#ended.end();
    this.#context.unfinished(() => this.#open.end());
  }
}
