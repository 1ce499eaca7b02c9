// The contract every store implements: what the recorder writes and what the API asks. One contract test runs
// against all implementations. The store owns nothing the journal cannot give back.

import type { Micros } from '../base/clock.ts';
import type { AddressRange } from '../model/address.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../model/event.ts';
import type { Behaviour, Insights } from '../model/insight.ts';
import type { PortSet } from '../model/port-set.ts';
import type { Chunk, SessionRecord, Transport } from '../model/session.ts';

import type { AnalysisStore } from './analysis-store.ts';

/** How far each journal writer's records are in the store. `offset` is the byte after the last applied record. */
export type Checkpoint = Readonly<Record<string, { readonly segment: number; readonly offset: number }>>;

/**
 * All parts must hold. Times select by session start, `since` inclusive, `until` exclusive. Probes match when one of
 * their targets does; they have no protocol or service, alerts and system events only a time: `protocol` and `service`
 * exclude all probes, and for alerts and system events every part but time, limit and cursor is ignored.
 */
export interface Filter {
  readonly since?: Micros;
  readonly until?: Micros;
  readonly sources?: readonly AddressRange[];
  readonly destinations?: readonly AddressRange[];
  readonly ports?: PortSet;
  readonly transport?: Transport;
  readonly protocol?: string;
  readonly diversion?: string;
  readonly service?: string;
  /** At most this many rows, newest first; 1 to 10,000. */
  readonly limit: number;
  /** Only rows older than this identifier: the cursor for the next page. */
  readonly before?: string;
}

/** Of sessions also by what analysis found in them; all parts must hold. Open sessions have no findings yet. */
export interface SessionFilter extends Filter {
  /** A rule that matched. */
  readonly signature?: string;
  /** A tag of the session, or of a rule that matched. */
  readonly tag?: string;
  /** Of its payload. */
  readonly family?: string;
  /** Of its source, ISO 3166-1 alpha-2. */
  readonly country?: string;
  /** A verdict of one of these is about it: of its source, at its time, and of its port and decoy where the verdict names one. */
  readonly behaviours?: readonly Behaviour[];
}

/** A session without its bytes: the newest record's facts. */
export type SessionSummary = Omit<SessionRecord, 'chunks' | 'firstChunk'> & {
  readonly chunkCount: number;
  /** sha256 in hex over all recorded `in` bytes; absent when none came or the session is open. */
  readonly payloadHash?: string;
  /** First `in` bytes, at most 64, for lists. */
  readonly preview?: Uint8Array;
};

export interface StoredSession {
  readonly session: SessionSummary;
  readonly chunks: readonly Chunk[];
}

export type TopSubject = 'ports' | 'sources' | 'destinations' | 'protocols' | 'payloads' | 'credentials';

export interface TopRow {
  /** `22/tcp`, an address, a protocol, a payload hash, `user:password`. */
  readonly key: string;
  /** Sessions, plus probe packets for ports, sources and destinations. */
  readonly hits: number;
  /** Distinct source addresses. */
  readonly sources: number;
}

export interface Counts {
  readonly sessions: number;
  readonly openSessions: number;
  /** Packets. */
  readonly probes: number;
  /** Distinct, over sessions and probes. */
  readonly sources: number;
  readonly bytesIn: number;
  readonly alerts: number;
}

export interface StoreSize {
  readonly bytes: number;
  readonly oldest?: Micros;
  readonly sessions: number;
}

export interface StoreDamage {
  readonly since: Micros;
  /** Files set aside. */
  readonly files: readonly string[];
  readonly message: string;
}

export interface Store extends AnalysisStore {
  /**
   * Applies events and what analysis found in them, and moves the checkpoint. Applying the same events again changes nothing:
   * the first insight of a session stays, the last verdict of an identifier counts. Insights of sessions that the store does
   * not have, of before or of this batch, are left out. Throws `store-damaged` or `disk-full`; the same has to come again then.
   *
   * Sessions and probes of the diversion `import` are kept by when they were imported (`recordedAt` of the batch), not by when
   * they happened; questions by time select them by when they happened all the same. So do verdicts of that diversion.
   */
  apply(events: readonly WeirEvent[], checkpoint: Checkpoint, insights?: Insights): Promise<void>;
  checkpoint(): Promise<Checkpoint>;
  /**
   * What was lost since the store was last whole and has to come from the journal again: the earliest start of a
   * session that may be missing. Undefined when nothing is. `rebuilt` says that it has been replayed.
   */
  damage(): Promise<StoreDamage | undefined>;
  rebuilt(): Promise<void>;
  /** Sessions that have not ended; the recorder ends those whose writer died. */
  openSessions(): Promise<SessionSummary[]>;
  sessions(filter: SessionFilter): Promise<SessionSummary[]>;
  /** Undefined when there is none of that identifier. */
  session(id: string): Promise<StoredSession | undefined>;
  /** The sessions of a page with their bytes, in its order; far cheaper than one by one. At most 10,000. */
  stored(sessions: readonly SessionSummary[]): AsyncIterable<StoredSession>;
  probes(filter: Filter): Promise<ProbeRecord[]>;
  alerts(filter: Filter): Promise<AlertRecord[]>;
  systemEvents(filter: Filter): Promise<SystemRecord[]>;
  top(subject: TopSubject, by: 'hits' | 'sources', filter: Filter): Promise<TopRow[]>;
  counts(filter: Filter): Promise<Counts>;
  /** Which of these identifiers, of any kind of record, are in the store: what need not be imported again. At most 100,000. */
  known(ids: readonly string[]): Promise<Set<string>>;
  size(): Promise<StoreSize>;
  /** Drops whole days until what is left is younger than `before` and smaller than `sizeBytes`; gives the days dropped. */
  prune(before: Micros, sizeBytes: number): Promise<string[]>;
  close(): Promise<void>;
}
