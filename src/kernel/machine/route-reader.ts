// Routes of all tables and policy rules of one network namespace, as data and as ip(8) prints them. The kernel's answer for one packet
// is route-get.ts. Reads only, no privilege needed in the namespace one is in.
// Sources: rtnetlink(7), include/uapi/linux/rtnetlink.h, fib_rules.h; the text: ip-route(8), ip-rule(8).

import { type Address, addressFromBytes, bitsOf, type Family, renderAddress } from '../../model/address.ts';
import type { MachineRoute, MachineRule } from '../../model/machine.ts';
import { longIn, type NetlinkMessage, parseAttributes, textIn, wordIn } from '../netlink-message.ts';
import type { RouteSocket } from '../route-socket.ts';

const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RTM_GETRULE = 34;

/** RTN_*. */
const routeTypes = [
  'none',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
  'nat',
  'xresolve',
];
/** RTPROT_*; as /etc/iproute2/rt_protos has them. */
const protocols: Readonly<Record<number, string>> = {
  0: 'none',
  1: 'redirect',
  2: 'kernel',
  3: 'boot',
  4: 'static',
  8: 'gated',
  9: 'ra',
  10: 'mrt',
  11: 'zebra',
  12: 'bird',
  13: 'dnrouted',
  14: 'xorp',
  15: 'ntk',
  16: 'dhcp',
  18: 'keepalived',
  42: 'babel',
  186: 'bgp',
  187: 'isis',
  188: 'ospf',
  189: 'rip',
  192: 'eigrp',
};
const scopes: Readonly<Record<number, string>> = { 200: 'site', 253: 'link', 254: 'host', 255: 'nowhere' };
const tableNames: Readonly<Record<number, string>> = { 253: 'default', 254: 'main', 255: 'local' };
const preferences: Readonly<Record<number, string>> = { 0: 'medium', 1: 'high', 3: 'low' };
const RTNH_F_DEAD = 1;
const RTNH_F_PERVASIVE = 2;
const RTNH_F_ONLINK = 4;
const RTNH_F_LINKDOWN = 16;
const RTNH_F_UNRESOLVED = 32;
const RTM_F_CLONED = 0x200;
/** A machine with the Internet's table has a million; nobody judges by reading them all. */
const maxRoutes = 50_000;

export const tableText = (table: number): string => tableNames[table] ?? String(table);

export interface LinkNames {
  get(index: number): string | undefined;
}

/** `complete` is false when there are more than are kept. */
export function readMachineRoutes(socket: RouteSocket, names: LinkNames): { routes: MachineRoute[]; complete: boolean } {
  const routes: MachineRoute[] = [];
  for (const family of [2, 10]) {
    const header = new Uint8Array(12);
    header[0] = family;
    const { complete } = socket.each(RTM_GETROUTE, [header], 'reading routes', (message) => {
      const route = parseMachineRoute(message, names);
      if (!route) return true;
      if (routes.length >= maxRoutes) return false;
      routes.push(route);
      return true;
    });
    if (!complete) return { routes, complete };
  }
  return { routes, complete: true };
}

type Attributes = ReadonlyMap<number, Uint8Array>;
type Hop = MachineRoute['hops'][number];

const addressIn = (bytes: Uint8Array | undefined): Address | undefined =>
  bytes && (bytes.length === 4 || bytes.length === 16) ? addressFromBytes(bytes) : undefined;

/** struct rtvia: the family, then the address: a gateway of the other family. */
const viaOf = (attributes: Attributes): Address | undefined =>
  addressIn(attributes.get(5)) ?? addressIn(attributes.get(18)?.subarray(2));

