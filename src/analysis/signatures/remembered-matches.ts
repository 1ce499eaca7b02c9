// Remembers what rules said of payloads seen before: most attackers send what thousands sent already. An answer depends on
// nothing but what stands in the key; what comes for the first time leaves a trace of four bytes, no answer. Bounded.

import { hash } from 'node:crypto';
import { RecencyMap } from '../../base/recency-map.ts';
import type { SignatureHit } from '../../model/insight.ts';
import type { SessionView } from '../session-view.ts';

/** With their keys and captures some 24 MiB at most. */
const maxRemembered = 16_384;
/** Looking at fewer bytes costs about as much as their key. */
const worthBytes = 48;
/** What tells payloads apart stands within so many bytes, in most of them. */
const maxBeginning = 192;
/** Remembered beginnings, in a table of one size for ever; a power of two. */
const beginnings = 65_536;
/** Longer bytes stand in their key as a digest. */
const maxPlain = 512;
/** With more characters captured the answer is not kept: attackers choose how long those are. */
const maxCaptured = 512;
/** Longer names and passwords are rare: not worth their memory. */
const maxNames = 256;

type Match = (view: SessionView) => readonly SignatureHit[];

export class RememberedMatches {
  readonly #match: Match;
  readonly #ports: ReadonlySet<number>;
  readonly #known = new RecencyMap<string, readonly SignatureHit[]>();
  readonly #beginnings = new Int32Array(beginnings);
  #found = 0;

  /** `match` must depend on the session's transport, protocol, login, TLS and bytes alone, and on its port only where it is one of `ports`. */
  constructor(match: Match, ports: ReadonlySet<number>) {
    this.#match = match;
    this.#ports = ports;
  }

  /** Answers given without looking. */
  get found(): number {
    return this.#found;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Whether something like it was seen lately: what comes once is not remembered. */
  #cameBefore(input: Uint8Array): boolean {
    if (input.length < worthBytes) return false;
    const beginning = beginningOf(input);
    const place = beginning & (beginnings - 1);
    if (this.#beginnings[place] === beginning) return true;
    this.#beginnings[place] = beginning;
    return false;
  }

  match(view: SessionView): readonly SignatureHit[] {
    if (!this.#cameBefore(view.input)) return this.#match(view);
    const { port } = view.session.destination;
    const key = keyOf(view, this.#ports.has(port) ? port : -1);
    if (key === undefined) return this.#match(view);
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#found += 1;
      // Used again: it goes last.
      this.#known.set(key, known);
      return known;
    }
    const hits = this.#match(view);
    if (capturedLength(hits) > maxCaptured) return hits;
    this.#known.set(key, hits);
    if (this.#known.size > maxRemembered) this.#known.delete((this.#known.oldest as [string, unknown])[0]);
    return hits;
  }
}

/** Bytes that begin alike and are equally long have the same; only what is worth remembering depends on it. */
function beginningOf(bytes: Uint8Array): number {
  const end = Math.min(bytes.length, maxBeginning);
  let mixed = bytes.length;
  for (let at = 0; at < end; at += 1) mixed = Math.imul(mixed ^ bytes[at], 0x01000193);
  return mixed ^ (mixed >>> 15);
}

/** All of it, none of which can stand for another: lengths come first. */
function keyOf({ session, input, output }: SessionView, port: number): string | undefined {
  const { transport, protocol, userName, password, tls } = session;
  // Undefined and empty differ: rules about a login look at an empty one.
  const names =
    userName === undefined && password === undefined && tls === undefined
      ? ''
      : JSON.stringify([userName, password, tls && [tls.serverName, tls.ja3, tls.ja4]]);
  if (names.length > maxNames || (protocol !== undefined && protocol.length > maxNames)) return undefined;
  const known = `${transport}${port} ${protocol?.length ?? -1} ${names.length} ${input.length} ${output.length} ${protocol ?? ''}${names}`;
  return output.length === 0 ? known + bytesKey(input) : known + bytesKey(input) + bytesKey(output);
}

/** Bytes, one to a character: to compare them costs less than a digest. */
function bytesKey(bytes: Uint8Array): string {
  if (bytes.length > maxPlain) return hash('sha256', bytes, 'base64');
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString('latin1');
}

function capturedLength(hits: readonly SignatureHit[]): number {
  let length = 0;
  for (const { captures } of hits) for (const value of Object.values(captures)) length += value.length;
  return length;
}
