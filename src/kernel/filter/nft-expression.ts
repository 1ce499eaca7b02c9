// Expressions and conditions in nft's JSON (libnftables-json(5)) as the model's. Pure; what is not understood becomes
// `unknown` or `undecided` with its text.

import type { FilterElement, FilterExpression, FilterKey, FilterMatch } from '../../model/packet-filter.ts';
import { isRecord, type Json, parseBits, parseKey, parseRangeValue } from './nft-value.ts';

export const textOf = (value: Json): string => JSON.stringify(value).slice(0, 400);

const unknown = (value: Json): FilterExpression => ({ kind: 'unknown', text: textOf(value) });
const field = (name: string): FilterExpression => ({ kind: 'field', field: name });

/** The fields an expression reads, one for each part of its keys; of an operation that of its left side. */
export function fieldsOf(expression: FilterExpression): string[] {
  if (expression.kind === 'field') return [expression.field];
  if (expression.kind === 'concatenation') return expression.parts.map((part) => fieldsOf(part)[0] ?? '');
  if (expression.kind === 'operation') return fieldsOf(expression.left);
  return [''];
}

const operators = ['&', '|', '^', '<<', '>>'] as const;

/** `fib.daddr.type`; beside the address also `iif`, `oif`, `mark` as `fib.saddr+iif.oif`. */
function fibField(value: { readonly [key: string]: Json }): string | undefined {
  const { result } = value;
  const flags = Array.isArray(value.flags) ? value.flags : [value.flags];
  if (typeof result !== 'string' || flags.some((flag) => typeof flag !== 'string')) return undefined;
  return `fib.${flags.join('+')}.${result}`;
}

/** libnftables-json(5), EXPRESSIONS. A value that is none of them is a constant for `like`, the field it is compared with. */
export function parseExpression(value: Json, like = ''): FilterExpression {
  if (!isRecord(value)) {
    const key = Array.isArray(value) ? undefined : parseKey(value, [like]);
    const bits = key ?? (Array.isArray(value) ? bitsKey(value, like) : undefined);
    return bits ? { kind: 'constant', value: bits } : unknown(value);
  }
  const [name] = Object.keys(value);
  const inner = value[name];
  const operator = operators.find((candidate) => candidate === name);
  if (operator) return parseOperation(operator, inner, like, value);
  if (name === 'prefix' || name === 'range') {
    const range = parseRangeValue(value, like);
    return range ? { kind: 'constant', value: [range] } : unknown(value);
  }
  if (name === 'concat' && Array.isArray(inner)) {
    const parts = inner.map((part) => parseExpression(part, ''));
    const constants = parts.flatMap((part) => (part.kind === 'constant' ? part.value : []));
    return constants.length === parts.length ? { kind: 'constant', value: constants } : { kind: 'concatenation', parts };
  }
  if (!isRecord(inner)) return unknown(value);
  if (name === 'map') {
    const key = parseExpression(inner.key);
    const map = parseMap(inner.data, fieldsOf(key));
    return map === undefined ? unknown(value) : { kind: 'map', key, map };
  }
  if (name === 'jhash') return parseHash(inner, value);
  const found = fieldName(name, inner);
  return found === undefined ? unknown(value) : field(found);
}

/** Of one field, with its seed: without one the kernel takes a random one. */
function parseHash({ mod, seed, offset = 0, expr }: { readonly [key: string]: Json }, whole: Json): FilterExpression {
  const of = parseExpression(expr ?? null);
  return of.kind === 'field' && typeof mod === 'number' && typeof seed === 'number' && typeof offset === 'number'
    ? { kind: 'hash', field: of.field, modulus: mod, seed, offset }
    : unknown(whole);
}

function bitsKey(value: Json, like: string): FilterKey | undefined {
  const bits = parseBits(value, like);
  return bits === undefined ? undefined : [{ first: bits, last: bits }];
}

