// A first-in first-out queue with a hard bound on items and on bytes. What does not fit is refused and
// counted: the owner decides what a refusal means. No timers, no waiting.

/** Refusals are counted in `dropped`; `push` never throws and never grows past the bounds. */
export class BoundedQueue<T> {
  readonly maxItems: number;
  readonly maxBytes: number;
  dropped = 0;
  droppedBytes = 0;
  #items: { value: T; sizeBytes: number }[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxItems: number, maxBytes = Number.POSITIVE_INFINITY) {
    this.maxItems = maxItems;
    this.maxBytes = maxBytes;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  get sizeBytes(): number {
    return this.#bytes;
  }

  /** True when accepted. */
  push(value: T, sizeBytes = 0): boolean {
    if (this.length >= this.maxItems || this.#bytes + sizeBytes > this.maxBytes) {
      this.dropped += 1;
      this.droppedBytes += sizeBytes;
      return false;
    }
    this.#items.push({ value, sizeBytes });
    this.#bytes += sizeBytes;
    return true;
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#head += 1;
    this.#bytes -= item.sizeBytes;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item.value;
  }

  /** Takes everything out at once. */
  drain(): T[] {
    const values = this.#items.slice(this.#head).map((item) => item.value);
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
    return values;
  }
}
