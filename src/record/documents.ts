// The JSON documents of the API as types, and what they hold beyond the Elastic Common Schema (exporters/jsonl.ts): a
// session's first bytes for lists, its chunks. Bytes leave as base64; making text safe to show is the reader's part.

import { renderMicros } from '../base/clock.ts';
import type { AlertRecord, ProbeRecord, ProbeTarget, Severity } from '../model/event.ts';
import type { Fact, SignatureHit } from '../model/insight.ts';
import type { Chunk, Direction, SessionOutcome } from '../model/session.ts';
import { renderAlert, renderProbe, renderSession } from './exporters/jsonl.ts';
import type { PlaceDocument, ThreatDocument, VerdictDocument } from './insight-documents.ts';
import type { SessionMarks } from './session-marks.ts';
import type { SessionSummary, StoredSession } from './store.ts';

type Document = Record<string, unknown>;

/** The SYN a session or scan began with. */
export interface SynDocument {
  readonly ttl: number;
  readonly window: number;
  readonly sequence: number;
  readonly options: string;
  /** A guess. */
  readonly system?: string;
}

export interface SignatureDocument {
  readonly id: string;
  readonly name: string;
  readonly intention: SignatureHit['intention'];
  readonly severity: Severity;
  /** In lists left out. */
  readonly captures?: Readonly<Record<string, string>>;
}

/** What readers of a session document may rely on; interface.md names the rest. */
export interface SessionDocument extends ThreatDocument {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end?: string; readonly duration?: number };
  readonly source: { readonly ip: string; readonly port: number; readonly mac?: string; readonly bytes: number } & PlaceDocument;
  readonly destination: { readonly ip: string; readonly port: number; readonly bytes: number };
  readonly network: { readonly transport: 'tcp' | 'udp'; readonly protocol?: string; readonly type: 'ipv4' | 'ipv6' };
  readonly tls?: {
    readonly version?: string;
    readonly client: { readonly ja3: string; readonly ja4: string; readonly server_name?: string };
  };
  readonly user?: { readonly name: string };
  readonly weir: {
    readonly session: {
      readonly id: string;
      readonly outcome: SessionOutcome;
      readonly source_reliable: boolean;
      readonly chunks: number;
    };
    readonly diversion: string;
    readonly service: string;
    readonly persona?: string;
    readonly agent?: string;
    readonly password?: string;
    /** Of relayed sessions, nanoseconds: until the service had accepted, and from then to its first byte. */
    readonly relay?: { readonly connect: number; readonly first_byte?: number };
    readonly syn?: SynDocument;
    readonly payload: {
      readonly sha256?: string;
      readonly truncated: boolean;
      /** First bytes from the attacker, base64; at most 64 bytes. */
      readonly preview?: string;
      /** Payloads alike are one family. */
      readonly family?: string;
    };
    /** Its own and those of the rules it matched. */
    readonly tags?: readonly string[];
    readonly signatures?: readonly SignatureDocument[];
    /** In lists left out. */
    readonly facts?: readonly Fact[];
  };
}

/** `bytes` is base64. */
export interface ChunkDocument {
  readonly at: string;
  readonly direction: Direction;
  readonly bytes: string;
}

export interface StoredSessionDocument {
  /** Those it is part of; absent where nobody asked. */
  readonly verdicts?: readonly VerdictDocument[];
  readonly session: SessionDocument;
  readonly chunks: readonly ChunkDocument[];
}

export interface ProbeDocument {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end: string };
  readonly source: { readonly ip: string; readonly port: number; readonly packets: number };
  readonly weir: {
    readonly diversion: string;
    readonly probe: { readonly targets: readonly ProbeTarget[]; readonly unlisted: number };
    readonly syn?: SynDocument;
  };
}

export interface AlertDocument {
  readonly '@timestamp': string;
  readonly event: Document & { readonly id: string };
  readonly message: string;
  readonly weir: { readonly alert: { readonly name: string; readonly severity: Severity; readonly details: Document } };
}

/** A session in ECS, with its first bytes; with all that was found in it. */
export function sessionDocument(session: SessionSummary, marks?: SessionMarks): SessionDocument {
  const document = renderSession(session, marks) as unknown as SessionDocument;
  if (!session.preview?.length) return document;
  const preview = Buffer.from(session.preview).toString('base64');
  return { ...document, weir: { ...document.weir, payload: { ...document.weir.payload, preview } } };
}

/** For lists: which rules matched, without what they captured and without facts. */
export function listedDocument(session: SessionSummary, { insight, place }: SessionMarks = {}): SessionDocument {
  if (!insight) return sessionDocument(session, { place });
  const signatures = insight.signatures.map((hit) => ({ ...hit, captures: {} }));
  return sessionDocument(session, { place, insight: { ...insight, signatures, facts: [] } });
}

export const chunkDocument = (chunk: Chunk): ChunkDocument => ({
  at: renderMicros(chunk.at),
  direction: chunk.direction,
  bytes: Buffer.from(chunk.bytes).toString('base64'),
});

export const storedSessionDocument = (stored: StoredSession, marks?: SessionMarks): StoredSessionDocument => ({
  session: sessionDocument(stored.session, marks),
  chunks: stored.chunks.map(chunkDocument),
});

export const probeDocument = (probe: ProbeRecord): ProbeDocument => renderProbe(probe) as unknown as ProbeDocument;
export const alertDocument = (alert: AlertRecord): AlertDocument => renderAlert(alert) as unknown as AlertDocument;