/** A message about a route, of a dump or as the answer to a lookup; undefined for anything else and for cached ones. */
export function parseMachineRoute({ type, body }: NetlinkMessage, names: LinkNames, cloned = false): MachineRoute | undefined {
  if (type !== RTM_NEWROUTE || body.length < 12 || (body[0] !== 2 && body[0] !== 10)) return undefined;
  const family: Family = body[0] === 2 ? 4 : 6;
  const flags = longIn(body.subarray(8));
  if (!cloned && (flags & RTM_F_CLONED) !== 0) return undefined;
  const attributes = parseAttributes(body.subarray(12));
  const multipath = attributes.get(9);
  const hops = multipath ? parseHops(multipath, names) : singleHop(attributes, flags, names);
  const source = addressIn(attributes.get(7));
  const route = {
    family,
    table: attributes.has(15) ? longIn(attributes.get(15)) : body[4],
    type: routeTypes[body[7]] ?? `type ${body[7]}`,
    destination: addressIn(attributes.get(1)) ?? { family, value: 0n },
    prefixLength: body[1],
    metric: longIn(attributes.get(6)),
    protocol: protocols[body[5]] ?? String(body[5]),
    ...(source ? { source } : {}),
    hops: hops.map(({ device, via, dead }) => ({
      ...(device === undefined ? {} : { device }),
      ...(via === undefined ? {} : { via }),
      ...(dead ? { dead } : {}),
    })),
  };
  const text = renderRoute(route, body, attributes, hops, flags, multipath !== undefined);
  // An answer to a lookup is no route that anybody wrote.
  return { ...route, text, ...(!cloned && hasMore(attributes) && { partial: true as const }) };
}

/** RTA_*: DST, SRC, OIF, GATEWAY, PRIORITY, PREFSRC, METRICS, MULTIPATH, CACHEINFO, TABLE, VIA, PREF, PAD, NH_ID. */
const toldByText: ReadonlySet<number> = new Set([1, 2, 4, 5, 6, 7, 8, 9, 12, 15, 18, 20, 27, 30]);
/** The same of a next hop: GATEWAY, VIA. */
const toldOfHops: ReadonlySet<number> = new Set([5, 18]);
const RTAX_LOCK = 1;

/** Whether a route has what its text does not say: RTA_ENCAP, RTA_FLOW, features, an end in struct rta_cacheinfo, ... */
function hasMore(attributes: Attributes): boolean {
  if ([...attributes.keys()].some((key) => !toldByText.has(key))) return true;
  const cache = attributes.get(12);
  if (cache && cache.length >= 12 && longIn(cache.subarray(8)) !== 0) return true;
  const metrics = attributes.get(8);
  if (metrics && [...parseAttributes(metrics).keys()].some((key) => key !== RTAX_LOCK && metricNames[key] === undefined))
    return true;
  const multipath = attributes.get(9) ?? new Uint8Array(0);
  for (let at = 0; at + 8 <= multipath.length; ) {
    const length = wordIn(multipath.subarray(at));
    if (length < 8 || at + length > multipath.length) break;
    const more = parseAttributes(multipath.subarray(at + 8, at + length));
    if ([...more.keys()].some((key) => !toldOfHops.has(key))) return true;
    at += (length + 3) & ~3;
  }
  return false;
}

interface RichHop extends Hop {
  readonly flags: number;
  readonly weight: number;
}

function singleHop(attributes: Attributes, flags: number, names: LinkNames): RichHop[] {
  const index = attributes.get(4);
  const via = viaOf(attributes);
  if (!index && !via) return [];
  const device = index && (names.get(longIn(index)) ?? `if${longIn(index)}`);
  return [{ ...(device ? { device } : {}), ...(via ? { via } : {}), dead: (flags & RTNH_F_DEAD) !== 0, flags, weight: 0 }];
}

/** struct rtnexthop: length, flags, hops, interface index, then attributes. */
function parseHops(bytes: Uint8Array, names: LinkNames): RichHop[] {
  const hops: RichHop[] = [];
  for (let at = 0; at + 8 <= bytes.length; ) {
    const length = wordIn(bytes.subarray(at));
    if (length < 8 || at + length > bytes.length) break;
    const via = viaOf(parseAttributes(bytes.subarray(at + 8, at + length)));
    const index = longIn(bytes.subarray(at + 4));
    hops.push({
      device: names.get(index) ?? `if${index}`,
      ...(via ? { via } : {}),
      dead: (bytes[at + 2] & RTNH_F_DEAD) !== 0,
      flags: bytes[at + 2],
      weight: bytes[at + 3] + 1,
    });
    at += (length + 3) & ~3;
  }
  return hops;
}

