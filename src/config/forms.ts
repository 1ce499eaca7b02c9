// The written forms of single values (sizes, durations, shares, addresses, ports, names, MACs): text in, value or a
// message with its next step out. Which key takes which form is schema.ts.

import { z } from 'zod';
import { type AddressRange, parseRange, rangesOverlap, renderRange } from '../model/address.ts';
import { type PortSet, parsePorts, unitePorts } from '../model/port-set.ts';

/** What a reader returns instead of a value. `path` leads from the value to the part that is wrong. */
export class Wrong {
  readonly mistake: string;
  readonly next: string;
  readonly path: readonly PropertyKey[];

  constructor(mistake: string, next: string, path: readonly PropertyKey[] = []) {
    this.mistake = mistake;
    this.next = next;
    this.path = path;
  }
}

/** Any value as a reader may quote it: one line, short. */
export function quoted(value: unknown): string {
  if (value === null) return 'nothing';
  const text = typeof value === 'string' ? value : written(value);
  return `\`${text.length > 60 ? `${text.slice(0, 60)}…` : text}\``;
}

/** YAML's aliases can make a value that holds itself. */
function written(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Array.isArray(value) ? '[…]' : '{…}';
  }
}

/** A zod schema from a reader; issues carry the next step in `params.next`. An absent key reaches the reader as undefined. */
export const form = <T>(read: (value: unknown) => T | Wrong): z.ZodType<T> =>
  z.unknown().transform((value, context) => {
    const result = value === undefined ? new Wrong('a required key is missing', 'add it') : read(value);
    if (!(result instanceof Wrong)) return result;
    context.issues.push({
      code: 'custom',
      message: result.mistake,
      input: value,
      path: [...result.path],
      params: { next: result.next },
    });
    return z.NEVER;
  }) as unknown as z.ZodType<T>;

