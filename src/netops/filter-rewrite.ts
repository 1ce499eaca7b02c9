// What rules do to a packet: translated addresses and ports, marks, fields that are written. Pure.

import { type Address, bitsOf, type Family } from '../model/address.ts';
import type { FilterAction, FilterExpression, FilterPacket, RulePlace, WalkContext } from '../model/packet-filter.ts';
import { type SetFinder, valuesOf } from './filter-match.ts';
import type { Blur, FilterValue, Sight } from './filter-value.ts';

/** A packet and what of it cannot be told any more. */
export interface Rewritten {
  readonly packet: FilterPacket;
  readonly blurred: ReadonlySet<Blur>;
}

type NatAction = FilterAction & { kind: 'dnat' | 'snat' | 'masquerade' | 'redirect' };

const address = (family: Family, value: bigint): Address => ({ family, value });

/** Exact, unknown, or `absent`: then the rule ends before it does anything. */
type Target = bigint | 'unknown' | 'absent';

const targetOf = (value: FilterValue | undefined): Target => {
  if (value?.kind === 'absent') return 'absent';
  return value?.kind === 'number' ? value.value : 'unknown';
};

/** nft's prefix and NETMAP: the network of the target, the host of the packet. */
function mappedHost(expression: FilterExpression, host: bigint, family: Family): bigint | undefined {
  const [part] = expression.kind === 'constant' ? expression.value : [];
  if (part === undefined || !('first' in part)) return undefined;
  const hostBits = part.last - part.first;
  const all = (1n << BigInt(bitsOf(family))) - 1n;
  return (part.first & (all ^ hostBits)) | (host & hostBits);
}

interface NatTarget {
  readonly address?: Target;
  readonly port?: Target;
}

function natTarget(sight: Sight, action: NatAction, place: RulePlace, sets: SetFinder, old: Address): NatTarget {
  let to: Target | undefined;
  let port: Target | undefined;
  if (action.address) {
    const values = valuesOf(sight, action.address, place, sets);
    to = action.prefix
      ? (mappedHost(action.address, old.value, sight.packet.family) ?? prefixTarget(values))
      : targetOf(values[0]);
    // A map from one key to an address and a port.
    if (values.length > 1) port = targetOf(values[1]);
  }
  if (action.port) port = targetOf(valuesOf(sight, action.port, place, sets)[0]);
  if (action.random && port !== undefined && port !== 'absent') port = 'unknown';
  return { ...(to === undefined ? {} : { address: to }), ...(port === undefined ? {} : { port }) };
}

const prefixTarget = (values: readonly FilterValue[]): Target => (values[0]?.kind === 'absent' ? 'absent' : 'unknown');

/** Undefined where the rule ends at it without doing anything: another family, or a map without an answer. */
export function translate(sight: Sight, action: NatAction, place: RulePlace, sets: SetFinder): Rewritten | undefined {
  const { packet, context } = sight;
  const isSource = context.hook === 'postrouting' || context.hook === 'input';
  const old = isSource ? packet.source : packet.destination;
  let target = natTarget(sight, action, place, sets, old);
  if (target.address === 'absent' || target.port === 'absent') return undefined;
  if (action.kind === 'redirect') target = { ...target, address: redirectTarget(packet, context) };
  if (action.kind === 'masquerade') {
    const own = packet.outputDevice === undefined ? undefined : context.deviceAddress?.(packet.outputDevice, packet.family);
    target = { ...target, address: own?.value ?? 'unknown' };
  }
  return isSource ? withSource(sight, target) : withDestination(sight, target);
}

/** nf_nat_redirect.c: loopback for what is sent here, the first address of the device for what comes in. */
function redirectTarget(packet: FilterPacket, { hook, deviceAddress }: WalkContext): Target {
  if (hook === 'output') return packet.family === 4 ? 0x7f000001n : 1n;
  const own = packet.inputDevice === undefined ? undefined : deviceAddress?.(packet.inputDevice, packet.family);
  return own?.value ?? 'unknown';
}

function withDestination({ packet, blurred }: Sight, target: NatTarget): Rewritten {
  const blur = new Set(blurred);
  const original = packet.originalDestination ?? { address: packet.destination, port: packet.destinationPort };
  let { destination, destinationPort } = packet;
  if (target.address === 'unknown') blur.add('destination');
  else if (typeof target.address === 'bigint') {
    destination = address(packet.family, target.address);
    blur.delete('destination');
  }
  if (target.port === 'unknown') blur.add('destinationPort');
  else if (typeof target.port === 'bigint') {
    destinationPort = Number(target.port);
    blur.delete('destinationPort');
  }
  // Translated to what it was: no translation for connection tracking (nf_nat_setup_info compares both).
  const isSame = destination.value === packet.destination.value && destinationPort === packet.destinationPort;
  if (isSame && target.address !== 'unknown' && target.port !== 'unknown') return { packet, blurred: blur };
  return { packet: { ...packet, destination, destinationPort, originalDestination: original }, blurred: blur };
}

/** A port stays where nobody else uses it: not to be told. */
function withSource({ packet, blurred }: Sight, target: NatTarget): Rewritten {
  const blur = new Set(blurred);
  let { source } = packet;
  if (target.address === 'unknown') blur.add('source');
  else if (typeof target.address === 'bigint') source = address(packet.family, target.address);
  blur.add('sourcePort');
  return { packet: { ...packet, source }, blurred: blur };
}

/** A field that is written; undefined where the rule ends at it. */
export function writeField(
  sight: Sight,
  action: FilterAction & { kind: 'write' },
  place: RulePlace,
  sets: SetFinder,
): Rewritten | undefined {
  const { packet, blurred } = sight;
  const [value] = valuesOf(sight, action.value, place, sets);
  const target = targetOf(value);
  if (target === 'absent') return undefined;
  const blur = new Set(blurred);
  const note = (name: Blur): void => void (target === 'unknown' ? blur.add(name) : blur.delete(name));
  const exact = target === 'unknown' ? undefined : target;
  const [, protocol, name] = /^(\w+|@nh|@th)[.,](.*)$/.exec(action.field) ?? [];
  if (action.field === 'meta.mark') {
    note('mark');
    return { packet: exact === undefined ? packet : { ...packet, mark: Number(exact & 0xffffffffn) }, blurred: blur };
  }
  if (action.field === 'ct.mark') {
    if (sight.untrackedYet || packet.state === 'untracked' || packet.state === 'invalid') return { packet, blurred };
    note('connectionMark');
    return { packet: exact === undefined ? packet : { ...packet, connectionMark: Number(exact & 0xffffffffn) }, blurred: blur };
  }
  if (protocol.startsWith('@')) {
    for (const part of ['source', 'destination', 'sourcePort', 'destinationPort'] as const) blur.add(part);
    return { packet, blurred: blur };
  }
  const isSource = name.startsWith('s');
  if (name.endsWith('addr')) {
    if ((protocol === 'ip' ? 4 : 6) !== packet.family) return undefined;
    note(isSource ? 'source' : 'destination');
    if (exact === undefined) return { packet, blurred: blur };
    return { packet: { ...packet, [isSource ? 'source' : 'destination']: address(packet.family, exact) }, blurred: blur };
  }
  if (protocol !== 'th' && protocol !== packet.protocol) return undefined;
  note(isSource ? 'sourcePort' : 'destinationPort');
  if (exact === undefined) return { packet, blurred: blur };
  return { packet: { ...packet, [isSource ? 'sourcePort' : 'destinationPort']: Number(exact) }, blurred: blur };
}
