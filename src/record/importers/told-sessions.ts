// Which sessions an import told already, where other lines, or another log of the format, tell of them again: bounded, by identifiers
// of eight hexadecimal digits or more.

/** In each of two sets, of which the older is dropped when the newer is full: at least so many of the last are known. */
const half = 250_000;

export class ToldSessions {
  #latest = new Set<number>();
  #before = new Set<number>();

  /** Others than a UUID or hexadecimal digits (a Cowrie session) are not kept. */
  add(id: string): void {
    const number = numberOf(id);
    if (number === undefined) return;
    this.#latest.add(number);
    if (this.#latest.size < half) return;
    this.#before = this.#latest;
    this.#latest = new Set();
  }

  has(id: string): boolean {
    const number = numberOf(id);
    return number !== undefined && (this.#latest.has(number) || this.#before.has(number));
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
