// Walks over zstd frames without decompressing, to see how large a window each asks for before anybody gives it memory.
// Source: RFC 8878, sections 3.1.1 (frames, blocks) and 3.1.2 (skippable frames).

/** Larger windows are refused: `zstd -19` asks for 8 MiB. */
export const maxWindowBytes = 32 * 1024 * 1024;

export class ZstdFrames {
  #held = Buffer.alloc(0);
  /** Bytes of a block, a checksum or a skippable frame that only pass. */
  #skip = 0;
  #inFrame = false;
  #checksum = false;

  /** True between frames: the data may end here. */
  get whole(): boolean {
    return !this.#inFrame && this.#skip === 0 && this.#held.length === 0;
  }

  /** Throws an Error whose message says what is wrong. */
  take(bytes: Buffer): void {
    let rest = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    for (;;) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, rest.length);
        this.#skip -= passed;
        rest = rest.subarray(passed);
      }
      const used = this.#skip > 0 || rest.length === 0 ? 0 : this.#inFrame ? this.#block(rest) : this.#header(rest);
      if (used === 0) break;
      rest = rest.subarray(used);
    }
    this.#held = Buffer.from(rest);
  }

  /** Bytes used; 0 when there are not enough. */
  #block(bytes: Buffer): number {
    if (bytes.length < 3) return 0;
    const header = bytes.readUIntLE(0, 3);
    const type = (header >> 1) & 3;
    // A run is one byte, however often it is repeated.
    this.#skip = type === 1 ? 1 : header >> 3;
    if (header & 1) {
      this.#inFrame = false;
      if (this.#checksum) this.#skip += 4;
    }
    return 3;
  }

  #header(bytes: Buffer): number {
    if (bytes.length < 8) return 0;
    const magic = bytes.readUInt32LE(0);
    if ((magic & 0xfffffff0) >>> 0 === 0x184d2a50) {
      this.#skip = bytes.readUInt32LE(4);
      return 8;
    }
    if (magic !== 0xfd2fb528) throw new Error('what follows is no zstd frame');
    const descriptor = bytes[4];
    const single = (descriptor & 32) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
    const sizeFlag = descriptor >> 6;
    const sizeBytes = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag;
    const length = 5 + (single ? 0 : 1) + dictionaryBytes + sizeBytes;
    if (bytes.length < length) return 0;
    if (dictionaryBytes > 0 && bytes.readUIntLE(5 + (single ? 0 : 1), dictionaryBytes) !== 0)
      throw new Error('it needs a dictionary');
    const window = single ? contentSize(bytes, length - sizeBytes, sizeBytes) : windowSize(bytes[5]);
    if (window > maxWindowBytes) throw new Error(`it needs a window of more than ${maxWindowBytes >> 20} MiB`);
    this.#inFrame = true;
    this.#checksum = (descriptor & 4) !== 0;
    return length;
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

function contentSize(bytes: Buffer, at: number, size: number): number {
  if (size === 8) return Number(bytes.readBigUInt64LE(at));
  return bytes.readUIntLE(at, size) + (size === 2 ? 256 : 0);
}
