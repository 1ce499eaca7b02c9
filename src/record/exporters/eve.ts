// Sessions as Suricata's EVE log has them: a `flow` line each, an `alert` line for each signature that matched. Flat field
// names (`src_ip`, `dest_port`), which is what many honeypots' collections are normalised to. Pure.

import { createHash } from 'node:crypto';
import { type Micros, renderMicros } from '../../base/clock.ts';
import type { Severity } from '../../model/event.ts';
import type { SessionInsight } from '../../model/insight.ts';
import type { SessionSummary } from '../store.ts';
import { communityId } from './community-id.ts';

/** EVE counts down: 1 is the worst. */
const severities: Readonly<Record<Severity, number>> = { high: 1, medium: 2, low: 3, info: 4 };

/** As EVE writes it: a zone instead of Z. */
const time = (at: Micros): string => renderMicros(at).replace('Z', '+0000');

/** Our rules have names, EVE's numbers: the same name is the same number, in the range left to everybody's own rules. */
const signatureNumber = (rule: string): number =>
  1_000_000 + (createHash('sha256').update(rule).digest().readUInt32BE(0) % 999_999);

/** EVE's flow identifier is a number that JSON keeps exactly. */
const flowNumber = (id: string): number => createHash('sha256').update(id).digest().readUIntBE(0, 6);

/** Lines, newline included. */
export function renderEve(session: SessionSummary, insight: SessionInsight | undefined): string {
  const { source, destination, transport, protocol, tls, start, end } = session;
  const flow = {
    src_ip: source.ip,
    src_port: source.port,
    dest_ip: destination.ip,
    dest_port: destination.port,
    proto: transport.toUpperCase(),
    app_proto: protocol ?? 'unknown',
    flow_id: flowNumber(session.id),
    community_id: communityId(transport, source, destination),
  };
  const sums = { bytes_toserver: session.bytesIn, bytes_toclient: session.bytesOut };
  const weir = {
    session: session.id,
    diversion: session.diversion,
    service: session.service,
    persona: session.persona,
    agent: session.agent,
  };
  const lines: Record<string, unknown>[] = [
    {
      timestamp: time(end ?? start),
      event_type: 'flow',
      ...flow,
      flow: {
        ...sums,
        start: time(start),
        end: end === undefined ? undefined : time(end),
        age: end === undefined ? undefined : Math.round((end - start) / 1e6),
        state: end === undefined ? 'established' : 'closed',
        reason: session.outcome,
        alerted: (insight?.signatures.length ?? 0) > 0,
      },
      tls: tls && { sni: tls.serverName, version: tls.version, ja3: { hash: tls.ja3 }, ja4: tls.ja4 },
      weir,
    },
  ];
  for (const { rule, name, intention, severity, cves, techniques, tags } of insight?.signatures ?? [])
    lines.push({
      timestamp: time(start),
      event_type: 'alert',
      ...flow,
      alert: {
        action: 'allowed',
        gid: 1,
        signature_id: signatureNumber(rule),
        rev: 1,
        signature: `WEIR ${name}`,
        category: intention,
        severity: severities[severity],
        metadata: { rule: [rule], cve: cves, mitre_technique_id: techniques, tag: tags },
      },
      weir,
    });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
