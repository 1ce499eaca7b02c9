// Says whether and where a pattern first ends in bytes, in time linear in them: a deterministic automaton whose states are made
// when they are first met and kept in a bounded cache. Input that makes the cache useless is matched state set by state set.

import { skipBytes } from './byte-set.ts';
import { noProgram, operations, type PatternProgram } from './pattern-program.ts';

/** What one session may cost: every automaton step takes one, every instruction looked at `instructionCost`. */
export class Meter {
  left: number;
  /** True once something was left out because nothing was left. */
  curtailed = false;

  constructor(steps: number) {
    this.left = steps;
  }
}

/** The caches of many matchers together. */
export class CacheLedger {
  readonly #limitBytes: number;
  readonly #holders = new Set<LazyMatcher>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(holder: LazyMatcher, bytes: number): void {
    this.#holders.add(holder);
    this.#bytes += bytes;
  }

  /** Between searches: when the caches are too large all are dropped, and made again where they are needed. */
  settle(): void {
    if (this.#bytes <= this.#limitBytes) return;
    for (const holder of this.#holders) holder.drop();
    this.#holders.clear();
    this.#bytes = 0;
  }
}

/** To make a state costs so much more than to follow a known one. */
const instructionCost = 3;
/** To begin skipping and to end it; what is skipped costs a quarter of a step a byte. */
const skipCost = 2;
const maxStates = 256;
/** Of instructions in all cached states together. */
const maxHeld = 32_768;
/** After so many clearings within one search the cache does not help. */
const maxClearings = 3;
/** Where a byte leads, beside the place of a state's row: not known yet; a match; nothing can come of it. */
const unknown = -1;
const matched = -2;
const dead = -3;

/** Instructions reached without taking a byte: a set that remembers the order in which they came. */
class Reached {
  readonly items: Int32Array;
  count = 0;
  readonly #place: Int32Array;

  constructor(capacity: number) {
    this.items = new Int32Array(capacity);
    this.#place = new Int32Array(capacity);
  }

  /** False when it was there. */
  add(instruction: number): boolean {
    const place = this.#place[instruction];
    if (place < this.count && this.items[place] === instruction) return false;
    this.#place[instruction] = this.count;
    this.items[this.count] = instruction;
    this.count += 1;
    return true;
  }
}

const noneReached = new Reached(0);

export class LazyMatcher {
  readonly #compile: () => PatternProgram;
  readonly #anchored: boolean;
  /** From the first search on, as what follows: most patterns of a rule set never see any bytes. */
  #program = noProgram;
  #reached = noneReached;
  readonly #stack: number[] = [];
  #states = new Map<string, number>();
  /** The instructions of each state that take a byte, match, or wait for the end; sorted. */
  #held: Int32Array[] = [];
  #heldCount = 0;
  /** For each state a row, and in it for each class of bytes the place of the row to go to, or one of the three above. */
  #next = new Int32Array(0);
  /** What a cell of `#next` that leads to the state holds. */
  #fates = new Int32Array(0);
  #acceptsAtEnd = new Uint8Array(0);
  #begin = unknown;
  /** The state in which no match has begun; `unknown` where one begins at the first byte or not at all. */
  #resting = unknown;
  /** 1 for bytes after which it is in that state still, as far as they were met. */
  #keeps = new Uint8Array(0);
  readonly #ledger: CacheLedger | undefined;

  /** `anchored`: a match begins at the first byte or not at all. A program that is not there yet is asked for by the first search. */
  constructor(program: PatternProgram | (() => PatternProgram), anchored = false, ledger?: CacheLedger) {
    this.#compile = typeof program === 'function' ? program : () => program;
    this.#ledger = ledger;
    this.#anchored = anchored;
  }

  /** States there are now; for tests of the bound. */
  get stateCount(): number {
    return this.#held.length;
  }

  /**
   * Where the match that ends first ends, or -1. `^` holds at `from`, `$` at `to`. Takes steps from `meter`: at most
   * 3 x (to - from + 1) x instructions, usually one a byte and a quarter where nothing has begun; when it runs dry the rest is
   * not looked at.
   */
  search(bytes: Uint8Array, from: number, to: number, meter: Meter): number {
    if (meter.left <= 0) {
      meter.curtailed = true;
      return -1;
    }
    if (this.#program === noProgram) this.#prepare();
    const { classOf, classCount } = this.#program;
    if (this.#begin === unknown) {
      if (this.#held.length + 2 > maxStates || this.#heldCount + 2 * this.#program.length > maxHeld) this.#clear();
      this.#resting = this.#anchored ? unknown : this.#beginning(false, meter);
      this.#begin = this.#beginning(true, meter);
    }
    if (this.#fates[this.#begin] === matched) return from;
    let end = Math.min(to, from + meter.left);
    let next = this.#next;
    let row = this.#begin * classCount;
    let resting = this.#resting * classCount;
    const keeps = this.#keeps;
    let clearings = 0;
    let spared = 0;
    let at = from;
    for (;;) {
      // One look-up a byte, each waiting for the one before: nothing else belongs between them.
      while (at < end) {
        const target = next[row + classOf[bytes[at]]];
        at += 1;
        if (target >= 0) {
          if (target === resting && row === resting) {
            keeps[bytes[at - 1]] = 1;
            const skipped = skipBytes(bytes, at, end, keeps) - at;
            at += skipped;
            spared += skipped - (skipped >> 2) - skipCost;
          }
          row = target;
          continue;
        }
        let fate = target;
        if (fate === unknown) {
          const set = this.#step(this.#held[row / classCount], bytes[at - 1], meter);
          const isFull = this.#isFull(set);
          if (isFull) {
            clearings += 1;
            if (clearings > maxClearings) {
              meter.left -= at - from - spared;
              return this.#simulate(set, bytes, at, to, meter);
            }
            // Whoever comes next begins afresh; this search goes on with the state it is in.
            this.#clear();
            resting = unknown;
          }
          const state = this.#stateOf(set);
          next = this.#next;
          fate = this.#fates[state];
          if (!isFull) next[row + classOf[bytes[at - 1]]] = fate;
          if (fate >= 0) {
            row = fate;
            continue;
          }
        }
        meter.left -= at - from - spared;
        return fate === matched ? at : -1;
      }
      if (end === to) break;
      // Where nothing had begun a byte cost less than a step.
      const more = meter.left - (at - from - spared);
      if (more <= 0) {
        meter.curtailed = true;
        break;
      }
      end = Math.min(to, at + more);
    }
    meter.left -= at - from - spared;
    return end === to && this.#acceptsAtEnd[row / classCount] === 1 ? to : -1;
  }

  #prepare(): void {
    this.#program = this.#compile();
    this.#reached = new Reached(this.#program.length);
    this.#fates = new Int32Array(maxStates);
    this.#acceptsAtEnd = new Uint8Array(maxStates);
    this.#keeps = new Uint8Array(256);
  }

  /** Without the cache: the sets one after the other. */
  #simulate(first: Int32Array, bytes: Uint8Array, from: number, end: number, meter: Meter): number {
    let set = first;
    for (let at = from; ; at += 1) {
      if (this.#holds(set, operations.match)) return at;
      if (at >= end) break;
      if (set.length === 0) return -1;
      if (meter.left <= 0) {
        meter.curtailed = true;
        return -1;
      }
      set = this.#step(set, bytes[at], meter);
    }
    return this.#endsWell(set) ? end : -1;
  }

  #beginning(atStart: boolean, meter: Meter): number {
    this.#reached.count = 0;
    this.#close(0, atStart, meter);
    return this.#stateOf(this.#harvest());
  }

  #step(set: Int32Array, byte: number, meter: Meter): Int32Array {
    const { operation, x, sets } = this.#program;
    this.#reached.count = 0;
    for (const instruction of set)
      if (operation[instruction] === operations.set && sets[x[instruction]].flags[byte] === 1)
        this.#close(instruction + 1, false, meter);
    if (!this.#anchored) this.#close(0, false, meter);
    meter.left -= set.length * instructionCost;
    return this.#harvest();
  }

  /** Everything reached from an instruction without taking a byte. */
  #close(from: number, atStart: boolean, meter: Meter): void {
    const { operation, x, y } = this.#program;
    const stack = this.#stack;
    stack.push(from);
    while (stack.length > 0) {
      const instruction = stack.pop() as number;
      if (!this.#reached.add(instruction)) continue;
      meter.left -= instructionCost;
      switch (operation[instruction]) {
        case operations.jump:
          stack.push(x[instruction]);
          break;
        case operations.split:
          stack.push(y[instruction], x[instruction]);
          break;
        case operations.save:
          stack.push(instruction + 1);
          break;
        case operations.start:
          if (atStart) stack.push(instruction + 1);
      }
    }
  }

  #harvest(): Int32Array {
    const { operation } = this.#program;
    const { items, count } = this.#reached;
    const kept: number[] = [];
    for (let index = 0; index < count; index += 1) {
      const kind = operation[items[index]];
      if (kind === operations.set || kind === operations.match || kind === operations.end) kept.push(items[index]);
    }
    return Int32Array.from(kept).sort();
  }

  #holds(set: Int32Array, operation: number): boolean {
    for (const instruction of set) if (this.#program.operation[instruction] === operation) return true;
    return false;
  }

  /** True when the match is reached by way of `$` alone. */
  #endsWell(set: Int32Array): boolean {
    const { operation } = this.#program;
    const free = new Meter(0);
    this.#reached.count = 0;
    for (const instruction of set) if (operation[instruction] === operations.end) this.#close(instruction + 1, false, free);
    for (let index = 0; index < this.#reached.count; index += 1) {
      const instruction = this.#reached.items[index];
      if (operation[instruction] === operations.match) return true;
      // Two in a row.
      if (operation[instruction] === operations.end) this.#close(instruction + 1, false, free);
    }
    return false;
  }

  #isFull(set: Int32Array): boolean {
    if (this.#states.has(keyOf(set))) return false;
    return this.#held.length >= maxStates || this.#heldCount + set.length > maxHeld;
  }

  #stateOf(set: Int32Array): number {
    const key = keyOf(set);
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    const state = this.#held.push(set) - 1;
    this.#heldCount += set.length;
    this.#states.set(key, state);
    const { classCount } = this.#program;
    const needed = (state + 1) * classCount;
    if (needed > this.#next.length) {
      const grown = new Int32Array(Math.min(maxStates * classCount, Math.max(8 * classCount, 2 * this.#next.length))).fill(
        unknown,
      );
      grown.set(this.#next);
      this.#ledger?.add(this, 4 * (grown.length - this.#next.length));
      this.#next = grown;
    }
    // The set, its key, and what a map entry takes.
    this.#ledger?.add(this, 6 * set.length + 128);
    this.#fates[state] = set.length === 0 ? dead : this.#holds(set, operations.match) ? matched : state * classCount;
    this.#acceptsAtEnd[state] = this.#endsWell(set) ? 1 : 0;
    return state;
  }

  /** Gives its memory back; not while it searches. */
  drop(): void {
    this.#clear();
    this.#next = new Int32Array(0);
  }

  #clear(): void {
    this.#states = new Map();
    this.#held = [];
    this.#heldCount = 0;
    this.#next.fill(unknown);
    this.#begin = unknown;
    this.#resting = unknown;
  }
}

const keyOf = (set: Int32Array): string => {
  let key = '';
  for (const instruction of set) key += String.fromCharCode(instruction);
  return key;
};
