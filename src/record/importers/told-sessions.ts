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

/** The first 48 bits: among half a million random ones two are alike once in two thousand imports. */
function numberOf(id: string): number | undefined {
  const digits = id[8] === '-' ? `${id.slice(0, 8)}${id.slice(9, 13)}` : id.slice(0, 12);
  return /^[0-9a-f]{8,12}$/i.test(digits) ? Number.parseInt(digits, 16) : undefined;
}
