// Many equal waits without a timer each: first in, first due, and taken out again when they no longer matter.
// The owner calls `due` from its one ticking timer. Holds nothing that was removed.

/** Every entry waits the same `delayMs`, so insertion order is the order of falling due. */
export class DelayLine<T> {
  readonly delayMs: number;
  readonly #dueMs = new Map<T, number>();

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  get length(): number {
    return this.#dueMs.size;
  }

  /** Adds, or starts the wait of an entry anew. */
  add(item: T, nowMs: number): void {
    this.#dueMs.delete(item);
    this.#dueMs.set(item, nowMs + this.delayMs);
  }

  remove(item: T): void {
    this.#dueMs.delete(item);
  }

  /** Takes out everything due, oldest first. */
  due(nowMs: number, take: (item: T) => void): void {
    for (const [item, dueMs] of this.#dueMs) {
      if (dueMs > nowMs) return;
      this.#dueMs.delete(item);
      take(item);
    }
  }
}
