// The whole of `nft -n -j list ruleset` as chains and sets of the model; `nft -n -a list ruleset` gives each rule its text, by handle.
// Rules with xtables expressions come out as `unknown`: iptables-save.ts knows what is in them. Pure.

import { printable } from '../../base/printable.ts';
import type { FilterChain, FilterElement, FilterHook, FilterRule, FilterSet } from '../../model/packet-filter.ts';
import { parseStatements, parseVerdict } from './nft-statement.ts';
import { isRecord, type Json, parseKey } from './nft-value.ts';
import { ruleOwner } from './rule-owner.ts';

export interface NftListing {
  readonly chains: readonly FilterChain[];
  readonly sets: readonly FilterSet[];
  readonly unreadable: readonly string[];
  /** `family table chain` of chains that hold rules with xtables expressions. */
  readonly xtChains: ReadonlySet<string>;
}

export interface ListingBounds {
  readonly rules: number;
  /** Of one set. */
  readonly elements: number;
}

export const listingBounds: ListingBounds = { rules: 50_000, elements: 200_000 };

export const chainKey = (family: string, table: string, chain: string): string => `${family} ${table} ${chain}`;

/** Of the text listing: rules by `family table chain handle`, devices of base chains by `family table chain`. */
export interface NftTexts {
  readonly rules: ReadonlyMap<string, string>;
  readonly devices: ReadonlyMap<string, readonly string[]>;
}