export const wholeNumber = (least: number, most: number) =>
  form((value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
      ? value
      : new Wrong(`${quoted(value)} is not a whole number from ${least} to ${most}`, 'write such a number'),
  );

export const truth = form((value) =>
  typeof value === 'boolean' ? value : new Wrong(`${quoted(value)} is neither true nor false`, 'write true or false'),
);

export const text = (maxLength: number) =>
  form((value) =>
    typeof value === 'string' && value.length > 0 && value.length <= maxLength
      ? value
      : new Wrong(
          `${quoted(value)} is not a text of 1 to ${maxLength} characters`,
          'write the text, in quotes if it looks like a number',
        ),
  );

const namePattern = /^[a-z0-9-]{1,32}$/;

export const name = form((value) =>
  typeof value === 'string' && namePattern.test(value)
    ? value
    : new Wrong(`${quoted(value)} is not a name`, 'use 1 to 32 of the characters a-z, 0-9 and -'),
);

export const interfaceName = form((value) =>
  typeof value === 'string' && /^[^\s/:]{1,15}$/.test(value) && value !== '.' && value !== '..'
    ? value
    : new Wrong(`${quoted(value)} is not an interface`, 'write a name as `ip link` shows it, such as eth0'),
);

const sizeUnits: Record<string, number> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** `20GiB`, `500MB`, `1.5TiB`; bytes. A bare number is refused: it hides its unit. */
export function parseSize(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([kKMGT]?i?B)$/.exec(value);
  const factor = match ? sizeUnits[match[2].replace(/^k/, 'K')] : undefined;
  if (!match || factor === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * factor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

export function renderSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB'])
    if (bytes >= sizeUnits[unit] && bytes % sizeUnits[unit] === 0) return `${bytes / sizeUnits[unit]}${unit}`;
  return `${bytes}B`;
}

export const size = (least: number, most: number) =>
  form((value) => {
    const bytes = typeof value === 'string' ? parseSize(value) : undefined;
    if (bytes === undefined)
      return new Wrong(`${quoted(value)} is not a size`, 'write a number with its unit, such as 512MiB or 20GiB');
    return bytes >= least && bytes <= most
      ? bytes
      : new Wrong(`${quoted(value)} is out of range`, `write a size from ${renderSize(least)} to ${renderSize(most)}`);
  });

const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `500ms`, `60s`, `5m`, `2h`, `1d`; milliseconds. */
export function parseDuration(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?(ms|s|m|h|d)$/.exec(value);
  return match ? Math.round(Number(match[1]) * durationUnits[match[2]]) : undefined;
}

export function renderDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'])
    if (ms >= durationUnits[unit] && ms % durationUnits[unit] === 0) return `${ms / durationUnits[unit]}${unit}`;
  return `${ms}ms`;
}

export const duration = (least: number, most: number) =>
  form((value) => {
    const ms = typeof value === 'string' ? parseDuration(value) : undefined;
    if (ms === undefined)
      return new Wrong(`${quoted(value)} is not a duration`, 'write a number with its unit, such as 500ms, 60s, 5m or 2h');
    return ms >= least && ms <= most
      ? ms
      : new Wrong(
          `${quoted(value)} is out of range`,
          `write a duration from ${renderDuration(least)} to ${renderDuration(most)}`,
        );
  });

/** `40%` or 40, in units of 1/10,000: 4000. */
export function readShare(value: unknown): number | Wrong {
  const match =
    typeof value === 'number' ? [`${value}`, `${value}`] : /^(\d+(?:\.\d+)?) ?%$/.exec(typeof value === 'string' ? value : '');
  const percent = match ? Number(match[1]) : Number.NaN;
  if (!(percent >= 0 && percent <= 100))
    return new Wrong(`${quoted(value)} is not a share`, 'write a percentage from 0.01% to 100%');
  const units = Math.round(percent * 100);
  return units >= 1
    ? units
    : new Wrong(`${quoted(value)} is less than the smallest share`, 'write 0.01% or more, or leave it out');
}

export const share = form(readShare);

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

const unusable: { range: AddressRange; why: string }[] = [
  ['0.0.0.0/8', 'means "this network"'],
  ['127.0.0.0/8', 'is loopback'],
  ['224.0.0.0/4', 'is multicast'],
  ['240.0.0.0/4', 'is reserved or broadcast'],
  ['::/127', 'is unspecified or loopback'],
  ['fe80::/10', 'is link-local'],
  ['ff00::/8', 'is multicast'],
].map(([range, why]) => ({ range: parseRange(range) as AddressRange, why }));

/** `127.0.0.0/8 is loopback` when a range holds addresses that no host has. */
export function whyUnusable(range: AddressRange): string | undefined {
  const bad = unusable.find((one) => rangesOverlap(one.range, range));
  return bad && `${renderRange(bad.range)} ${bad.why}`;
}

export function readRange(value: unknown): AddressRange | Wrong {
  const range = typeof value === 'string' ? parseRange(value) : undefined;
  if (range) return range;
  const next = 'write an address, a block such as 10.66.0.0/17, or a range such as 10.66.0.10-10.66.0.20';
  if (typeof value === 'string') {
    const ends = value.split('-');
    if (ends.length === 2) {
      const [from, to] = ends.map((end) => parseRange(end));
      if (from && to && from.family !== to.family)
        return new Wrong(`the range ${quoted(value)} mixes IPv4 and IPv6`, 'give each family its own range');
      if (from && to && from.first > to.first)
        return new Wrong(`the range ${quoted(value)} runs backwards`, `write ${ends[1].trim()}-${ends[0].trim()}`);
    }
    const slash = /^(.*)\/(\d+)$/.exec(value);
    const base = slash && parseRange(slash[1]);
    if (base)
      return new Wrong(`${quoted(value)} has no such prefix length`, `write a length from 0 to ${base.family === 4 ? 32 : 128}`);
  }
  return new Wrong(`${quoted(value)} is not an address, a block or a range`, next);
}

/** Addresses that a decoy can have: no loopback, multicast, link-local, reserved ones. */
export function readDecoyRanges(value: unknown): readonly AddressRange[] | Wrong {
  const items = listOf(value);
  if (items.length === 0) return new Wrong('the list of addresses is empty', 'write at least one address, block or range');
  const ranges: AddressRange[] = [];
  for (let index = 0; index < items.length; index += 1) {
    const range = readRange(items[index]);
    const path = Array.isArray(value) ? [index] : [];
    if (range instanceof Wrong) return new Wrong(range.mistake, range.next, path);
    const why = whyUnusable(range);
    if (why !== undefined)
      return new Wrong(`${quoted(items[index])} cannot be a decoy: ${why}`, 'use addresses that a host may have', path);
    ranges.push(range);
  }
  return ranges;
}

/** The word `own`, or addresses. */
export const decoyAddresses = form((value) => {
  const [only] = listOf(value);
  return only === 'own' && listOf(value).length === 1 ? ('own' as const) : readDecoyRanges(value);
});

export const ranges = form((value) => {
  const items = listOf(value);
  const read: AddressRange[] = [];
  for (let index = 0; index < items.length; index += 1) {
    const range = readRange(items[index]);
    if (range instanceof Wrong) return new Wrong(range.mistake, range.next, Array.isArray(value) ? [index] : []);
    read.push(range);
  }
  return read;
});

export const ports = form((value) => {
  const items = listOf(value);
  const read: PortSet[number][] = [];
  for (let index = 0; index < items.length; index += 1) {
    const item = items[index];
    const set =
      item === 'all'
        ? [{ first: 1, last: 65535 }]
        : typeof item === 'number' || typeof item === 'string'
          ? parsePorts(item)
          : undefined;
    if (!set) {
      const numbers = String(item).match(/\d+/g) ?? [];
      const outside = numbers.find((number) => Number(number) < 1 || Number(number) > 65535);
      return new Wrong(
        outside === undefined
          ? `${quoted(item)} is not a port or a range of ports`
          : `${quoted(item)}: port ${outside} does not exist`,
        'write ports from 1 to 65535, such as 80 or 8000-8100',
        Array.isArray(value) ? [index] : [],
      );
    }
    read.push(...set);
  }
  return unitePorts(read);
});

/** Six bytes as lower-case text; unicast, not all zero. */
export const mac = form((value) => {
  const parts =
    typeof value === 'string' && /^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/.test(value)
      ? value.toLowerCase().split(/[:-]/)
      : undefined;
  if (!parts)
    return new Wrong(`${quoted(value)} is not a MAC address`, 'write six pairs of hex digits, such as 00:0c:29:1a:2b:3c');
  if (Number.parseInt(parts[0], 16) & 1)
    return new Wrong(`${quoted(value)} is a multicast MAC address`, 'make the second digit even: no host has such an address');
  if (parts.every((part) => part === '00')) return new Wrong(`${quoted(value)} is no host's address`, 'write another MAC');
  return parts.join(':');
});

export const macPrefix = form((value) =>
  typeof value === 'string' && /^[0-9a-f]{2}(:[0-9a-f]{2}){2}$/.test(value) && (Number.parseInt(value.slice(0, 2), 16) & 1) === 0
    ? value
    : new Wrong(
        `${quoted(value)} is not a vendor prefix`,
        'write three pairs of lower-case hex digits in quotes, such as "00:0c:29"',
      ),
);

export const absolutePath = form((value) =>
  typeof value === 'string' && value.startsWith('/') && !value.includes('\0')
    ? value.length > 1
      ? value.replace(/\/+$/, '')
      : value
    : new Wrong(`${quoted(value)} is not an absolute path`, 'write a path that begins with /'),
);
