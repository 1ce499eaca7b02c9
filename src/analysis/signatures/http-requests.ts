// Finds the HTTP requests in what a client sent (pipelined ones too, and those behind a preface such as a proxy's) and where their
// parts lie. Lenient, as attackers' clients are: bare line feeds, spaces in targets, wrong lengths. One pass; bounded in parts.

export type HttpPart = 'method' | 'url' | 'path' | 'query' | 'headers' | 'header' | 'body';

/** A stretch of bytes that is a part of a request. */
export interface Piece {
  readonly part: HttpPart;
  /** Lower case; of `header` alone. */
  readonly header?: string;
  /** Which request it is of, from 0. */
  readonly request: number;
  readonly start: number;
  readonly end: number;
}

/** Later ones count as the last: their parts are found, only not told apart. */
const maxRequests = 32;
/** Servers take 100 and more. */
const maxHeaders = 200;
const maxPieces = 8192;
const version = Buffer.from('HTTP/', 'latin1');

/** Empty when there is none. */
export function parseRequests(bytes: Buffer): Piece[] {
  const pieces: Piece[] = [];
  if (!mayHold(bytes)) return pieces;
  let at = 0;
  for (let request = 0; pieces.length < maxPieces && at < bytes.length; request += 1) {
    const line = requestLine(bytes, at);
    if (line === undefined) break;
    at = addRequest(bytes, line, Math.min(request, maxRequests - 1), pieces);
  }
  return pieces;
}

const shortForms = ['GET /', 'HEAD /', 'POST /', 'PUT /'].map((text) => Buffer.from(text, 'latin1'));

function mayHold(bytes: Buffer): boolean {
  return markIn(bytes) >= 0 || shortForms.some((form) => bytes.subarray(0, form.length).equals(form));
}

interface RequestLine {
  readonly start: number;
  readonly methodEnd: number;
  readonly targetEnd: number;
  readonly next: number;
}

const isBlank = (byte: number): boolean => byte === 0x20 || byte === 9;
/** Small devices take lower case, and a tab for a blank. */
const isMethodByte = (byte: number): boolean =>
  (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a) || byte === 0x2d || byte === 0x5f;

/** Where a line's last ` HTTP/` is, or -1. */
function markIn(line: Buffer): number {
  for (let at = line.lastIndexOf(version); at > 0; at = line.lastIndexOf(version, at - 1))
    if (isBlank(line[at - 1])) return at - 1;
  return -1;
}

/** The first line at or after `from` that is one; each line is looked at once. */
function requestLine(bytes: Buffer, from: number): RequestLine | undefined {
  let at = from;
  while (at < bytes.length) {
    const newline = bytes.indexOf(10, at);
    const next = newline < 0 ? bytes.length : newline + 1;
    const line = lineAt(bytes, at, newline < 0 ? bytes.length : newline, next);
    if (line !== undefined) return line;
    at = next;
  }
  return undefined;
}

function lineAt(bytes: Buffer, from: number, newline: number, next: number): RequestLine | undefined {
  let end = newline;
  if (end > from && bytes[end - 1] === 13) end -= 1;
  let start = from;
  if (!isMethodByte(bytes[from] ?? 0)) {
    // Behind a binary preface (SOCKS), the method follows its last control byte.
    start = end;
    while (start > from && bytes[start - 1] >= 0x20) start -= 1;
    if (start === from) return undefined;
  }
  let methodEnd = start;
  while (methodEnd < end && methodEnd - start < 24 && isMethodByte(bytes[methodEnd])) methodEnd += 1;
  if (methodEnd - start < 3 || !isBlank(bytes[methodEnd])) return undefined;
  const mark = markIn(bytes.subarray(start, end));
  if (mark > methodEnd - start) return { start, methodEnd, targetEnd: start + mark, next };
  // HTTP/0.9, or a line cut short: only with a target that is a path.
  if (bytes[methodEnd + 1] !== 0x2f || methodEnd - start > 7) return undefined;
  return { start, methodEnd, targetEnd: end, next };
}

/** Adds its parts; returns where the next request may begin. */
function addRequest(bytes: Buffer, line: RequestLine, request: number, pieces: Piece[]): number {
  const { start, methodEnd, targetEnd, next } = line;
  const targetStart = Math.min(methodEnd + 1, targetEnd);
  pieces.push({ part: 'method', request, start, end: methodEnd });
  pieces.push({ part: 'url', request, start: targetStart, end: targetEnd });
  const question = bytes.subarray(targetStart, targetEnd).indexOf(0x3f);
  const pathEnd = question < 0 ? targetEnd : targetStart + question;
  pieces.push({ part: 'path', request, start: targetStart, end: pathEnd });
  for (const plainStart of plainStarts(bytes, targetStart, pathEnd)) {
    pieces.push({ part: 'url', request, start: plainStart, end: targetEnd });
    pieces.push({ part: 'path', request, start: plainStart, end: pathEnd });
  }
  if (question >= 0) pieces.push({ part: 'query', request, start: pathEnd + 1, end: targetEnd });
  const headers = readHeaders(bytes, next, request, pieces);
  if (headers.end > next) pieces.push({ part: 'headers', request, start: next, end: headers.end });
  if (!headers.closed) return headers.end;
  const announced = Math.min(bytes.length, headers.bodyStart + headers.contentLength);
  // Whatever lies before the next request line belongs to this one, whatever the length said.
  const following = nextRequestAfter(bytes, announced);
  if (following > headers.bodyStart) pieces.push({ part: 'body', request, start: headers.bodyStart, end: following });
  return following;
}

