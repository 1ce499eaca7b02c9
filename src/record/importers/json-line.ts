// One line of JSON from a stranger: bounded in depth before the parser sees it, never a throw. And the readings of its
// values that every JSON format needs: what has another type is as good as absent.

import { parseMicros } from '../../base/clock.ts';
import { Rejection, rejected } from './importer.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** Logs of sensors have about five levels. */
const maxDepth = 32;
/** Brackets, commas and colons of a line, at most: each value costs far more memory than its text. */
const maxParts = 50_000;

/** Why a line is not parsed; undefined when it may be. */
function bomb(line: string): string | undefined {
  let depth = 0;
  let parts = 0;
  for (let at = 0; at < line.length; at += 1) {
    const code = line.charCodeAt(at);
    if (code === 34) {
      // To the string's end; a quote behind an odd number of backslashes is part of it.
      for (;;) {
        at = line.indexOf('"', at + 1);
        if (at < 0) return 'not JSON: a string does not end';
        let slashes = 0;
        while (line.charCodeAt(at - 1 - slashes) === 92) slashes += 1;
        if (slashes % 2 === 0) break;
      }
    } else if (code === 123 || code === 91) {
      depth += 1;
      parts += 1;
      if (depth > maxDepth) return `JSON deeper than ${maxDepth} levels`;
    } else if (code === 125 || code === 93) depth -= 1;
    else if (code === 44) parts += 1;
    if (parts > maxParts) return `JSON of more than ${maxParts} values`;
  }
  return undefined;
}

/** What a log's line is wrapped in by who keeps or forwards it, or the line's object itself. */
function unwrap(object: JsonObject): JsonObject | Rejection {
  // A dump of Elasticsearch: elasticdump, the scroll API.
  if ('_index' in object) return objectOf(object, '_source') ?? object;
  const text = wrapped(object);
  return text?.charCodeAt(0) === openBrace ? parseObject(text) : object;
}

/** The line that Docker, the journal or a forwarder (Filebeat, Fluentd, Logstash) keeps as a text. */
function wrapped(object: JsonObject): string | undefined {
  // None of these names is on a prototype, and `in` is what costs nothing on every line.
  if ('log' in object && 'stream' in object) return textOf(object, 'log');
  if ('__REALTIME_TIMESTAMP' in object) return textOf(object, 'MESSAGE');
  // An event of a sensor has its source beside its message, which the attacker may have a hand in.
  if (!('@timestamp' in object) || 'src_ip' in object || 'source-ip' in object) return undefined;
  return textOf(object, 'message') ?? textOf(objectOf(object, 'event') ?? {}, 'original');
}

const openBrace = 123;
/** Bytes a container runtime, syslog or the journal puts before a line, at most. */
const maxPrefix = 256;

/** Where the object begins: behind what was put before the line, if anything; -1 where there is none. */
export function jsonStart(line: string): number {
  if (line.charCodeAt(0) === openBrace) return 0;
  const at = line.indexOf('{');
  return at <= maxPrefix ? at : -1;
}

/** The line's object, or why there is none (`instanceof Rejection`). */
export function parseJsonLine(line: string): JsonObject | Rejection {
  const at = jsonStart(line);
  const object = parseObject(at > 0 ? line.slice(at) : line);
  return object instanceof Rejection ? object : unwrap(object);
}

function parseObject(text: string): JsonObject | Rejection {
  const reason = text.length < 64 ? undefined : bomb(text);
  if (reason !== undefined) return rejected(reason);
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : rejected('JSON, but not an object');
  } catch {
    return rejected('not JSON');
  }
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An own member: what hangs on a prototype is never meant. */
export const member = (object: JsonObject, name: string): unknown => (Object.hasOwn(object, name) ? object[name] : undefined);

export function textOf(object: JsonObject, name: string): string | undefined {
  const value = member(object, name);
  return typeof value === 'string' ? value : undefined;
}

/** A finite number, also where the log has it as text. */
export function numberOf(object: JsonObject, name: string): number | undefined {
  const value = member(object, name);
  if (typeof value === 'string' && value.length <= 32 && /^\s*[-+]?\d+(\.\d+)?(e[-+]?\d+)?\s*$/i.test(value))
    return Number(value);
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

export function portOf(object: JsonObject, name: string): number | undefined {
  const value = numberOf(object, name);
  return value !== undefined && Number.isInteger(value) && value >= 0 && value <= 65_535 ? value : undefined;
}

export function objectOf(object: JsonObject, name: string): JsonObject | undefined {
  const value = member(object, name);
  return isObject(value) ? value : undefined;
}

export function listOf(object: JsonObject, name: string): readonly unknown[] {
  const value = member(object, name);
  return Array.isArray(value) ? value : [];
}

/**
 * Microseconds of an ISO 8601 time: `2026-01-02T03:04:05.123456Z`, an offset with or without colon, a blank for the `T`, any
 * number of digits of fraction. Without a zone it is `zoneMinutes` east of UTC. NaN when it is none.
 */
export function parseLogTime(text: string, zoneMinutes: number): number {
  const match = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,12}))?\s?(Z|UTC|[+-]\d\d(?::?\d\d)?)?$/i.exec(text);
  if (!match) return Number.NaN;
  const [, day, time, fraction = '0', zone] = match;
  const at = parseMicros(`${day}T${time}.${fraction}Z`);
  if (zone === undefined) return at - zoneMinutes * 60e6;
  if (/^[zu]/i.test(zone)) return at;
  const digits = zone.slice(1).replace(':', '');
  const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2) || 0);
  return at - (zone.startsWith('-') ? -minutes : minutes) * 60e6;
}
