// Conditions of a saved iptables rule (iptables-extensions(8)) as the model's. Pure. What depends on more than the packet is
// `undecided`; so is every match not known here: none is ever left out.

import { parseRange } from '../../model/address.ts';
import type { FilterExpression, FilterKey, FilterMatch, FilterRange, FilterSet } from '../../model/packet-filter.ts';
import { setMatch } from './ipset-match.ts';
import type { RuleOption, RuleOptions } from './iptables-options.ts';
import { protocolNumber } from './protocol-number.ts';

type Family = 'ip' | 'ip6';

const field = (name: string): FilterExpression => ({ kind: 'field', field: name });
const range = (first: bigint | number, last: bigint | number = first): FilterRange => ({
  first: BigInt(first),
  last: BigInt(last),
});

export const compare = (name: string, right: readonly FilterKey[], negated = false): FilterMatch => ({
  kind: 'compare',
  left: field(name),
  operator: negated ? '!=' : '==',
  right,
});

/** `value/mask`, both in any base; the mask default is all bits. */
export function parseMasked(text: string): { readonly value: bigint; readonly mask: bigint } | undefined {
  const [value, mask = '0xffffffff'] = text.split('/');
  return /^(0x[0-9a-f]+|\d+)$/i.test(value) && /^(0x[0-9a-f]+|\d+)$/i.test(mask)
    ? { value: BigInt(value), mask: BigInt(mask) }
    : undefined;
}

function maskedCompare(name: string, text: string, negated: boolean): FilterMatch | undefined {
  const masked = parseMasked(text);
  if (!masked) return undefined;
  const mask: FilterExpression = { kind: 'constant', value: [range(masked.mask)] };
  return {
    kind: 'compare',
    left: { kind: 'operation', operator: '&', left: field(name), right: mask },
    operator: negated ? '!=' : '==',
    right: [[range(masked.value)]],
  };
}

/** Address with a prefix, or with a mask of any shape. */
function addressMatch(name: string, text: string, negated: boolean): FilterMatch | undefined {
  const [address, mask] = text.split('/');
  if (mask !== undefined && !/^\d+$/.test(mask)) {
    const [value, bits] = [parseRange(address), parseRange(mask)];
    if (!value || !bits) return undefined;
    const right: FilterExpression = { kind: 'constant', value: [range(bits.first)] };
    return {
      kind: 'compare',
      left: { kind: 'operation', operator: '&', left: field(name), right },
      operator: negated ? '!=' : '==',
      right: [[range(value.first)]],
    };
  }
  const found = parseRange(text);
  return found && compare(name, [[range(found.first, found.last)]], negated);
}

const deviceMatch = (name: string, text: string, negated: boolean): FilterMatch =>
  compare(name, [[text.endsWith('+') ? { name: text.slice(0, -1), wildcard: true } : { name: text, wildcard: false }]], negated);

/** `80`, `80:90`, `:90`, `80:`; and `80-90` for targets. */
function portRange(text: string): FilterRange | undefined {
  const match = /^(\d*)(?:([:-])(\d*))?$/.exec(text);
  if (!match || text === '') return undefined;
  const first = match[1] === '' ? 0 : Number(match[1]);
  const last = match[2] === undefined ? first : match[3] === '' ? 65535 : Number(match[3]);
  return range(first, last);
}

const portKeys = (text: string): FilterKey[] | undefined => {
  const keys = text.split(',').map((part) => portRange(part));
  return keys.includes(undefined) ? undefined : keys.map((key) => [key as FilterRange]);
};

