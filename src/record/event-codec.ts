// The compact binary form of one WeirEvent: the body of a journal record. Raw bytes stay raw, no base64.
// Framing, checksums and files are journal-format.ts; decoding treats every byte as hostile and returns undefined.

import type { Micros } from '../base/clock.ts';
import type { AlertRecord, ProbeKind, ProbeRecord, ProbeTarget, Severity, SystemRecord, WeirEvent } from '../model/event.ts';
import type { Chunk, SessionOutcome, SessionRecord, SynDetails, TlsDetails } from '../model/session.ts';
import { ByteReader, ByteWriter, DecodeError, textBound } from './byte-cursor.ts';
import { extrasBound, hasExtras, readExtras, writeExtras } from './findings-codec.ts';

/** First byte of a body. Values are part of the format: never reuse one. */
export const bodyKinds = { session: 0xa1, probe: 0xa2, alert: 0xa3, system: 0xa4 } as const;

/** A body longer than this is never written and never believed. */
export const maxBodyBytes = 4 * 1024 * 1024;
const maxDetailsLength = 64 * 1024;
const maxTags = 255;
const maxTargets = 8192;

// Positions in these lists are part of the format: append only.
const outcomes: readonly SessionOutcome[] = [
  'open',
  'client-closed',
  'client-reset',
  'server-closed',
  'idle',
  'time-limit',
  'byte-limit',
  'shed',
  'shutdown',
  'interrupted',
  'service-unreachable',
  'unknown',
];
const probeKinds: readonly ProbeKind[] = ['half-open', 'closed', 'filtered', 'dead', 'null', 'fin', 'xmas', 'ack', 'echo'];
const severities: readonly Severity[] = ['info', 'low', 'medium', 'high'];
const targetTransports: readonly ProbeTarget['transport'][] = ['tcp', 'udp', 'icmp'];

const outcomeCodes = new Map(outcomes.map((outcome, code) => [outcome, code]));
const probeKindCodes = new Map(probeKinds.map((kind, code) => [kind, code]));

function itemOf<T>(list: readonly T[], code: number): T {
  const item = list[code];
  if (item === undefined) throw new DecodeError('unknown code');
  return item;
}

const optionalBound = (text: string | undefined): number => (text === undefined ? 0 : textBound(text));

const synBound = (syn: SynDetails | undefined): number =>
  syn === undefined ? 0 : 48 + textBound(syn.options) + optionalBound(syn.system);

/** Bytes `encodeEvent` may write for it, at most. */
export function bodyBound(event: WeirEvent): number {
  if (event.kind === 'session') {
    const session = event.session;
    let bound =
      180 +
      textBound(session.id) +
      textBound(session.source.ip) +
      textBound(session.destination.ip) +
      textBound(session.diversion) +
      textBound(session.service) +
      optionalBound(session.persona) +
      optionalBound(session.agent) +
      optionalBound(session.sourceMac) +
      optionalBound(session.protocol) +
      optionalBound(session.userName) +
      optionalBound(session.password) +
      synBound(session.syn) +
      extrasBound(session);
    if (session.tls) {
      bound += textBound(session.tls.version) + optionalBound(session.tls.serverName) + textBound(session.tls.ja3);
      bound += textBound(session.tls.ja4) + 8;
      if (session.tls.alpn) for (const name of session.tls.alpn) bound += textBound(name);
    }
    if (session.tags) for (const tag of session.tags) bound += textBound(tag);
    for (const chunk of session.chunks) bound += 20 + chunk.bytes.length;
    return bound;
  }
  if (event.kind === 'probe') {
    const probe = event.probe;
    let bound = 96 + textBound(probe.id) + textBound(probe.source) + textBound(probe.diversion);
    bound += optionalBound(probe.sourceMac) + synBound(probe.syn);
    for (const target of probe.targets) bound += 24 + textBound(target.ip);
    return bound;
  }
  const record = event.kind === 'alert' ? event.alert : event.system;
  const program = event.kind === 'system' ? textBound(event.system.program) : 0;
  const details = 3 * detailsText(record.details).length;
  return 64 + textBound(record.id) + textBound(record.name) + textBound(record.message) + program + details;
}

const writer = new ByteWriter();

/**
 * Writes the body into `target` from `at` on and gives the end. `target` must have `bodyBound(event)` bytes of room.
 * `recordedAt` is when the record is made.
 */
