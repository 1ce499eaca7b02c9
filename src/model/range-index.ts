// Ranges that do not overlap, each with something that belongs to it, looked up by address in O(log n). Pure, immutable.

import { type Address, type AddressRange, rangeHolds } from './address.ts';

export interface IndexedRange<T> {
  readonly range: AddressRange;
  readonly value: T;
}

export class RangeIndex<T> {
  readonly #four: IndexedRange<T>[] = [];
  readonly #six: IndexedRange<T>[] = [];

  /** In any order; both families. */
  constructor(entries: Iterable<IndexedRange<T>>) {
    for (const entry of entries) (entry.range.family === 4 ? this.#four : this.#six).push(entry);
    const byStart = (a: IndexedRange<T>, b: IndexedRange<T>): number => (a.range.first < b.range.first ? -1 : 1);
    this.#four.sort(byStart);
    this.#six.sort(byStart);
  }

  /** What belongs to the range that holds the address. */
  at(address: Address): T | undefined {
    const entries = address.family === 4 ? this.#four : this.#six;
    let low = 0;
    let high = entries.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { range, value } = entries[middle];
      if (address.value < range.first) high = middle - 1;
      else if (rangeHolds(range, address)) return value;
      else low = middle + 1;
    }
    return undefined;
  }
}
