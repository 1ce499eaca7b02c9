// Says what a pattern's groups took of a match: all ways at once, in order of preference, each with its own slots, so that time is
// linear in bytes x instructions whatever the pattern. Dearer than lazy-matcher.ts, which says whether there is a match at all.

import type { Meter } from './lazy-matcher.ts';
import { noProgram, operations, type PatternProgram } from './pattern-program.ts';

/** Instructions that take a byte or match, in order of preference, and what each way took so far. */
class Threads {
  readonly instructions: Int32Array;
  readonly slots: (readonly number[])[];
  count = 0;
  /** The turn in which an instruction was reached last. */
  readonly #reached: Int32Array;
  #turn = 0;

  constructor(capacity: number) {
    this.instructions = new Int32Array(capacity);
    this.slots = new Array(capacity);
    this.#reached = new Int32Array(capacity);
  }

  clear(): void {
    this.count = 0;
    this.#turn += 1;
    if (this.#turn === 0x7fffffff) {
      this.#reached.fill(0);
      this.#turn = 1;
    }
  }

  /** False when it was reached before: that way is preferred. */
  reach(instruction: number): boolean {
    if (this.#reached[instruction] === this.#turn) return false;
    this.#reached[instruction] = this.#turn;
    return true;
  }

  push(instruction: number, slots: readonly number[]): void {
    this.instructions[this.count] = instruction;
    this.slots[this.count] = slots;
    this.count += 1;
  }
}

export class CaptureMatcher {
  readonly #compile: () => PatternProgram;
  #program = noProgram;
  #current: Threads | undefined;
  #next: Threads | undefined;
  /** Instructions still to be followed; their slots beside them. */
  readonly #stack: number[] = [];
  readonly #stackSlots: (readonly number[])[] = [];
  /** 1 for each byte a match may begin with; undefined when it may be empty. */
  #beginnings: Uint8Array | undefined | null = null;

  /** A program that is not there yet is asked for by the first match. */
  constructor(program: PatternProgram | (() => PatternProgram)) {
    this.#compile = typeof program === 'function' ? program : () => program;
  }

  /**
   * Of the leftmost match, among those the preferred one (as back-tracking engines prefer): beginning and end of each group,
   * -1 where it took no part. Undefined without a match, or when the meter ran dry. `^` holds at `from`, `$` at `to`.
   */
  match(bytes: Uint8Array, from: number, to: number, meter: Meter): readonly number[] | undefined {
    if (this.#program === noProgram) this.#program = this.#compile();
    const { length, operation, x, sets, slotCount } = this.#program;
    this.#current ??= new Threads(length);
    this.#next ??= new Threads(length);
    let current = this.#current;
    let next = this.#next;
    current.clear();
    if (this.#beginnings === null) this.#beginnings = beginningsOf(this.#program);
    const beginnings = this.#beginnings;
    let found: readonly number[] | undefined;
    const none: readonly number[] = new Array<number>(slotCount).fill(-1);
    for (let at = from; ; at += 1) {
      if (found === undefined) {
        if (current.count === 0 && beginnings !== undefined) {
          const skipped = at;
          while (at < to && beginnings[bytes[at]] === 0) at += 1;
          meter.left -= at - skipped;
          if (at >= to) break;
        }
        if (beginnings === undefined || (at < to && beginnings[bytes[at]] === 1))
          this.#add(current, 0, none, at, from, to, meter);
      } else if (current.count === 0) break;
      if (meter.left <= 0) {
        meter.curtailed = true;
        return found;
      }
      next.clear();
      meter.left -= current.count;
      for (let index = 0; index < current.count; index += 1) {
        const instruction = current.instructions[index];
        if (operation[instruction] === operations.match) {
          found = current.slots[index];
          // Those after it are less preferred.
          break;
        }
        if (at < to && sets[x[instruction]].flags[bytes[at]] === 1)
          this.#add(next, instruction + 1, current.slots[index], at + 1, from, to, meter);
      }
      if (at >= to) break;
      [current, next] = [next, current];
    }
    return found;
  }

  #add(list: Threads, first: number, firstSlots: readonly number[], at: number, from: number, to: number, meter: Meter): void {
    const { operation, x, y } = this.#program;
    const stack = this.#stack;
    const stackSlots = this.#stackSlots;
    let instruction = first;
    let slots = firstSlots;
    for (;;) {
      let follow = -1;
      if (list.reach(instruction)) {
        meter.left -= 1;
        switch (operation[instruction]) {
          case operations.jump:
            follow = x[instruction];
            break;
          case operations.split:
            stack.push(y[instruction]);
            stackSlots.push(slots);
            follow = x[instruction];
            break;
          case operations.save:
            slots = withValue(slots, x[instruction], at);
            follow = instruction + 1;
            break;
          case operations.start:
            if (at === from) follow = instruction + 1;
            break;
          case operations.end:
            if (at === to) follow = instruction + 1;
            break;
          default:
            list.push(instruction, slots);
        }
      }
      if (follow >= 0) instruction = follow;
      else {
        const waiting = stack.pop();
        if (waiting === undefined) return;
        instruction = waiting;
        slots = stackSlots.pop() as readonly number[];
      }
    }
  }
}

function beginningsOf({ length, operation, x, y, sets }: PatternProgram): Uint8Array | undefined {
  const flags = new Uint8Array(256);
  const seen = new Uint8Array(length);
  const stack = [0];
  for (let instruction = stack.pop(); instruction !== undefined; instruction = stack.pop()) {
    if (seen[instruction] === 1) continue;
    seen[instruction] = 1;
    switch (operation[instruction]) {
      case operations.set:
        for (const byte of sets[x[instruction]].bytes()) flags[byte] = 1;
        break;
      case operations.split:
        stack.push(x[instruction], y[instruction]);
        break;
      case operations.jump:
        stack.push(x[instruction]);
        break;
      case operations.save:
      case operations.start:
        stack.push(instruction + 1);
        break;
      default:
        // The end, or a match: nothing has to be there.
        return undefined;
    }
  }
  return flags;
}

function withValue(slots: readonly number[], index: number, value: number): readonly number[] {
  const copy = slots.slice();
  copy[index] = value;
  return copy;
}
