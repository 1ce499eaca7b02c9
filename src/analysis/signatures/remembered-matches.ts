// Remembers what rules said of payloads seen before: most attackers send what thousands sent already. An answer depends on
// nothing but what stands in the key; who sends something else every time costs what it costs. Bounded.

import { createHash } from 'node:crypto';
import type { SignatureHit } from '../../model/insight.ts';
import type { SessionView } from '../session-view.ts';

/** With their keys and captures some 16 MiB at most. */
const maxRemembered = 16_384;
/** A digest costs about as much as looking at so few bytes. */
const worthBytes = 48;
/** With more characters captured the answer is not kept: attackers choose how long those are. */
const maxCaptured = 512;
/** Longer names and passwords are rare: not worth their memory. */
const maxNames = 256;

type Match = (view: SessionView) => readonly SignatureHit[];

export class RememberedMatches {
  readonly #match: Match;
  readonly #known = new Map<string, readonly SignatureHit[]>();
  #found = 0;

  /** `match` must depend on the session's transport, protocol, port, login, TLS and bytes alone. */
  constructor(match: Match) {
    this.#match = match;
  }

  /** Answers given without looking. */
  get found(): number {
    return this.#found;
  }

  get size(): number {
    return this.#known.size;
  }

  match(view: SessionView): readonly SignatureHit[] {
    const key = keyOf(view);
    if (key === undefined) return this.#match(view);
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#found += 1;
      // Used again: it goes last.
      this.#known.delete(key);
      this.#known.set(key, known);
      return known;
    }
    const hits = this.#match(view);
    if (capturedLength(hits) > maxCaptured) return hits;
    this.#known.set(key, hits);
    if (this.#known.size > maxRemembered) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest);
    }
    return hits;
  }
}

function keyOf({ session, input, output }: SessionView): string | undefined {
  if (input.length < worthBytes) return undefined;
  const { transport, protocol = '', destination, userName, password, tls } = session;
  // Undefined and empty differ: rules about a login look at an empty one.
  const names = JSON.stringify([protocol, userName, password, tls && [tls.serverName, tls.ja3, tls.ja4]]);
  if (names.length > maxNames) return undefined;
  return `${transport}${destination.port} ${digest(input)}${output.length === 0 ? '' : digest(output)}${names}`;
}

function capturedLength(hits: readonly SignatureHit[]): number {
  let length = 0;
  for (const { captures } of hits) for (const value of Object.values(captures)) length += value.length;
  return length;
}

const digest = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('base64');
