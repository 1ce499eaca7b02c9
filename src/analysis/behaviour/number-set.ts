// How many different numbers there were, in bounded memory: exactly up to 4,096 of 32 bits, then by HyperLogLog (Flajolet et
// al. 2007; 4,096 registers, standard error 1.6%). Ports are few enough to be exact always: port-bits.ts.

const maxExact = 4096;
const registerBits = 12;
const registers = 1 << registerBits;
/** The constant of 4,096 registers. */
const alpha = 0.7213 / (1 + 1.079 / registers);

/** Spreads the bits of a 32-bit number (the finalizer of MurmurHash3). */
export function mix32(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

export class NumberSet {
  /** Open addressing; 0 is an empty place. */
  #places: Uint32Array | undefined = new Uint32Array(16);
  #hasZero = false;
  #count = 0;
  #registers: Uint8Array | undefined;
  #stale = false;

  /** Never falls. Beyond 4,096 an estimate. */
  get size(): number {
    if (this.#registers && this.#stale) {
      this.#count = Math.max(this.#count, estimate(this.#registers));
      this.#stale = false;
    }
    return this.#count;
  }

  get exact(): boolean {
    return this.#registers === undefined;
  }

  get byteLength(): number {
    return 64 + (this.#places?.byteLength ?? 0) + (this.#registers?.byteLength ?? 0);
  }

  /** False when it is known to have been there. */
  add(value: number): boolean {
    if (this.#registers) {
      this.#note(this.#registers, value);
      return true;
    }
    if (value === 0) {
      if (this.#hasZero) return false;
      this.#hasZero = true;
      this.#count += 1;
      return true;
    }
    let places = this.#places as Uint32Array;
    if (!insertNumber(places, value)) return false;
    this.#count += 1;
    if (this.#count * 2 > places.length) {
      if (this.#count > maxExact) {
        this.#registers = new Uint8Array(registers);
        for (const known of places) if (known !== 0) this.#note(this.#registers, known);
        if (this.#hasZero) this.#note(this.#registers, 0);
        this.#places = undefined;
        return true;
      }
      const wider = new Uint32Array(places.length * 2);
      for (const known of places) if (known !== 0) insertNumber(wider, known);
      places = wider;
      this.#places = wider;
    }
    return true;
  }

  addAll(other: NumberSet): void {
    if (other.#registers) {
      this.#registers ??= this.#asRegisters();
      for (let index = 0; index < registers; index += 1)
        if (other.#registers[index] > this.#registers[index]) this.#registers[index] = other.#registers[index];
      this.#stale = true;
      return;
    }
    for (const value of other.#places as Uint32Array) if (value !== 0) this.add(value);
    if (other.#hasZero) this.add(0);
  }

  #asRegisters(): Uint8Array {
    const made = new Uint8Array(registers);
    for (const value of this.#places as Uint32Array) if (value !== 0) this.#note(made, value);
    if (this.#hasZero) this.#note(made, 0);
    this.#places = undefined;
    return made;
  }

  #note(into: Uint8Array, value: number): void {
    // Two rounds: neighbouring addresses must not meet neighbouring registers with equal rests.
    const hash = mix32(value ^ 0x9e3779b9);
    const rest = mix32(hash ^ 0x7f4a7c15);
    const index = hash >>> (32 - registerBits);
    const rank = Math.clz32(rest) + 1;
    if (rank <= into[index]) return;
    into[index] = rank;
    this.#stale = true;
  }
}

/** Into a table of a power of two places, 0 an empty one, of which there always is one. False when it was there. */
export function insertNumber(places: Uint32Array, value: number): boolean {
  const mask = places.length - 1;
  let at = mix32(value) & mask;
  while (places[at] !== 0) {
    if (places[at] === value) return false;
    at = (at + 1) & mask;
  }
  places[at] = value;
  return true;
}

function estimate(values: Uint8Array): number {
  let sum = 0;
  let empty = 0;
  for (const rank of values) {
    sum += 2 ** -rank;
    if (rank === 0) empty += 1;
  }
  const raw = (alpha * registers * registers) / sum;
  // Linear counting where it is better, as the paper says.
  return Math.round(raw <= 2.5 * registers && empty > 0 ? registers * Math.log(registers / empty) : raw);
}