function basicMatch({ name, negated, values }: RuleOption, family: Family): FilterMatch | undefined {
  const [value = ''] = values;
  if (name === '-s') return addressMatch(`${family}.saddr`, value, negated);
  if (name === '-d') return addressMatch(`${family}.daddr`, value, negated);
  if (name === '-i') return deviceMatch('meta.iifname', value, negated);
  if (name === '-o') return deviceMatch('meta.oifname', value, negated);
  if (name === '-p') {
    const number = protocolNumber(value);
    if (number === undefined) return undefined;
    return number === 0 ? { kind: 'any', of: [], inverted: !negated } : compare('meta.l4proto', [[range(number)]], negated);
  }
  return name === '-f' ? { kind: 'bits', left: field('ip.fragment'), mask: 1n, any: !negated } : undefined;
}

const tcpFlagBits: Readonly<Record<string, bigint>> = {
  FIN: 1n,
  SYN: 2n,
  RST: 4n,
  PSH: 8n,
  ACK: 16n,
  URG: 32n,
  ALL: 63n,
  NONE: 0n,
};
const flagMask = (text: string): bigint => text.split(',').reduce((sum, flag) => sum | (tcpFlagBits[flag] ?? 0n), 0n);

const stateBits: Readonly<Record<string, bigint>> = { INVALID: 1n, ESTABLISHED: 2n, RELATED: 4n, NEW: 8n, UNTRACKED: 64n };
const statusBits: Readonly<Record<string, bigint>> = { EXPECTED: 1n, SEEN_REPLY: 2n, ASSURED: 4n, CONFIRMED: 8n };

/** xt_conntrack: DNAT and SNAT are virtual states, taken from the status. */
function stateMatch(text: string, negated: boolean): FilterMatch | undefined {
  const names = text.split(',');
  const of: FilterMatch[] = [];
  const mask = names.reduce((sum, name) => sum | (stateBits[name] ?? 0n), 0n);
  if (mask !== 0n) of.push({ kind: 'bits', left: field('ct.state'), mask, any: true });
  const nat = (names.includes('DNAT') ? 32n : 0n) | (names.includes('SNAT') ? 16n : 0n);
  if (nat !== 0n) of.push({ kind: 'bits', left: field('ct.status'), mask: nat, any: true });
  if (names.some((name) => stateBits[name] === undefined && name !== 'DNAT' && name !== 'SNAT')) return undefined;
  return { kind: 'any', of, inverted: negated };
}

function conntrackMatch({ name, negated, values }: RuleOption): FilterMatch | undefined {
  const [value = ''] = values;
  const ends: Readonly<Record<string, string>> = {
    '--ctorigsrc': 'ct.original.saddr',
    '--ctorigdst': 'ct.original.daddr',
    '--ctreplsrc': 'ct.reply.saddr',
    '--ctrepldst': 'ct.reply.daddr',
  };
  const ports: Readonly<Record<string, string>> = {
    '--ctorigsrcport': 'ct.original.proto-src',
    '--ctorigdstport': 'ct.original.proto-dst',
    '--ctreplsrcport': 'ct.reply.proto-src',
    '--ctrepldstport': 'ct.reply.proto-dst',
  };
  if (name === '--ctstate' || name === '--state') return stateMatch(value, negated);
  if (name === '--ctstatus') {
    const parts = value.split(',');
    if (value === 'NONE') return compare('ct.status', [[range(0)]], negated);
    if (parts.some((part) => statusBits[part] === undefined)) return undefined;
    const mask = parts.reduce((sum, part) => sum | statusBits[part], 0n);
    return { kind: 'bits', left: field('ct.status'), mask, any: !negated };
  }
  if (name === '--ctproto') {
    const number = protocolNumber(value);
    return number === undefined ? undefined : compare('ct.protocol', [[range(number)]], negated);
  }
  if (name === '--ctdir') return compare('ct.direction', [[range(value === 'REPLY' ? 1 : 0)]], negated);
  if (ends[name] !== undefined) return addressMatch(ends[name], value, negated);
  const keys = ports[name] === undefined ? undefined : portKeys(value);
  return keys && compare(ports[name], keys, negated);
}

