// A few values by number, in the order in which they were set: one short search through plain numbers, where a Map would make
// an object of every number it is asked for. For some dozens of keys at most: whoever fills it bounds it.

export class NumberMap<T> {
  readonly #keys: number[] = [];
  readonly #values: T[] = [];

  get size(): number {
    return this.#keys.length;
  }

  get(key: number): T | undefined {
    const keys = this.#keys;
    for (let index = 0; index < keys.length; index += 1) if (keys[index] === key) return this.#values[index];
    return undefined;
  }

  /** Adds at the end, or replaces where it is. */
  set(key: number, value: T): void {
    const index = this.#keys.indexOf(key);
    if (index >= 0) this.#values[index] = value;
    else {
      this.#keys.push(key);
      this.#values.push(value);
    }
  }

  delete(key: number): void {
    const index = this.#keys.indexOf(key);
    if (index >= 0) this.#remove(index);
  }

  deleteWhere(over: (value: T) => boolean): void {
    for (let index = this.#keys.length - 1; index >= 0; index -= 1) if (over(this.#values[index])) this.#remove(index);
  }

  /** Before one more is added: what was added first goes when there are `most`. */
  makeRoom(most: number): void {
    if (this.#keys.length >= most) this.#remove(0);
  }

  get values(): readonly T[] {
    return this.#values;
  }

  #remove(index: number): void {
    this.#keys.splice(index, 1);
    this.#values.splice(index, 1);
  }
}
