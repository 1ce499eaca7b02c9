// Requests of HTTP and its relatives (RTSP, SIP) in what a client sent, also several in a row. Pure, linear, forgiving: what
// attackers write is often broken. Answering them is the honeypot's.

import { characterClass, digitClass, skip, trimBlanks } from './characters.ts';

/** Strings hold one byte to a character. */
export interface WebRequest {
  /** In upper case. */
  readonly method: string;
  readonly target: string;
  /** `HTTP`, `RTSP`, `SIP`. */
  readonly protocol: string;
  /** Names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** In 64 KiB there are hardly more. */
const requestLimit = 1024;
const headerLimit = 100;
/** Small devices take lower case. */
const methodClass = characterClass('A-Z', 'a-z', '_', '-');
const chunkLimit = 1024;

/** Those that `text` begins with; none when its first line is no request. */
export function parseWebRequests(text: string): WebRequest[] {
  const requests: WebRequest[] = [];
  for (let at = 0; at < text.length && requests.length < requestLimit; ) {
    while (text[at] === '\r' || text[at] === '\n') at += 1;
    const read = readRequest(text, at);
    if (!read) break;
    requests.push(read.request);
    at = read.end;
  }
  return requests;
}

function readRequest(text: string, start: number): { readonly request: WebRequest; readonly end: number } | undefined {
  const methodEnd = skip(methodClass, text, start, start + 24);
  if (methodEnd === start || methodEnd - start < 3 || text[methodEnd] !== ' ') return undefined;
  const first = lineAt(text, start);
  const versionAt = first.line.lastIndexOf(' ');
  const version = first.line.slice(versionAt + 1);
  const protocol = ['HTTP', 'RTSP', 'SIP'].find((name) => version.startsWith(`${name}/`));
  const method = text.slice(start, methodEnd).toUpperCase();
  // Version 0.9 of HTTP has no version.
  if (protocol === undefined && !(first.line.startsWith('GET /') || first.line.startsWith('GET http'))) return undefined;
  const targetEnd = protocol === undefined || versionAt === methodEnd - start ? first.line.length : versionAt;
  const target = trimBlanks(first.line.slice(methodEnd - start, targetEnd));
  const headers: [string, string][] = [];
  let at = first.next;
  while (at < text.length) {
    const { line, next } = lineAt(text, at);
    at = next;
    if (line === '') break;
    const colon = line.indexOf(':');
    if (colon > 0 && headers.length < headerLimit)
      headers.push([trimBlanks(line.slice(0, colon)).toLowerCase(), trimBlanks(line.slice(colon + 1))]);
  }
  const { body, end } = readBody(text, at, method, headers);
  return { request: { method, target, protocol: protocol ?? 'HTTP', headers, body }, end };
}

function lineAt(text: string, at: number): { readonly line: string; readonly next: number } {
  const found = text.indexOf('\n', at);
  const end = found < 0 ? text.length : found;
  const last = end > at && text[end - 1] === '\r' ? end - 1 : end;
  return { line: text.slice(at, last), next: end + 1 };
}

function readBody(
  text: string,
  at: number,
  method: string,
  headers: WebRequest['headers'],
): { readonly body: string; readonly end: number } {
  if (headerOf(headers, 'transfer-encoding')?.toLowerCase().includes('chunked')) return readChunks(text, at);
  const length = headerOf(headers, 'content-length');
  if (length !== undefined && length.length < 10 && length !== '' && skip(digitClass, length, 0) === length.length) {
    const end = Math.min(text.length, at + Number(length));
    return { body: text.slice(at, end), end };
  }
  // Without a length only what cannot be the next request is a body.
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return { body: '', end: at };
  return { body: text.slice(at), end: text.length };
}

function readChunks(text: string, start: number): { readonly body: string; readonly end: number } {
  const parts: string[] = [];
  let at = start;
  while (at < text.length && parts.length < chunkLimit) {
    const { line, next } = lineAt(text, at);
    const size = line.length > 0 && line.length < 64 ? Number.parseInt(line, 16) : Number.NaN;
    if (!(size >= 0)) break;
    at = next;
    if (size === 0) {
      at = lineAt(text, at).next;
      break;
    }
    parts.push(text.slice(at, at + size));
    at += size;
    if (text[at] === '\r') at += 1;
    if (text[at] === '\n') at += 1;
  }
  return { body: parts.join(''), end: at };
}

/** The first of the name. */
export const headerOf = (headers: WebRequest['headers'], name: string): string | undefined =>
  headers.find(([known]) => known === name)?.[1];
