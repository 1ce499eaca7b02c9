// An importer's record as an event of ours: checked, normalised, cut to what a journal holds, with the identifier that the same
// line always gets. Pure.

import type { Micros } from '../../base/clock.ts';
import { normalAddressText, parseIpv4Number } from '../../model/address.ts';
import type { ProbeRecord, WeirEvent } from '../../model/event.ts';
import { derivedIdentifier } from '../../model/identifier.ts';
import type { Chunk, Endpoint, SessionRecord } from '../../model/session.ts';
import type { ImportedProbe, ImportedSession } from './importer.ts';

/** Diversion of everything imported, and a tag of every imported session. */
export const importDiversion = 'import';
export const importedTag = 'imported';

/** Bytes of one session that are kept; a record of the journal holds 4 MiB. */
const maxSessionBytes = 2 << 20;
const maxChunks = 100_000;
const maxTags = 64;
const maxTargets = 1024;
const oldest: Micros = Date.UTC(1990, 0, 1) * 1000;
const day = 86_400e6;

/** Whether a log's time can be one: since 1990, and not after tomorrow. */
export const isPlausible = (at: Micros, now: Micros): boolean => Number.isSafeInteger(at) && at >= oldest && at <= now + day;

const addressOf = (text: string): string | undefined => {
  if (!text.includes(':')) return parseIpv4Number(text) < 0 ? undefined : text;
  return text.length <= 64 ? normalAddressText(text, 6) : undefined;
};

function endpointOf({ ip, port }: Endpoint): Endpoint | undefined {
  const address = addressOf(ip);
  return address !== undefined && Number.isInteger(port) && port >= 0 && port <= 65_535 ? { ip: address, port } : undefined;
}

const count = (value: number | undefined, otherwise: number): number =>
  value !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : otherwise;

const short = (text: string, length: number): string => (text.length > length ? text.slice(0, length) : text);

/** The event, or why it is none. */
export function sessionEvent(format: string, session: ImportedSession, now: Micros): WeirEvent | string {
  const { place: _place, key, redirected: _redirected, service, sourceReliable, chunks: given, ...facts } = session;
  if (!isPlausible(facts.start, now)) return 'its time is before 1990 or after tomorrow';
  const source = endpointOf(facts.source);
  if (!source) return 'no valid source address';
  const destination = endpointOf(facts.destination);
  if (!destination) return 'no valid destination address';
  const { chunks, bytesIn, bytesOut, cut } = cutChunks(given, facts.start, now);
  const { end, tags, userName, password, agent, protocol, sourceMac } = facts;
  const record: SessionRecord = {
    ...facts,
    id: derivedIdentifier(facts.start, `${format}\0session\0${key}`),
    sequence: 0,
    firstChunk: 0,
    source,
    destination,
    diversion: importDiversion,
    service: short(service ?? format, 64),
    sourceReliable: sourceReliable ?? facts.transport === 'tcp',
    bytesIn: count(facts.bytesIn, bytesIn),
    bytesOut: count(facts.bytesOut, bytesOut),
    truncated: facts.truncated === true || cut,
    chunks,
    tags: [...new Set([importedTag, ...(tags ?? []).slice(0, maxTags).map((tag) => short(tag, 64))])],
    end: end !== undefined && end >= facts.start && isPlausible(end, now) ? end : facts.start,
    ...(userName !== undefined && { userName: short(userName, 1024) }),
    ...(password !== undefined && { password: short(password, 1024) }),
    ...(agent !== undefined && { agent: short(agent, 255) }),
    ...(protocol !== undefined && { protocol: short(protocol, 64) }),
    ...(sourceMac !== undefined && { sourceMac: short(sourceMac, 17) }),
  };
  return { kind: 'session', session: record };
}

function cutChunks(
  given: readonly Chunk[],
  start: Micros,
  now: Micros,
): { chunks: readonly Chunk[]; bytesIn: number; bytesOut: number; cut: boolean } {
  const chunks: Chunk[] = [];
  let bytesIn = 0;
  let bytesOut = 0;
  let kept = 0;
  let cut = false;
  for (const { at, direction, bytes } of given) {
    if (direction === 'in') bytesIn += bytes.length;
    else bytesOut += bytes.length;
    const room = chunks.length >= maxChunks ? 0 : maxSessionBytes - kept;
    if (bytes.length > room) cut = true;
    if (bytes.length === 0 || room <= 0) continue;
    kept += Math.min(room, bytes.length);
    chunks.push({
      at: isPlausible(at, now) ? at : start,
      direction,
      bytes: bytes.length > room ? bytes.subarray(0, room) : bytes,
    });
  }
  return { chunks, bytesIn, bytesOut, cut };
}

export function probeEvent(format: string, probe: ImportedProbe, now: Micros): WeirEvent | string {
  const { place: _place, key, targets: given, ...facts } = probe;
  if (!isPlausible(facts.start, now)) return 'its time is before 1990 or after tomorrow';
  const source = endpointOf({ ip: facts.source, port: facts.sourcePort });
  if (!source) return 'no valid source address';
  const targets: ProbeRecord['targets'][number][] = [];
  let unlisted = 0;
  for (const target of given) {
    const at = endpointOf(target);
    if (!at) return 'no valid destination address';
    if (targets.length < maxTargets) targets.push({ ...target, ...at });
    else unlisted += target.count;
  }
  if (targets.length === 0) return 'no valid destination address';
  const record: ProbeRecord = {
    ...facts,
    id: derivedIdentifier(facts.start, `${format}\0probe\0${key}`),
    diversion: importDiversion,
    source: source.ip,
    end: facts.end >= facts.start && isPlausible(facts.end, now) ? facts.end : facts.start,
    targets,
    unlisted,
  };
  return { kind: 'probe', probe: record };
}
