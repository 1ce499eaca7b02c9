// Keys that were of interest lately, bounded, in two generations: forgetting costs nothing, however many come. A Map from
// whose front is deleted all the time would be walked over its own holes.

export class RecentKeys {
  readonly #half: number;
  #young = new Set<number>();
  #old = new Set<number>();

  /** `limit` keys at most; the latest half of them is known in any case. */
  constructor(limit: number) {
    this.#half = Math.max(1, limit >> 1);
  }

  has(key: number): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  /** True when others had to be forgotten for it. */
  add(key: number): boolean {
    const isFull = this.#young.size >= this.#half;
    const forgets = isFull && this.#old.size > 0;
    if (isFull) this.age();
    this.#young.add(key);
    return forgets;
  }

  delete(key: number): boolean {
    const wasYoung = this.#young.delete(key);
    return this.#old.delete(key) || wasYoung;
  }

  /** What was added before the last time is forgotten. */
  age(): void {
    this.#old = this.#young;
    this.#young = new Set();
  }
}
