// The facts of one session while they are found: distinct, short, safe to show, and bounded so that a thousand commands leave
// room for the one URL. What each kind holds is found elsewhere in this folder.

import { printable } from '../../base/printable.ts';
import type { Fact, FactKind } from '../../model/fact.ts';

/** Of one session. */
export const factLimit = 64;
const valueLimit = 2048;
/** Kept of a kind until all are known. */
const kindLimit = 48;

/** What each kind may have before others get none; the sum is `factLimit`. What is left over goes to whoever has more, in this order. */
const shares: readonly (readonly [FactKind, number])[] = [
  ['hassh', 1],
  ['ja4', 1],
  ['ja3', 1],
  ['tls-name', 1],
  ['client', 2],
  ['url', 10],
  ['hash', 6],
  ['credential', 10],
  ['command', 12],
  ['user-agent', 2],
  ['file', 4],
  ['domain', 5],
  ['address', 5],
  ['path', 4],
];

export class FactList {
  readonly #byKind = new Map<FactKind, Set<string>>();
  /** Addresses that say nothing: the decoy's own, in whatever the attacker wrote to it, and those of no machine in particular. */
  readonly #own: string;

  constructor(own: string) {
    this.#own = own;
  }

  /** Whether a host that text names is the decoy itself. */
  isOwn(host: string): boolean {
    return host === this.#own || host.startsWith('127.') || host === '0.0.0.0' || host === '::1' || host === '::';
  }

  /** Text as it is; empty text is no fact. */
  add(kind: FactKind, text: string): void {
    const value = printable(text.length > valueLimit ? text.slice(0, valueLimit - 1) : text, valueLimit - 1).slice(0, valueLimit);
    if (value === '') return;
    let values = this.#byKind.get(kind);
    if (!values) {
      values = new Set();
      this.#byKind.set(kind, values);
    }
    if (values.size < kindLimit) values.add(value);
  }

  /** Bytes, one to a character; UTF-8 is read where it is that. */
  addBytes(kind: FactKind, bytes: string): void {
    this.add(kind, decodeText(bytes.length > valueLimit ? bytes.slice(0, valueLimit) : bytes));
  }

  has(kind: FactKind): boolean {
    return this.#byKind.has(kind);
  }

  /** Kind by kind, each in the order found; at most `factLimit`. */
  facts(): Fact[] {
    let left = factLimit;
    const taken = new Map<FactKind, number>();
    for (const [kind, share] of shares) {
      const count = Math.min(share, this.#byKind.get(kind)?.size ?? 0);
      taken.set(kind, count);
      left -= count;
    }
    const found: Fact[] = [];
    for (const [kind] of shares) {
      const values = this.#byKind.get(kind);
      if (!values) continue;
      const own = taken.get(kind) ?? 0;
      const count = Math.min(values.size, own + left);
      left -= count - own;
      let index = 0;
      for (const value of values) {
        if (index === count) break;
        found.push({ kind, value });
        index += 1;
      }
    }
    return found;
  }
}

/** Bytes, one to a character, as UTF-8 where they are valid, else as they are. */
export function decodeText(bytes: string): string {
  let isPlain = true;
  for (let index = 0; index < bytes.length; index += 1) {
    const code = bytes.charCodeAt(index);
    // Escapes of JSON say characters, not bytes.
    if (code > 255) return bytes;
    if (code > 127) isPlain = false;
  }
  if (isPlain) return bytes;
  const text = Buffer.from(bytes, 'latin1').toString('utf8');
  return text.includes('\ufffd') ? bytes : text;
}
