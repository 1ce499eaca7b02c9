// Many equal waits without a timer each: first in, first due. The owner calls `due` from its one ticking timer.
// A wait is not cancelled; the owner looks whether it still matters when it comes out.

/** Every entry waits the same `delayMs`, so the front is always the next one due. */
export class DelayLine<T> {
  readonly delayMs: number;
  #items: (T | undefined)[] = [];
  #dueMs: number[] = [];
  #head = 0;

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  add(item: T, nowMs: number): void {
    this.#items.push(item);
    this.#dueMs.push(nowMs + this.delayMs);
  }

  /** Takes out everything due, oldest first. */
  due(nowMs: number, take: (item: T) => void): void {
    while (this.#head < this.#items.length && this.#dueMs[this.#head] <= nowMs) {
      const item = this.#items[this.#head] as T;
      this.#items[this.#head] = undefined;
      this.#head += 1;
      take(item);
    }
    if (this.#head === this.#items.length) {
      this.#items = [];
      this.#dueMs = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#dueMs = this.#dueMs.slice(this.#head);
      this.#head = 0;
    }
  }
}