const addressTypes: Readonly<Record<string, number>> = {
  UNSPEC: 0,
  UNICAST: 1,
  LOCAL: 2,
  BROADCAST: 3,
  ANYCAST: 4,
  MULTICAST: 5,
  BLACKHOLE: 6,
  UNREACHABLE: 7,
  PROHIBIT: 8,
  THROW: 9,
};

function addressTypeMatch(options: readonly RuleOption[]): FilterMatch[] | undefined {
  const device = options.find(({ name }) => name.startsWith('--limit-iface'));
  const suffix = device === undefined ? '' : device.name === '--limit-iface-in' ? '+iif' : '+oif';
  const matches: FilterMatch[] = [];
  for (const { name, negated, values } of options) {
    if (name.startsWith('--limit-iface')) continue;
    const side = name === '--src-type' ? 'saddr' : name === '--dst-type' ? 'daddr' : undefined;
    const types = (values[0] ?? '').split(',').map((type) => addressTypes[type]);
    if (side === undefined || types.includes(undefined as unknown as number)) return undefined;
    matches.push(
      compare(
        `fib.${side}${suffix}.type`,
        types.map((type) => [range(type)]),
        negated,
      ),
    );
  }
  return matches;
}

function multiportMatch({ name, negated, values }: RuleOption): FilterMatch | undefined {
  const keys = portKeys(values[0] ?? '');
  if (!keys) return undefined;
  if (name === '--dports' || name === '--destination-ports') return compare('th.dport', keys, negated);
  if (name === '--sports' || name === '--source-ports') return compare('th.sport', keys, negated);
  return { kind: 'any', of: [compare('th.sport', keys), compare('th.dport', keys)], inverted: negated };
}

function portMatch(protocol: string, { name, negated, values }: RuleOption): FilterMatch | undefined {
  const [value = ''] = values;
  const keys = portKeys(value);
  if (name === '--dport') return keys && compare(`${protocol}.dport`, keys, negated);
  if (name === '--sport') return keys && compare(`${protocol}.sport`, keys, negated);
  if (name === '--tcp-flags') {
    const left: FilterExpression = {
      kind: 'operation',
      operator: '&',
      left: field('tcp.flags'),
      right: { kind: 'constant', value: [range(flagMask(value))] },
    };
    return { kind: 'compare', left, operator: negated ? '!=' : '==', right: [[range(flagMask(values[1] ?? 'NONE'))]] };
  }
  return undefined;
}

const icmpNames: Readonly<Record<string, number>> = { any: 255 };

function icmpMatch(protocol: 'icmp' | 'icmpv6', { negated, values }: RuleOption): FilterMatch | undefined {
  const [type, code] = (values[0] ?? '').split('/');
  const number = icmpNames[type] ?? (/^\d+$/.test(type) ? Number(type) : undefined);
  if (number === undefined) return undefined;
  if (number === 255 && protocol === 'icmp') return { kind: 'any', of: [], inverted: !negated };
  if (code === undefined) return compare(`${protocol}.type`, [[range(number)]], negated);
  const left: FilterExpression = { kind: 'concatenation', parts: [field(`${protocol}.type`), field(`${protocol}.code`)] };
  return { kind: 'compare', left, operator: negated ? '!=' : '==', right: [[range(number), range(Number(code))]] };
}

function rangeOption(name: string, option: RuleOption): FilterMatch | undefined {
  const found = parseRange(option.values[0] ?? '');
  return found && compare(name, [[range(found.first, found.last)]], option.negated);
}

/** Those that decide by more than the packet: rates, counts, chance, the clock. */
const limits = new Set([
  'limit',
  'hashlimit',
  'connlimit',
  'quota',
  'quota2',
  'statistic',
  'time',
  'recent',
  'nfacct',
  'connbytes',
]);

