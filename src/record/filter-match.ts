// Whether a record in memory passes a Filter. The same rules as SQL in duckdb-query.ts: the contract test holds them
// together. Pure.

import { type Address, type AddressRange, parseAddress, rangeHolds } from '../model/address.ts';
import type { ProbeRecord, ProbeTarget } from '../model/event.ts';
import type { Place, SessionInsight, Verdict } from '../model/insight.ts';
import { hasPort } from '../model/port-set.ts';
import type { VerdictFilter } from './analysis-store.ts';
import type { Filter, SessionFilter, SessionSummary } from './store.ts';

/** The address of a record; a zone identifier does not count. */
export function recordedAddress(ip: string): Address | undefined {
  const zone = ip.indexOf('%');
  return parseAddress(zone < 0 ? ip : ip.slice(0, zone));
}

function heldBy(ranges: readonly AddressRange[] | undefined, ip: string): boolean {
  if (!ranges) return true;
  const address = recordedAddress(ip);
  return address !== undefined && ranges.some((range) => rangeHolds(range, address));
}

export const matchesTime = (filter: Filter, id: string, at: number): boolean =>
  (filter.since === undefined || at >= filter.since) &&
  (filter.until === undefined || at < filter.until) &&
  (filter.before === undefined || id < filter.before);

export function matchesSession(filter: Filter, session: SessionSummary): boolean {
  return (
    matchesTime(filter, session.id, session.start) &&
    (filter.transport === undefined || session.transport === filter.transport) &&
    (filter.protocol === undefined || session.protocol === filter.protocol) &&
    (filter.diversion === undefined || session.diversion === filter.diversion) &&
    (filter.service === undefined || session.service === filter.service) &&
    (filter.ports === undefined || hasPort(filter.ports, session.destination.port)) &&
    heldBy(filter.sources, session.source.ip) &&
    heldBy(filter.destinations, session.destination.ip)
  );
}

/** Whether what analysis found in a session passes too. */
export function matchesFindings(
  { signature, tag, family, country }: SessionFilter,
  session: Pick<SessionSummary, 'tags'>,
  insight: SessionInsight | undefined,
  place: Place | undefined,
): boolean {
  const hits = insight?.signatures ?? [];
  return (
    (signature === undefined || hits.some(({ rule }) => rule === signature)) &&
    (tag === undefined || session.tags?.includes(tag) === true || hits.some(({ tags }) => tags.includes(tag))) &&
    (family === undefined || insight?.family === family) &&
    (country === undefined || place?.country === country)
  );
}

/** Whether the session lies within what the verdict is about. */
export const isAbout = (verdict: Verdict, session: SessionSummary): boolean =>
  verdict.source === session.source.ip &&
  verdict.start <= (session.end ?? session.start) &&
  verdict.end >= session.start &&
  (verdict.destination === undefined || verdict.destination === session.destination.ip) &&
  (verdict.port === undefined || verdict.port === session.destination.port) &&
  (verdict.transport === undefined || verdict.transport === session.transport);

const asksForTarget = (filter: Filter): boolean =>
  filter.transport !== undefined || filter.ports !== undefined || filter.destinations !== undefined;

export function matchesTarget(filter: Filter, target: ProbeTarget): boolean {
  return (
    (filter.transport === undefined || target.transport === filter.transport) &&
    (filter.ports === undefined || hasPort(filter.ports, target.port)) &&
    heldBy(filter.destinations, target.ip)
  );
}

export function matchesProbe(filter: Filter, probe: ProbeRecord): boolean {
  return (
    filter.protocol === undefined &&
    filter.service === undefined &&
    matchesTime(filter, probe.id, probe.start) &&
    (filter.diversion === undefined || probe.diversion === filter.diversion) &&
    heldBy(filter.sources, probe.source) &&
    (!asksForTarget(filter) || probe.targets.some((target) => matchesTarget(filter, target)))
  );
}

/** Packets of a probe that pass: all of it, or those to the targets asked for. */
export function matchingPackets(filter: Filter, probe: ProbeRecord): number {
  let packets = asksForTarget(filter) ? 0 : probe.unlisted;
  for (const target of probe.targets) if (matchesTarget(filter, target)) packets += target.count;
  return packets;
}

export function matchesVerdict(filter: VerdictFilter, verdict: Verdict): boolean {
  const { destination, port } = verdict;
  return (
    filter.protocol === undefined &&
    filter.service === undefined &&
    matchesTime(filter, verdict.id, verdict.start) &&
    (filter.transport === undefined || verdict.transport === filter.transport) &&
    (filter.diversion === undefined || verdict.diversion === filter.diversion) &&
    (filter.ports === undefined || (port !== undefined && hasPort(filter.ports, port))) &&
    (filter.destinations === undefined || (destination !== undefined && heldBy(filter.destinations, destination))) &&
    heldBy(filter.sources, verdict.source) &&
    (filter.behaviours === undefined || filter.behaviours.includes(verdict.behaviour))
  );
}

/** Whether a source passes the part of the filter that is about sources. */
export const matchesSource = (filter: Filter, source: string): boolean => heldBy(filter.sources, source);

/** Stores keep no insight that says nothing. */
export const hasFindings = ({ signatures, facts, family }: SessionInsight): boolean =>
  signatures.length > 0 || facts.length > 0 || family !== undefined;
