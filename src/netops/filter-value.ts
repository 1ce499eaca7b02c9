// What rules see of a packet: the value of each field, as far as it is known, and of expressions of fields. Pure.
// Comparing is filter-match.ts; the order of chains and rules filter-walk.ts.

import type { Address } from '../model/address.ts';
import type { AddressType, FilterChain, FilterExpression, FilterPacket, WalkContext } from '../model/packet-filter.ts';
import { addressHash } from '../model/population.ts';

/** A value that is exact, of which only some bits or a few possibilities are known, or none; `absent` ends the rule (NFT_BREAK). */
export type FilterValue =
  | { readonly kind: 'number'; readonly value: bigint }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'bits'; readonly value: bigint; readonly known: bigint }
  | { readonly kind: 'among'; readonly values: readonly bigint[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unknown'; readonly why: string };

/** Parts of a packet that some rule rewrote to what cannot be told. */
export type Blur = 'source' | 'sourcePort' | 'destination' | 'destinationPort' | 'mark' | 'connectionMark';

/** What a rule is evaluated against. */
export interface Sight {
  readonly packet: FilterPacket;
  readonly blurred: ReadonlySet<Blur>;
  readonly context: WalkContext;
  /** The base chain: where in the path it stands. */
  readonly chain: FilterChain;
  /** Connection tracking has not looked yet: below its priority, or outside the hooks of IP. */
  readonly untrackedYet: boolean;
  /** Source rewritten during this walk. */
  readonly sourceRewritten: boolean;
  /** Values found so far: thousands of rules ask for the same. */
  readonly known: Map<string, FilterValue>;
}

const number = (value: bigint | number): FilterValue => ({ kind: 'number', value: BigInt(value) });
const absent: FilterValue = { kind: 'absent' };
const unknown = (why: string): FilterValue => ({ kind: 'unknown', why });

const protocolNumbers = { tcp: 6n, udp: 17n } as const;
const stateBits = { invalid: 1n, established: 2n, related: 4n, new: 8n, untracked: 64n } as const;
const flagBits: Readonly<Record<string, bigint>> = {
  fin: 1n,
  syn: 2n,
  rst: 4n,
  psh: 8n,
  ack: 16n,
  urg: 32n,
  ece: 64n,
  ecn: 64n,
  cwr: 128n,
};

/** linux/rtnetlink.h, RTN_*. */
const typeNumbers: Readonly<Record<AddressType, bigint>> = {
  unicast: 1n,
  local: 2n,
  broadcast: 3n,
  anycast: 4n,
  multicast: 5n,
  blackhole: 6n,
  unreachable: 7n,
  prohibit: 8n,
};

export const protocolOf = (packet: FilterPacket): bigint =>
  packet.protocol === 'icmp' ? (packet.family === 4 ? 1n : 58n) : protocolNumbers[packet.protocol];

/** Whether connection tracking has an entry for it here. */
const isTracked = (sight: Sight): boolean =>
  !sight.untrackedYet && sight.packet.state !== 'untracked' && sight.packet.state !== 'invalid';

const isMulticast = ({ family, value }: Address): boolean => (family === 4 ? value >> 28n === 0xen : value >> 120n === 0xffn);

/** Of a frame that comes in: the kernel keeps the device it came by until the packet leaves. */
function deviceName(sight: Sight, which: 'input' | 'output'): FilterValue {
  const { hook } = sight.context;
  const name = which === 'input' ? sight.packet.inputDevice : sight.packet.outputDevice;
  const has =
    which === 'input'
      ? hook !== 'output' && hook !== 'egress'
      : hook === 'forward' || hook === 'output' || hook === 'postrouting' || hook === 'egress';
  if (!has) return { kind: 'name', name: '' };
  if (name !== undefined) return { kind: 'name', name };
  // What this machine sends came in by none.
  return hook === 'postrouting' && which === 'input' ? { kind: 'name', name: '' } : unknown(`the ${which} device is not known`);
}

function addressValue(sight: Sight, family: 4 | 6, which: 'source' | 'destination'): FilterValue {
  if (sight.packet.family !== family) return absent;
  return sight.blurred.has(which) ? unknown(`which ${which} it was rewritten to`) : number(sight.packet[which].value);
}

function portValue(sight: Sight, protocol: string, which: 'sourcePort' | 'destinationPort'): FilterValue {
  const { packet } = sight;
  if (protocol === 'th' && packet.protocol === 'icmp') return unknown('a port of ICMP');
  if (protocol !== 'th' && protocol !== packet.protocol) return absent;
  return sight.blurred.has(which) ? unknown('which port it was rewritten to') : number(packet[which]);
}

function flagsValue({ packet }: Sight): FilterValue {
  if (packet.protocol !== 'tcp') return absent;
  const text = packet.tcpFlags ?? (packet.state === 'new' ? 'syn' : undefined);
  if (text === undefined) return unknown('its TCP flags');
  return number(text.split(',').reduce((sum, flag) => sum | (flagBits[flag.trim()] ?? 0n), 0n));
}

function icmpValue({ packet }: Sight, name: string): FilterValue {
  const [protocol, part] = name.split('.');
  if (packet.protocol !== 'icmp' || (protocol === 'icmp') !== (packet.family === 4)) return absent;
  if (part !== 'type' && part !== 'code') return unknown(name);
  return packet.icmp ? number(packet.icmp[part]) : unknown('its ICMP type');
}

/** NEW has neither an answer nor a confirmed entry; linux/netfilter/nf_conntrack_common.h, enum ip_conntrack_status. */
function statusValue(sight: Sight): FilterValue {
  const { packet, context, blurred } = sight;
  const rewritten = packet.originalDestination !== undefined;
  // Translated to what is not known may also be to what it was.
  const knowsTarget = !blurred.has('destination') && !blurred.has('destinationPort');
  if (packet.state !== 'new')
    return rewritten && knowsTarget ? { kind: 'bits', value: 32n, known: 32n } : unknown('the state of its connection');
  const late = context.hook === 'postrouting' || context.hook === 'input';
  const knowsSource = sight.sourceRewritten ? !blurred.has('source') : !late;
  return {
    kind: 'bits',
    value: (rewritten ? 32n : 0n) | (sight.sourceRewritten ? 16n : 0n),
    known: 0x0fn | (knowsTarget ? 32n : 0n) | (knowsSource ? 16n : 0n),
  };
}

function trackingValue(sight: Sight, key: string): FilterValue {
  const { packet } = sight;
  if (key === 'state') {
    if (sight.untrackedYet) return number(packet.state === 'untracked' ? stateBits.untracked : stateBits.invalid);
    return number(stateBits[packet.state]);
  }
  if (!isTracked(sight)) return absent;
  const direction = packet.direction ?? (packet.state === 'new' ? 'original' : undefined);
  switch (key) {
    case 'status':
      return statusValue(sight);
    case 'direction':
      return direction === undefined ? unknown('the direction of its connection') : number(direction === 'original' ? 0 : 1);
    case 'mark':
      if (sight.blurred.has('connectionMark')) return unknown('the mark of its connection');
      return packet.connectionMark === undefined && packet.state !== 'new'
        ? unknown('the mark of its connection')
        : number(packet.connectionMark ?? 0);
    case 'protocol':
      return number(protocolOf(packet));
    case 'l3proto':
      return number(packet.family === 4 ? 2 : 10);
    case 'original.daddr':
      if (packet.originalDestination) return number(packet.originalDestination.address.value);
      return direction === 'original' ? addressValue(sight, packet.family, 'destination') : unknown('where its connection went');
    case 'original.proto-dst':
      if (packet.originalDestination) return number(packet.originalDestination.port);
      return direction === 'original' ? portValue(sight, 'th', 'destinationPort') : unknown('where its connection went');
    case 'original.saddr':
      return direction === 'original' && !sight.sourceRewritten
        ? addressValue(sight, packet.family, 'source')
        : unknown('where its connection came from');
    case 'original.proto-src':
      return direction === 'original' && !sight.sourceRewritten
        ? portValue(sight, 'th', 'sourcePort')
        : unknown('where its connection came from');
    default:
      return unknown(`ct ${key}`);
  }
}

function addressTypeValue(sight: Sight, which: 'source' | 'destination', byDevice: boolean): FilterValue {
  const { packet, context, blurred } = sight;
  if (blurred.has(which)) return unknown(`which ${which} it was rewritten to`);
  const address = packet[which];
  if (isMulticast(address)) return number(typeNumbers.multicast);
  if (address.family === 4 && address.value === 0xffffffffn) return number(typeNumbers.broadcast);
  const exact = context.addressType?.(packet, which);
  const isLocal = exact === undefined ? context.isLocal(packet, which) : exact === 'local';
  if (isLocal === undefined) return unknown(`whether its ${which} is an address of this machine`);
  // Whether it is one of that very device is not said.
  if (isLocal) return byDevice ? unknown(`whether its ${which} is an address of that device`) : number(typeNumbers.local);
  if (exact !== undefined && !byDevice) return number(typeNumbers[exact]);
  return {
    kind: 'among',
    values: Object.values(typeNumbers).filter((type) => type !== typeNumbers.local && type !== typeNumbers.multicast),
  };
}

function routingValue(sight: Sight, name: string): FilterValue {
  const [, keys, result] = name.split('.');
  const flags = keys.split('+');
  if (flags.includes('mark')) return unknown(name);
  const which = flags.includes('saddr') ? 'source' : 'destination';
  if (result === 'type') return addressTypeValue(sight, which, flags.includes('iif') || flags.includes('oif'));
  if (result !== 'oif' || which !== 'source' || !flags.includes('iif')) return unknown(name);
  if (sight.packet.inputDevice === 'lo') return number(1);
  const found = sight.context.hasReversePath?.(sight.packet);
  return found === undefined ? unknown('whether there is a route back') : number(found ? 1 : 0);
}

/** Of a packet no process of this machine sent there is no socket. */
function uidValue({ packet, context }: Sight, none: FilterValue): FilterValue {
  const isOurs = context.hook === 'output' || (context.hook === 'postrouting' && packet.inputDevice === undefined);
  if (isOurs) return packet.uid === undefined ? unknown('whose process sends it') : number(packet.uid);
  return packet.state === 'new' ? none : unknown('whose socket it belongs to');
}

/** nft_socket.c: without a socket the rule ends, whatever it asks. */
function socketValue({ packet, context, blurred }: Sight, key: string): FilterValue {
  const moved = blurred.has('destination') || blurred.has('destinationPort');
  const socket = moved ? undefined : context.findSocket?.(packet);
  if (socket === null) return absent;
  if (socket === undefined || (key !== 'transparent' && key !== 'wildcard')) return unknown(`socket ${key}`);
  return number(socket[key] ? 1 : 0);
}

function packetTypeValue({ packet, context }: Sight): FilterValue {
  if (context.bridged !== undefined || packet.inputDevice === 'lo') return unknown('its packet type');
  if (isMulticast(packet.destination)) return number(2);
  if (packet.family === 4 && packet.destination.value === 0xffffffffn) return number(1);
  return context.addressType?.(packet, 'destination') === 'broadcast' ? number(1) : number(0);
}

function metaValue(sight: Sight, key: string): FilterValue {
  const { packet, chain } = sight;
  switch (key) {
    case 'iifname':
    case 'iif':
      return deviceName(sight, 'input');
    case 'oifname':
    case 'oif':
      return deviceName(sight, 'output');
    case 'mark':
      return sight.blurred.has('mark') ? unknown('its mark') : number(packet.mark);
    case 'l4proto':
      return number(protocolOf(packet));
    case 'nfproto':
      return number(chain.family === 'bridge' ? 7 : chain.family === 'netdev' ? 5 : packet.family === 4 ? 2 : 10);
    case 'protocol':
      return number(packet.family === 4 ? 0x0800 : 0x86dd);
    case 'pkttype':
      return packetTypeValue(sight);
    case 'skuid':
      return uidValue(sight, absent);
    default:
      return unknown(`meta ${key}`);
  }
}

/** The value of one of the fields FilterExpression names. */
export function fieldValue(sight: Sight, name: string): FilterValue {
  let value = sight.known.get(name);
  if (!value) {
    value = findValue(sight, name);
    sight.known.set(name, value);
  }
  return value;
}

function findValue(sight: Sight, name: string): FilterValue {
  const { packet } = sight;
  if (name.startsWith('meta.')) return metaValue(sight, name.slice(5));
  if (name.startsWith('ct.')) return trackingValue(sight, name.slice(3));
  if (name.startsWith('fib.')) return routingValue(sight, name);
  if (name.startsWith('icmp')) return icmpValue(sight, name);
  if (name.startsWith('socket.')) return socketValue(sight, name.slice(7));
  const port = /^(tcp|udp|th|sctp|dccp|udplite)\.([sd])port$/.exec(name);
  if (port) return portValue(sight, port[1], port[2] === 's' ? 'sourcePort' : 'destinationPort');
  const address = /^(ip6?)\.([sd])addr$/.exec(name);
  if (address) return addressValue(sight, address[1] === 'ip' ? 4 : 6, address[2] === 's' ? 'source' : 'destination');
  switch (name) {
    case 'ip.protocol':
      return packet.family === 4 ? number(protocolOf(packet)) : absent;
    case 'ip6.nexthdr':
      return packet.family === 6 ? number(protocolOf(packet)) : absent;
    case 'ip.version':
      return packet.family === 4 ? number(4) : absent;
    case 'ip6.version':
      return packet.family === 6 ? number(6) : absent;
    case 'tcp.flags':
      return flagsValue(sight);
    case 'ip.fragment':
      return packet.family === 4 ? number(0) : absent;
    case 'ip.frag-off':
      // Fragments are put together before; whether they were forbidden is not known.
      return packet.family === 4 ? { kind: 'bits', value: 0n, known: 0xbfffn } : absent;
    case 'ether.saddr':
      return packet.sourceMac === undefined ? unknown('its MAC') : number(BigInt(`0x${packet.sourceMac.replaceAll(':', '')}`));
    case 'ether.type':
      return number(packet.family === 4 ? 0x0800 : 0x86dd);
    case 'socket.transparent': {
      // nft_socket looks for the socket itself; where there is none the rule ends.
      if (packet.state !== 'new') return unknown('the socket of its connection');
      const found = sight.context.listenerOf?.(packet);
      return found === undefined
        ? unknown('whose socket would take it')
        : found === 'none'
          ? absent
          : number(found === 'transparent' ? 1 : 0);
    }
    case 'owner.uid':
      // xt_owner: no socket is nobody's, and not the one that is asked for.
      return uidValue(sight, number(-1n));
    default:
      break;
  }
  if (name.startsWith('ip6.')) return packet.family === 6 ? unknown(name) : absent;
  if (name.startsWith('ip.')) return packet.family === 4 ? unknown(name) : absent;
  if (/^(tcp|udp)\./.test(name)) return name.startsWith(packet.protocol) ? unknown(name) : absent;
  if (/^(arp|sctp|dccp|udplite|esp|ah|comp|igmp)\./.test(name)) return absent;
  return unknown(name);
}

/** The parts of an expression; a map's value comes from `lookUp`. */
export function expressionValues(
  sight: Sight,
  expression: FilterExpression,
  lookUp: (expression: FilterExpression & { kind: 'map' }) => readonly FilterValue[],
): readonly FilterValue[] {
  switch (expression.kind) {
    case 'field':
      return [fieldValue(sight, expression.field)];
    case 'constant':
      return expression.value.map((part) => {
        if ('name' in part) return { kind: 'name', name: part.name };
        return part.first === part.last ? number(part.first) : unknown('which one of a range');
      });
    case 'concatenation':
      return expression.parts.flatMap((part) => expressionValues(sight, part, lookUp));
    case 'map':
      return lookUp(expression);
    case 'operation': {
      const [left = absent] = expressionValues(sight, expression.left, lookUp);
      const [right = absent] = expressionValues(sight, expression.right, lookUp);
      return [operationValue(expression.operator, left, right)];
    }
    case 'hash':
      return [hashValue(sight, expression)];
    case 'unknown':
      return [unknown(expression.text)];
  }
}

/** Of an address, whose length in bytes is known; who lives at a decoy's address is told so. */
function hashValue(sight: Sight, hash: FilterExpression & { kind: 'hash' }): FilterValue {
  const family = hash.field.startsWith('ip.') ? 4 : 6;
  if (!/^ip6?\.[sd]addr$/.test(hash.field)) return unknown(`a hash of ${hash.field}`);
  const value = fieldValue(sight, hash.field);
  return value.kind === 'number'
    ? number(hash.offset + addressHash({ family, value: value.value }, hash.modulus, hash.seed))
    : value;
}

function operationValue(operator: '&' | '|' | '^' | '<<' | '>>', left: FilterValue, right: FilterValue): FilterValue {
  if (left.kind === 'absent' || right.kind === 'absent') return absent;
  if (left.kind === 'bits' && right.kind === 'number' && operator === '&')
    return (left.known & right.value) === right.value
      ? number(left.value & right.value)
      : { ...left, value: left.value & right.value };
  if (left.kind !== 'number' || right.kind !== 'number')
    return left.kind === 'unknown' ? left : right.kind === 'unknown' ? right : unknown('a sum');
  const [a, b] = [left.value, right.value];
  if (operator === '&') return number(a & b);
  if (operator === '|') return number(a | b);
  if (operator === '^') return number(a ^ b);
  return number(operator === '<<' ? (a << b) & 0xffffffffn : a >> b);
}
