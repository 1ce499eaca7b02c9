// Records as Elastic Common Schema documents, one JSON object a line. The only place that knows ECS names for sessions,
// probes, alerts, verdicts and system events: the API and `weir export jsonl` both render through here. Pure; no bytes, hashes only.

import { renderMicros } from '../../base/clock.ts';
import type { AlertRecord, ProbeRecord, SystemRecord, WeirEvent } from '../../model/event.ts';
import type { Place, SignatureHit, Verdict } from '../../model/insight.ts';
import { isFirstRecord, type SynDetails } from '../../model/session.ts';
import type { SessionMarks } from '../session-marks.ts';
import { payloadHashOf, summaryOf } from '../session-summary.ts';
import type { SessionSummary } from '../store.ts';
import { communityId } from './community-id.ts';

/** A nested ECS document. Fields without a value are absent. */
export type EcsDocument = Readonly<Record<string, unknown>>;

const networkType = (ip: string): 'ipv4' | 'ipv6' => (ip.includes(':') ? 'ipv6' : 'ipv4');
/** ECS durations are nanoseconds. */
const nanoseconds = (micros: number): number => Math.max(0, micros) * 1000;
const severities = { info: 0, low: 21, medium: 47, high: 73 } as const;

/** ECS writes MAC addresses in upper case with dashes (RFC 7042). */
const ecsMac = (mac: string | undefined): string | undefined => mac?.toUpperCase().replaceAll(':', '-');

function synFields(syn: SynDetails | undefined): EcsDocument | undefined {
  if (!syn) return undefined;
  const { ttl, ipId, doNotFragment, window, sequence, options, mss, windowScale, system } = syn;
  return { ttl, ip_id: ipId, do_not_fragment: doNotFragment, window, sequence, options, mss, window_scale: windowScale, system };
}

const unique = (values: Iterable<string>): string[] | undefined => {
  const all = [...new Set(values)];
  return all.length === 0 ? undefined : all;
};

/** `source` with where it is; absent parts are absent. */
export const placeFields = (place: Place | undefined): EcsDocument => ({
  geo: place?.country === undefined ? undefined : { country_iso_code: place.country },
  as:
    place?.asn === undefined
      ? undefined
      : { number: place.asn, organization: place.organization === undefined ? undefined : { name: place.organization } },
});

/** ATT&CK techniques and CVE identifiers, each once. */
export const threatFields = (techniques: readonly string[], cves: readonly string[]): EcsDocument => ({
  threat: unique(techniques) && { framework: 'MITRE ATT&CK', technique: { id: unique(techniques) } },
  vulnerability: unique(cves) && { id: unique(cves) },
});

export function renderSession(session: SessionSummary, { insight, place }: SessionMarks = {}): EcsDocument {
  const hits = insight?.signatures ?? [];
  const { source, destination, transport, outcome, start, end, tls } = session;
  const over = outcome !== 'open';
  return {
    '@timestamp': renderMicros(start),
    event: {
      id: session.id,
      kind: 'event',
      category: ['network', 'intrusion_detection'],
      type: over ? ['connection', 'end'] : ['connection', 'start'],
      dataset: 'weir.session',
      start: renderMicros(start),
      end: end === undefined ? undefined : renderMicros(end),
      duration: end === undefined ? undefined : nanoseconds(end - start),
    },
    source: { ip: source.ip, port: source.port, mac: ecsMac(session.sourceMac), bytes: session.bytesIn, ...placeFields(place) },
    destination: { ip: destination.ip, port: destination.port, bytes: session.bytesOut },
    network: {
      transport,
      protocol: session.protocol,
      type: networkType(source.ip),
      community_id: communityId(transport, source, destination),
      bytes: session.bytesIn + session.bytesOut,
    },
    tls: tls && {
      version: tls.version,
      client: { ja3: tls.ja3, ja4: tls.ja4, server_name: tls.serverName, supported_protocols: tls.alpn },
    },
    user: session.userName === undefined ? undefined : { name: session.userName },
    ...threatFields(
      hits.flatMap(({ techniques }) => techniques),
      hits.flatMap(({ cves }) => cves),
    ),
    rule: hits.length === 0 ? undefined : { id: hits.map(({ rule }) => rule), name: hits.map(({ name }) => name) },
    weir: {
      session: { id: session.id, outcome, source_reliable: session.sourceReliable, chunks: session.chunkCount },
      diversion: session.diversion,
      service: session.service,
      persona: session.persona,
      agent: session.agent,
      password: session.password,
      relay:
        session.connectMicros === undefined
          ? undefined
          : {
              connect: nanoseconds(session.connectMicros),
              first_byte: session.firstByteMicros === undefined ? undefined : nanoseconds(session.firstByteMicros),
            },
      payload: { sha256: session.payloadHash, truncated: session.truncated, family: insight?.family },
      syn: synFields(session.syn),
      tags: unique([...(session.tags ?? []), ...hits.flatMap(({ tags }) => tags)]),
      signatures: hits.length === 0 ? undefined : hits.map(signatureFields),
      facts: insight?.facts.length ? insight.facts : undefined,
    },
  };
}