export function encodeEvent(event: WeirEvent, recordedAt: Micros, target: Buffer, at: number): number {
  writer.buffer = target;
  writer.at = at;
  writer.u8(bodyKinds[event.kind]);
  writer.time(recordedAt);
  if (event.kind === 'session') writeSession(event.session);
  else if (event.kind === 'probe') writeProbe(event.probe);
  else if (event.kind === 'alert') writeAlert(event.alert);
  else writeSystem(event.system);
  return writer.at;
}

function writeSession(session: SessionRecord): void {
  writer.text(session.id);
  writer.varint(session.sequence);
  writer.u8(outcomeCodes.get(session.outcome) ?? 0);
  const { persona, agent, sourceMac, syn, protocol, tls, userName, password, tags, end, start } = session;
  const extras = hasExtras(session);
  writer.u16(
    (session.transport === 'udp' ? 1 : 0) |
      (session.sourceReliable ? 2 : 0) |
      (session.truncated ? 4 : 0) |
      (end === undefined ? 0 : 8) |
      (persona === undefined ? 0 : 16) |
      (agent === undefined ? 0 : 32) |
      (sourceMac === undefined ? 0 : 64) |
      (syn === undefined ? 0 : 128) |
      (protocol === undefined ? 0 : 256) |
      (tls === undefined ? 0 : 512) |
      (userName === undefined ? 0 : 1024) |
      (password === undefined ? 0 : 2048) |
      (tags === undefined ? 0 : 4096) |
      (session.connectMicros === undefined ? 0 : 8192) |
      (session.firstByteMicros === undefined ? 0 : 16_384) |
      (extras ? 32_768 : 0),
  );
  writer.time(start);
  if (end !== undefined) writer.signed(end - start);
  writer.address(session.source.ip);
  writer.u16(session.source.port);
  writer.address(session.destination.ip);
  writer.u16(session.destination.port);
  writer.varint(session.bytesIn);
  writer.varint(session.bytesOut);
  writer.text(session.diversion);
  writer.text(session.service);
  if (persona !== undefined) writer.text(persona);
  if (agent !== undefined) writer.text(agent);
  if (sourceMac !== undefined) writer.text(sourceMac);
  if (syn !== undefined) writeSyn(syn);
  if (protocol !== undefined) writer.text(protocol);
  if (tls !== undefined) writeTls(tls);
  if (userName !== undefined) writer.text(userName);
  if (password !== undefined) writer.text(password);
  if (tags !== undefined) writeTexts(tags);
  if (session.connectMicros !== undefined) writer.varint(wholeMicros(session.connectMicros));
  if (session.firstByteMicros !== undefined) writer.varint(wholeMicros(session.firstByteMicros));
  if (extras) writeExtras(writer, session);
  writer.varint(session.firstChunk);
  writeChunks(session.chunks, start);
}

const wholeMicros = (micros: number): number => Math.max(0, Math.round(micros));

function writeChunks(chunks: readonly Chunk[], start: Micros): void {
  writer.varint(chunks.length);
  let previous = start;
  for (const chunk of chunks) {
    writer.signed(chunk.at - previous);
    previous = chunk.at;
    writer.varint(chunk.bytes.length * 2 + (chunk.direction === 'out' ? 1 : 0));
    writer.bytes(chunk.bytes);
  }
}

function writeTexts(texts: readonly string[]): void {
  const count = Math.min(texts.length, maxTags);
  writer.u8(count);
  for (let index = 0; index < count; index += 1) writer.text(texts[index]);
}

function writeSyn(syn: SynDetails): void {
  writer.u8(
    (syn.doNotFragment ? 1 : 0) |
      (syn.mss === undefined ? 0 : 2) |
      (syn.windowScale === undefined ? 0 : 4) |
      (syn.system === undefined ? 0 : 8),
  );
  writer.varint(syn.ttl);
  writer.varint(syn.ipId);
  writer.varint(syn.window);
  writer.varint(syn.sequence);
  writer.text(syn.options);
  if (syn.mss !== undefined) writer.varint(syn.mss);
  if (syn.windowScale !== undefined) writer.varint(syn.windowScale);
  if (syn.system !== undefined) writer.text(syn.system);
}

function writeTls(tls: TlsDetails): void {
  writer.u8((tls.serverName === undefined ? 0 : 1) | (tls.alpn === undefined ? 0 : 2));
  writer.text(tls.version);
  writer.text(tls.ja3);
  writer.text(tls.ja4);
  if (tls.serverName !== undefined) writer.text(tls.serverName);
  if (tls.alpn !== undefined) writeTexts(tls.alpn);
}