function parseOperation(operator: (typeof operators)[number], inner: Json, like: string, whole: Json): FilterExpression {
  if (!Array.isArray(inner) || inner.length < 2) return unknown(whole);
  const [first, ...rest] = inner as Json[];
  const left = parseExpression(first, like);
  const [fieldName = like] = fieldsOf(left);
  const constant = (value: Json): FilterExpression => {
    const bits = parseBits(value, fieldName);
    return bits === undefined ? parseExpression(value, fieldName) : { kind: 'constant', value: [{ first: bits, last: bits }] };
  };
  return rest.reduce<FilterExpression>((sum, part) => ({ kind: 'operation', operator, left: sum, right: constant(part) }), left);
}

function fieldName(name: string, inner: { readonly [key: string]: Json }): string | undefined {
  if (name === 'payload') {
    const { protocol, base } = inner;
    if (typeof protocol === 'string' && typeof inner.field === 'string') return `${protocol}.${inner.field}`;
    return typeof base === 'string' ? `@${base},${inner.offset},${inner.len}` : undefined;
  }
  if (name === 'ct' && typeof inner.key === 'string') {
    const key = inner.key.replace(/^ip6? /, '');
    return typeof inner.dir === 'string' ? `ct.${inner.dir}.${key}` : `ct.${key}`;
  }
  if (name === 'fib') return fibField(inner);
  if ((name === 'meta' || name === 'socket' || name === 'rt') && typeof inner.key === 'string') return `${name}.${inner.key}`;
  return undefined;
}

/** Elements of an anonymous map, or the name of a map; undefined when not understood. */
export function parseMap(data: Json | undefined, fields: readonly string[]): string | readonly FilterElement[] | undefined {
  if (typeof data === 'string' && data.startsWith('@')) return data.slice(1);
  if (!isRecord(data) || !Array.isArray(data.set)) return undefined;
  const elements = data.set.map((entry: Json) => {
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const key = parseKey(bare(entry[0]), fields);
    const value = parseKey(entry[1], ['']);
    return key && value && { key, value };
  });
  return elements.includes(undefined) ? undefined : (elements as FilterElement[]);
}

/** An element without its comment, counter or timeout. */
export const bare = (entry: Json): Json => (isRecord(entry) && isRecord(entry.elem) ? (entry.elem.val ?? null) : entry);

const undecided = (value: Json): FilterMatch => ({ kind: 'undecided', text: textOf(value), limited: false });

/** A `match` statement; libnftables-json(5), STATEMENTS. */
export function parseMatch(value: Json): FilterMatch {
  if (!isRecord(value) || value.left === undefined || value.right === undefined) return undecided(value);
  const left = parseExpression(value.left);
  const operator = typeof value.op === 'string' ? value.op : '==';
  const { right } = value;
  const fields = fieldsOf(left);
  if (typeof right === 'string' && right.startsWith('@') && (operator === '==' || operator === '!=' || operator === 'in'))
    return { kind: 'set', left, set: right.slice(1), inverted: operator === '!=' };
  if (operator === 'in' || operator === '!') {
    const mask = parseBits(right, fields[0]);
    return mask === undefined ? undecided(value) : { kind: 'bits', left, mask, any: operator === 'in' };
  }
  if (operator !== '==' && operator !== '!=' && operator !== '<' && operator !== '>' && operator !== '<=' && operator !== '>=')
    return undecided(value);
  const keys = parseRightSide(right, fields);
  return keys ? { kind: 'compare', left, operator, right: keys } : undecided(value);
}

function parseRightSide(right: Json, fields: readonly string[]): FilterKey[] | undefined {
  if (isRecord(right) && Array.isArray(right.set)) {
    const keys = right.set.map((entry: Json) => parseKey(bare(entry), fields));
    return keys.includes(undefined) ? undefined : (keys as FilterKey[]);
  }
  // A list is the sum of its bits: `tcp flags & (fin | syn) == fin | syn`.
  const key = Array.isArray(right) ? bitsKey(right, fields[0]) : parseKey(right, fields);
  return key && [key];
}
