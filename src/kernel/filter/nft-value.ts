// Values in nft's JSON (libnftables-json(5), printed with `-n`): numbers, addresses, prefixes, ranges, names of devices,
// concatenations. Pure; what is not understood is undefined, never a guess.

import { parseAddress } from '../../model/address.ts';
import type { FilterKey, FilterRange } from '../../model/packet-filter.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export const isRecord = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);

/** Names that nft prints even with `-n` in some versions; nft(8), linux/rtnetlink.h, linux/netfilter/nf_conntrack_common.h. */
const namesByField: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'ct.state': { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 },
  'ct.status': {
    expected: 1,
    'seen-reply': 2,
    assured: 4,
    confirmed: 8,
    snat: 16,
    dnat: 32,
    'src-nat-done': 128,
    'dst-nat-done': 256,
    dying: 512,
  },
  'ct.direction': { original: 0, reply: 1 },
  'tcp.flags': { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ecn: 64, cwr: 128 },
  'meta.l4proto': {
    icmp: 1,
    igmp: 2,
    tcp: 6,
    udp: 17,
    ipv6: 41,
    gre: 47,
    esp: 50,
    ah: 51,
    'ipv6-icmp': 58,
    sctp: 132,
    udplite: 136,
  },
  'meta.nfproto': { ipv4: 2, arp: 3, netdev: 5, bridge: 7, ipv6: 10 },
  'meta.pkttype': { host: 0, unicast: 0, broadcast: 1, multicast: 2, other: 3 },
  'fib.type': {
    unspec: 0,
    unicast: 1,
    local: 2,
    broadcast: 3,
    anycast: 4,
    multicast: 5,
    blackhole: 6,
    unreachable: 7,
    prohibit: 8,
    throw: 9,
  },
};

const sameNames: Readonly<Record<string, string>> = { 'ip.protocol': 'meta.l4proto', 'ip6.nexthdr': 'meta.l4proto' };

/** Whose names are those of devices. */
const deviceFields = /^(meta\.(iif|oif|iifname|oifname|ibrname|obrname|sdif|sdifname)|type\.(ifname|iface_index))$/;

const number = (value: bigint | number): FilterRange => ({ first: BigInt(value), last: BigInt(value) });

const macPattern = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;

const numberOfMac = (text: string): bigint => BigInt(`0x${text.replaceAll(':', '')}`);

/** IPv4-mapped addresses are IPv6 here: a field is 128 bits wide whatever they say. */
function addressNumber(text: string): bigint | undefined {
  const address = parseAddress(text);
  if (!address) return undefined;
  return address.family === 4 && text.includes(':') ? (0xffffn << 32n) | address.value : address.value;
}

/** nft 1.0.6 prints them in the order of the machine's bytes; no protocol has a number that is another one's read backwards. */
const swapped: Readonly<Record<number, number>> = { 8: 0x0800, 1544: 0x0806, 56710: 0x86dd, 129: 0x8100 };
const etherTypeOf = (value: number): number => swapped[value] ?? value;

function scalarRange(value: Json, field: string): FilterRange | undefined {
  if (typeof value === 'boolean') return number(value ? 1 : 0);
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || value < 0) return undefined;
    return number(field === 'meta.protocol' || field === 'ether.type' ? etherTypeOf(value) : value);
  }
  if (typeof value !== 'string') return undefined;
  if (deviceFields.test(field))
    return value.endsWith('*') && !value.endsWith('\\*')
      ? { name: value.slice(0, -1), wildcard: true }
      : { name: value.replace(/\\\*$/, '*'), wildcard: false };
  const named = namesByField[field.startsWith('fib.') ? 'fib.type' : (sameNames[field] ?? field)]?.[value];
  if (named !== undefined) return number(named);
  if (macPattern.test(value)) return number(numberOfMac(value));
  if (/^(\d+|0x[0-9a-f]+)$/i.test(value)) return number(BigInt(value));
  const address = addressNumber(value);
  return address === undefined ? undefined : number(address);
}

const isNumbers = (range: FilterRange | undefined): range is { first: bigint; last: bigint } =>
  range !== undefined && 'first' in range;

/** One part of a key: a scalar, a prefix, a range, bits joined by `|`. */
export function parseRangeValue(value: Json, field: string): FilterRange | undefined {
  if (value === '*') return { first: 0n, last: (1n << 128n) - 1n };
  if (!isRecord(value)) return scalarRange(value, field);
  if (isRecord(value.prefix)) {
    const { addr, len } = value.prefix;
    if (typeof addr !== 'string' || typeof len !== 'number') return undefined;
    const first = addressNumber(addr);
    const bits = addr.includes(':') ? 128 : 32;
    if (first === undefined || len < 0 || len > bits) return undefined;
    const size = 1n << BigInt(bits - len);
    return { first: first - (first % size), last: first - (first % size) + size - 1n };
  }
  if (isList(value.range)) {
    const [first, last] = [scalarRange(value.range[0] ?? null, field), scalarRange(value.range[1] ?? null, field)];
    return isNumbers(first) && isNumbers(last) ? { first: first.first, last: last.last } : undefined;
  }
  const bits = parseBits(value, field);
  return bits === undefined ? undefined : number(bits);
}

/** A bit mask: a scalar, a list of bits, or an expression of them. */
export function parseBits(value: Json, field: string): bigint | undefined {
  const parts = isList(value) ? value : isRecord(value) && isList(value['|']) ? value['|'] : [value];
  let bits = 0n;
  for (const part of parts) {
    const one = isRecord(part) && part !== value ? parseBits(part, field) : undefined;
    const range = one === undefined ? scalarRange(part, field) : number(one);
    if (!isNumbers(range) || range.first !== range.last) return undefined;
    bits |= range.first;
  }
  return bits;
}

/** A whole key: as many parts as there are fields. */
export function parseKey(value: Json, fields: readonly string[]): FilterKey | undefined {
  if (isRecord(value) && isList(value.concat)) {
    const parts = value.concat.map((part, index) => parseRangeValue(part, fields[index] ?? ''));
    return parts.includes(undefined) ? undefined : (parts as FilterRange[]);
  }
  const range = parseRangeValue(value, fields[0] ?? '');
  return range && [range];
}
