// A doubly linked list through its own members: constant-time add, move to the end and remove, no allocation.
// Keeps sessions in the order they were last active, so idle ends and shedding look at the front only.

/** A member carries its own links; it may be in one such list at a time. */
export interface Linked {
  before: Linked | undefined;
  after: Linked | undefined;
  listed: boolean;
}

export class RecencyList<T extends Linked> {
  #first: Linked | undefined;
  #last: Linked | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The least recently touched member. */
  get oldest(): T | undefined {
    return this.#first as T | undefined;
  }

  /** Adds, or moves to the recent end. */
  touch(member: T): void {
    if (this.#last === member) return;
    if (member.listed) this.remove(member);
    member.before = this.#last;
    member.after = undefined;
    if (this.#last) this.#last.after = member;
    else this.#first = member;
    this.#last = member;
    member.listed = true;
    this.#size += 1;
  }

  remove(member: T): void {
    if (!member.listed) return;
    if (member.before) member.before.after = member.after;
    else this.#first = member.after;
    if (member.after) member.after.before = member.before;
    else this.#last = member.before;
    member.before = undefined;
    member.after = undefined;
    member.listed = false;
    this.#size -= 1;
  }

  /** From the least recent on; members may be removed while iterating, the yielded one included. */
  *[Symbol.iterator](): Generator<T> {
    let member = this.#first;
    while (member) {
      const next = member.after;
      yield member as T;
      member = next;
    }
  }
}
