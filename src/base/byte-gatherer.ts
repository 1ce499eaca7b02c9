// Bytes that come in pieces, kept as one. A peer chooses how small its pieces are, and each, kept for itself, costs a hundred
// bytes beside its own: here they cost twice their bytes at most.

const leastBytes = 256;

export class ByteGatherer {
  #bytes: Buffer | undefined;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** What is kept is a copy. Whoever calls bounds the sum. */
  add(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (!this.#bytes || this.#bytes.length < length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(leastBytes, length, 2 * this.#length));
      this.#bytes?.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = length;
  }

  /** All of it, the receiver's own from here on; nothing is kept. */
  take(): Buffer {
    const all = this.#bytes?.subarray(0, this.#length) ?? Buffer.alloc(0);
    this.#bytes = undefined;
    this.#length = 0;
    return all;
  }
}