/** Where a path begins as a server sees it: behind blanks, `http://host`, `//` and `/./`; and behind `/x/../` too. */
function plainStarts(bytes: Buffer, from: number, end: number): Set<number> {
  let start = from;
  while (start < end && isBlank(bytes[start])) start += 1;
  if (bytes[start] !== slash) {
    const scheme = bytes.subarray(start, Math.min(end, start + 8)).indexOf('://');
    const path = scheme < 0 ? -1 : bytes.indexOf(slash, start + scheme + 3);
    if (path < 0 || path >= end) return new Set(start > from ? [start] : []);
    start = path;
  }
  // Names that a later `..` may take back.
  const open: number[] = [];
  let lead: number | undefined;
  let plain = start;
  for (let at = start; at < end; ) {
    const found = bytes.indexOf(slash, at + 1);
    if (found < 0 || found >= end) break;
    const length = found - at - 1;
    const isDot = length === 0 || (length === 1 && bytes[at + 1] === dot);
    const isUp = length === 2 && bytes[at + 1] === dot && bytes[at + 2] === dot;
    if (isUp) open.pop();
    else if (!isDot) {
      lead ??= at;
      if (open.length === maxOpen) break;
      open.push(at);
    }
    at = found;
    if (open.length === 0) plain = at;
  }
  return new Set([lead ?? plain, plain].filter((one) => one > from));
}

const slash = 0x2f;
const dot = 0x2e;
const maxOpen = 16;

function nextRequestAfter(bytes: Buffer, from: number): number {
  if (from >= bytes.length) return bytes.length;
  let at = from;
  while (at < bytes.length) {
    const newline = bytes.indexOf(10, at);
    const end = newline < 0 ? bytes.length : newline;
    if (isMethodByte(bytes[at]) && markIn(bytes.subarray(at, end)) > 0 && lineAt(bytes, at, end, end) !== undefined) return at;
    at = end + 1;
  }
  return bytes.length;
}

interface HeaderEnd {
  /** Behind the last header line. */
  readonly end: number;
  /** True when the empty line came. */
  readonly closed: boolean;
  readonly bodyStart: number;
  readonly contentLength: number;
}

function readHeaders(bytes: Buffer, from: number, request: number, pieces: Piece[]): HeaderEnd {
  let at = from;
  let contentLength = 0;
  for (let count = 0; at < bytes.length; count += 1) {
    const newline = bytes.indexOf(10, at);
    const next = newline < 0 ? bytes.length : newline + 1;
    let end = newline < 0 ? bytes.length : newline;
    if (end > at && bytes[end - 1] === 13) end -= 1;
    if (end === at) return { end: at, closed: true, bodyStart: next, contentLength };
    const colon = count < maxHeaders ? bytes.subarray(at, Math.min(end, at + 64)).indexOf(0x3a) : -1;
    if (colon > 0) {
      const header = bytes
        .toString('latin1', at, at + colon)
        .trim()
        .toLowerCase();
      let value = at + colon + 1;
      while (value < end && (bytes[value] === 0x20 || bytes[value] === 9)) value += 1;
      pieces.push({ part: 'header', header, request, start: value, end });
      if (header === 'content-length') {
        const length = Number.parseInt(bytes.toString('latin1', value, Math.min(end, value + 12)), 10);
        if (length > 0) contentLength = length;
      }
    }
    at = next;
  }
  return { end: at, closed: false, bodyStart: at, contentLength };
}

/** A chunked body put together (RFC 9112 7.1), as far as it goes; undefined when it is not chunked at all. */
export function joinChunks(body: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  let at = 0;
  while (at < body.length) {
    const newline = newlineWithin(body, at, longestSizeLine);
    const length = newline < 0 ? -1 : chunkSize(body, at, newline);
    if (length <= 0) break;
    parts.push(body.subarray(newline + 1, Math.min(body.length, newline + 1 + length)));
    at = newline + 1 + length;
    if (body[at] === 13) at += 1;
    if (body[at] === 10) at += 1;
  }
  return parts.length === 0 ? undefined : Buffer.concat(parts);
}

const longestSizeLine = 64;

function newlineWithin(body: Buffer, from: number, length: number): number {
  const end = Math.min(body.length, from + length + 1);
  for (let at = from; at < end; at += 1) if (body[at] === 10) return at;
  return -1;
}

const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 9 && byte <= 13) || byte === 0xa0;

/** Up to eight hexadecimal digits among blanks, before an extension if there is one; -1 when the line is none. */
function chunkSize(body: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && isSpace(body[at])) at += 1;
  const start = at;
  let size = 0;
  for (; at < end && at - start < 8; at += 1) {
    const digit = hexDigit(body[at]);
    if (digit < 0) break;
    size = size * 16 + digit;
  }
  if (at === start) return -1;
  while (at < end && isSpace(body[at])) at += 1;
  return at === end || body[at] === semicolon ? size : -1;
}

const semicolon = 0x3b;

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
