// Tells apart equal lines of one file: logs with times of whole seconds hold them, and each is a connection of its own. The
// same file again, or a copy of it in the same import, numbers them the same.

import { RecencyMap } from '../../base/recency-map.ts';

/** Equal lines further apart than this many others are not told apart. */
const remembered = 50_000;

export class Occurrences {
  readonly #seen = new RecencyMap<string, number>();

  /** How many of this key the file had before. */
  count(file: number, key: string): number {
    const mine = `${file} ${key}`;
    const before = this.#seen.get(mine) ?? 0;
    this.#seen.set(mine, before + 1);
    const oldest = this.#seen.size > remembered ? this.#seen.oldest : undefined;
    if (oldest) this.#seen.delete(oldest[0]);
    return before;
  }
}
