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
  /** By `keyOf`; of two with the same number the latter. */
  readonly #known = new RecencyMap<number, Known>();
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
    const known = knownOf(view, this.#ports.has(port) ? port : -1);
    if (known === undefined) return this.#match(view);
    const key = keyOf(known);
    const former = this.#known.get(key);
    if (former !== undefined && isSame(former, known)) {
      this.#found += 1;
      // Used again: it goes last.
      this.#known.set(key, former);
      return former.hits;
    }
    known.hits = this.#match(view);
    if (capturedLength(known.hits) > maxCaptured) return known.hits;
    // The batch it came with must not stay for it.
    known.input = Uint8Array.from(known.input);
    known.output = Uint8Array.from(known.output);
    this.#known.set(key, known);
    if (this.#known.size > maxRemembered) this.#known.delete((this.#known.oldest as [number, unknown])[0]);
    return known.hits;
  }
}

/** All an answer depends on, and the answer. */
interface Known {
  readonly transport: string;
  readonly port: number;
  readonly protocol: string | undefined;
  readonly names: string;
  readonly inputLength: number;
  readonly outputLength: number;
  /** The bytes, or their digest. */
  input: Uint8Array;
  output: Uint8Array;
  hits: readonly SignatureHit[];
}

/** Bytes that begin alike and are equally long have the same; only what is worth remembering depends on it. */
function beginningOf(bytes: Uint8Array): number {
  const end = Math.min(bytes.length, maxBeginning);
  const mixed = mixBytes(bytes.length, bytes, end);
  return mixed ^ (mixed >>> 15);
}

function mixBytes(seed: number, bytes: Uint8Array, end: number): number {
  let mixed = seed;
  // Four at once, so that no multiplication waits for the one before; each by a number of its own, so that none undoes another.
  let second = 0x85ebca6b;
  let third = 0x9747b28c;
  let fourth = 0x27d4eb2f;
  let at = 0;
  for (; at + 3 < end; at += 4) {
    mixed = Math.imul(mixed ^ bytes[at], 0x01000193);
    second = Math.imul(second ^ bytes[at + 1], 0x85ebca6b);
    third = Math.imul(third ^ bytes[at + 2], 0xc2b2ae35);
    fourth = Math.imul(fourth ^ bytes[at + 3], 0x9e3779b1);
  }
  for (; at < end; at += 1) mixed = Math.imul(mixed ^ bytes[at], 0x01000193);
  return joinNumbers(joinNumbers(joinNumbers(mixed, second), third), fourth);
}

function joinNumbers(one: number, other: number): number {
  const mixed = Math.imul(one ^ (one >>> 16), 0x85ebca6b) ^ other;
  return Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
}

function mixText(seed: number, text: string): number {
  let mixed = seed ^ text.length;
  for (let at = 0; at < text.length; at += 1) mixed = Math.imul(mixed ^ text.charCodeAt(at), 0x01000193);
  return mixed;
}

function knownOf({ session, input, output }: SessionView, port: number): Known | undefined {
  const { transport, protocol, userName, password, tls } = session;
  // Undefined and empty differ: rules about a login look at an empty one.
  const names =
    userName === undefined && password === undefined && tls === undefined
      ? ''
      : JSON.stringify([userName, password, tls && [tls.serverName, tls.ja3, tls.ja4]]);
  if (names.length > maxNames || (protocol !== undefined && protocol.length > maxNames)) return undefined;
  return {
    transport,
    port,
    protocol,
    names,
    inputLength: input.length,
    outputLength: output.length,
    input: tellingBytes(input),
    output: tellingBytes(output),
    hits: nothing,
  };
}

const nothing: readonly SignatureHit[] = [];

/** What tells them from all others of their length. */
const tellingBytes = (bytes: Uint8Array): Uint8Array => (bytes.length > maxPlain ? hash('sha256', bytes, 'buffer') : bytes);

/** A number to look it up by, which others may have too. */
function keyOf({ port, protocol, names, input, output }: Known): number {
  let mixed = mixBytes(port, input, input.length);
  mixed = mixBytes(mixed ^ 0x9e3779b1, output, output.length);
  if (names !== '') mixed = mixText(mixed, names);
  if (protocol !== undefined) mixed = mixText(mixed, protocol);
  return mixed ^ (mixed >>> 15);
}

const isSame = (one: Known, other: Known): boolean =>
  one.inputLength === other.inputLength &&
  one.outputLength === other.outputLength &&
  one.port === other.port &&
  one.transport === other.transport &&
  one.protocol === other.protocol &&
  one.names === other.names &&
  Buffer.compare(one.input, other.input) === 0 &&
  Buffer.compare(one.output, other.output) === 0;

function capturedLength(hits: readonly SignatureHit[]): number {
  let length = 0;
  for (const { captures } of hits) for (const value of Object.values(captures)) length += value.length;
  return length;
}
