// Which sessions one log of a format told already, where another of its logs tells of the same: bounded, by identifiers of which
// twelve hexadecimal digits tell them apart. Formats whose other log is read behind (`readsLate`).

/** Identifiers kept; the oldest goes first. */
const most = 500_000;

export class ToldSessions {
  readonly #numbers = new Set<number>();

  /** Identifiers that do not begin so (a UUID, a Cowrie session) are not kept. */
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
  return /^[0-9a-f]{12}$/i.test(digits) ? Number.parseInt(digits, 16) : undefined;
}
