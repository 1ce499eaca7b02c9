// Which record told of a target last, for the newest records of one source: a table of plain numbers without an object for any
// of them, since a scanner has thousands and there are thousands of scanners.

import { mix32 } from './number-set.ts';

const fewest = 16;
/** So many of a table's places are filled before it is made anew: five of eight. */
const fillOf = (places: number): number => (places * 5) >>> 3;

export class RecentTargets {
  readonly #most: number;
  readonly #records: number;
  /** Target and record one after the other, the target plus one: 0 is an empty place. Open addressing. */
  #cells = new Float64Array(2 * fewest);
  #count = 0;

  /** Of the last `records` records; beyond about `most` targets those of the oldest records go. */
  constructor(most: number, records: number) {
    this.#most = most;
    this.#records = records;
  }

  get byteLength(): number {
    return this.#cells.byteLength + 200;
  }

  /** The record that told of it last; -1 where none is known. */
  get(target: number): number {
    const cells = this.#cells;
    const at = placeOf(cells, target);
    return cells[at] === 0 ? -1 : cells[at + 1];
  }

  /** `record` is the newest: their numbers only grow. */
  set(target: number, record: number): void {
    let cells = this.#cells;
    let at = placeOf(cells, target);
    if (cells[at] === 0) {
      if (this.#count >= fillOf(cells.length / 2)) {
        this.#renew(record);
        cells = this.#cells;
        at = placeOf(cells, target);
      }
      cells[at] = target + 1;
      this.#count += 1;
    }
    cells[at + 1] = record;
  }

  /** Without those of records too old to be asked for. */
  #renew(newest: number): void {
    const former = this.#cells;
    const ages = new Uint32Array(this.#records);
    let live = 0;
    for (let at = 0; at < former.length; at += 2) {
      if (former[at] === 0) continue;
      const age = newest - former[at + 1];
      if (age >= ages.length) continue;
      ages[age] += 1;
      live += 1;
    }
    let oldest = ages.length - 1;
    while (live > this.#most) {
      live -= ages[oldest];
      oldest -= 1;
    }
    let places = fewest;
    while (fillOf(places) < 2 * live) places *= 2;
    this.#cells = new Float64Array(2 * Math.min(places, 2 * this.#most));
    this.#count = live;
    for (let at = 0; at < former.length; at += 2)
      if (former[at] !== 0 && newest - former[at + 1] <= oldest) {
        const place = placeOf(this.#cells, former[at] - 1);
        this.#cells[place] = former[at];
        this.#cells[place + 1] = former[at + 1];
      }
  }
}

/** Where it is, or the empty place where it would be; there is always one. */
function placeOf(cells: Float64Array, target: number): number {
  const mask = cells.length - 2;
  const key = target + 1;
  const high = Math.floor(target / 0x1_0000_0000);
  let at = (2 * mix32((target >>> 0) ^ Math.imul(high, 0x9e3779b1))) & mask;
  while (cells[at] !== 0 && cells[at] !== key) at = (at + 2) & mask;
  return at;
}
