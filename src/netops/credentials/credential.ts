// What somebody showed on the wire to be let in, and what a reader of one protocol is. Pure. Readers see hostile bytes: each holds a
// bounded number of them, and none is ever thrown at.

import type { Micros } from '../../base/clock.ts';

export interface Credential {
  readonly protocol: string;
  /** `password`, `community`, `token`, `digest` (a proof made of the password, which is not in it). */
  readonly kind: 'password' | 'community' | 'token' | 'digest';
  readonly user?: string;
  readonly secret?: string;
  /** Where it was shown: a path, a database. */
  readonly context?: string;
  readonly at: Micros;
}

/** One connection's, of one protocol. */
export interface CredentialReader {
  client(bytes: Uint8Array, at: Micros): void;
  server(bytes: Uint8Array, at: Micros): void;
}

export type CredentialSink = (credential: Credential) => void;

/** Longer ones are nobody's password; cut there. */
export const longestSecret = 512;
export const cut = (text: string): string => text.slice(0, longestSecret);

/** Latin-1 of bytes that are not UTF-8. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }
}
const strict = new TextDecoder('utf-8', { fatal: true });

const longestLine = 8192;

/** Lines of a stream, without their ends; what is longer than any real line is passed over up to its end. */
export class Lines {
  #rest = '';
  #skipping = false;
  readonly #onLine: (line: string, at: Micros) => void;

  constructor(onLine: (line: string, at: Micros) => void) {
    this.#onLine = onLine;
  }

  push(bytes: Uint8Array, at: Micros): void {
    this.#rest += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    for (let end = this.#rest.indexOf('\n'); end >= 0; end = this.#rest.indexOf('\n')) {
      const line = this.#rest.slice(0, end).replace(/\r$/, '');
      this.#rest = this.#rest.slice(end + 1);
      if (this.#skipping) this.#skipping = false;
      else this.#onLine(decodeText(Buffer.from(line, 'latin1')), at);
    }
    if (this.#rest.length <= longestLine) return;
    this.#rest = '';
    this.#skipping = true;
  }
}

/** `\0user\0password` of SASL PLAIN (RFC 4616) in base64; undefined when it is none. */
export function parsePlain(base64: string): { user: string; secret: string } | undefined {
  const parts = decodeBase64(base64)?.split('\0');
  return parts?.length === 3 ? { user: cut(parts[1] || parts[0]), secret: cut(parts[2]) } : undefined;
}

export function decodeBase64(text: string): string | undefined {
  const clean = text.trim();
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(clean) || clean.length % 4 !== 0) return undefined;
  return decodeText(Buffer.from(clean, 'base64'));
}
