// When what Suricata was shown had happened: frames are made after the fact, of an agent that was alone hours after it. Bounded;
// of a session that is shown longer than that, what is older than all of it counts as its oldest. Pure.

import type { Micros } from '../base/clock.ts';

const maxMoments = 32;

export class ShownMoments {
  readonly #moments: { readonly shownAt: Micros; readonly happenedAt: Micros }[] = [];

  /** In the order they are shown. `shownAt` by the clock of packets, right before the frames go out. */
  note(shownAt: Micros, happenedAt: Micros): void {
    if (this.#moments.at(-1)?.happenedAt === happenedAt) return;
    if (this.#moments.length >= maxMoments) this.#moments.shift();
    this.#moments.push({ shownAt, happenedAt });
  }

  /** What the frame Suricata saw at `seenAt` is about; undefined where nothing was shown. */
  happened(seenAt: Micros): Micros | undefined {
    const last = this.#moments.findLast(({ shownAt }) => shownAt <= seenAt) ?? this.#moments.at(0);
    return last?.happenedAt;
  }
}
