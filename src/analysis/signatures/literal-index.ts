// All literals of all rules in one automaton (Aho and Corasick, 1975) over bytes folded to lower case: one pass says which of them
// are there, however many there are. The table is complete, so a byte costs one look-up whatever it is.

import { lowerByte } from './byte-set.ts';

/** Bytes of all literals together that a caller may ask for: each makes a state of some 500 bytes at most. */
export const maxLiteralBytes = 65_536;

export class LiteralIndex {
  readonly #classOf = new Uint8Array(256);
  readonly #table: Int32Array;
  /** Owners to report on entering a state. */
  readonly #outputs: readonly (Int32Array | undefined)[];
  readonly #seen: Int32Array;
  readonly #width: number;
  #scan = 0;

  /** `literals` are in lower case, latin-1, at most `maxLiteralBytes` in all; each has its owners, any numbers. */
  constructor(literals: ReadonlyMap<string, readonly number[]>) {
    let classCount = 1;
    const used = new Set<number>();
    for (const literal of literals.keys())
      for (let at = 0; at < literal.length; at += 1) used.add(lowerByte(literal.charCodeAt(at)));
    // A byte no literal holds is class 0; more than 255 other classes there cannot be, as upper case letters have none of their own.
    for (const byte of used) {
      this.#classOf[byte] = classCount;
      classCount += 1;
    }
    for (let byte = 0x41; byte <= 0x5a; byte += 1) this.#classOf[byte] = this.#classOf[byte + 32];
    const children: Map<number, number>[] = [new Map()];
    const own: number[][] = [[]];
    for (const [literal, owners] of literals) {
      let state = 0;
      for (let at = 0; at < literal.length; at += 1) {
        const letter = this.#classOf[literal.charCodeAt(at)];
        let child = children[state].get(letter);
        if (child === undefined) {
          child = children.push(new Map()) - 1;
          own.push([]);
          children[state].set(letter, child);
        }
        state = child;
      }
      own[state].push(...owners);
    }
    const width = classCount;
    const next = new Int32Array(children.length * width);
    const failure = new Int32Array(children.length);
    const order: number[] = [];
    for (const [letter, child] of children[0]) {
      next[letter] = child;
      order.push(child);
    }
    for (let index = 0; index < order.length; index += 1) {
      const state = order[index];
      for (let letter = 0; letter < width; letter += 1) {
        const child = children[state].get(letter);
        const fallback = next[failure[state] * width + letter];
        if (child === undefined) next[state * width + letter] = fallback;
        else {
          failure[child] = fallback;
          next[state * width + letter] = child;
          order.push(child);
        }
      }
      // Its failure state is nearer to the root: it is complete.
      own[state].push(...own[failure[state]]);
    }
    this.#outputs = own.map((owners) => (owners.length > 0 ? Int32Array.from(new Set(owners)) : undefined));
    this.#seen = new Int32Array(children.length);
    // Row offsets instead of states, and below zero where there is something to report: the loop need not look that up.
    this.#table = next.map((state) => (own[state].length > 0 ? ~(state * width) : state * width));
    this.#width = width;
  }

  get stateCount(): number {
    return this.#outputs.length;
  }

  /**
   * Calls `report` with each owner of each literal that is there. One step a byte; what a state has to report is reported once a scan,
   * so repeating a literal costs nothing more.
   */
  scan(bytes: Uint8Array, report: (owner: number) => void): void {
    const table = this.#table;
    const classOf = this.#classOf;
    this.#scan += 1;
    let row = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      row = table[row + classOf[bytes[at]]];
      if (row < 0) {
        row = ~row;
        const state = row / this.#width;
        if (this.#seen[state] !== this.#scan) {
          this.#seen[state] = this.#scan;
          for (const owner of this.#outputs[state] as Int32Array) report(owner);
        }
      }
    }
  }
}
