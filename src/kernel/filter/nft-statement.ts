// Statements of a rule in nft's JSON (libnftables-json(5)) as the model's, in their order. Pure; what is not understood is
// `unknown` where it may decide about the packet, and `nothing` where it cannot.

import { parseAddress } from '../../model/address.ts';
import type { FilterAction, FilterElement, FilterExpression, FilterStatement } from '../../model/packet-filter.ts';
import { bare, fieldsOf, parseExpression, parseMatch, textOf } from './nft-expression.ts';
import { isRecord, type Json, parseKey } from './nft-value.ts';

const unknown = (value: Json): FilterAction => ({ kind: 'unknown', text: textOf(value) });
const limited = (value: Json): FilterStatement => ({ kind: 'undecided', text: textOf(value), limited: true });

/** A verdict: `{accept: null}`, `{jump: {target: x}}`; undefined for any other statement. */
export function parseVerdict(value: Json): FilterAction | undefined {
  if (!isRecord(value)) return undefined;
  const [name] = Object.keys(value);
  if (name === 'accept' || name === 'drop' || name === 'return' || name === 'continue') return { kind: name };
  const inner = value[name];
  if ((name === 'jump' || name === 'goto') && isRecord(inner) && typeof inner.target === 'string')
    return { kind: name, chain: inner.target };
  return undefined;
}

/** What a verdict map holds: elements, or its name. */
function parseVerdictMap(data: Json | undefined, fields: readonly string[]): string | readonly FilterElement[] | undefined {
  if (typeof data === 'string' && data.startsWith('@')) return data.slice(1);
  if (!isRecord(data) || !Array.isArray(data.set)) return undefined;
  const elements = data.set.map((entry: Json) => {
    if (!Array.isArray(entry)) return undefined;
    const key = parseKey(bare(entry[0]), fields);
    const verdict = parseVerdict(entry[1]);
    return key && verdict && { key, verdict };
  });
  return elements.includes(undefined) ? undefined : (elements as FilterElement[]);
}

const familyOf = (value: Json | undefined): { family?: 4 | 6 } =>
  value === 'ip' ? { family: 4 } : value === 'ip6' ? { family: 6 } : {};

const hasFlag = (flags: Json | undefined, flag: string): boolean =>
  Array.isArray(flags) ? flags.includes(flag) : flags === flag;

function parseNat(kind: 'dnat' | 'snat' | 'masquerade' | 'redirect', inner: Json): FilterAction {
  const value = isRecord(inner) ? inner : {};
  return {
    kind,
    ...(value.addr === undefined ? {} : { address: parseExpression(value.addr, 'ip.daddr') }),
    ...(value.port === undefined ? {} : { port: parseExpression(value.port, 'th.dport') }),
    prefix: hasFlag(value.flags, 'netmap') || hasFlag(value.type_flags, 'prefix'),
    random: hasFlag(value.flags, 'random') || hasFlag(value.flags, 'fully-random'),
    ...familyOf(value.family),
  };
}

function parseReject(inner: Json): FilterAction {
  const type = isRecord(inner) ? inner.type : undefined;
  if (type === 'tcp reset') return { kind: 'reject', answer: 'tcp-reset' };
  return { kind: 'reject', answer: 'icmp', ...(type === 'icmp' ? { family: 4 } : type === 'icmpv6' ? { family: 6 } : {}) };
}

function parseQueue(inner: Json): FilterAction {
  const value = isRecord(inner) ? inner : {};
  const bypass = hasFlag(value.flags, 'bypass');
  const num = value.num ?? 0;
  if (typeof num === 'number') return { kind: 'queue', first: num, last: num, bypass };
  if (isRecord(num) && Array.isArray(num.range)) {
    const [first, last] = num.range;
    if (typeof first === 'number' && typeof last === 'number') return { kind: 'queue', first, last, bypass };
  }
  // Which one is computed: any.
  return { kind: 'queue', first: 0, last: 65535, bypass };
}