const signatureFields = ({ rule, name, intention, severity, captures }: SignatureHit): EcsDocument => ({
  id: rule,
  name,
  intention,
  severity,
  captures: Object.keys(captures).length === 0 ? undefined : captures,
});

export function renderVerdict(verdict: Verdict, place?: Place): EcsDocument {
  const { behaviour, severity, confidence, hits, ports, hosts, credentials, tool, evidence, records } = verdict;
  const { destination, port, transport } = verdict;
  return {
    '@timestamp': renderMicros(verdict.start),
    event: {
      id: verdict.id,
      kind: 'alert',
      category: ['intrusion_detection'],
      type: ['info'],
      dataset: 'weir.verdict',
      action: behaviour,
      severity: severities[severity],
      start: renderMicros(verdict.start),
      end: renderMicros(verdict.end),
      duration: nanoseconds(verdict.end - verdict.start),
    },
    message: evidence[0],
    source: { ip: verdict.source, ...placeFields(place) },
    destination: destination === undefined && port === undefined ? undefined : { ip: destination, port },
    network: { type: networkType(verdict.source), transport },
    ...threatFields(verdict.techniques, verdict.cves),
    weir: {
      diversion: verdict.diversion,
      verdict: { behaviour, severity, confidence, hits, ports, hosts, credentials, tool, evidence, records },
    },
  };
}

export function renderProbe(probe: ProbeRecord): EcsDocument {
  const packets = probe.targets.reduce((sum, { count }) => sum + count, probe.unlisted);
  const [only] = probe.targets;
  const single = probe.targets.length === 1 && probe.unlisted === 0;
  return {
    '@timestamp': renderMicros(probe.start),
    event: {
      id: probe.id,
      kind: 'event',
      category: ['network', 'intrusion_detection'],
      type: ['connection', 'denied'],
      dataset: 'weir.probe',
      start: renderMicros(probe.start),
      end: renderMicros(probe.end),
      duration: nanoseconds(probe.end - probe.start),
    },
    source: { ip: probe.source, port: probe.sourcePort, mac: ecsMac(probe.sourceMac), packets },
    destination: single ? { ip: only.ip, port: only.port } : undefined,
    network: { type: networkType(probe.source), transport: single ? only.transport : undefined },
    weir: {
      diversion: probe.diversion,
      probe: { targets: probe.targets, unlisted: probe.unlisted },
      syn: synFields(probe.syn),
    },
  };
}

export function renderAlert(alert: AlertRecord): EcsDocument {
  return {
    '@timestamp': renderMicros(alert.at),
    event: {
      id: alert.id,
      kind: 'alert',
      category: ['intrusion_detection'],
      type: ['info'],
      dataset: 'weir.alert',
      action: alert.name,
      severity: severities[alert.severity],
    },
    message: alert.message,
    weir: { alert: { name: alert.name, severity: alert.severity, details: alert.details } },
  };
}

export function renderSystem(system: SystemRecord): EcsDocument {
  return {
    '@timestamp': renderMicros(system.at),
    event: { id: system.id, kind: 'event', category: ['process'], type: ['info'], dataset: 'weir.system', action: system.name },
    message: system.message,
    process: { name: system.program },
    weir: { system: { name: system.name, details: system.details } },
  };
}

/** A live event; a session record that is a session's only one gets its payload hash. */
export function renderEvent(event: WeirEvent): EcsDocument {
  switch (event.kind) {
    case 'session': {
      const { session } = event;
      const whole = session.outcome !== 'open' && isFirstRecord(session) ? payloadHashOf(session.chunks) : undefined;
      return renderSession({ ...summaryOf(session), ...(whole && { payloadHash: whole }) });
    }
    case 'probe':
      return renderProbe(event.probe);
    case 'alert':
      return renderAlert(event.alert);
    case 'system':
      return renderSystem(event.system);
  }
}

/** One line, newline included. */
export const renderLine = (document: EcsDocument): string => `${JSON.stringify(document)}\n`;
