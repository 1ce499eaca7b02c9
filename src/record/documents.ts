// The JSON documents of the API: Elastic Common Schema as interface.md fixes it, and what a page needs besides.
// Attacker bytes leave as base64 and attacker text as JSON strings; making them safe to show is the reader's part.

import { renderMicros } from '../base/clock.ts';
import type { AlertRecord, ProbeRecord, ProbeTarget, Severity, SystemRecord } from '../model/event.ts';
import type { Chunk, Direction, SessionOutcome, SynDetails } from '../model/session.ts';
import type { SessionSummary, StoredSession } from './store.ts';

type Document = Record<string, unknown>;

/** What readers of a session document may rely on; interface.md names the rest. */
export interface SessionDocument {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end?: string; readonly duration?: number };
  readonly source: { readonly ip: string; readonly port: number; readonly mac?: string; readonly bytes: number };
  readonly destination: { readonly ip: string; readonly port: number; readonly bytes: number };
  readonly network: { readonly transport: 'tcp' | 'udp'; readonly protocol?: string; readonly type: 'ipv4' | 'ipv6' };
  readonly tls?: {
    readonly version?: string;
    readonly client: { readonly ja3: string; readonly ja4: string; readonly server_name?: string };
  };
  readonly user?: { readonly name: string };
  readonly weir: {
    readonly session: { readonly id: string; readonly outcome: SessionOutcome; readonly source_reliable: boolean };
    readonly diversion: string;
    readonly service: string;
    readonly persona?: string;
    readonly agent?: string;
    readonly password?: string;
    readonly syn?: SynDetails;
    readonly payload: {
      readonly sha256?: string;
      readonly truncated: boolean;
      readonly chunks: number;
      /** First bytes from the attacker, base64; at most 64 bytes. */
      readonly preview?: string;
    };
    readonly tags?: readonly string[];
  };
}

/** `bytes` is base64. */
export interface ChunkDocument {
  readonly at: string;
  readonly direction: Direction;
  readonly bytes: string;
}

export interface StoredSessionDocument {
  readonly session: SessionDocument;
  readonly chunks: readonly ChunkDocument[];
}

export interface ProbeDocument {
  readonly '@timestamp': string;
  readonly event: { readonly id: string; readonly start: string; readonly end: string };
  readonly source: { readonly ip: string; readonly port: number; readonly packets: number };
  readonly weir: {
    readonly diversion: string;
    readonly probe: {
      readonly packets: number;
      readonly unlisted: number;
      readonly targets: readonly ProbeTarget[];
      readonly syn?: SynDetails;
    };
  };
}

export interface AlertDocument {
  readonly '@timestamp': string;
  readonly event: Document & { readonly id: string };
  readonly message: string;
  readonly weir: { readonly alert: { readonly name: string; readonly severity: Severity; readonly details: Document } };
}

/** One session, as interface.md "A session, as JSON". */
export function sessionDocument(session: SessionSummary): SessionDocument {
  const document = {
    '@timestamp': renderMicros(session.start),
    event: {
      id: session.id,
      kind: 'event',
      category: ['network'],
      type: session.outcome === 'open' ? ['connection', 'start'] : ['connection', 'end'],
      dataset: 'weir.session',
      start: renderMicros(session.start),
      ...(session.end === undefined
        ? {}
        : { end: renderMicros(session.end), duration: Math.max(0, Math.round((session.end - session.start) * 1000)) }),
    },
    source: {
      ip: session.source.ip,
      port: session.source.port,
      ...(session.sourceMac ? { mac: session.sourceMac.replaceAll(':', '-').toUpperCase() } : {}),
      bytes: session.bytesIn,
    },
    destination: { ip: session.destination.ip, port: session.destination.port, bytes: session.bytesOut },
    network: {
      transport: session.transport,
      ...(session.protocol ? { protocol: session.protocol } : {}),
      type: session.source.ip.includes(':') ? 'ipv6' : 'ipv4',
    },
    ...(session.tls
      ? {
          tls: {
            version: session.tls.version,
            client: {
              ja3: session.tls.ja3,
              ja4: session.tls.ja4,
              ...(session.tls.serverName ? { server_name: session.tls.serverName } : {}),
            },
          },
        }
      : {}),
    ...(session.userName === undefined ? {} : { user: { name: session.userName } }),
    weir: {
      session: { id: session.id, outcome: session.outcome, source_reliable: session.sourceReliable },
      diversion: session.diversion,
      service: session.service,
      ...(session.persona ? { persona: session.persona } : {}),
      ...(session.agent ? { agent: session.agent } : {}),
      ...(session.password === undefined ? {} : { password: session.password }),
      ...(session.syn ? { syn: session.syn } : {}),
      payload: {
        ...(session.payloadHash ? { sha256: session.payloadHash } : {}),
        truncated: session.truncated,
        chunks: session.chunkCount,
        ...(session.preview?.length ? { preview: Buffer.from(session.preview).toString('base64') } : {}),
      },
      ...(session.tags?.length ? { tags: session.tags } : {}),
    },
  } as const;
  return document;
}

/** One direction's piece of a conversation; `bytes` is base64. */
export const chunkDocument = (chunk: Chunk): ChunkDocument => ({
  at: renderMicros(chunk.at),
  direction: chunk.direction,
  bytes: Buffer.from(chunk.bytes).toString('base64'),
});

export const storedSessionDocument = (stored: StoredSession): StoredSessionDocument => ({
  session: sessionDocument(stored.session),
  chunks: stored.chunks.map(chunkDocument),
});

export function probeDocument(probe: ProbeRecord): ProbeDocument {
  const [first] = probe.targets;
  let packets = probe.unlisted;
  for (const target of probe.targets) packets += target.count;
  const document = {
    '@timestamp': renderMicros(probe.start),
    event: {
      id: probe.id,
      kind: 'event',
      category: ['network'],
      type: ['connection', 'denied'],
      dataset: 'weir.probe',
      start: renderMicros(probe.start),
      end: renderMicros(probe.end),
    },
    source: { ip: probe.source, port: probe.sourcePort, packets },
    ...(first ? { destination: { ip: first.ip, port: first.port }, network: { transport: first.transport } } : {}),
    weir: {
      diversion: probe.diversion,
      probe: { packets, unlisted: probe.unlisted, targets: probe.targets, ...(probe.syn ? { syn: probe.syn } : {}) },
    },
  };
  return document;
}

const severityNumbers = { info: 10, low: 30, medium: 50, high: 80 } as const;

export const alertDocument = (alert: AlertRecord): AlertDocument => ({
  '@timestamp': renderMicros(alert.at),
  event: { id: alert.id, kind: 'alert', dataset: 'weir.alert', action: alert.name, severity: severityNumbers[alert.severity] },
  message: alert.message,
  weir: { alert: { name: alert.name, severity: alert.severity, details: alert.details } },
});

export const systemDocument = (system: SystemRecord): Document => ({
  '@timestamp': renderMicros(system.at),
  event: { id: system.id, kind: 'event', dataset: 'weir.system', action: system.name },
  message: system.message,
  weir: { system: { name: system.name, program: system.program, details: system.details } },
});
