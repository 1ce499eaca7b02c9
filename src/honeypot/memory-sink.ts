// A session sink that keeps everything in memory, for tests and benchmarks of this room. The real one is record/.

import { type Micros, systemClock } from '../base/clock.ts';
import { createIdentifier } from '../model/identifier.ts';
import type {
  Chunk,
  Direction,
  SessionClaim,
  SessionFindings,
  SessionHandle,
  SessionOutcome,
  SessionSink,
  SessionStart,
} from '../model/session.ts';

export interface KeptSession {
  readonly id: string;
  readonly start: SessionStart;
  readonly chunks: Chunk[];
  /** Bytes that passed unseen. */
  readonly skipped: Record<Direction, number>;
  findings: SessionFindings;
  outcome: SessionOutcome;
  end?: Micros;
}

/** All bytes of one direction. */
export const bytesOf = (session: KeptSession, direction: Direction): Buffer =>
  Buffer.concat(session.chunks.filter((chunk) => chunk.direction === direction).map(({ bytes }) => bytes));

export class MemorySink implements SessionSink {
  readonly sessions: KeptSession[] = [];
  #watchers: { holds: () => boolean; resolve: () => void }[] = [];

  open(start: SessionStart, claim?: SessionClaim): SessionHandle {
    const session: KeptSession = {
      id: claim?.id ?? createIdentifier(start.start),
      start,
      chunks: [],
      skipped: { in: 0, out: 0 },
      findings: {},
      outcome: 'open',
    };
    this.sessions.push(session);
    const changed = (): void => this.#changed();
    changed();
    return {
      id: session.id,
      chunk(direction, bytes, at = systemClock()) {
        if (session.outcome !== 'open') return;
        session.chunks.push({ at, direction, bytes });
        changed();
      },
      skip(direction, byteCount) {
        if (session.outcome === 'open') session.skipped[direction] += byteCount;
        changed();
      },
      find(findings) {
        const tags = findings.tags ? [...new Set([...(session.findings.tags ?? []), ...findings.tags])] : session.findings.tags;
        session.findings = { ...session.findings, ...findings, ...(tags ? { tags } : {}) };
        changed();
      },
      close(outcome, at = systemClock()) {
        if (session.outcome !== 'open') return;
        session.outcome = outcome;
        session.end = at;
        changed();
      },
    };
  }

  /** Resolves once `holds` is true, looked at after every change; rejects after `limitMs`. */
  async until(holds: (sink: this) => boolean, limitMs = 10_000): Promise<void> {
    if (holds(this)) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve, reject) => {
      this.#watchers.push({ holds: () => holds(this), resolve });
      timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms`)), limitMs);
    }).finally(() => clearTimeout(timer));
  }

  #changed(): void {
    if (this.#watchers.length === 0) return;
    const met = this.#watchers.filter((watcher) => watcher.holds());
    if (met.length === 0) return;
    this.#watchers = this.#watchers.filter((watcher) => !met.includes(watcher));
    for (const { resolve } of met) resolve();
  }
}
