// Which records were looked at lately, in a table of one size for ever: a record may be forgotten, and one in 2^30 is taken
// for another. What makes a replay of the newest records change nothing.

const bits = 18;
const mask = (1 << bits) - 1;
/** Characters of an identifier's time that change every nine hours (model/identifier.ts). */
const skipped = 4;

/** What has been looked at of a record. */
export const seenParts = { begin: 1, end: 2 } as const;

export class SeenRecords {
  readonly #table = new Uint32Array(1 << bits);

  /** The parts of `parts` that were not seen before; they are now. */
  add(id: string, parts: number): number {
    let one = 0x811c9dc5;
    let two = 0x9747b28c;
    // The first characters are hours and days: what tells records apart comes after them.
    for (let index = skipped; index < id.length; index += 1) {
      const code = id.charCodeAt(index);
      one = Math.imul(one ^ code, 0x01000193);
      two = Math.imul(two, 31) ^ Math.imul(code, 0x9e3779b1);
    }
    // Two bits say which parts; the rest is the record's: small, so that the table stays in the processor's caches.
    const at = (one ^ (one >>> 14)) & mask;
    const rest = (two << 2) >>> 0;
    const known = this.#table[at];
    const seen = ((known ^ rest) & ~3) === 0 ? known & 3 : 0;
    this.#table[at] = rest | seen | parts;
    return parts & ~seen;
  }
}
