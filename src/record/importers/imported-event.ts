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
const importedAlone: readonly string[] = [importedTag];
const maxTargets = 1024;
const oldest: Micros = Date.UTC(1990, 0, 1) * 1000;
const day = 86_400e6;

/** Whether a log's time can be one: since 1990, and not after tomorrow. */
export const isPlausible = (at: Micros, now: Micros): boolean => Number.isSafeInteger(at) && at >= oldest && at <= now + day;

const addressOf = (text: string): string | undefined => {
  if (!text.includes(':')) return parseIpv4Number(text) < 0 ? undefined : text;
  // The link of a link-local address (RFC 4007, 11.2) is the sensor's own name for it.
  const zone = text.indexOf('%');
  return text.length <= 64 ? normalAddressText(zone < 0 ? text : text.slice(0, zone), 6) : undefined;
};

function endpointOf({ ip, port }: Endpoint): Endpoint | undefined {
  const address = addressOf(ip);
  return address !== undefined && Number.isInteger(port) && port >= 0 && port <= 65_535 ? { ip: address, port } : undefined;
}

const count = (value: number | undefined, otherwise: number): number =>
  value !== undefined && Number.isSafeInteger(value) && value >= 0 ? value : otherwise;

const short = (text: string, length: number): string => (text.length > length ? text.slice(0, length) : text);

/** Why a record is refused for its time. */
export const implausibleTime = 'its time is before 1990 or after tomorrow';

/** The event, or why it is none. */
export function sessionEvent(format: string, session: ImportedSession, now: Micros): WeirEvent | string {
  const { start, transport } = session;
  if (!isPlausible(start, now)) return implausibleTime;
  const source = endpointOf(session.source);
  if (!source) return 'no valid source address';
  const destination = endpointOf(session.destination);
  if (!destination) return 'no valid destination address';
  const { chunks, bytesIn, bytesOut, cut } = cutChunks(session.chunks, start, now);
  const { end, tags, userName, password, agent, protocol, sourceMac } = session;
  // One by one: taking an object apart and spreading it again is most of the cost of a short line.
  const record: Writable<SessionRecord> = {
    id: derivedIdentifier(start, `${format}\0session\0${session.key}`),
    sequence: 0,
    start,
    outcome: session.outcome,
    end: end !== undefined && end >= start && isPlausible(end, now) ? end : start,
    transport,
    source,
    destination,
    sourceReliable: session.sourceReliable ?? transport === 'tcp',
    diversion: importDiversion,
    service: short(session.service ?? format, 64),
    bytesIn: count(session.bytesIn, bytesIn),
    bytesOut: count(session.bytesOut, bytesOut),
    firstChunk: 0,
    chunks,
    truncated: session.truncated === true || cut,
    tags: tags ? [...new Set([importedTag, ...tags.slice(0, maxTags).map((tag) => short(tag, 64))])] : importedAlone,
  };
  if (userName !== undefined) record.userName = short(userName, 1024);
  if (password !== undefined) record.password = short(password, 1024);
  if (agent !== undefined) record.agent = short(agent, 255);
  if (protocol !== undefined) record.protocol = short(protocol, 64);
  if (sourceMac !== undefined) record.sourceMac = short(sourceMac, 17);
  if (session.syn) record.syn = session.syn;
  if (session.tls) record.tls = session.tls;
  if (session.credentials) record.credentials = session.credentials;
  if (session.facts) record.facts = session.facts;
  if (session.connectMicros !== undefined) record.connectMicros = session.connectMicros;
  if (session.firstByteMicros !== undefined) record.firstByteMicros = session.firstByteMicros;
  return { kind: 'session', session: record };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Every optional finding has its line above: the compiler says when another is added to a session. */
type Told =
  | 'userName'
  | 'password'
  | 'agent'
  | 'protocol'
  | 'sourceMac'
  | 'syn'
  | 'tls'
  | 'credentials'
  | 'facts'
  | 'connectMicros'
  | 'firstByteMicros'
  | 'end'
  | 'tags';
type OptionalKeys<T> = { [K in keyof T]-?: undefined extends T[K] ? K : never }[keyof T];
type Untold = Exclude<
  OptionalKeys<ImportedSession>,
  Told | 'service' | 'sourceReliable' | 'bytesIn' | 'bytesOut' | 'truncated' | 'redirected'
>;
const nothingUntold: [Untold] extends [never] ? true : never = true;
void nothingUntold;

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
  const { start, end, key, targets: given } = probe;
  if (!isPlausible(start, now)) return implausibleTime;
  const source = endpointOf({ ip: probe.source, port: probe.sourcePort });
  if (!source) return 'no valid source address';
  const targets: ProbeRecord['targets'][number][] = [];
  let unlisted = 0;
  for (const target of given) {
    const at = endpointOf(target);
    if (!at) return 'no valid destination address';
    const { transport, kind, count: packets } = target;
    if (targets.length < maxTargets) targets.push({ ip: at.ip, port: at.port, transport, kind, count: packets });
    else unlisted += target.count;
  }
  if (targets.length === 0) return 'no valid destination address';
  const record: Writable<ProbeRecord> = {
    id: derivedIdentifier(start, `${format}\0probe\0${key}`),
    start,
    end: end >= start && isPlausible(end, now) ? end : start,
    source: source.ip,
    sourcePort: probe.sourcePort,
    diversion: importDiversion,
    targets,
    unlisted,
  };
  if (probe.sourceMac !== undefined) record.sourceMac = short(probe.sourceMac, 17);
  if (probe.syn) record.syn = probe.syn;
  return { kind: 'probe', probe: record };
}
