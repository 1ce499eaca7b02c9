// Whether a session, a probe or an alert that just came passes a Filter, without asking the store. Pure.
// Same meaning as the store's own selection (record/store.ts); used by the live stream.

import { type AddressRange, parseAddress, rangeHolds } from '../model/address.ts';
import type { ProbeRecord } from '../model/event.ts';
import { hasPort } from '../model/port-set.ts';
import type { Filter, SessionSummary } from '../record/store.ts';

function inRanges(ranges: readonly AddressRange[] | undefined, ip: string): boolean {
  if (!ranges) return true;
  const address = parseAddress(ip);
  return address !== undefined && ranges.some((range) => rangeHolds(range, address));
}

const inTime = (filter: Filter, at: number): boolean =>
  (filter.since === undefined || at >= filter.since) && (filter.until === undefined || at < filter.until);

export function sessionMatches(filter: Filter, session: SessionSummary): boolean {
  return (
    inTime(filter, session.start) &&
    (!filter.ports || hasPort(filter.ports, session.destination.port)) &&
    (!filter.transport || session.transport === filter.transport) &&
    (!filter.protocol || session.protocol === filter.protocol) &&
    (!filter.diversion || session.diversion === filter.diversion) &&
    (!filter.service || session.service === filter.service) &&
    inRanges(filter.sources, session.source.ip) &&
    inRanges(filter.destinations, session.destination.ip)
  );
}

/** A probe matches when its source does and any of its targets does. Probes have no protocol and no service. */
export function probeMatches(filter: Filter, probe: ProbeRecord): boolean {
  if (filter.protocol || filter.service) return false;
  if (!inTime(filter, probe.start) || (filter.diversion && probe.diversion !== filter.diversion)) return false;
  if (!inRanges(filter.sources, probe.source)) return false;
  if (!filter.ports && !filter.transport && !filter.destinations) return true;
  return probe.targets.some(
    (target) =>
      (!filter.ports || hasPort(filter.ports, target.port)) &&
      (!filter.transport || target.transport === filter.transport) &&
      inRanges(filter.destinations, target.ip),
  );
}
