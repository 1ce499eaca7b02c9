// Compiles a pattern's tree into a program for automata: a list of instructions, bounded in length, and the classes of bytes it
// tells apart. Who runs it is lazy-matcher.ts (does it match) and capture-matcher.ts (what did the groups take).

import { type BytePattern, PatternError, type PatternNode } from './byte-pattern.ts';
import type { ByteSet } from './byte-set.ts';

/** `set`: takes a byte. `split`: `x` is tried before `y`. `save`: `x` is the slot. */
export const operations = { set: 0, split: 1, jump: 2, save: 3, start: 4, end: 5, match: 6 } as const;

/** More would make a step of the slow way dear; repeats are written out, so `.{0,64}` takes 128. */
export const maxInstructions = 4096;

export interface PatternProgram {
  readonly length: number;
  readonly operation: Uint8Array;
  readonly x: Int32Array;
  readonly y: Int32Array;
  /** Those `set` instructions name by `x`. */
  readonly sets: readonly ByteSet[];
  /** Class of each byte: bytes of a class are in the same sets. */
  readonly classOf: Uint8Array;
  readonly classCount: number;
  /** Two slots a group, group 0 is the whole. */
  readonly slotCount: number;
}

/** Stands where a program is not compiled yet; runs nowhere. */
export const noProgram: PatternProgram = Object.freeze({
  length: 0,
  operation: new Uint8Array(0),
  x: new Int32Array(0),
  y: new Int32Array(0),
  sets: [],
  classOf: new Uint8Array(256),
  classCount: 0,
  slotCount: 0,
});

/** Throws PatternError when the program would be too long. */
export function compilePattern(pattern: BytePattern): PatternProgram {
  const compiler = new Compiler();
  compiler.add(operations.save, 0);
  compiler.node(pattern.node);
  compiler.add(operations.save, 1);
  compiler.add(operations.match);
  const sets = compiler.sets;
  const { classOf, classCount } = classesOf(sets);
  return {
    length: compiler.operation.length,
    operation: Uint8Array.from(compiler.operation),
    x: Int32Array.from(compiler.x),
    y: Int32Array.from(compiler.y),
    sets,
    classOf,
    classCount,
    slotCount: 2 * (pattern.groups + 1),
  };
}

class Compiler {
  readonly operation: number[] = [];
  readonly x: number[] = [];
  readonly y: number[] = [];
  readonly sets: ByteSet[] = [];
  readonly #indexOf = new Map<string, number>();

  add(operation: number, x = 0, y = 0): number {
    if (this.operation.length >= maxInstructions)
      throw new PatternError(
        `it needs more than ${maxInstructions} steps when its repeats are written out; make counts smaller`,
        0,
      );
    this.operation.push(operation);
    this.x.push(x);
    this.y.push(y);
    return this.operation.length - 1;
  }

  node(node: PatternNode): void {
    switch (node.kind) {
      case 'empty':
        return;
      case 'start':
        this.add(operations.start);
        return;
      case 'end':
        this.add(operations.end);
        return;
      case 'set':
        this.add(operations.set, this.#setIndex(node.set));
        return;
      case 'concat':
        for (const item of node.items) this.node(item);
        return;
      case 'group':
        this.add(operations.save, 2 * node.index);
        this.node(node.item);
        this.add(operations.save, 2 * node.index + 1);
        return;
      case 'alternate':
        this.#alternate(node.items);
        return;
      case 'repeat':
        this.#repeat(node);
    }
  }

  #setIndex(set: ByteSet): number {
    let index = this.#indexOf.get(set.key);
    if (index === undefined) {
      index = this.sets.push(set) - 1;
      this.#indexOf.set(set.key, index);
    }
    return index;
  }

  #alternate(items: readonly PatternNode[]): void {
    const ends: number[] = [];
    items.forEach((item, position) => {
      if (position === items.length - 1) {
        this.node(item);
        return;
      }
      const split = this.add(operations.split);
      this.x[split] = this.operation.length;
      this.node(item);
      ends.push(this.add(operations.jump));
      this.y[split] = this.operation.length;
    });
    for (const jump of ends) this.x[jump] = this.operation.length;
  }

  #repeat({ item, min, max, greedy }: Extract<PatternNode, { kind: 'repeat' }>): void {
    for (let count = 0; count < min; count += 1) this.node(item);
    if (max === Infinity) {
      const split = this.add(operations.split);
      const body = this.operation.length;
      this.node(item);
      this.add(operations.jump, split);
      this.#aim(split, body, this.operation.length, greedy);
      return;
    }
    const splits: [number, number][] = [];
    for (let count = min; count < max; count += 1) {
      splits.push([this.add(operations.split), this.operation.length]);
      this.node(item);
    }
    for (const [split, body] of splits) this.#aim(split, body, this.operation.length, greedy);
  }

  #aim(split: number, body: number, after: number, greedy: boolean): void {
    this.x[split] = greedy ? body : after;
    this.y[split] = greedy ? after : body;
  }
}

function classesOf(sets: readonly ByteSet[]): { classOf: Uint8Array; classCount: number } {
  const classOf = new Uint8Array(256);
  let classCount = 1;
  const renamed = new Int16Array(512);
  for (const { flags } of sets) {
    renamed.fill(-1);
    let names = 0;
    for (let byte = 0; byte < 256; byte += 1) {
      const key = classOf[byte] * 2 + flags[byte];
      if (renamed[key] < 0) {
        renamed[key] = names;
        names += 1;
      }
      classOf[byte] = renamed[key];
    }
    classCount = names;
  }
  return { classOf, classCount };
}
