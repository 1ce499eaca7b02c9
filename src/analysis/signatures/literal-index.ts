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
    const width = classCount;
    let room = 1;
    for (const literal of literals.keys()) room += literal.length;
    // The trie: children of a state as a list, 0 where it ends, as the root is no child.
    const firstChild = new Int32Array(room);
    const sibling = new Int32Array(room);
    const letterOf = new Uint8Array(room);
    const own: number[][] = [[]];
    for (const [literal, owners] of literals) {
      let state = 0;
      for (let at = 0; at < literal.length; at += 1) {
        const letter = this.#classOf[literal.charCodeAt(at)];
        let child = firstChild[state];
        while (child !== 0 && letterOf[child] !== letter) child = sibling[child];
        if (child === 0) {
          child = own.push([]) - 1;
          letterOf[child] = letter;
          sibling[child] = firstChild[state];
          firstChild[state] = child;
        }
        state = child;
      }
      own[state].push(...owners);
    }
    // Row offsets instead of states, and below zero where there is something to report: the loop of a scan need not look that up.
    // Rows are in the order of depth: where chance leads bytes that are no literal's is one small piece of the table.
    const table = new Int32Array(own.length * width);
    const order = new Int32Array(own.length);
    /** As places in `order`. */
    const failure = new Int32Array(own.length);
    let ordered = 1;
    for (let index = 0; index < ordered; index += 1) {
      const state = order[index];
      const row = index * width;
      // Where there is no child it goes on as its failure state does, which is nearer to the root: that row is complete.
      if (index !== 0) table.copyWithin(row, failure[index] * width, (failure[index] + 1) * width);
      for (let child = firstChild[state]; child !== 0; child = sibling[child]) {
        const cell = row + letterOf[child];
        failure[ordered] = (table[cell] < 0 ? ~table[cell] : table[cell]) / width;
        const inherited = own[order[failure[ordered]]];
        if (inherited.length > 0) own[child].push(...inherited);
        table[cell] = own[child].length > 0 ? ~(ordered * width) : ordered * width;
        order[ordered] = child;
        ordered += 1;
      }
    }
    this.#outputs = Array.from(order, (state) => (own[state].length > 0 ? Int32Array.from(new Set(own[state])) : undefined));
    this.#seen = new Int32Array(own.length);
    this.#table = table;
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
