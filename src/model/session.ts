// One attacker flow as it is recorded, and the interface a service records it through. Data and types only.
// The journal's bytes are record/; how ECS shows a session is record/exporters/.

import type { Micros } from '../base/clock.ts';
import type { Fact } from './fact.ts';

export type Transport = 'tcp' | 'udp';

export interface Endpoint {
  readonly ip: string;
  readonly port: number;
}

/** The client's SYN as it arrived (TCP_SAVED_SYN or a capture). Lengths in bytes, sizes as on the wire. */
export interface SynDetails {
  readonly ttl: number;
  /** IPv4 identification; 0 for IPv6. */
  readonly ipId: number;
  readonly doNotFragment: boolean;
  readonly window: number;
  readonly sequence: number;
  /** Option kinds in order, p0f style: `mss,sok,ts,nop,ws`; empty when the SYN had none. */
  readonly options: string;
  readonly mss?: number;
  readonly windowScale?: number;
  /** Passive guess such as `Linux 3.11+`, `Windows 10+`, `ZMap`, `masscan`, `Mirai`; absent when unknown. */
  readonly system?: string;
}

/** How a session ended. `open` while it has not. */
export type SessionOutcome =
  | 'open'
  | 'client-closed' // FIN from the attacker, then ours
  | 'client-reset' // RST from the attacker
  | 'server-closed' // the service ended it first
  | 'idle' // no byte for the idle limit
  | 'time-limit'
  | 'byte-limit'
  | 'shed' // closed to make room under flood
  | 'shutdown' // Weir was stopped in order
  | 'interrupted' // the process that held it died
  | 'service-unreachable' // the service it was meant for did not answer; a tag tells the error
  | 'unknown'; // of imported sessions: the log does not say

/** `in` is from the attacker, `out` is what the decoy sent. */
export type Direction = 'in' | 'out';

/** Bytes as the service saw them (inside TLS: the plain text). */
export interface Chunk {
  readonly at: Micros;
  readonly direction: Direction;
  readonly bytes: Uint8Array;
}

export interface TlsDetails {
  readonly version: string;
  readonly serverName?: string;
  readonly ja3: string;
  readonly ja4: string;
  readonly alpn?: readonly string[];
}

/** What is known when a flow starts. */
export interface SessionStart {
  readonly start: Micros;
  readonly transport: Transport;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** False for UDP that never answered a challenge: the address may be forged. */
  readonly sourceReliable: boolean;
  readonly sourceMac?: string;
  readonly diversion: string;
  readonly service: string;
  readonly persona?: string;
  readonly agent?: string;
  readonly syn?: SynDetails;
}

/** One attempt to log in; each text at most 1,024 characters. */
export interface Credential {
  readonly userName?: string;
  readonly password?: string;
  /** Whether the decoy let it in; absent when nobody said. */
  readonly accepted?: boolean;
}

/** Most attempts, and most facts, a session's records carry. */
export const maxCredentials = 255;
export const maxCarriedFacts = 64;

/** What a service learns on the way. Later values replace earlier ones; tags are united. */
export interface SessionFindings {
  readonly protocol?: string;
  readonly tls?: TlsDetails;
  readonly userName?: string;
  readonly password?: string;
  /**
   * Every attempt in order, the first 255; present when there was more than one, or when it is known what became of it.
   * `userName` and `password` are the last one's.
   */
  readonly credentials?: readonly Credential[];
  /** What another program found that no chunk shows, of imported sessions: fingerprints, downloads; the first 64. */
  readonly facts?: readonly Fact[];
  /** How long the service took to accept, and from then to its first byte; of relayed sessions, microseconds. */
  readonly connectMicros?: number;
  readonly firstByteMicros?: number;
  readonly tags?: readonly string[];
}

/**
 * One record about a session: cumulative facts, and the chunks since the previous record. A session of which only
 * one record was written has `sequence` 0 and everything in it. Records replay idempotently by (id, sequence).
 */
export interface SessionRecord extends SessionStart, SessionFindings {
  /** Sorts by start time; unique over all writers. */
  readonly id: string;
  readonly sequence: number;
  readonly end?: Micros;
  readonly outcome: SessionOutcome;
  /** Bytes received and sent in all, recorded or not. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Index of the first of `chunks` in the whole session. */
  readonly firstChunk: number;
  readonly chunks: readonly Chunk[];
  /** True once bytes were left out because of the per-session cap. */
  readonly truncated: boolean;
  /** Filled in by the journal's reader: the writer's run that holds the session, such as `gateway#17`. */
  readonly writer?: string;
  /** Filled in by the journal's reader: when this record was written. */
  readonly recordedAt?: Micros;
}

/** How a service records what passes; one per session. Calls never throw and never block. */
export interface SessionHandle {
  readonly id: string;
  /** `bytes` is kept by reference: the caller must not write into it afterwards. */
  chunk(direction: Direction, bytes: Uint8Array, at?: Micros): void;
  /** Bytes that passed and are not there to show: they count, and the session is truncated. */
  skip(direction: Direction, byteCount: number): void;
  find(findings: SessionFindings): void;
  /** The first call wins; later ones and later chunks are ignored. */
  close(outcome: Exclude<SessionOutcome, 'open'>, at?: Micros): void;
}

/**
 * A session that two processes may record, an agent and the gateway it handed a flow to: one identifier for both, so that a store
 * has it once. Good for one session; see docs/decisions/0040.
 */
export interface SessionClaim {
  readonly id: string;
  /** Of the first record. */
  readonly sequence: number;
  /**
   * Calls back once, now or later: how it went is ours to say, or somebody else said it and nothing more is to be recorded here.
   * Until then its end is not recorded.
   */
  whenSettled(settled: (isOurs: boolean) => void): void;
}

/**
 * Records begin at this number of what an agent answered itself because it did not hear that its gateway had taken it. They are
 * what the attacker saw: while a session is open they replace the gateway's.
 */
export const takenBackSequence = 2 ** 20;

/** Records of what was not taken back go on here when they come to `takenBackSequence`: whoever sends for hours starts nothing over. */
const afterTakenBack = 2 ** 21;

/** The number `step` after `sequence`. Whoever numbers records asks here, or a long session wipes its own beginning. */
export const sequenceAfter = (sequence: number, step = 1): number => {
  const next = sequence + step;
  return sequence < takenBackSequence && next >= takenBackSequence ? next + afterTakenBack - takenBackSequence : next;
};

/** Whether a record begins what replaces everything recorded up to `before`. */
export const startsOver = ({ sequence, firstChunk }: Pick<SessionRecord, 'sequence' | 'firstChunk'>, before: number): boolean =>
  firstChunk === 0 && sequence >= takenBackSequence && sequence < afterTakenBack && before < takenBackSequence;

/** Whether nothing of a session comes before this record: of one that was taken back, of those who took it back. */
export const isFirstRecord = ({ sequence, firstChunk }: Pick<SessionRecord, 'sequence' | 'firstChunk'>): boolean =>
  sequence === 0 || (sequence === takenBackSequence && firstChunk === 0);

export interface SessionSink {
  open(start: SessionStart, claim?: SessionClaim): SessionHandle;
}