function writeProbe(probe: ProbeRecord): void {
  writer.text(probe.id);
  writer.time(probe.start);
  writer.signed(probe.end - probe.start);
  writer.u8((probe.sourceMac === undefined ? 0 : 1) | (probe.syn === undefined ? 0 : 2));
  writer.address(probe.source);
  writer.u16(probe.sourcePort);
  writer.text(probe.diversion);
  if (probe.sourceMac !== undefined) writer.text(probe.sourceMac);
  if (probe.syn !== undefined) writeSyn(probe.syn);
  const listed = Math.min(probe.targets.length, maxTargets);
  let unlisted = probe.unlisted;
  for (let index = listed; index < probe.targets.length; index += 1) unlisted += probe.targets[index].count;
  writer.varint(unlisted);
  writer.varint(listed);
  for (let index = 0; index < listed; index += 1) {
    const target = probe.targets[index];
    writer.address(target.ip);
    writer.u16(target.port);
    writer.u8(targetTransports.indexOf(target.transport) * 16 + (probeKindCodes.get(target.kind) ?? 0));
    writer.varint(target.count);
  }
}

/** The last details rendered: a bound and an encoding of the same event follow each other. */
let rendered: { details: Readonly<Record<string, unknown>> | undefined; text: string } = { details: undefined, text: '' };

function detailsText(details: Readonly<Record<string, unknown>>): string {
  if (rendered.details !== details) rendered = { details, text: renderDetails(details) };
  return rendered.text;
}

function renderDetails(details: Readonly<Record<string, unknown>>): string {
  try {
    const text = JSON.stringify(details, (_, value) => (typeof value === 'bigint' ? value.toString() : value));
    if (text.length <= maxDetailsLength) return text;
  } catch {
    // A details object that is not plain data loses its details, never the event.
  }
  return '{"omitted":true}';
}

function writeDetails(details: Readonly<Record<string, unknown>>): void {
  const text = detailsText(details);
  rendered = { details: undefined, text: '' };
  writer.varint(Buffer.byteLength(text));
  writer.at += writer.buffer.write(text, writer.at);
}

function writeAlert(alert: AlertRecord): void {
  writer.text(alert.id);
  writer.time(alert.at);
  writer.text(alert.name);
  writer.u8(Math.max(0, severities.indexOf(alert.severity)));
  writer.text(alert.message);
  writeDetails(alert.details);
}

function writeSystem(system: SystemRecord): void {
  writer.text(system.id);
  writer.time(system.at);
  writer.text(system.name);
  writer.text(system.program);
  writer.text(system.message);
  writeDetails(system.details);
}

/**
 * The event and when it was recorded, or undefined when the bytes are not exactly one body. With `run`, a session also
 * says which writer's run holds it and when it was recorded.
 */
