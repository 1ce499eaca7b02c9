// A session while the lines that tell of it are still coming: what each adds, within the bounds of one session. Formats
// fill it, OpenSessions holds it, `done` gives what the engine takes.

import type { Micros } from '../../base/clock.ts';
import type { FactKind } from '../../model/fact.ts';
import {
  type Chunk,
  type Credential,
  type Direction,
  type Endpoint,
  maxCarriedFacts,
  maxCredentials,
  type SynDetails,
  type TlsDetails,
  type Transport,
} from '../../model/session.ts';
import { firstBytes } from './first-bytes.ts';
import type { ImportContext, ImportedSession, Place } from './importer.ts';
import { ownText } from './own-text.ts';

/** Bytes and chunks kept of one session; what lies beyond is left out, and the session says so. */
const maxBytes = 1 << 20;
const maxChunks = 4096;
const maxTags = 48;
const maxTagLength = 128;
const maxValueLength = 2048;
const maxCredentialLength = 1024;

const cut = (text: string, most: number): string => (text.length > most ? ownText(text.slice(0, most)) : text);

export class SessionDraft {
  readonly place: Place;
  readonly key: string;
  start: Micros;
  end: Micros | undefined;
  transport: Transport = 'tcp';
  source: Endpoint;
  destination: Endpoint;
  sourceMac: string | undefined;
  service: string | undefined;
  agent: string | undefined;
  protocol: string | undefined;
  tls: TlsDetails | undefined;
  syn: SynDetails | undefined;
  outcome: ImportedSession['outcome'] = 'unknown';
  sourceReliable: boolean | undefined;
  /** No line told of its beginning. */
  headless = false;
  truncated = false;
  /** Where the log tells them; else what the chunks hold. */
  bytesIn: number | undefined;
  bytesOut: number | undefined;
  readonly #chunks: Chunk[] = [];
  readonly #credentials: Credential[] = [];
  readonly #facts = new Map<string, { kind: FactKind; value: string }>();
  readonly #tags = new Set<string>();
  #chunkBytes = 0;
  /** About what it occupies. */
  sizeBytes = 600;

  constructor(place: Place, key: string, start: Micros, source: Endpoint, destination: Endpoint) {
    this.place = place;
    this.key = key;
    this.start = start;
    this.source = source;
    this.destination = destination;
  }

  get hasInput(): boolean {
    return this.#chunks.some(({ direction }) => direction === 'in');
  }

  /** The log tells of it at this time: the session lasts at least so long. */
  touch(at: Micros): void {
    if (at > (this.end ?? this.start)) this.end = at;
  }

  /** What passed, bytes or text as UTF-8; kept by reference. */
  chunk(direction: Direction, at: Micros, content: Uint8Array | string): void {
    if (content.length === 0) return;
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const room = this.#chunks.length < maxChunks ? Math.min(bytes.length, maxBytes - this.#chunkBytes) : 0;
    if (room < bytes.length) this.truncated = true;
    if (room <= 0) return;
    this.#chunks.push({ at, direction, bytes: room < bytes.length ? bytes.subarray(0, room) : bytes });
    this.#chunkBytes += room;
    this.sizeBytes += room + 100;
  }

  /** An attempt to log in; neither a name nor a password is none. */
  credential(userName: string | undefined, password: string | undefined, accepted?: boolean): void {
    if (userName === undefined && password === undefined) return;
    if (this.#credentials.length >= maxCredentials) {
      this.tag('more-credentials');
      return;
    }
    const one: Credential = {
      ...(userName === undefined ? undefined : { userName: cut(userName, maxCredentialLength) }),
      ...(password === undefined ? undefined : { password: cut(password, maxCredentialLength) }),
      ...(accepted === undefined ? undefined : { accepted }),
    };
    this.#credentials.push(one);
    this.sizeBytes += 100 + (one.userName?.length ?? 0) + (one.password?.length ?? 0);
  }

  fact(kind: FactKind, value: string | undefined): void {
    if (value === undefined || value === '' || this.#facts.size >= maxCarriedFacts) return;
    const kept = cut(value, maxValueLength);
    this.#facts.set(`${kind} ${kept}`, { kind, value: kept });
    this.sizeBytes += 100 + 2 * kept.length;
  }

  tag(tag: string): void {
    if (this.#tags.size >= maxTags) return;
    this.#tags.add(cut(tag, maxTagLength));
    this.sizeBytes += 50;
  }

  /** Times may be out of order in a log; in a session they are not. */
  done(context: ImportContext): ImportedSession {
    if (this.headless) this.tag('beginning-missing');
    const chunks = this.#chunks.sort((a, b) => a.at - b.at);
    const credentials = this.#credentials;
    const last = credentials.at(-1);
    const told = credentials.length > 1 || last?.accepted !== undefined;
    const found = firstBytes(context, chunks, this.destination.port, this.transport);
    const protocol = this.protocol ?? found.protocol;
    const tls = this.tls ?? found.tls;
    const end = this.end === undefined ? undefined : Math.max(this.start, this.end);
    return {
      place: this.place,
      key: this.key,
      start: this.start,
      ...(end !== undefined && { end }),
      transport: this.transport,
      source: this.source,
      destination: this.destination,
      outcome: this.outcome,
      chunks,
      ...(this.sourceMac !== undefined && { sourceMac: this.sourceMac }),
      ...(this.service !== undefined && { service: this.service }),
      ...(this.agent !== undefined && { agent: this.agent }),
      ...(protocol !== undefined && { protocol }),
      ...(tls !== undefined && { tls }),
      ...(this.syn !== undefined && { syn: this.syn }),
      ...(this.sourceReliable !== undefined && { sourceReliable: this.sourceReliable }),
      ...(this.truncated && { truncated: true }),
      ...(this.bytesIn !== undefined && { bytesIn: this.bytesIn }),
      ...(this.bytesOut !== undefined && { bytesOut: this.bytesOut }),
      ...(last?.userName !== undefined && { userName: last.userName }),
      ...(last?.password !== undefined && { password: last.password }),
      ...(told && { credentials }),
      ...(this.#facts.size > 0 && { facts: [...this.#facts.values()] }),
      ...(this.#tags.size > 0 && { tags: [...this.#tags] }),
    };
  }
}