const flagWords = (flags: number): string[] => [
  ...(flags & RTNH_F_DEAD ? ['dead'] : []),
  ...(flags & RTNH_F_ONLINK ? ['onlink'] : []),
  ...(flags & RTNH_F_PERVASIVE ? ['pervasive'] : []),
  ...(flags & RTNH_F_LINKDOWN ? ['linkdown'] : []),
  ...(flags & RTNH_F_UNRESOLVED ? ['unresolved'] : []),
];

const viaText = (via: Address | undefined, family: Family): string[] => {
  if (!via) return [];
  return via.family === family ? ['via', renderAddress(via)] : ['via', `inet${via.family === 6 ? '6' : ''}`, renderAddress(via)];
};

const prefixText = (address: Address, length: number): string =>
  length === bitsOf(address.family) ? renderAddress(address) : `${renderAddress(address)}/${length}`;

function renderRoute(
  route: Omit<MachineRoute, 'text'>,
  body: Uint8Array,
  attributes: Attributes,
  hops: readonly RichHop[],
  flags: number,
  multipath: boolean,
): string {
  const words: string[] = [];
  if (route.type !== 'unicast') words.push(route.type);
  const whole = route.prefixLength === 0 && !attributes.has(1);
  words.push(whole ? 'default' : prefixText(route.destination, route.prefixLength));
  const from = addressIn(attributes.get(2));
  if (from) words.push('from', prefixText(from, body[2]));
  if (attributes.has(30)) words.push('nhid', String(longIn(attributes.get(30))));
  if (body[3] !== 0) words.push('tos', `0x${body[3].toString(16)}`);
  const [only] = multipath ? [] : hops;
  if (only) words.push(...viaText(only.via, route.family), ...(only.device ? ['dev', only.device] : []));
  if (route.table !== 254) words.push('table', tableText(route.table));
  if (route.protocol !== 'boot') words.push('proto', route.protocol);
  if (body[6] !== 0) words.push('scope', scopes[body[6]] ?? String(body[6]));
  if (route.source) words.push('src', renderAddress(route.source));
  if (attributes.has(6)) words.push('metric', String(route.metric));
  if (!multipath) words.push(...flagWords(flags));
  words.push(...metricWords(attributes.get(8)));
  if (attributes.has(20)) words.push('pref', preferences[attributes.get(20)?.[0] ?? 0] ?? 'medium');
  if (multipath)
    for (const hop of hops)
      words.push(
        'nexthop',
        ...viaText(hop.via, route.family),
        'dev',
        hop.device ?? '',
        'weight',
        String(hop.weight),
        ...flagWords(hop.flags),
      );
  return words.join(' ');
}

/** RTAX_* that people set by hand. */
const metricNames: Readonly<Record<number, string>> = {
  2: 'mtu',
  3: 'window',
  7: 'cwnd',
  8: 'advmss',
  9: 'reordering',
  10: 'hoplimit',
  11: 'initcwnd',
  13: 'rto_min',
  14: 'initrwnd',
};

function metricWords(bytes: Uint8Array | undefined): string[] {
  if (!bytes) return [];
  const words: string[] = [];
  const metrics = parseAttributes(bytes);
  const locked = longIn(metrics.get(1));
  for (const [key, value] of metrics) {
    const name = metricNames[key];
    if (name) words.push(name, ...((locked & (1 << key)) !== 0 ? ['lock'] : []), String(longIn(value)));
  }
  return words;
}

/** FR_ACT_*. */
const ruleActions: Readonly<Record<number, string>> = {
  0: 'nop',
  1: 'lookup',
  2: 'goto',
  3: 'nop',
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
};
const FIB_RULE_INVERT = 2;

/** In the order the kernel asks them, those of IPv4 first. */
export function readMachineRules(socket: RouteSocket): MachineRule[] {
  const rules: MachineRule[] = [];
  for (const family of [2, 10]) {
    const header = new Uint8Array(12);
    header[0] = family;
    for (const message of socket.dump(RTM_GETRULE, [header], 'reading policy rules')) {
      const rule = parseMachineRule(message);
      if (rule && rules.length < maxRoutes) rules.push(rule);
    }
  }
  return rules;
}

