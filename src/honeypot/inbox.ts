// Bytes received and not yet understood, as one contiguous view. Holds the first chunk by reference and copies
// only when more must be joined to it; never writes into memory a view was given of. The bound is its owner's.

const empty = Buffer.alloc(0);

export class Inbox {
  #view: Buffer = empty;
  /** Own storage with room behind the view; undefined while the view is a received chunk. */
  #store: Buffer | undefined;
  #end = 0;

  get view(): Buffer {
    return this.#view;
  }

  get length(): number {
    return this.#view.length;
  }

  append(bytes: Buffer): void {
    const length = this.#view.length;
    if (length === 0) {
      this.#view = bytes;
      this.#store = undefined;
      return;
    }
    if (this.#store && this.#end + bytes.length <= this.#store.length) {
      bytes.copy(this.#store, this.#end);
    } else {
      const store = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (length + bytes.length)));
      this.#view.copy(store);
      bytes.copy(store, length);
      this.#store = store;
      this.#end = length;
    }
    const start = this.#end - length;
    this.#end += bytes.length;
    this.#view = this.#store.subarray(start, this.#end);
  }

  consume(count: number): void {
    if (count >= this.#view.length) this.clear();
    else this.#view = this.#view.subarray(count);
  }

  clear(): void {
    this.#view = empty;
    this.#store = undefined;
    this.#end = 0;
  }
}
