// What a signature is: a pure look at a client's first bytes that says yes, no, or more bytes needed.
// Shared small matchers live here; the tables are in signatures/, the choice between them in detect.ts.

export type Verdict = 'match' | 'more' | 'no';

export interface Signature {
  readonly protocol: string;
  /** Possible first bytes: the signature is not asked about others. */
  readonly first: readonly number[];
  /**
   * `bytes` has at least one byte, one of `first`. `hint` is the protocol usual on the port, for words several
   * protocols share. Linear in `bytes`, and reads at most the first 8 KiB. Never throws.
   */
  test(bytes: Buffer, hint: string | undefined): Verdict;
}

export const firstBytes = (characters: string): number[] => [...characters].map((character) => character.charCodeAt(0));

/** Upper and lower case of every letter given. */
export const firstLetters = (letters: string): number[] => firstBytes(letters.toLowerCase() + letters.toUpperCase());

/** Compares as far as both go. */
export function prefix(bytes: Buffer, wanted: Uint8Array): Verdict {
  const length = Math.min(bytes.length, wanted.length);
  for (let index = 0; index < length; index += 1) if (bytes[index] !== wanted[index]) return 'no';
  return bytes.length >= wanted.length ? 'match' : 'more';
}

/** A signature that is one constant beginning. */
export const begins = (protocol: string, text: string): Signature => {
  const wanted = Buffer.from(text, 'latin1');
  return { protocol, first: [wanted[0]], test: (bytes) => prefix(bytes, wanted) };
};

/** The longest first line looked at. */
export const lineLimit = 8192;

/** The first line without its end as latin-1, or undefined when no newline came within `limit`. */
export function firstLine(bytes: Buffer, limit = lineLimit): string | undefined {
  const end = bytes.subarray(0, limit).indexOf(10);
  if (end < 0) return undefined;
  return bytes.toString('latin1', 0, end > 0 && bytes[end - 1] === 13 ? end - 1 : end);
}

/** True when every byte so far is printable ASCII, a tab, or a line end. */
export function isText(bytes: Buffer, limit = 64): boolean {
  const end = Math.min(bytes.length, limit);
  for (let index = 0; index < end; index += 1) {
    const byte = bytes[index];
    if (byte > 0x7e || (byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 13)) return false;
  }
  return true;
}

/** Length of the command word at the start: letters, digits, `_`, `-`; stops at 24. */
export function wordLength(bytes: Buffer): number {
  const end = Math.min(bytes.length, 24);
  for (let index = 0; index < end; index += 1) {
    const byte = bytes[index] | 0x20;
    if (
      !(
        (byte >= 0x61 && byte <= 0x7a) ||
        (bytes[index] >= 0x30 && bytes[index] <= 0x39) ||
        bytes[index] === 0x5f ||
        bytes[index] === 0x2d
      )
    )
      return index;
  }
  return end;
}

/**
 * A line protocol told by its commands. `own` are words no neighbour uses, `shared` count only with the port's hint.
 * Words are upper case; with `exactCase` the client must write them as listed.
 */
export function commands(
  protocol: string,
  own: readonly string[],
  shared: readonly string[] = [],
  options: { readonly exactCase?: boolean; readonly hints?: readonly string[] } = {},
): Signature {
  const hints = new Set([protocol, ...(options.hints ?? [])]);
  const ownWords = new Set(own);
  const allWords = new Set([...own, ...shared]);
  const letters = [...new Set([...allWords].map((word) => word[0]))].join('');
  return {
    protocol,
    first: options.exactCase ? firstBytes(letters) : firstLetters(letters),
    test(bytes, hint) {
      const words = hint !== undefined && hints.has(hint) ? allWords : ownWords;
      const length = wordLength(bytes);
      const written = bytes.toString('latin1', 0, length);
      const word = options.exactCase ? written : written.toUpperCase();
      if (length === bytes.length) {
        for (const candidate of words) if (candidate.startsWith(word)) return 'more';
        return 'no';
      }
      const next = bytes[length];
      return words.has(word) && (next === 0x20 || next === 0x0d || next === 0x0a || next === 0x09) ? 'match' : 'no';
    },
  };
}