/** struct fib_rule_hdr and its attributes. */
export function parseMachineRule({ body }: NetlinkMessage): MachineRule | undefined {
  if (body.length < 12 || (body[0] !== 2 && body[0] !== 10)) return undefined;
  const family: Family = body[0] === 2 ? 4 : 6;
  const attributes = parseAttributes(body.subarray(12));
  const prefix = (type: number, length: number): MachineRule['from'] => {
    const address = addressIn(attributes.get(type)) ?? (length > 0 ? { family, value: 0n } : undefined);
    return address && { address, prefixLength: length };
  };
  const from = prefix(2, body[2]);
  const to = prefix(1, body[1]);
  const iif = textIn(attributes.get(3));
  const oif = textIn(attributes.get(17));
  const value = longIn(attributes.get(10));
  const mask = attributes.has(16) ? longIn(attributes.get(16)) : 0xffff_ffff;
  const action = attributes.get(19)?.[0] ? 'l3mdev' : (ruleActions[body[7]] ?? `action ${body[7]}`);
  const table = attributes.has(15) ? longIn(attributes.get(15)) : body[4];
  const marked = attributes.has(10) || (attributes.has(16) && mask !== 0);
  const selectors = otherSelectors(attributes);
  const suppressed = longIn(attributes.get(14)) | 0;
  const suppressor = attributes.has(14) && suppressed !== -1 ? ['suppress_prefixlength', String(suppressed)] : [];
  const other = [...selectors, ...suppressor];
  const inverted = (longIn(body.subarray(8)) & FIB_RULE_INVERT) !== 0;
  const priority = longIn(attributes.get(6));
  const words = [`${priority}:`];
  if (inverted) words.push('not');
  words.push('from', from ? prefixText(from.address, from.prefixLength) : 'all');
  if (to) words.push('to', prefixText(to.address, to.prefixLength));
  if (body[3] !== 0) words.push('tos', `0x${body[3].toString(16)}`);
  if (marked) words.push('fwmark', `0x${value.toString(16)}${mask === 0xffff_ffff ? '' : `/0x${mask.toString(16)}`}`);
  if (iif) words.push('iif', iif);
  if (oif) words.push('oif', oif);
  words.push(...selectors);
  if (action === 'lookup') words.push('lookup', tableText(table));
  else if (action === 'l3mdev') words.push('lookup', '[l3mdev-table]');
  else if (action === 'goto') words.push('goto', String(longIn(attributes.get(4))));
  else words.push(action);
  words.push(...suppressor);
  const protocol = attributes.get(21)?.[0] ?? 0;
  if (protocol > 3) words.push('proto', protocols[protocol] ?? String(protocol));
  return {
    family,
    priority,
    action,
    ...(action === 'lookup' ? { table } : {}),
    ...(from ? { from } : {}),
    ...(to ? { to } : {}),
    ...(iif ? { iif } : {}),
    ...(oif ? { oif } : {}),
    ...(marked ? { mark: { value, mask } } : {}),
    inverted,
    ...(other.length > 0 ? { other: other.join(' ') } : {}),
    text: words.join(' '),
  };
}

/** In the order ip-rule(8) prints them: uid, protocol, ports, tunnel. */
function otherSelectors(attributes: Attributes): string[] {
  const words: string[] = [];
  const range = (bytes: Uint8Array): string => {
    const first = wordIn(bytes);
    const last = wordIn(bytes.subarray(2));
    return first === last ? String(first) : `${first}-${last}`;
  };
  const uids = attributes.get(20);
  if (uids && uids.length >= 8) words.push('uidrange', `${longIn(uids)}-${longIn(uids.subarray(4))}`);
  const protocol = attributes.get(22)?.[0];
  if (protocol !== undefined)
    words.push('ipproto', { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'ipv6-icmp' }[protocol] ?? String(protocol));
  const sourcePorts = attributes.get(23);
  if (sourcePorts && sourcePorts.length >= 4) words.push('sport', range(sourcePorts));
  const destinationPorts = attributes.get(24);
  if (destinationPorts && destinationPorts.length >= 4) words.push('dport', range(destinationPorts));
  const tunnel = attributes.get(12);
  if (tunnel && tunnel.length >= 8) words.push('tun_id', String(new DataView(tunnel.buffer, tunnel.byteOffset).getBigUint64(0)));
  return words;
}