export function decodeEvent(
  buffer: Buffer,
  at = 0,
  end = buffer.length,
  run?: string,
): { event: WeirEvent; recordedAt: Micros } | undefined {
  const reader = new ByteReader(buffer, at, end);
  try {
    const kind = reader.u8();
    const recordedAt = reader.time();
    const event = readEvent(kind, reader);
    if (reader.at !== end) return undefined;
    if (run !== undefined && event.kind === 'session') {
      const session: Writable<SessionRecord> = event.session;
      session.writer = run;
      session.recordedAt = recordedAt;
    }
    return { event, recordedAt };
  } catch (error) {
    if (error instanceof DecodeError || error instanceof RangeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

function readEvent(kind: number, reader: ByteReader): WeirEvent {
  switch (kind) {
    case bodyKinds.session:
      return { kind: 'session', session: readSession(reader) };
    case bodyKinds.probe:
      return { kind: 'probe', probe: readProbe(reader) };
    case bodyKinds.alert:
      return { kind: 'alert', alert: readAlert(reader) };
    case bodyKinds.system:
      return { kind: 'system', system: readSystem(reader) };
    default:
      throw new DecodeError('unknown kind');
  }
}

function readSession(reader: ByteReader): SessionRecord {
  const id = reader.text();
  const sequence = reader.varint();
  const outcome = itemOf(outcomes, reader.u8());
  const flags = reader.u16();
  const start = reader.time();
  const end = flags & 8 ? start + reader.signed() : undefined;
  const session: Writable<SessionRecord> = {
    id,
    sequence,
    outcome,
    start,
    transport: flags & 1 ? 'udp' : 'tcp',
    source: { ip: reader.address(), port: reader.u16() },
    destination: { ip: reader.address(), port: reader.u16() },
    sourceReliable: (flags & 2) !== 0,
    truncated: (flags & 4) !== 0,
    bytesIn: reader.varint(),
    bytesOut: reader.varint(),
    diversion: reader.text(),
    service: reader.text(),
    firstChunk: 0,
    chunks: [],
  };
  if (end !== undefined) session.end = end;
  if (flags & 16) session.persona = reader.text();
  if (flags & 32) session.agent = reader.text();
  if (flags & 64) session.sourceMac = reader.text();
  if (flags & 128) session.syn = readSyn(reader);
  if (flags & 256) session.protocol = reader.text();
  if (flags & 512) session.tls = readTls(reader);
  if (flags & 1024) session.userName = reader.text();
  if (flags & 2048) session.password = reader.text();
  if (flags & 4096) session.tags = readTexts(reader);
  if (flags & 8192) session.connectMicros = reader.varint();
  if (flags & 16_384) session.firstByteMicros = reader.varint();
  if (flags & 32_768) Object.assign(session, readExtras(reader));
  session.firstChunk = reader.varint();
  session.chunks = readChunks(reader, start);
  return session;
}

function readChunks(reader: ByteReader, start: Micros): Chunk[] {
  const count = reader.varint();
  if (count > (reader.end - reader.at) / 2) throw new DecodeError('more chunks than bytes');
  const chunks: Chunk[] = [];
  let at = start;
  for (let index = 0; index < count; index += 1) {
    at += reader.signed();
    const packed = reader.varint();
    chunks.push({ at, direction: packed % 2 ? 'out' : 'in', bytes: reader.bytes(Math.floor(packed / 2)) });
  }
  return chunks;
}

function readTexts(reader: ByteReader): string[] {
  const count = reader.u8();
  const texts: string[] = [];
  for (let index = 0; index < count; index += 1) texts.push(reader.text());
  return texts;
}

function readSyn(reader: ByteReader): SynDetails {
  const flags = reader.u8();
  return {
    doNotFragment: (flags & 1) !== 0,
    ttl: reader.varint(),
    ipId: reader.varint(),
    window: reader.varint(),
    sequence: reader.varint(),
    options: reader.text(),
    ...(flags & 2 ? { mss: reader.varint() } : undefined),
    ...(flags & 4 ? { windowScale: reader.varint() } : undefined),
    ...(flags & 8 ? { system: reader.text() } : undefined),
  };
}

function readTls(reader: ByteReader): TlsDetails {
  const flags = reader.u8();
  return {
    version: reader.text(),
    ja3: reader.text(),
    ja4: reader.text(),
    ...(flags & 1 ? { serverName: reader.text() } : undefined),
    ...(flags & 2 ? { alpn: readTexts(reader) } : undefined),
  };
}

function readProbe(reader: ByteReader): ProbeRecord {
  const id = reader.text();
  const start = reader.time();
  const end = start + reader.signed();
  const flags = reader.u8();
  const source = reader.address();
  const sourcePort = reader.u16();
  const diversion = reader.text();
  const sourceMac = flags & 1 ? { sourceMac: reader.text() } : undefined;
  const syn = flags & 2 ? { syn: readSyn(reader) } : undefined;
  const unlisted = reader.varint();
  const count = reader.varint();
  if (count > maxTargets) throw new DecodeError('too many targets');
  const targets: ProbeTarget[] = [];
  for (let index = 0; index < count; index += 1) {
    const ip = reader.address();
    const port = reader.u16();
    const code = reader.u8();
    targets.push({
      ip,
      port,
      transport: itemOf(targetTransports, code >> 4),
      kind: itemOf(probeKinds, code & 15),
      count: reader.varint(),
    });
  }
  return { id, start, end, source, sourcePort, diversion, targets, unlisted, ...sourceMac, ...syn };
}

function readDetails(reader: ByteReader): Record<string, unknown> {
  const details: unknown = JSON.parse(reader.text());
  if (typeof details !== 'object' || details === null || Array.isArray(details)) throw new DecodeError('not an object');
  return details as Record<string, unknown>;
}

function readAlert(reader: ByteReader): AlertRecord {
  const id = reader.text();
  const at = reader.time();
  const name = reader.text();
  const severity = itemOf(severities, reader.u8());
  return { id, at, name, severity, message: reader.text(), details: readDetails(reader) };
}

function readSystem(reader: ByteReader): SystemRecord {
  const id = reader.text();
  const at = reader.time();
  const name = reader.text();
  const program = reader.text();
  return { id, at, name, program, message: reader.text(), details: readDetails(reader) };
}
