// A set of bytes: what one step of a pattern accepts. Immutable.

const singles: ByteSet[] = [];

export class ByteSet {
  /** 1 for each byte in it. */
  readonly flags: Uint8Array;
  readonly size: number;
  #key: string | undefined;

  private constructor(flags: Uint8Array) {
    this.flags = flags;
    let size = 0;
    for (const flag of flags) size += flag;
    this.size = size;
  }

  static readonly none = new ByteSet(new Uint8Array(256));
  static readonly all = new ByteSet(new Uint8Array(256).fill(1));
  static readonly digits = ByteSet.range(0x30, 0x39);
  static readonly word = ByteSet.digits.or(ByteSet.range(0x41, 0x5a)).or(ByteSet.range(0x61, 0x7a)).or(ByteSet.of(0x5f));
  /** Space, tab, line feed, vertical tab, form feed, carriage return. */
  static readonly space = ByteSet.range(9, 13).or(ByteSet.of(0x20));

  static of(byte: number): ByteSet {
    singles[byte] ??= ByteSet.range(byte, byte);
    return singles[byte];
  }

  /** Both ends included. */
  static range(low: number, high: number): ByteSet {
    return new ByteSet(new Uint8Array(256).fill(1, low, high + 1));
  }

  /** Equal for equal sets. */
  get key(): string {
    this.#key ??= Buffer.from(this.flags).toString('latin1');
    return this.#key;
  }

  has(byte: number): boolean {
    return this.flags[byte] === 1;
  }

  or(other: ByteSet): ByteSet {
    return new ByteSet(this.flags.map((flag, byte) => flag | other.flags[byte]));
  }

  complement(): ByteSet {
    return new ByteSet(this.flags.map((flag) => 1 - flag));
  }

  /** With the other case of its ASCII letters. */
  folded(): ByteSet {
    const flags = this.flags.slice();
    for (let upper = 0x41; upper <= 0x5a; upper += 1) {
      const either = flags[upper] | flags[upper + 32];
      flags[upper] = either;
      flags[upper + 32] = either;
    }
    return new ByteSet(flags);
  }

  bytes(): number[] {
    const found: number[] = [];
    for (let byte = 0; byte < 256; byte += 1) if (this.flags[byte] === 1) found.push(byte);
    return found;
  }
}

/** ASCII lower case of a byte. */
export const lowerByte = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte);

/** The first place from `from` on, before `end`, whose byte is not flagged; four at a time, as no look-up waits for another. */
export function skipBytes(bytes: Uint8Array, from: number, end: number, flags: Uint8Array): number {
  let at = from;
  while (at + 3 < end && (flags[bytes[at]] & flags[bytes[at + 1]] & flags[bytes[at + 2]] & flags[bytes[at + 3]]) === 1) at += 4;
  while (at < end && flags[bytes[at]] === 1) at += 1;
  return at;
}
