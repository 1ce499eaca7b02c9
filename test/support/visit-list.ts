// An attacker's own list of what it did, to be compared with what is on record: visits with words of their own, one after the other
// by several hands, until told to end. Bounded in number.

import { once } from 'node:events';
import type { Recorded } from '../../src/programs/weir-lab.ts';
import type { Branch } from './fleet-bed.ts';
import { until } from './namespace.ts';

export interface Visit {
  readonly words: string;
  /** The attacker's port; 0: not connected, nobody can know of it. */
  readonly from: number;
  readonly to: number;
  /** `answered` to the end, or the connection was reset under way. */
  readonly end: 'answered' | 'reset' | 'refused';
  /** By performance.now(). */
  readonly beganAt: number;
  readonly endedAt: number;
}

const maxVisits = 5000;

export class VisitList {
  readonly visits: Visit[] = [];
  readonly #branch: Branch;
  readonly #ports: readonly number[];
  readonly #hands: Promise<void>[] = [];
  readonly #open = new Set<string>();
  #ended = false;
  #begun = 0;

  constructor(branch: Branch, ports: readonly number[]) {
    this.#branch = branch;
    this.#ports = ports;
  }

  get answered(): number {
    return this.visits.filter(({ end }) => end === 'answered').length;
  }

  /** From now on `hands` visits at a time. */
  begin(hands: number): void {
    for (let hand = 0; hand < hands; hand += 1) this.#hands.push(this.#run());
  }

  /** Waits until `count` more were answered than are now. */
  async more(count: number, boundMs = 30_000): Promise<void> {
    const wanted = this.answered + count;
    await until(`${count} more visits answered`, () => this.answered >= wanted, boundMs);
  }

  /** The hands finish what they do. */
  async finish(): Promise<readonly Visit[]> {
    this.#ended = true;
    await Promise.all(this.#hands);
    return this.visits;
  }

  async #run(): Promise<void> {
    while (!this.#ended && this.#begun < maxVisits) {
      this.#begun += 1;
      const words = `visit ${this.#begun}`;
      this.#open.add(words);
      this.visits.push(await this.visit(words, this.#ports[this.#begun % this.#ports.length]));
      // A hand at a person's pace: more would only fill the list.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async visit(words: string, port: number): Promise<Visit> {
    let from = 0;
    const beganAt = performance.now();
    const done = (end: Visit['end']): Visit => ({ words, from, to: port, end, beganAt, endedAt: performance.now() });
    try {
      const socket = await this.#branch.connect(port);
      from = socket.localPort ?? 0;
      let answer = '';
      socket.on('data', (bytes) => {
        answer += bytes;
      });
      const request = `GET /${words.replace(' ', '-')} HTTP/1.0\r\n\r\n`;
      // Half of them have nothing more to say, and say so.
      if (this.#begun % 2 === 0) socket.end(request);
      else socket.write(request);
      const closed = once(socket, 'close');
      socket.on('end', () => socket.end());
      await closed;
      return done(answer.startsWith('HTTP/1') ? 'answered' : 'reset');
    } catch {
      return done(from === 0 ? 'refused' : 'reset');
    }
  }
}

/** What a kill may take with it: the promise is for records older than that. */
const journalMs = 200;

/** By performance.now(): when it was killed, and when it was seen to be gone. */
export interface Kill {
  readonly at: number;
  readonly gone: number;
}

/**
 * Visits of which the record is not what the attacker saw. Each is on record exactly once; those that ended within 200 ms before
 * one of the `kills` or were cut off by it, at most once.
 */
export function wrongVisits(
  visits: readonly Visit[],
  sessions: readonly Recorded[],
  kills: readonly Kill[],
): (Visit & { readonly count: number })[] {
  const counts = new Map<string, number>();
  for (const session of sessions) {
    // Who was cut off before its words arrived is known by its port.
    const key = wordsOf(session) ?? keyOf(session.source.port, session.destination.port);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return visits.flatMap((visit) => {
    const { words, from, to, end, beganAt, endedAt } = visit;
    if (from === 0) return [];
    const count = (counts.get(words) ?? 0) + (end === 'reset' ? (counts.get(keyOf(from, to)) ?? 0) : 0);
    const excused = kills.some(({ at, gone }) => endedAt > at - journalMs && beganAt < gone);
    return count === 1 || (count === 0 && excused) ? [] : [{ ...visit, count }];
  });
}

const keyOf = (from: number, to: number): string => `${from} to ${to}`;

function wordsOf({ weir }: Recorded): string | undefined {
  const { preview = '' } = (weir.payload ?? {}) as { preview?: string };
  return /^GET \/(visit-\d+) /.exec(Buffer.from(preview, 'base64').toString('latin1'))?.[1]?.replace('-', ' ');
}
