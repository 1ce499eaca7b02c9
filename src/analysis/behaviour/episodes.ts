// The behaviours of one source that go on, by behaviour and target. It knows which behaviours there are at all, so that most
// questions are answered without a search. How many there may be, and when one is over: episode-table.ts.

import type { Behaviour } from '../../model/insight.ts';
import type { Episode } from './episode.ts';
import { NumberMap } from './number-map.ts';

const numbers: Readonly<Record<Behaviour, number>> = {
  'port-scan': 1,
  sweep: 2,
  'block-scan': 3,
  'slow-scan': 4,
  'repeated-access': 5,
  'brute-force': 6,
  exploitation: 7,
  crawler: 8,
  'research-scanner': 9,
  'silent-opener': 10,
  'two-phase-scan': 11,
  flood: 12,
};

const span = 2 ** 33;

/** Of a target (a number below 2^33). */
export const episodeKey = (behaviour: Behaviour, target: number): number => numbers[behaviour] * span + target;

/** One bit for each behaviour. */
export const behaviourBit = (behaviour: Behaviour): number => 1 << numbers[behaviour];

export class Episodes {
  readonly #episodes = new NumberMap<Episode>();
  #behaviours = 0;

  get size(): number {
    return this.#episodes.size;
  }

  /** Bits of the behaviours there are. */
  get behaviours(): number {
    return this.#behaviours;
  }

  /** In the order they began. */
  get values(): readonly Episode[] {
    return this.#episodes.values;
  }

  get(key: number): Episode | undefined {
    return this.#episodes.get(key);
  }

  set(key: number, episode: Episode): void {
    this.#episodes.set(key, episode);
    this.#behaviours |= behaviourBit(episode.behaviour);
  }

  delete(key: number): void {
    this.#episodes.delete(key);
    this.#know();
  }

  deleteWhere(over: (episode: Episode) => boolean): void {
    this.#episodes.deleteWhere(over);
    this.#know();
  }

  #know(): void {
    this.#behaviours = 0;
    for (const { behaviour } of this.#episodes.values) this.#behaviours |= behaviourBit(behaviour);
  }
}
