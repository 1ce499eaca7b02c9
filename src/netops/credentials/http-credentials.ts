// Credentials in HTTP/1 requests: Authorization and Proxy-Authorization, forms and JSON bodies, query strings. Pure.
// Sources: RFC 9112, RFC 7617, RFC 6750, RFC 7616.

import type { Micros } from '../../base/clock.ts';
import { type CredentialReader, type CredentialSink, cut, decodeBase64, decodeText } from './credential.ts';

const longestHead = 32_768;
const longestBody = 16_384;
const nameField = /^(?:j_)?(?:user(?:_?name|id)?|login|log|e?mail|uid|usr|account|uname)$/i;
const secretField = /^(?:j_)?(?:pass(?:word|wd|phrase|code)?|pwd|pw|secret|userpass|psw)$/i;

interface Pair {
  readonly user?: string;
  readonly secret: string;
}

function fromFields(fields: Iterable<[string, string]>): Pair | undefined {
  let user: string | undefined;
  let secret: string | undefined;
  for (const [name, value] of fields) {
    // The last part of `session[password]`.
    const short = /([^[\].]+)\]?$/.exec(name)?.[1] ?? name;
    if (secretField.test(short)) secret ??= cut(value);
    else if (nameField.test(short)) user ??= cut(value);
  }
  return secret === undefined ? undefined : { ...(user === undefined ? {} : { user }), secret };
}

function fromJson(text: string): Pair | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const flat: [string, string][] = [];
    const walk = (one: unknown, depth: number): void => {
      if (typeof one !== 'object' || one === null || depth > 3) return;
      for (const [name, inner] of Object.entries(one))
        if (typeof inner === 'string') flat.push([name, inner]);
        else walk(inner, depth + 1);
    };
    walk(value, 0);
    return fromFields(flat);
  } catch {
    return undefined;
  }
}

export function openHttpReader(sink: CredentialSink): CredentialReader {
  let rest = Buffer.alloc(0);
  /** Bytes of a body still to come, kept up to a bound. */
  let body: { type: string; left: number; kept: Buffer[]; context: string; keep: boolean } | undefined;
  let over = false;
  const tell = (kind: 'password' | 'token' | 'digest', pair: Pair, context: string, at: Micros): void =>
    sink({ protocol: 'http', kind, ...pair, context: cut(context), at });

  const authorization = (value: string, context: string, at: Micros): void => {
    const [, scheme = '', credentials = ''] = /^\s*(\S+)\s+(.*)$/.exec(value) ?? [];
    if (/^basic$/i.test(scheme)) {
      const text = decodeBase64(credentials) ?? '';
      const colon = text.indexOf(':');
      if (colon >= 0) tell('password', { user: cut(text.slice(0, colon)), secret: cut(text.slice(colon + 1)) }, context, at);
    } else if (/^(bearer|token|apikey)$/i.test(scheme)) tell('token', { secret: cut(credentials) }, context, at);
    else if (/^digest$/i.test(scheme)) {
      const user = /username="([^"]*)"/.exec(credentials)?.[1];
      const response = /response="?([0-9a-f]+)/i.exec(credentials)?.[1];
      if (response) tell('digest', { ...(user === undefined ? {} : { user: cut(user) }), secret: response }, context, at);
    }
  };

  const finishBody = (at: Micros): void => {
    if (!body) return;
    const text = decodeText(Buffer.concat(body.kept));
    const pair = /json/i.test(body.type) ? fromJson(text) : fromFields(new URLSearchParams(text));
    if (pair && body.keep) tell('password', pair, body.context, at);
    body = undefined;
  };

  const head = (text: string, at: Micros): void => {
    const [start, ...lines] = text.split('\r\n');
    const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(start) ?? [];
    if (method === undefined || target === undefined) {
      over = true;
      return;
    }
    const headers = new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const [pathOnly, query] = target.split('?', 2);
    const context = `${method} ${headers.get('host') ?? ''}${pathOnly}`;
    for (const name of ['authorization', 'proxy-authorization']) {
      const value = headers.get(name);
      if (value !== undefined) authorization(value, context, at);
    }
    const inQuery = query === undefined ? undefined : fromFields(new URLSearchParams(query));
    if (inQuery) tell('password', inQuery, context, at);
    const length = Number(headers.get('content-length') ?? 0);
    const type = headers.get('content-type') ?? '';
    if (Number.isInteger(length) && length > 0)
      body = { type, left: length, kept: [], context, keep: length <= longestBody && /x-www-form-urlencoded|json/i.test(type) };
    // Where a chunked body ends cannot be told without reading it: what follows is not looked at.
    else if (/chunked/i.test(headers.get('transfer-encoding') ?? '') || /^connect$/i.test(method)) over = true;
  };

  return {
    server() {},
    client(bytes, at) {
      if (over) return;
      rest = Buffer.concat([rest, bytes]);
      while (rest.length > 0 && !over) {
        if (body) {
          const part = rest.subarray(0, body.left);
          if (body.keep) body.kept.push(Buffer.from(part));
          body.left -= part.length;
          rest = rest.subarray(part.length);
          if (body.left === 0) finishBody(at);
          continue;
        }
        const end = rest.indexOf('\r\n\r\n');
        if (end < 0) {
          if (rest.length > longestHead) over = true;
          break;
        }
        const text = rest.toString('latin1', 0, end);
        rest = rest.subarray(end + 4);
        head(text, at);
      }
      rest = over ? Buffer.alloc(0) : Buffer.from(rest);
    },
  };
}
