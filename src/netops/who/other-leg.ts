// The other connection of a proxy, where the proxy does not say: of the same process, one that was accepted and one that was made, with the bytes
// of the one going out of the other. An inference with a score; who asks shows both. Pure.

import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';

/** A connection of one process, with what it moved since it began or since the last reading. */
export interface Leg {
  readonly socket: SocketEntry;
  readonly fd: number;
  /** Accepted at a port the process listens at. */
  readonly accepted: boolean;
  readonly received: number;
  readonly sent: number;
}

export interface OtherLeg {
  readonly leg: Leg;
  readonly score: number;
  readonly join: string;
}

/** Fewer bytes than that say nothing: every short answer is alike. */
const tellingBytes = 256;
/** Legs of like size that are compared on each side. */
const window = 48;
/** What moved as much as this of the other is a candidate. */
const enough = 0.75;

/** Legs of one process, sorted once for many questions. */
export class LegTable {
  readonly #bySize: Leg[];

  constructor(legs: readonly Leg[]) {
    this.#bySize = [...legs].sort((a, b) => sizeOf(a) - sizeOf(b));
  }

  get size(): number {
    return this.#bySize.length;
  }

  find(cookie: string): Leg | undefined {
    return this.#bySize.find(({ socket }) => socket.cookie === cookie);
  }

  /** Undefined: nothing fits, or there is nothing to judge by. */
  other(one: Leg): OtherLeg | undefined {
    const size = sizeOf(one);
    if (size < tellingBytes) return this.#onlyOne(one);
    const candidates: { leg: Leg; conserved: number }[] = [];
    const middle = this.#place(size);
    for (let at = Math.max(0, middle - window); at < Math.min(this.#bySize.length, middle + window); at += 1) {
      const leg = this.#bySize[at];
      if (leg.accepted === one.accepted || leg.socket.cookie === one.socket.cookie) continue;
      const conserved = conservation(one, leg);
      if (conserved >= enough) candidates.push({ leg, conserved });
    }
    if (candidates.length === 0) return this.#onlyOne(one);
    const nearness = ({ leg }: { leg: Leg }): number => Math.abs(leg.socket.inode - one.socket.inode);
    candidates.sort((a, b) => b.conserved - a.conserved || nearness(a) - nearness(b));
    const [best, second] = candidates;
    if (!second || best.conserved - second.conserved > 0.1)
      return {
        leg: best.leg,
        score: best.conserved * 0.95,
        join: `same process, ${percent(best.conserved)} of the bytes conserved`,
      };
    // Of equals the one that was made at the same time: inodes are given in order.
    const alike = candidates
      .filter(({ conserved }) => best.conserved - conserved <= 0.1)
      .sort((a, b) => nearness(a) - nearness(b));
    const [nearest, next] = alike;
    const clear = next && nearness(next) > 4 * nearness(nearest) + 2 ? 0.8 : 0.5;
    return {
      leg: nearest.leg,
      score: nearest.conserved * clear,
      join: `same process, ${percent(nearest.conserved)} of the bytes conserved, begun next to it; ${alike.length - 1} more fit`,
    };
  }

  /** A process that has but one connection of the other kind. */
  #onlyOne(one: Leg): OtherLeg | undefined {
    const others = this.#bySize.filter(({ accepted }) => accepted !== one.accepted);
    const same = this.#bySize.length - others.length;
    if (others.length !== 1 || same !== 1) return undefined;
    return { leg: others[0], score: 0.4, join: 'same process, its only other connection; too few bytes to compare' };
  }

  #place(size: number): number {
    let low = 0;
    let high = this.#bySize.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sizeOf(this.#bySize[middle]) < size) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const sizeOf = ({ received, sent }: Leg): number => received + sent;

/** What came in by the one and went out by the other, both ways, as a share of the greater. */
function conservation(one: Leg, other: Leg): number {
  const kept = Math.min(one.received, other.sent) + Math.min(one.sent, other.received);
  const all = Math.max(one.received, other.sent) + Math.max(one.sent, other.received);
  return all === 0 ? 0 : kept / all;
}

const percent = (share: number): string => `${Math.floor(share * 100)} %`;