function parseTproxy(inner: Json): FilterAction {
  const value = isRecord(inner) ? inner : {};
  const address = typeof value.addr === 'string' ? parseAddress(value.addr) : undefined;
  if ((value.addr !== undefined && !address) || (value.port !== undefined && typeof value.port !== 'number'))
    return unknown({ tproxy: inner });
  return {
    kind: 'tproxy',
    ...(address ? { address } : {}),
    ...(typeof value.port === 'number' ? { port: value.port } : {}),
    ...familyOf(value.family),
    accepts: false,
  };
}

const written = /^(meta\.mark|ct\.mark|ip6?\.[sd]addr|(tcp|udp|th)\.[sd]port)$/;

function parseMangle(inner: Json): FilterAction {
  if (!isRecord(inner) || inner.key === undefined || inner.value === undefined) return unknown({ mangle: inner });
  const target: FilterExpression = parseExpression(inner.key);
  if (target.kind !== 'field') return isHarmlessTarget(inner.key) ? { kind: 'nothing' } : unknown({ mangle: inner });
  if (written.test(target.field))
    return { kind: 'write', field: target.field, value: parseExpression(inner.value, target.field) };
  // Raw writes into the network or transport header may change what later rules look at.
  if (/^@(nh|th)/.test(target.field))
    return { kind: 'write', field: target.field, value: { kind: 'unknown', text: textOf(inner.value) } };
  return { kind: 'nothing' };
}

const isHarmlessTarget = (key: Json): boolean => isRecord(key) && ('tcp option' in key || 'exthdr' in key || 'ip option' in key);

/** Those that change nothing a rule decides by. */
const harmless = new Set(['ct helper', 'ct timeout', 'ct expectation', 'flow', 'dup', 'secmark', 'last', 'map', 'reset']);

/** One entry of a rule's `expr`; a set statement with a limit inside is two. */
export function parseStatement(value: Json): FilterStatement[] {
  if (!isRecord(value)) return [unknown(value)];
  const [name] = Object.keys(value);
  const inner = value[name];
  const verdict = parseVerdict(value);
  if (verdict) return [verdict];
  switch (name) {
    case 'match':
      return [parseMatch(inner)];
    case 'counter':
      return [{ kind: 'counter' }];
    case 'log':
      return [{ kind: 'log' }];
    case 'notrack':
      return [{ kind: 'notrack' }];
    case 'limit':
    case 'quota':
    case 'ct count':
    case 'meter':
      return [limited(value)];
    case 'reject':
      return [parseReject(inner)];
    case 'queue':
      return [parseQueue(inner)];
    case 'dnat':
    case 'snat':
    case 'masquerade':
    case 'redirect':
      return [parseNat(name, inner)];
    case 'tproxy':
      return [parseTproxy(inner)];
    case 'mangle':
      return [parseMangle(inner)];
    case 'vmap': {
      if (!isRecord(inner) || inner.key === undefined) return [unknown(value)];
      const key = parseExpression(inner.key);
      const map = parseVerdictMap(inner.data, fieldsOf(key));
      return [map === undefined ? unknown(value) : { kind: 'vmap', key, map }];
    }
    case 'set':
      // `add @s { ip saddr limit rate 5/second }` goes on only within the limit.
      return isRecord(inner) && Array.isArray(inner.stmt) && inner.stmt.some(mayEnd) ? [limited(value)] : [{ kind: 'nothing' }];
    default:
      return [harmless.has(name) ? { kind: 'nothing' } : unknown(value)];
  }
}

const mayEnd = (value: Json): boolean => isRecord(value) && ('limit' in value || 'quota' in value || 'ct count' in value);

export const parseStatements = (expr: Json): FilterStatement[] =>
  Array.isArray(expr) ? (expr as Json[]).flatMap(parseStatement) : [unknown(expr)];
