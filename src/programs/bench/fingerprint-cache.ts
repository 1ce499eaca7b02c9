// Remembers which byte strings were seen lately, in a table of one size for ever: a string may be forgotten and be new again,
// and one in 2^64 is taken for another. Pure but for its own state.

import { crc32c } from '../../model/crc32c.ts';

export class FingerprintCache {
  readonly #table: Uint32Array;
  readonly #mask: number;

  /** 2^`bits` places of 8 bytes. */
  constructor(bits: number) {
    this.#table = new Uint32Array(2 << bits);
    this.#mask = (1 << bits) - 1;
  }

  /** True when it was there. */
  add(bytes: Uint8Array): boolean {
    const one = crc32c(bytes);
    const two = fnv1a(bytes);
    const at = 2 * ((one ^ (two >>> 7)) & this.#mask);
    if (this.#table[at] === one && this.#table[at + 1] === two) return true;
    this.#table[at] = one;
    this.#table[at + 1] = two;
    return false;
  }
}

/** FNV-1a of 32 bits. */
function fnv1a(bytes: Uint8Array): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < bytes.length; index += 1) value = Math.imul(value ^ bytes[index], 0x01000193);
  return value >>> 0;
}
