// Turns what services report about live sessions into session records: everything that happened to a session between
// two ticks is one record, and a session that opened and ended within a tick is exactly one. Memory is bounded by the
// per-session caps; where records go is the EventSink's business.

import type { Clock, Micros } from '../base/clock.ts';
import type { EventSink } from '../model/event.ts';
import { createIdentifier } from '../model/identifier.ts';
import {
  type Chunk,
  type Credential,
  type Direction,
  maxCredentials,
  type SessionClaim,
  type SessionFindings,
  type SessionHandle,
  type SessionOutcome,
  type SessionSink,
  type SessionStart,
  sequenceAfter,
  type TlsDetails,
} from '../model/session.ts';

export interface SessionRecorderOptions {
  readonly journal: EventSink;
  /** Most bytes recorded of one session, both directions together; what comes after is counted and left out. */
  readonly limits: { readonly sessionBytes: number };
  /** Tick; default 25 ms. */
  readonly flushMs?: number;
  readonly clock: Clock;
}

export interface SessionRecorderCounters {
  readonly open: number;
  readonly opened: number;
  readonly closed: number;
  /** Of the closed ones: their end waits for their claim. */
  readonly unsettled: number;
  /** Sessions of which bytes were left out, and how many bytes. */
  readonly truncated: number;
  readonly unrecordedBytes: number;
}

/** Most chunks recorded of one session: a client that sends single bytes costs more than its bytes. */
const maxSessionChunks = 16_384;
/** One record carries at most this much, so that a record stays well below the journal's bound. */
const maxRecordBytes = 1024 * 1024;
/** Beyond this much unwritten data a tick comes at once. */
const maxPendingBytes = 8 * 1024 * 1024;
const maxTags = 64;
/** A claimed session waits so long to be settled before anything of it is recorded: what is older survives a kill. */
const unsettledMs = 100;
/** Most characters of attempts to log in that are kept: every record of a session carries them all. */
const maxCredentialCharacters = 4096;
const noChunks: readonly Chunk[] = [];
const noCredentials: readonly Credential[] = [];

export class SessionRecorder implements SessionSink {
  readonly #journal: EventSink;
  readonly #flushMs: number;
  readonly clock: Clock;
  readonly sessionBytes: number;
  readonly #open = new Set<OpenSession>();
  /** Over, but for somebody else to say so. */
  readonly #unsettled = new Set<OpenSession>();
  /** Each is good for one session. */
  readonly #used = new WeakSet<SessionClaim>();
  #dirty: OpenSession[] = [];
  #timer: NodeJS.Timeout | undefined;
  #opened = 0;
  #closed = 0;
  #pendingBytes = 0;
  /** Raised by sessions. */
  truncated = 0;
  unrecordedBytes = 0;

  constructor(options: SessionRecorderOptions) {
    this.#journal = options.journal;
    this.#flushMs = options.flushMs ?? 25;
    this.clock = options.clock;
    this.sessionBytes = options.limits.sessionBytes;
  }

  open(start: SessionStart, claim?: SessionClaim): SessionHandle {
    const own = claim && !this.#used.has(claim) ? claim : undefined;
    if (own) this.#used.add(own);
    const session = new OpenSession(this, start, own);
    this.#open.add(session);
    this.#opened += 1;
    this.touch(session, 0);
    return session;
  }

