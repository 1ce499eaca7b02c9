// A map that knows which of its keys was set longest ago, at the same cost however many come and go. A Map from whose
// front is deleted all the time is walked over its own holes to find the next first.

import { type Linked, RecencyList } from './recency-list.ts';

interface Entry<K, V> extends Linked {
  readonly key: K;
  value: V;
}

export class RecencyMap<K, V> {
  readonly #entries = new Map<K, Entry<K, V>>();
  readonly #order = new RecencyList<Entry<K, V>>();

  get size(): number {
    return this.#entries.size;
  }

  /** The key and value set longest ago. */
  get oldest(): [K, V] | undefined {
    const entry = this.#order.oldest;
    return entry && [entry.key, entry.value];
  }

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Adds, or replaces; either makes it the latest. */
  set(key: K, value: V): void {
    let entry = this.#entries.get(key);
    if (entry) entry.value = value;
    else {
      entry = { key, value, before: undefined, after: undefined, listed: false };
      this.#entries.set(key, entry);
    }
    this.#order.touch(entry);
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    this.#order.remove(entry);
    return this.#entries.delete(key);
  }

  /** From the oldest on; the yielded one may be deleted meanwhile. */
  *[Symbol.iterator](): Generator<[K, V]> {
    for (const { key, value } of this.#order) yield [key, value];
  }
}