/** `nft -a list ruleset`: what JSON leaves out (nft 1.0.6: devices of netdev chains) and what people know rules by. */
export function parseNftTexts(listing: string): NftTexts {
  const rules = new Map<string, string>();
  const devices = new Map<string, readonly string[]>();
  let table = '';
  let chain = '';
  for (const line of listing.split('\n')) {
    const opened = /^table (\S+) (\S+) \{/.exec(line);
    if (opened) table = `${opened[1]} ${opened[2]}`;
    const chainName = /^\tchain (\S+) \{/.exec(line)?.[1];
    if (chainName !== undefined) chain = `${table} ${chainName}`;
    const base = /^\t\ttype \S+ hook \S+ (devices? (?:= )?(.*?)) priority /.exec(line);
    if (base)
      devices.set(
        chain,
        [...base[2].matchAll(/[^\s{},"=]+/g)].map(([name]) => name),
      );
    const rule = /^\t\t(.*) # handle (\d+)$/.exec(line);
    if (rule) rules.set(`${chain} ${rule[2]}`, printable(rule[1].trim(), 2000));
  }
  return { rules, devices };
}

const hooks: readonly string[] = ['ingress', 'egress', 'prerouting', 'input', 'forward', 'output', 'postrouting'];

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '');
const count = (value: Json | undefined): number => (typeof value === 'number' ? value : 0);

/** Throws SyntaxError for what is not JSON. Rules and elements past the bounds are told in `unreadable`. */
export function parseNftListing(json: string, texts: NftTexts, bounds: ListingBounds = listingBounds): NftListing {
  const parsed = JSON.parse(json) as Json;
  const entries = isRecord(parsed) && Array.isArray(parsed.nftables) ? (parsed.nftables as Json[]) : [];
  const chains = new Map<string, { chain: FilterChain; rules: FilterRule[] }>();
  const sets: FilterSet[] = [];
  const unreadable: string[] = [];
  const xtChains = new Set<string>();
  const dormant = new Set<string>();
  const tableOrder = new Map<string, number>();
  let ruleCount = 0;
  for (const entry of entries) {
    if (!isRecord(entry)) continue;
    const [kind] = Object.keys(entry);
    const inner = entry[kind];
    if (!isRecord(inner)) continue;
    const [family, table] = [text(inner.family), text(inner.table)];
    if (kind === 'table') {
      tableOrder.set(`${family} ${text(inner.name)}`, count(inner.handle));
      const flags = Array.isArray(inner.flags) ? inner.flags : [inner.flags];
      if (flags.includes('dormant')) dormant.add(`${family} ${text(inner.name)}`);
    } else if (kind === 'chain') {
      const key = chainKey(family, table, text(inner.name));
      const order = (tableOrder.get(`${family} ${table}`) ?? 0) * 1e6 + count(inner.handle);
      const chain = parseChain(inner, dormant.has(`${family} ${table}`), order, texts.devices.get(key), unreadable);
      chains.set(key, { chain, rules: [] });
    } else if (kind === 'set' || kind === 'map') sets.push(parseSet(inner, bounds.elements));
    else if (kind === 'rule') {
      ruleCount += 1;
      if (ruleCount > bounds.rules) continue;
      const key = chainKey(family, table, text(inner.chain));
      if (hasXt(inner.expr)) xtChains.add(key);
      chains.get(key)?.rules.push(parseRule(inner, texts));
    }
  }
  if (ruleCount > bounds.rules) unreadable.push(`${ruleCount - bounds.rules} rules of nft beyond the first ${bounds.rules}`);
  for (const set of sets)
    if (set.truncated) unreadable.push(`elements of ${set.family} ${set.table} ${set.name} beyond ${bounds.elements}`);
  return { chains: [...chains.values()].map(({ chain, rules }) => ({ ...chain, rules })), sets, unreadable, xtChains };
}

const hasXt = (expr: Json | undefined): boolean => Array.isArray(expr) && expr.some((one) => isRecord(one) && 'xt' in one);

function parseChain(
  inner: { readonly [key: string]: Json },
  isDormant: boolean,
  order: number,
  devices: readonly string[] | undefined,
  unreadable: string[],
): FilterChain {
  const [family, table, name] = [text(inner.family), text(inner.table), text(inner.name)];
  const chain = { backend: 'nft' as const, family, table, name, rules: [] };
  const { hook, type } = inner;
  if (hook === undefined || isDormant) return chain;
  if (!hooks.includes(text(hook)) || !['filter', 'nat', 'route'].includes(text(type))) {
    unreadable.push(`chain ${family} ${table} ${name}: hook ${text(hook)}, type ${text(type)}`);
    return chain;
  }
  const dev = inner.dev;
  const named = Array.isArray(dev) ? dev.map(text) : typeof dev === 'string' ? [dev] : devices;
  return {
    ...chain,
    base: {
      hook: text(hook) as FilterHook,
      type: text(type) as 'filter' | 'nat' | 'route',
      priority: count(inner.prio),
      policy: inner.policy === 'drop' ? 'drop' : 'accept',
      ...(named ? { devices: named } : {}),
      order,
    },
  };
}

function parseRule(inner: { readonly [key: string]: Json }, texts: NftTexts): FilterRule {
  const [family, table, chain, handle] = [text(inner.family), text(inner.table), text(inner.chain), count(inner.handle)];
  const written = texts.rules.get(`${chainKey(family, table, chain)} ${handle}`);
  const shown = written ?? printable(JSON.stringify(inner.expr ?? null), 2000);
  const packets = packetsOf(inner.expr);
  const comment = text(inner.comment);
  const place = { backend: 'nft' as const, family, table, chain, handle, text: shown };
  const owner = ruleOwner(place, comment);
  return {
    ...place,
    ...(owner === undefined ? {} : { owner }),
    statements: parseStatements(inner.expr ?? null),
    ...(packets === undefined ? {} : { packets }),
  };
}

function packetsOf(expr: Json | undefined): number | undefined {
  if (!Array.isArray(expr)) return undefined;
  for (const one of expr)
    if (isRecord(one) && isRecord(one.counter) && typeof one.counter.packets === 'number') return one.counter.packets;
  return undefined;
}

function parseSet(inner: { readonly [key: string]: Json }, bound: number): FilterSet {
  const types = Array.isArray(inner.type) ? inner.type.map(text) : text(inner.type).split(' . ');
  // As the fields of an expression: only devices' names are read in another way.
  const fields = types.map((type) => (type === 'ifname' || type === 'iface_index' ? `type.${type}` : `type.${type}`));
  const listed = Array.isArray(inner.elem) ? (inner.elem as Json[]) : [];
  const elements: FilterElement[] = [];
  let missed = listed.length > bound;
  for (const entry of listed.slice(0, bound)) {
    const element = parseElement(entry, fields);
    if (element) elements.push(element);
    else missed = true;
  }
  return {
    backend: 'nft',
    family: text(inner.family),
    table: text(inner.table),
    name: text(inner.name),
    type: types.join(' . '),
    elements,
    truncated: missed,
  };
}

/** `key`, `{elem: {val: key, expires}}`, and of a map `[key, value]`. */
function parseElement(entry: Json, fields: readonly string[]): FilterElement | undefined {
  const [keyed, data] = Array.isArray(entry) ? (entry as Json[]) : [entry, undefined];
  const details = isRecord(keyed) && isRecord(keyed.elem) ? keyed.elem : undefined;
  const key = parseKey(details ? (details.val ?? null) : keyed, fields);
  if (!key) return undefined;
  const rest = {
    ...(typeof details?.expires === 'number' ? { expires: details.expires } : {}),
    ...(typeof details?.timeout === 'number' ? { timeout: details.timeout } : {}),
    ...(typeof details?.comment === 'string' ? { comment: printable(details.comment, 200) } : {}),
  };
  if (data === undefined) return { key, ...rest };
  const verdict = parseVerdict(data);
  if (verdict) return { key, verdict, ...rest };
  const value = parseKey(data, ['']);
  return value && { key, value, ...rest };
}