  /** Called by a session of ours that has something to record. */
  touch(session: OpenSession, sizeBytes: number): void {
    if (!session.dirty) {
      session.dirty = true;
      this.#dirty.push(session);
      this.#timer ??= setTimeout(() => this.flush(), this.#flushMs);
    }
    this.#pendingBytes += sizeBytes;
    if (this.#pendingBytes > maxPendingBytes) this.flush();
  }

  /** Called by a session of ours, once, when it ends. */
  ended(session: OpenSession): void {
    this.#open.delete(session);
    this.#closed += 1;
    if (!session.settled) this.#unsettled.add(session);
  }

  /** Called by a session of ours, after it ended, that somebody else records. */
  forgone(session: OpenSession): void {
    this.#unsettled.delete(session);
  }

  /** Called by a session of ours, once, when its claim is settled. */
  settled(session: OpenSession): void {
    this.#unsettled.delete(session);
    this.touch(session, 0);
  }

  /** Gives the sink one record for each session with news. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const dirty = this.#dirty;
    this.#dirty = [];
    const pressed = this.#pendingBytes > maxPendingBytes;
    this.#pendingBytes = 0;
    const now = performance.now();
    for (const session of dirty) {
      if (session.settled || pressed || now - session.openedAtMs >= unsettledMs) session.record(this.#journal);
      else this.#dirty.push(session);
    }
    if (this.#dirty.length > 0) this.#timer = setTimeout(() => this.flush(), this.#flushMs);
  }

  counters(): SessionRecorderCounters {
    return {
      open: this.#open.size,
      opened: this.#opened,
      closed: this.#closed,
      unsettled: this.#unsettled.size,
      truncated: this.truncated,
      unrecordedBytes: this.unrecordedBytes,
    };
  }

  /** Ends every open session as `shutdown` and records it. The journal stays open: its owner closes it afterwards. */
  close(): void {
    for (const session of [...this.#open]) session.close('shutdown');
    for (const session of [...this.#unsettled]) session.settle();
    this.flush();
  }
}

class OpenSession implements SessionHandle {
  readonly id: string;
  readonly #recorder: SessionRecorder;
  readonly #start: SessionStart;
  readonly openedAtMs: number;
  dirty = false;
  /** Nobody else may say how it ended. */
  settled = true;
  #outcome: SessionOutcome = 'open';
  #end: Micros | undefined;
  #bytesIn = 0;
  #bytesOut = 0;
  #recordedBytes = 0;
  #truncated = false;
  #sequence = 0;
  #recorded = false;
  #forgone = false;
  #chunks: Chunk[] | undefined;
  #firstChunk = 0;
  #protocol: string | undefined;
  #tls: TlsDetails | undefined;
  #userName: string | undefined;
  #password: string | undefined;
  /** Replaced, never changed in place: records that were made keep theirs. */
  #credentials: readonly Credential[] = noCredentials;
  #credentialCharacters = 0;
  #connectMicros: number | undefined;
  #firstByteMicros: number | undefined;
  #tags: readonly string[] | undefined;

  constructor(recorder: SessionRecorder, start: SessionStart, claim: SessionClaim | undefined) {
    this.id = claim?.id ?? createIdentifier(start.start);
    this.#recorder = recorder;
    this.#start = start;
    this.openedAtMs = claim ? performance.now() : 0;
    if (!claim) return;
    this.#sequence = claim.sequence;
    this.settled = false;
    claim.whenSettled((isOurs) => (isOurs ? this.settle() : this.#forgo()));
  }

  /** Idempotent. */
  settle(): void {
    if (this.settled) return;
    this.settled = true;
    // Told while it is made: its recorder does not know it yet, and asks for its first record itself.
    if (this.#outcome !== 'open' || this.dirty) this.#recorder.settled(this);
  }

  /** Somebody else has it on record: what is not recorded yet stays out. */
  #forgo(): void {
    this.#forgone = true;
    this.settled = true;
    this.#chunks = undefined;
    if (this.#outcome === 'open') this.close('interrupted');
    this.#recorder.forgone(this);
  }

  chunk(direction: Direction, bytes: Uint8Array, at?: Micros): void {
    if (this.#outcome !== 'open' || bytes.length === 0) return;
    if (direction === 'in') this.#bytesIn += bytes.length;
    else this.#bytesOut += bytes.length;
    const recorder = this.#recorder;
    if (!this.#chunks) this.#chunks = [];
    const chunks = this.#chunks;
    const room =
      this.#firstChunk + chunks.length < maxSessionChunks ? Math.max(0, recorder.sessionBytes - this.#recordedBytes) : 0;
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room);
    if (kept.length < bytes.length) {
      if (!this.#truncated) recorder.truncated += 1;
      this.#truncated = true;
      recorder.unrecordedBytes += bytes.length - kept.length;
    }
    if (kept.length > 0) {
      this.#recordedBytes += kept.length;
      chunks.push({ at: at ?? recorder.clock(), direction, bytes: kept });
    }
    recorder.touch(this, kept.length);
  }

  skip(direction: Direction, byteCount: number): void {
    if (this.#outcome !== 'open' || byteCount <= 0) return;
    if (direction === 'in') this.#bytesIn += byteCount;
    else this.#bytesOut += byteCount;
    if (!this.#truncated) this.#recorder.truncated += 1;
    this.#truncated = true;
    this.#recorder.unrecordedBytes += byteCount;
    this.#recorder.touch(this, 0);
  }

  find(findings: SessionFindings): void {
    if (this.#outcome !== 'open') return;
    if (findings.protocol !== undefined) this.#protocol = findings.protocol;
    if (findings.tls !== undefined) this.#tls = findings.tls;
    if (findings.userName !== undefined) this.#userName = findings.userName;
    if (findings.password !== undefined) this.#tried(findings.password);
    if (findings.connectMicros !== undefined) this.#connectMicros = findings.connectMicros;
    if (findings.firstByteMicros !== undefined) this.#firstByteMicros = findings.firstByteMicros;
    if (findings.tags !== undefined) {
      const united = this.#tags ? [...new Set([...this.#tags, ...findings.tags])] : [...new Set(findings.tags)];
      this.#tags = united.slice(0, maxTags);
    }
    this.#recorder.touch(this, 0);
  }

  /** A password is one attempt, with the name that was told last. */
  #tried(password: string): void {
    this.#password = password;
    this.#credentialCharacters += password.length + (this.#userName?.length ?? 0);
    if (this.#credentials.length >= maxCredentials || this.#credentialCharacters > maxCredentialCharacters) return;
    const attempt = this.#userName === undefined ? { password } : { userName: this.#userName, password };
    this.#credentials = [...this.#credentials, attempt];
  }

  close(outcome: Exclude<SessionOutcome, 'open'>, at?: Micros): void {
    if (this.#outcome !== 'open') return;
    this.#outcome = outcome;
    this.#end = at ?? this.#recorder.clock();
    this.#recorder.ended(this);
    this.#recorder.touch(this, 0);
  }

  /** Appends what is new; in several records when it is more than one may carry. Only the last one says how it ended. */
  record(journal: EventSink): void {
    this.dirty = false;
    if (this.#forgone) return;
    let chunks: readonly Chunk[] = this.#chunks ?? noChunks;
    this.#chunks = undefined;
    let sizeBytes = 0;
    for (const chunk of chunks) sizeBytes += chunk.bytes.length;
    while (sizeBytes > maxRecordBytes) {
      const part: Chunk[] = [];
      let partBytes = 0;
      let index = 0;
      let rest: Chunk | undefined;
      for (; index < chunks.length && partBytes < maxRecordBytes; index += 1) {
        const chunk = chunks[index];
        const room = maxRecordBytes - partBytes;
        if (chunk.bytes.length > room) {
          part.push({ ...chunk, bytes: chunk.bytes.subarray(0, room) });
          rest = { ...chunk, bytes: chunk.bytes.subarray(room) };
          partBytes += room;
        } else {
          part.push(chunk);
          partBytes += chunk.bytes.length;
        }
      }
      this.#append(journal, part, false);
      chunks = rest ? [rest, ...chunks.slice(index)] : chunks.slice(index);
      sizeBytes -= partBytes;
    }
    // Its end waits for the claim; there may be nothing else to say.
    const news = chunks.length > 0 || this.#outcome === 'open' || !this.#recorded;
    if (this.settled || news) this.#append(journal, chunks, this.settled);
  }

  #append(journal: EventSink, chunks: readonly Chunk[], last: boolean): void {
    const start = this.#start;
    const open = !last;
    const session = {
      id: this.id,
      sequence: this.#sequence,
      start: start.start,
      end: open ? undefined : this.#end,
      outcome: open ? 'open' : this.#outcome,
      transport: start.transport,
      source: start.source,
      destination: start.destination,
      sourceReliable: start.sourceReliable,
      sourceMac: start.sourceMac,
      diversion: start.diversion,
      service: start.service,
      persona: start.persona,
      agent: start.agent,
      syn: start.syn,
      protocol: this.#protocol,
      tls: this.#tls,
      userName: this.#userName,
      password: this.#password,
      ...(this.#credentials.length > 1 && { credentials: this.#credentials }),
      connectMicros: this.#connectMicros,
      firstByteMicros: this.#firstByteMicros,
      tags: this.#tags,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      firstChunk: this.#firstChunk,
      chunks,
      truncated: this.#truncated,
    };
    this.#sequence = sequenceAfter(this.#sequence);
    this.#recorded = true;
    this.#firstChunk += chunks.length;
    journal.append({ kind: 'session', session });
  }
}
