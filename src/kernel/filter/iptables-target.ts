// Targets of a saved iptables rule (iptables-extensions(8)) as the model's actions. Pure. A target not known here is `unknown`
// unless it cannot decide about the packet.

import { type Address, parseAddress } from '../../model/address.ts';
import type { FilterAction, FilterExpression } from '../../model/packet-filter.ts';
import { parseMasked } from './iptables-match.ts';
import type { RuleOption, RuleOptions } from './iptables-options.ts';

const field = (name: string): FilterExpression => ({ kind: 'field', field: name });
const constant = (first: bigint, last = first): FilterExpression => ({ kind: 'constant', value: [{ first, last }] });
const operation = (left: FilterExpression, operator: '&' | '|' | '^', right: FilterExpression): FilterExpression => ({
  kind: 'operation',
  operator,
  left,
  right,
});

const allBits = 0xffffffffn;

/** `(field & ~mask) ^ value`. */
const xmark = (name: string, value: bigint, mask: bigint): FilterExpression =>
  operation(operation(field(name), '&', constant(allBits ^ mask)), '^', constant(value));

/** `(into & ~intoMask) ^ (from & fromMask)`; xt_connmark.c. */
const copied = (into: string, intoMask: bigint, from: string, fromMask: bigint): FilterExpression =>
  operation(operation(field(into), '&', constant(allBits ^ intoMask)), '^', operation(field(from), '&', constant(fromMask)));

function optionValue(options: readonly RuleOption[], name: string): string | undefined {
  return options.find((option) => option.name === name)?.values[0];
}

const maskOf = (options: readonly RuleOption[], name: string): bigint => {
  const text = optionValue(options, name);
  return text !== undefined && /^(0x[0-9a-f]+|\d+)$/i.test(text) ? BigInt(text) : allBits;
};

/** `1.2.3.4`, `1.2.3.4-1.2.3.8`, `[fd00::1]`, each with `:80` or `:80-90`. */
function parseDestination(text: string): { readonly address?: FilterExpression; readonly port?: FilterExpression } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]*|[0-9a-f:]*:[0-9a-f:]*))?(?::(\d+)(?:-(\d+))?(?:\/\d+)?)?$/i.exec(text);
  if (!match) return undefined;
  const addresses = match[1] ?? match[2] ?? '';
  const port = match[3] === undefined ? undefined : constant(BigInt(match[3]), BigInt(match[4] ?? match[3]));
  if (addresses === '') return port && { port };
  const [first, last = first] = addresses.split('-').map((one) => parseAddress(one.replace(/[[\]]/g, '')));
  if (!first || !last) return undefined;
  return { address: constant(first.value, last.value), ...(port ? { port } : {}) };
}

function portsOf(text: string | undefined): FilterExpression | undefined {
  const match = /^(\d+)(?:-(\d+))?/.exec(text ?? '');
  return match ? constant(BigInt(match[1]), BigInt(match[2] ?? match[1])) : undefined;
}

function natAction(name: string, options: readonly RuleOption[]): FilterAction | undefined {
  const random = options.some((option) => option.name === '--random' || option.name === '--random-fully');
  const rest = { prefix: false, random };
  if (name === 'MASQUERADE' || name === 'REDIRECT') {
    const port = portsOf(optionValue(options, '--to-ports'));
    return { kind: name === 'REDIRECT' ? 'redirect' : 'masquerade', ...rest, ...(port ? { port } : {}) };
  }
  if (name === 'NETMAP') {
    const [address, length] = (optionValue(options, '--to') ?? '').split('/');
    const parsed = parseAddress(address);
    if (!parsed || (length !== undefined && !/^\d+$/.test(length))) return undefined;
    const bits = parsed.family === 4 ? 32 : 128;
    const size = 1n << BigInt(bits - Number(length ?? bits));
    return { kind: 'dnat', address: constant(parsed.value, parsed.value + size - 1n), prefix: true, random: false };
  }
  const target = parseDestination(optionValue(options, name === 'DNAT' ? '--to-destination' : '--to-source') ?? '');
  return target && { kind: name === 'DNAT' ? 'dnat' : 'snat', ...target, ...rest };
}

function markAction(options: readonly RuleOption[]): FilterAction | undefined {
  const [{ name, values }] = options;
  const masked = parseMasked(values[0] ?? '');
  if (!masked) return undefined;
  const { value, mask } = masked;
  const written =
    name === '--set-xmark'
      ? xmark('meta.mark', value, mask)
      : name === '--set-mark'
        ? xmark('meta.mark', value, mask | value)
        : undefined;
  return written && { kind: 'write', field: 'meta.mark', value: written };
}

