// Which sessions an import told already, where other lines, or another log of the format, tell of them again: bounded, by identifiers
// of eight hexadecimal digits or more.

/** Identifiers kept; the oldest goes first. */
const most = 500_000;

export class ToldSessions {
  readonly #numbers = new Set<number>();

  /** Others than a UUID or hexadecimal digits (a Cowrie session) are not kept. */
  add(id: string): void {
    const number = numberOf(id);
    if (number === undefined) return;
    this.#numbers.add(number);
    if (this.#numbers.size <= most) return;
    const [oldest] = this.#numbers;
    this.#numbers.delete(oldest);
  }

  has(id: string): boolean {
    const number = numberOf(id);
    return number !== undefined && this.#numbers.has(number);
  }
}

const dash = 45;

/** The first 48 bits: among half a million random ones two are alike once in two thousand imports. */
function numberOf(id: string): number | undefined {
  if (id.length < 8) return undefined;
  const second = id.charCodeAt(8) === dash ? 9 : 8;
  const [high, low] = [Number(`0x${id.slice(0, 8)}`), Number(`0x${id.slice(second, second + 4)}0`)];
  return high >= 0 && low >= 0 ? high * 2 ** 20 + low : undefined;
}
