// A Filter as people and URLs write it: `since=15m`, `source=10.0.0.0/8`, `port=22,8000-8100`. Pure, both ways.
// One text form for the API's queries and the command's options; what a Filter selects is store.ts.

import { type Micros, parseMicros, renderMicros } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { type AddressRange, parseRange, renderRange } from '../model/address.ts';
import { identifierTime } from '../model/identifier.ts';
import { parsePorts, renderPorts } from '../model/port-set.ts';
import { parseBehaviours } from './behaviour-names.ts';
import type { Filter, SessionFilter } from './store.ts';

/** The parameters a filter is written with; everything else in a query is someone else's. */
export const filterKeys = [
  'since',
  'until',
  'source',
  'destination',
  'port',
  'transport',
  'protocol',
  'diversion',
  'service',
  'limit',
  'before',
] as const;

export type FilterKey = (typeof filterKeys)[number];
/** The parameters that select sessions by what analysis found in them. */
export const findingKeys = ['signature', 'tag', 'family', 'country', 'behaviour'] as const;
export type FindingText = Partial<Record<(typeof findingKeys)[number], string>>;

export type FilterText = Partial<Record<FilterKey, string>>;

/** The most rows one request gives. */
export const maxRows = 10_000;

const unitsInSeconds: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

const mistake = (key: string, value: string, hint: string): WeirError =>
  new WeirError('bad-request', `${key}: '${printable(value, 80)}' ${hint}`, { parameter: key });

/**
 * `90s`, `15m`, `1h`, `2d`, `1w` before `now`; a date `2026-01-31` (UTC midnight); ISO 8601 with or without a zone (none
 * is UTC); or `now`. Undefined when it is none of these.
 */
export function parseTime(text: string, now: Micros): Micros | undefined {
  const trimmed = text.trim();
  if (trimmed === 'now') return now;
  const ago = /^(\d{1,9})\s*([smhdw])$/.exec(trimmed);
  if (ago) return now - Number(ago[1]) * unitsInSeconds[ago[2]] * 1e6;
  const iso = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/.exec(trimmed);
  if (!iso) return undefined;
  const at = parseMicros(`${iso[1]}T${iso[2] ?? '00:00'}${iso[3] ?? ':00'}${iso[4] ?? 'Z'}`);
  return Number.isNaN(at) ? undefined : at;
}

function parseRanges(key: string, value: string): AddressRange[] {
  return value.split(',').map((part) => {
    const range = parseRange(part);
    if (!range) throw mistake(key, part, 'is not an address, a CIDR block or a range such as 10.0.0.1-10.0.0.9');
    return range;
  });
}

function parseName(key: string, value: string): string {
  if (!/^[\w.+-]{1,64}$/.test(value)) throw mistake(key, value, 'is not a name');
  return value;
}

function parseMoment(key: string, value: string, now: Micros): Micros {
  const at = parseTime(value, now);
  if (at === undefined) throw mistake(key, value, 'is not a time: write 15m, 1h, 2d, 2026-01-31 or 2026-01-31T12:00:00Z');
  return at;
}

/** Throws `bad-request` naming the parameter and what would be right. Empty values count as absent. */
export function parseFilter(text: FilterText, now: Micros, defaultLimit = 50): Filter {
  const given = (key: FilterKey): string | undefined => (text[key] === undefined || text[key] === '' ? undefined : text[key]);
  const filter: { -readonly [Key in keyof Filter]: Filter[Key] } = { limit: defaultLimit };
  const limit = given('limit');
  if (limit !== undefined) {
    filter.limit = /^\d{1,6}$/.test(limit) ? Number(limit) : 0;
    if (filter.limit < 1 || filter.limit > maxRows) throw mistake('limit', limit, `is not a number from 1 to ${maxRows}`);
  }
  const since = given('since');
  if (since !== undefined) filter.since = parseMoment('since', since, now);
  const until = given('until');
  if (until !== undefined) filter.until = parseMoment('until', until, now);
  if (filter.since !== undefined && filter.until !== undefined && filter.since >= filter.until)
    throw mistake('until', until ?? '', 'is not later than since');
  const source = given('source');
  if (source !== undefined) filter.sources = parseRanges('source', source);
  const destination = given('destination');
  if (destination !== undefined) filter.destinations = parseRanges('destination', destination);
  const transport = given('transport')?.toLowerCase();
  if (transport !== undefined) {
    if (transport !== 'tcp' && transport !== 'udp') throw mistake('transport', transport, 'is neither tcp nor udp');
    filter.transport = transport;
  }
  const port = given('port');
  if (port !== undefined) {
    const [, digits, suffix] = /^(.*?)(?:\/(tcp|udp))?$/i.exec(port) ?? [];
    const ports = parsePorts(digits ?? '');
    if (!ports) throw mistake('port', port, 'is not a port: write 22, 53/udp, 8000-8100 or 80,443');
    filter.ports = ports;
    if (suffix) {
      const named = suffix.toLowerCase() as 'tcp' | 'udp';
      if (filter.transport && filter.transport !== named)
        throw mistake('port', port, `contradicts transport ${filter.transport}`);
      filter.transport = named;
    }
  }
  const protocol = given('protocol');
  if (protocol !== undefined) filter.protocol = parseName('protocol', protocol).toLowerCase();
  const diversion = given('diversion');
  if (diversion !== undefined) filter.diversion = parseName('diversion', diversion);
  const service = given('service');
  if (service !== undefined) filter.service = parseName('service', service);
  const before = given('before');
  if (before !== undefined) {
    if (Number.isNaN(identifierTime(before))) throw mistake('before', before, 'is not an identifier');
    filter.before = before;
  }
  return filter;
}

/** Throws `bad-request` naming the parameter. Empty values count as absent. */
export function parseFindings(text: FindingText): Omit<SessionFilter, keyof Filter> {
  const read = (key: keyof FindingText, form: RegExp, hint: string): string | undefined => {
    const value = text[key];
    if (value === undefined || value === '') return undefined;
    if (!form.test(value)) throw mistake(key, value, hint);
    return value;
  };
  const country = read('country', /^[a-z]{2}$/i, 'is not a country: write its two letters, such as NL')?.toUpperCase();
  const signature = read('signature', /^[\w.-]{1,100}$/, "is not a rule's name");
  const tag = read('tag', /^[\w.:+-]{1,100}$/, 'is not a tag');
  const family = read('family', /^[0-9a-f]{16}$/, 'is not a payload family: `weir top payloads` lists them');
  return {
    ...(country !== undefined && { country }),
    ...(signature !== undefined && { signature }),
    ...(tag !== undefined && { tag }),
    ...(family !== undefined && { family }),
    ...parseBehaviours(text.behaviour),
  };
}

/** The inverse of parseFilter: times become absolute, so a page link keeps its meaning. */
export function renderFilter(filter: Filter): FilterText {
  const text: FilterText = { limit: String(filter.limit) };
  if (filter.since !== undefined) text.since = renderMicros(filter.since);
  if (filter.until !== undefined) text.until = renderMicros(filter.until);
  if (filter.sources) text.source = filter.sources.map(renderRange).join(',');
  if (filter.destinations) text.destination = filter.destinations.map(renderRange).join(',');
  if (filter.ports) text.port = renderPorts(filter.ports);
  if (filter.transport) text.transport = filter.transport;
  if (filter.protocol) text.protocol = filter.protocol;
  if (filter.diversion) text.diversion = filter.diversion;
  if (filter.service) text.service = filter.service;
  if (filter.before) text.before = filter.before;
  return text;
}
