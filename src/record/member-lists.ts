// Lists of sources' numbers as the engine gives them, kept without an object for each: how many different ones each candidate of
// a ranking has. Holds what one part of a ranking needs; that part is bounded by duckdb-ranking.ts.

import { type DuckDBDataChunk, DuckDBListVector } from '@duckdb/node-api';
import type { DistinctNumbers } from './distinct-numbers.ts';

/** The rows of one chunk. */
interface Rows {
  /** Of each row: where its numbers begin; one more for where the last ones end. */
  readonly starts: Uint32Array;
  /** Two words a number. */
  readonly words: Uint32Array;
  /** Of each row: the row before of the same candidate; see `code`. */
  readonly earlier: Float64Array;
}

interface Tally {
  hits: number;
  members: number;
  rows: number;
  /** The last of its rows. */
  last: number;
}

const none = -1;
/** More than rows of a chunk: a row of all chunks is one number. */
const chunkRows = 65_536;
const code = (chunk: number, row: number): number => chunk * chunkRows + row;

export class MemberLists {
  readonly #tallies = new Map<number, Tally>();
  readonly #chunks: Rows[] = [];

  /** Rows `rank, n, members`; no list holds a number twice. */
  add(chunk: DuckDBDataChunk): void {
    const count = chunk.rowCount;
    const [ranks, hits] = [chunk.getColumnVector(0), chunk.getColumnVector(1)];
    const lists = chunk.getColumnVector(2);
    if (!(lists instanceof DuckDBListVector)) throw new TypeError('members are no list');
    const numbers = numbersOf(lists);
    const starts = new Uint32Array(count + 1);
    for (let row = 0; row < count; row += 1) starts[row + 1] = starts[row] + lists.getEntryLength(row);
    // A copy of what these rows have: the chunk's memory is the engine's, and lists of other rows may stand between.
    const copy = new BigUint64Array(starts[count]);
    const earlier = new Float64Array(count);
    for (let row = 0; row < count; row += 1) {
      const from = lists.getEntryOffset(row);
      const length = starts[row + 1] - starts[row];
      copy.set(numbers.subarray(from, from + length), starts[row]);
      const rank = Number(ranks.getItem(row));
      const before = this.#tallies.get(rank) ?? { hits: 0, members: 0, rows: 0, last: none };
      earlier[row] = before.last;
      before.hits += Number(hits.getItem(row));
      before.members += length;
      before.rows += 1;
      before.last = code(this.#chunks.length, row);
      if (before.rows === 1) this.#tallies.set(rank, before);
    }
    this.#chunks.push({ starts, words: new Uint32Array(copy.buffer), earlier });
  }

  /** Undefined when no row is of this candidate. */
  tally(rank: number, distinct: DistinctNumbers): { readonly hits: number; readonly sources: number } | undefined {
    const tally = this.#tallies.get(rank);
    if (!tally) return undefined;
    const { hits, members, rows } = tally;
    if (rows === 1) return { hits, sources: members };
    distinct.begin(members);
    for (let at = tally.last; at !== none; ) {
      const { starts, words, earlier } = this.#chunks[Math.floor(at / chunkRows)];
      const row = at % chunkRows;
      distinct.add(words, starts[row], starts[row + 1]);
      at = earlier[row];
    }
    return { hits, sources: distinct.size };
  }
}

/** The vector's own array where it has one: a number of 64 bits by itself is an object. */
function numbersOf({ childVector }: DuckDBListVector): BigUint64Array {
  const { items } = childVector as unknown as { readonly items?: unknown };
  return items instanceof BigUint64Array ? items : BigUint64Array.from(childVector.toArray() as bigint[]);
}
