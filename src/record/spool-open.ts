// Which sessions are open at a point of a spool, as facts without their bytes: what has to be ended if nobody goes on with them.
// Bounded; pure.

import type { SessionRecord } from '../model/session.ts';

/** `chunks` is empty and `firstChunk` counts those before. */
export type OpenSession = SessionRecord;

export class OpenSessions {
  readonly #most: number;
  readonly #sessions = new Map<string, OpenSession>();

  constructor(most: number, sessions: Iterable<OpenSession> = []) {
    this.#most = most;
    for (const session of sessions) this.hold(session);
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** A record in the order of writing: remembered while its session is open, forgotten once it has ended. */
  see(record: SessionRecord): void {
    if (record.outcome === 'open') this.hold(record);
    else this.#sessions.delete(record.id);
  }

  /** False when there is no room for another. */
  hold(record: SessionRecord): boolean {
    if (this.#sessions.size >= this.#most && !this.#sessions.has(record.id)) return false;
    this.#sessions.set(record.id, { ...record, firstChunk: record.firstChunk + record.chunks.length, chunks: [] });
    return true;
  }

  list(): OpenSession[] {
    return [...this.#sessions.values()];
  }

  /** One by one, forgotten as they are taken. */
  *take(): Generator<OpenSession> {
    for (const [id, session] of this.#sessions) {
      this.#sessions.delete(id);
      yield session;
    }
  }
}
