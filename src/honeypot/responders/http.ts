// HTTP/1.x as the persona's web server: framing of hostile requests, keep-alive, credentials, an answer per path.
// What the paths answer is web-pages.ts. Source: RFC 9112; no body is kept, everything is on record already.

import { clip, decodeBase64 } from '../line.ts';
import type { Conversation, Dialogue, Responder } from '../responder.ts';
import { renderAnswer, type WebRequest } from './web-pages.ts';

const headLimit = 32_768;
const headerLimit = 200;
const requestLimit = 1000;

/** Headers by lower-case name, the first of each counts; or undefined when the request line is none. */
export function parseHead(text: string): WebRequest | undefined {
  const lines = text.split(/\r?\n/);
  const line = (lines[0] ?? '').trimEnd();
  const space = line.indexOf(' ');
  const method = line.slice(0, Math.max(space, 0));
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/.test(method)) return undefined;
  const rest = line.slice(space + 1).trimStart();
  const last = rest.lastIndexOf(' HTTP/');
  const version = last > 0 ? rest.slice(last + 1) : 'HTTP/0.9';
  // Exploits write blanks into their targets; what stands before the version is the target.
  const target = last > 0 ? rest.slice(0, last).trimEnd() : rest;
  if (!/^HTTP\/\d\.\d$/.test(version) || target === '' || target.length > 16_384 || (last <= 0 && / |^HTTP\//.test(target)))
    return undefined;
  const headers = new Map<string, string>();
  for (const line of lines.slice(1, headerLimit)) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    if (!headers.has(name)) headers.set(name, line.slice(colon + 1).trim());
  }
  return { method, target, version, headers };
}

function credentials(header: string | undefined, talk: Conversation): void {
  const basic = header && /^basic +(\S+)/i.exec(header);
  if (basic) {
    const text = decodeBase64(basic[1]);
    const colon = text?.indexOf(':') ?? -1;
    if (text !== undefined && colon >= 0)
      talk.find({ userName: clip(text.slice(0, colon)), password: clip(text.slice(colon + 1)) });
    return;
  }
  const digest = header && /^digest .*?username="([^"]{1,256})"/i.exec(header.slice(0, 2048));
  if (digest) talk.find({ userName: digest[1] });
}

class HttpDialogue implements Dialogue {
  #request: WebRequest | undefined = undefined;
  /** Bytes of body still to come; -1 in a chunked body, between chunks. */
  #left = 0;
  #chunked = false;
  #trailer = false;
  #requests = 0;

  receive(bytes: Buffer, talk: Conversation): number {
    if (this.#request) return this.#body(bytes, talk);
    let start = 0;
    while (start < bytes.length && (bytes[start] === 13 || bytes[start] === 10)) start += 1;
    if (start > 0) return start;
    const end = headEnd(bytes);
    if (end === 0) {
      if (bytes.length < headLimit) return this.#oldRequest(bytes, talk);
      return this.#bad(bytes, talk, '431 Request Header Fields Too Large');
    }
    const request = parseHead(bytes.toString('latin1', 0, end).trimEnd());
    if (!request) return this.#bad(bytes, talk, '400 Bad Request');
    credentials(request.headers.get('authorization') ?? request.headers.get('proxy-authorization'), talk);
    this.#requests += 1;
    if (request.method === 'CONNECT') {
      const port = Number(/:(\d{1,5})$/.exec(request.target)?.[1] ?? 443);
      talk.find({ tags: ['proxy-request'] });
      talk.send(`${request.version === 'HTTP/1.0' ? 'HTTP/1.0' : 'HTTP/1.1'} 200 Connection established\r\n\r\n`);
      talk.redetect(port > 0 && port < 65536 ? port : 443);
      return end;
    }
    this.#chunked = /\bchunked\b/i.test(request.headers.get('transfer-encoding') ?? '');
    const length = Number(request.headers.get('content-length') ?? 0);
    this.#left = this.#chunked ? 0 : Number.isSafeInteger(length) && length > 0 ? length : 0;
    this.#trailer = false;
    this.#request = request;
    if (!this.#chunked && this.#left === 0) this.#respond(talk);
    else if (/^100-continue$/i.test(request.headers.get('expect') ?? '')) talk.send('HTTP/1.1 100 Continue\r\n\r\n');
    return end;
  }

  /** `GET /path` and nothing else, as HTTP/0.9 has it, is complete at its line's end. */
  #oldRequest(bytes: Buffer, talk: Conversation): number {
    const end = bytes.indexOf(10);
    if (end < 0 || end > 4096) return 0;
    const request = parseHead(bytes.toString('latin1', 0, end).trimEnd());
    if (request?.version !== 'HTTP/0.9' || request.method.toUpperCase() !== 'GET')
      return request ? 0 : this.#bad(bytes, talk, '400 Bad Request');
    this.#request = request;
    this.#respond(talk);
    return end + 1;
  }

  #body(bytes: Buffer, talk: Conversation): number {
    if (!this.#chunked || this.#left > 0) {
      const used = Math.min(this.#left, bytes.length);
      this.#left -= used;
      if (this.#left === 0 && !this.#chunked) this.#respond(talk);
      return used;
    }
    const end = bytes.indexOf(10);
    if (end < 0) return bytes.length > 1024 ? this.#bad(bytes, talk, '400 Bad Request') : 0;
    const line = bytes.toString('latin1', 0, Math.min(end, 1024)).trim();
    if (this.#trailer) {
      if (line === '') this.#respond(talk);
      return end + 1;
    }
    if (line === '') return end + 1;
    const size = /^([0-9a-fA-F]{1,8})(?:\s*;.*)?$/.exec(line);
    if (!size) return this.#bad(bytes, talk, '400 Bad Request');
    this.#left = Number.parseInt(size[1], 16);
    if (this.#left === 0) this.#trailer = true;
    return end + 1;
  }

  #respond(talk: Conversation): void {
    const request = this.#request as WebRequest;
    this.#request = undefined;
    const connection = request.headers.get('connection') ?? '';
    const keep =
      this.#requests < requestLimit &&
      (request.version === 'HTTP/1.1'
        ? !/\bclose\b/i.test(connection)
        : request.version === 'HTTP/1.0' && /keep-alive/i.test(connection));
    talk.send(renderAnswer(request, talk, keep));
    if (!keep) talk.end();
  }

  #bad(bytes: Buffer, talk: Conversation, status: string): number {
    const request: WebRequest = { method: 'GET', target: '/', version: 'HTTP/1.1', headers: new Map() };
    talk.send(renderAnswer(request, talk, false, status));
    talk.end();
    return bytes.length;
  }
}

/** Offset behind the empty line, or 0. */
function headEnd(bytes: Buffer): number {
  const crlf = bytes.indexOf('\r\n\r\n');
  const lf = bytes.indexOf('\n\n');
  if (crlf >= 0 && (lf < 0 || crlf < lf)) return crlf + 4;
  return lf >= 0 ? lf + 2 : 0;
}

export const http: Responder = { protocol: 'http', takesAnything: true, open: () => new HttpDialogue() };
