// Takes one line off hostile bytes. Pure; for responders of line protocols.

export interface TakenLine {
  /** Without its end; as latin-1, so every byte is one character. */
  readonly text: string;
  /** Bytes to consume, end included. */
  readonly used: number;
}

/** Ends at LF, CR LF stripped. Without one within `limit` bytes the first `limit` bytes are the line; undefined asks for more. */
export function takeLine(bytes: Buffer, limit = 2048): TakenLine | undefined {
  const end = (bytes.length > limit ? bytes.subarray(0, limit) : bytes).indexOf(10);
  if (end < 0) return bytes.length >= limit ? { text: bytes.toString('latin1', 0, limit), used: limit } : undefined;
  return { text: bytes.toString('latin1', 0, end > 0 && bytes[end - 1] === 13 ? end - 1 : end), used: end + 1 };
}

/** The first word in upper case, and what follows the blanks behind it. */
export function splitCommand(text: string): { readonly verb: string; readonly rest: string } {
  const space = text.search(/[ \t]/);
  return space < 0
    ? { verb: text.toUpperCase(), rest: '' }
    : { verb: text.slice(0, space).toUpperCase(), rest: text.slice(space + 1).trim() };
}

/** Base64 as latin-1 text, or undefined when it is not base64. */
export function decodeBase64(text: string): string | undefined {
  return text.length <= 4096 && /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? Buffer.from(text, 'base64').toString('latin1') : undefined;
}

/** Findings carry at most this much of a name or password. */
export const clip = (text: string, limit = 256): string => (text.length > limit ? text.slice(0, limit) : text);
