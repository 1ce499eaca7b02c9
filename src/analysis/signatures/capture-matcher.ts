// Says what a pattern's groups took of a match: all ways at once, in order of preference, each with its own slots, so that time is
// linear in bytes x instructions whatever the pattern. Dearer than lazy-matcher.ts, which says whether there is a match at all.

import type { Meter } from './lazy-matcher.ts';
import { operations, type PatternProgram } from './pattern-program.ts';

interface Threads {
  readonly instructions: Int32Array;
  readonly slots: Int32Array[];
  readonly place: Int32Array;
  count: number;
}

const threads = (capacity: number): Threads => ({
  instructions: new Int32Array(capacity),
  slots: new Array(capacity),
  place: new Int32Array(capacity),
  count: 0,
});

/** An instruction to go on with, or a slot to put back. */
type Frame = { readonly instruction: number; readonly slots: Int32Array };

export class CaptureMatcher {
  readonly #program: PatternProgram;
  #current: Threads | undefined;
  #next: Threads | undefined;

  constructor(program: PatternProgram) {
    this.#program = program;
  }

  /**
   * Of the leftmost match, among those the preferred one (as back-tracking engines prefer): beginning and end of each group,
   * -1 where it took no part. Undefined without a match, or when the meter ran dry. `^` holds at `from`, `$` at `to`.
   */
  match(bytes: Uint8Array, from: number, to: number, meter: Meter): Int32Array | undefined {
    const { length, operation, x, sets, slotCount } = this.#program;
    this.#current ??= threads(length);
    this.#next ??= threads(length);
    let current = this.#current;
    let next = this.#next;
    current.count = 0;
    let found: Int32Array | undefined;
    const none = new Int32Array(slotCount).fill(-1);
    for (let at = from; ; at += 1) {
      if (found === undefined) this.#add(current, 0, none, at, from, to, meter);
      if (current.count === 0) break;
      if (meter.left <= 0) {
        meter.curtailed = true;
        return found;
      }
      next.count = 0;
      for (let index = 0; index < current.count; index += 1) {
        const instruction = current.instructions[index];
        const kind = operation[instruction];
        meter.left -= 1;
        if (kind === operations.match) {
          found = current.slots[index];
          // Those after it are less preferred.
          break;
        }
        if (kind === operations.set && at < to && sets[x[instruction]].flags[bytes[at]] === 1)
          this.#add(next, instruction + 1, current.slots[index], at + 1, from, to, meter);
      }
      if (at >= to) break;
      [current, next] = [next, current];
    }
    return found;
  }

  #add(list: Threads, first: number, firstSlots: Int32Array, at: number, from: number, to: number, meter: Meter): void {
    const { operation, x, y } = this.#program;
    const stack: Frame[] = [{ instruction: first, slots: firstSlots }];
    for (let frame = stack.pop(); frame !== undefined; frame = stack.pop()) {
      const { instruction, slots } = frame;
      const place = list.place[instruction];
      if (place < list.count && list.instructions[place] === instruction) continue;
      list.place[instruction] = list.count;
      list.instructions[list.count] = instruction;
      list.slots[list.count] = slots;
      list.count += 1;
      meter.left -= 1;
      switch (operation[instruction]) {
        case operations.jump:
          stack.push({ instruction: x[instruction], slots });
          break;
        case operations.split:
          stack.push({ instruction: y[instruction], slots }, { instruction: x[instruction], slots });
          break;
        case operations.save: {
          const own = slots.slice();
          own[x[instruction]] = at;
          stack.push({ instruction: instruction + 1, slots: own });
          break;
        }
        case operations.start:
          if (at === from) stack.push({ instruction: instruction + 1, slots });
          break;
        case operations.end:
          if (at === to) stack.push({ instruction: instruction + 1, slots });
      }
    }
  }
}
