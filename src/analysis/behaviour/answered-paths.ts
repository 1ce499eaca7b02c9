// The paths a client asked for and whether each was there, out of both directions of a session: one pass that keeps nothing else
// of a request. Whole requests are signatures/http-requests.ts.

const space = 32;
const newline = 10;
const question = 63;

const maxScanned = 16_384;
const maxRequests = 256;
const maxPath = 256;

export interface AnsweredPaths {
  /** Up to the question mark, at most 256 characters. */
  readonly paths: readonly string[];
  /** Answer to each, by place; missing where no answer is on record. */
  readonly statuses: readonly number[];
}

const isMethod = (bytes: Uint8Array, from: number, to: number): boolean => {
  if (to - from < 3 || to - from > 16) return false;
  for (let at = from; at < to; at += 1) if (bytes[at] < 65 || bytes[at] > 90) return false;
  return true;
};

const matches = (bytes: Uint8Array, at: number, text: string): boolean => {
  for (let index = 0; index < text.length; index += 1) if (bytes[at + index] !== text.charCodeAt(index)) return false;
  return true;
};

/** Undefined when the first bytes are no request. */
export function readAnsweredPaths(input: Uint8Array, output: Uint8Array): AnsweredPaths | undefined {
  const end = Math.min(input.length, maxScanned);
  const firstSpace = input.subarray(0, 17).indexOf(space);
  if (firstSpace < 0 || !isMethod(input, 0, firstSpace)) return undefined;
  const paths: string[] = [];
  for (let line = 0; line < end && paths.length < maxRequests; ) {
    const found = input.indexOf(newline, line);
    const stop = found < 0 || found > end ? end : found;
    const path = pathOf(input, line, stop);
    if (path !== undefined) paths.push(path);
    line = stop + 1;
  }
  return paths.length === 0 ? undefined : { paths, statuses: readStatuses(output, paths.length) };
}

/** The target of a request line, without its query. */
function pathOf(bytes: Uint8Array, from: number, to: number): string | undefined {
  let method = from;
  while (method < to && method < from + 17 && bytes[method] !== space) method += 1;
  if (bytes[method] !== space || !isMethod(bytes, from, method)) return undefined;
  let stop = to;
  if (stop > from && bytes[stop - 1] === 13) stop -= 1;
  if (stop - 9 <= method || !matches(bytes, stop - 9, ' HTTP/1.')) return undefined;
  let last = method + 1;
  while (last < stop - 9 && bytes[last] !== question && last - method <= maxPath) last += 1;
  return Buffer.from(bytes.buffer, bytes.byteOffset + method + 1, last - method - 1).toString('latin1');
}

const statusMark = Buffer.from('HTTP/1.', 'latin1');
const isDigit = (byte: number): boolean => byte >= 48 && byte <= 57;

/** Status lines wherever they stand: a body may end without a line's end, and the bodies of decoys hold none. */
function readStatuses(output: Uint8Array, most: number): number[] {
  const bytes = Buffer.from(output.buffer, output.byteOffset, output.byteLength);
  const statuses: number[] = [];
  for (
    let at = bytes.indexOf(statusMark);
    at >= 0 && statuses.length < most;
    at = bytes.indexOf(statusMark, at + statusMark.length)
  ) {
    const [a, b, c] = bytes.subarray(at + 9, at + 12);
    if (bytes[at + 8] === space && isDigit(a) && isDigit(b) && isDigit(c))
      statuses.push((a - 48) * 100 + (b - 48) * 10 + (c - 48));
  }
  return statuses;
}