function connmarkAction(options: readonly RuleOption[]): FilterAction | undefined {
  const [nfmask, ctmask] = [maskOf(options, '--nfmask'), maskOf(options, '--ctmask')];
  for (const { name, values } of options) {
    if (name === '--save-mark') return { kind: 'write', field: 'ct.mark', value: copied('ct.mark', ctmask, 'meta.mark', nfmask) };
    if (name === '--restore-mark')
      return { kind: 'write', field: 'meta.mark', value: copied('meta.mark', nfmask, 'ct.mark', ctmask) };
    const masked = parseMasked(values[0] ?? '');
    if (masked && name === '--set-xmark')
      return { kind: 'write', field: 'ct.mark', value: xmark('ct.mark', masked.value, masked.mask) };
    if (masked && name === '--set-mark')
      return { kind: 'write', field: 'ct.mark', value: xmark('ct.mark', masked.value, masked.mask | masked.value) };
  }
  return undefined;
}

function tproxyAction(options: readonly RuleOption[]): FilterAction {
  const ip = parseAddress(optionValue(options, '--on-ip') ?? '');
  const address: Address | undefined = ip && ip.value !== 0n ? ip : undefined;
  const port = Number(optionValue(options, '--on-port') ?? 0);
  const masked = parseMasked(optionValue(options, '--tproxy-mark') ?? '0/0') ?? { value: 0n, mask: 0n };
  return {
    kind: 'tproxy',
    accepts: true,
    ...(address ? { address } : {}),
    ...(port > 0 ? { port } : {}),
    mark: { value: Number(masked.value), mask: Number(masked.mask) },
  };
}

function queueAction(options: readonly RuleOption[]): FilterAction {
  const bypass = options.some(({ name }) => name === '--queue-bypass');
  const [first, last = first] = (optionValue(options, '--queue-balance') ?? optionValue(options, '--queue-num') ?? '0').split(
    ':',
  );
  return { kind: 'queue', first: Number(first), last: Number(last), bypass };
}

/** Those that leave the packet's fate to the next rule and change nothing that rules here look at. */
const harmless = new Set([
  'TCPMSS',
  'TCPOPTSTRIP',
  'DSCP',
  'TOS',
  'TTL',
  'HL',
  'ECN',
  'CLASSIFY',
  'SET',
  'CHECKSUM',
  'SECMARK',
  'CONNSECMARK',
  'AUDIT',
  'TEE',
  'IDLETIMER',
  'LED',
  'RATEEST',
  'TRACE',
  'HMARK',
]);

/** A rule without a target goes on; any name that is no target is a chain. */
export function parseTarget({ target }: RuleOptions, chains: ReadonlySet<string>): FilterAction {
  if (!target) return { kind: 'continue' };
  const { name, options } = target;
  const unknown: FilterAction = { kind: 'unknown', text: `-j ${name}` };
  if (chains.has(name)) return { kind: target.isGoto ? 'goto' : 'jump', chain: name };
  switch (name) {
    case 'ACCEPT':
      return { kind: 'accept' };
    case 'DROP':
      return { kind: 'drop' };
    case 'RETURN':
      return { kind: 'return' };
    case 'REJECT':
      return { kind: 'reject', answer: optionValue(options, '--reject-with') === 'tcp-reset' ? 'tcp-reset' : 'icmp' };
    case 'LOG':
    case 'NFLOG':
      return { kind: 'log' };
    case 'QUEUE':
    case 'NFQUEUE':
      return queueAction(options);
    case 'NOTRACK':
      return { kind: 'notrack' };
    case 'CT':
      return options.some((option) => option.name === '--notrack') ? { kind: 'notrack' } : { kind: 'nothing' };
    case 'TPROXY':
      return tproxyAction(options);
    case 'MARK':
      return options.length > 0 ? (markAction(options) ?? unknown) : unknown;
    case 'CONNMARK':
      return connmarkAction(options) ?? unknown;
    case 'DNAT':
    case 'SNAT':
    case 'MASQUERADE':
    case 'REDIRECT':
    case 'NETMAP':
      return natAction(name, options) ?? unknown;
    default:
      return harmless.has(name) ? { kind: 'nothing' } : unknown;
  }
}