/** Conditions of one `-m`; undefined where any part of it is not understood. */
function moduleMatches(
  name: string,
  options: readonly RuleOption[],
  family: Family,
  sets: readonly FilterSet[],
): FilterMatch[] | undefined {
  const each = (parse: (option: RuleOption) => FilterMatch | undefined): FilterMatch[] | undefined => {
    const parsed = options.map(parse);
    return parsed.includes(undefined) ? undefined : (parsed as FilterMatch[]);
  };
  switch (name) {
    case 'tcp':
    case 'udp':
    case 'sctp':
    case 'udplite':
      return each((option) => portMatch(name, option));
    case 'icmp':
      return each((option) => icmpMatch('icmp', option));
    case 'icmp6':
    case 'icmpv6':
      return each((option) => icmpMatch('icmpv6', option));
    case 'conntrack':
    case 'state':
      return each(conntrackMatch);
    case 'addrtype':
      return addressTypeMatch(options);
    case 'multiport':
      return each(multiportMatch);
    case 'iprange':
      return each((option) => rangeOption(option.name === '--src-range' ? `${family}.saddr` : `${family}.daddr`, option));
    case 'mark':
      return each(({ values, negated }) => maskedCompare('meta.mark', values[0] ?? '', negated));
    case 'connmark':
      return each(({ values, negated }) => maskedCompare('ct.mark', values[0] ?? '', negated));
    case 'comment':
      return [];
    case 'mac':
      return each(({ values, negated }) =>
        compare('ether.saddr', [[range(BigInt(`0x${(values[0] ?? '').replaceAll(':', '') || '0'}`))]], negated),
      );
    case 'pkttype':
      return each(({ values, negated }) => {
        const type = { unicast: 0, host: 0, broadcast: 1, multicast: 2 }[values[0] ?? ''];
        return type === undefined ? undefined : compare('meta.pkttype', [[range(type)]], negated);
      });
    case 'owner':
      return each(({ name: option, values, negated }) => {
        const ids = /^(\d+)(?:-(\d+))?$/.exec(values[0] ?? '');
        return option === '--uid-owner' && ids
          ? compare('owner.uid', [[range(Number(ids[1]), Number(ids[2] ?? ids[1]))]], negated)
          : undefined;
      });
    case 'rpfilter':
      return options.length === 1 && options[0].name === '--invert'
        ? [compare('fib.saddr+iif.oif', [[range(0)]])]
        : options.length === 0
          ? [compare('fib.saddr+iif.oif', [[range(0)]], true)]
          : undefined;
    case 'rt':
    case 'frag':
    case 'hbh':
    case 'dst':
    case 'mh':
      // Extension headers of IPv6, which the packets of a walk do not have.
      return [{ kind: 'any', of: [], inverted: false }];
    case 'recent':
      // Noting an address always holds; asking for it depends on what came before.
      return options.some(({ name: option }) => option === '--set') && options.every(({ negated }) => !negated) ? [] : undefined;
    case 'set':
      return each((option) => (option.name === '--match-set' ? setMatch(option, family, sets) : undefined));
    default:
      return undefined;
  }
}

/** All conditions of a rule, in the order the kernel tests them; `sets` are ipset's. */
export function parseMatches({ basic, matches }: RuleOptions, family: Family, sets: readonly FilterSet[]): FilterMatch[] {
  const found: FilterMatch[] = [];
  const undecided = (words: readonly string[], limited = false): void => {
    found.push({ kind: 'undecided', text: words.join(' '), limited });
  };
  const wordsOf = ({ name, negated, values }: RuleOption): string[] => [...(negated ? ['!'] : []), name, ...values];
  for (const option of basic) {
    const match = basicMatch(option, family);
    if (match) found.push(match);
    else undecided(wordsOf(option));
  }
  for (const { name, options } of matches) {
    const parsed = moduleMatches(name, options, family, sets);
    if (parsed) found.push(...parsed);
    else undecided(['-m', name, ...options.flatMap(wordsOf)], limits.has(name));
  }
  return found;
}
