// A network diversion to the segment it should become: namespace, link, addresses and the decoys inside. Pure; nothing
// in a segment is observed, since it holds only what we put there. The machine's own namespace is desired.ts.

import { createHash } from 'node:crypto';
import type { ObservedFacts } from '../kernel/observe.ts';
import { rangeHolds, renderAddress, subtractRanges } from '../model/address.ts';
import type { Configuration, NetworkDiversion } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { reservedInSegment } from '../model/segment.ts';
import { planBoundPorts } from './bound-ports.ts';
import {
  backlogKey,
  type DesiredSysctl,
  type GatewayPorts,
  type NetworkState,
  type SegmentState,
  segmentLink,
  usedPersonas,
  wantedBacklog,
} from './desired-state.ts';
import { segmentMtu } from './segment-mtu.ts';

/** Tells the objects of one data directory from those of another on the same machine; part of names and marks. */
export const segmentTag = (dataDirectory: string): string => createHash('sha256').update(dataDirectory).digest('hex').slice(0, 4);

/** Every namespace of a segment begins with this; those of annexes have a dot instead of the last dash. */
export const netnsPrefix = (tag: string): string => `weir-${tag}-`;

export const segmentNetns = (tag: string, name: string): string => `${netnsPrefix(tag)}${name}`;

/** The owner's mark on the link of a segment. */
export const segmentAlias = (tag: string, name: string): string => `weir:${tag}:${name}`;

/**
 * The MAC of a VXLAN segment's own address, the same whenever the link is made again; locally administered. A VLAN device
 * has its trunk's.
 */
export function segmentMac(alias: string): string {
  const digest = createHash('sha256').update(alias).digest();
  return [0x02, ...digest.subarray(0, 5)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export interface SegmentInput {
  readonly configuration: Configuration;
  readonly facts: Pick<ObservedFacts, 'links' | 'gateways'>;
  readonly ports: GatewayPorts;
  readonly tag: string;
}

export interface SegmentOutput {
  readonly segment: SegmentState;
  readonly notes: readonly string[];
}

/**
 * ICMP errors to one visitor; all of them together stay below net.ipv4.icmp_msgs_per_sec. Kernels count in ticks of 1, 3.3,
 * 4 or 10 ms, and give back what they count.
 */
const refusalEveryMs = '20';
/** What an ordinary network card carries; IPv4 and TCP take 40 of it. */
const ethernetMtu = 1500;
/** Of the addresses left alone in one segment. */
const maxShown = 12;

/** Throws `fault` for a persona the configuration does not have. */
export function planSegment(diversion: NetworkDiversion, input: SegmentInput): SegmentOutput {
  const { configuration, facts, ports, tag } = input;
  const { name, attachment, addresses, gateways, agent } = diversion;
  const reserved = reservedInSegment(diversion);
  const leftAlone = new Set<string>();
  const groups: DecoyGroup[] = [];
  for (const group of diversion.groups) {
    const taken = reserved.filter(({ address }) => group.ranges.some((range) => rangeHolds(range, address)));
    for (const { address, what } of taken) leftAlone.add(`${renderAddress(address)} (${what})`);
    const kept = taken.map(({ address: { family, value } }) => ({ family, first: value, last: value }));
    const ranges = kept.length > 0 ? subtractRanges(group.ranges, kept) : group.ranges;
    if (ranges.length > 0) groups.push(ranges === group.ranges ? group : { ...group, ranges });
  }
  const shown = [...leftAlone].slice(0, maxShown);
  if (leftAlone.size > shown.length) shown.push(`${leftAlone.size - shown.length} more`);
  const notes = shown.length > 0 ? [`in ${name}: ${shown.join(', ')}`] : [];
  const mtu = segmentMtu(diversion, facts);
  const bound = planBoundPorts(configuration.relayBindings, groups);
  const inside: NetworkState = {
    groups,
    personas: usedPersonas(groups, configuration.personas),
    ...(bound.length > 0 ? { bound } : {}),
    guards: { ports: [], sources: [], resolvers: [] },
    ports,
    // Everybody's link in the segment carries as little, and the segment's gateway says so to those behind it (RFC 1191).
    ...(mtu < ethernetMtu ? { announcedSize: ethernetMtu - 40 } : {}),
    tracking: false,
    manyLinks: false,
    interfaces: groups.length > 0 && agent === undefined ? { [name]: segmentLink } : {},
    macLinks: groups.length > 0 && agent === undefined ? [segmentLink] : [],
    ...(groups.length > 0 && agent !== undefined ? { routedLinks: [segmentLink] } : {}),
    sysctls: segmentSysctls(diversion),
    live: [],
  };
  const segment = {
    ...{ name, netns: segmentNetns(tag, name), attachment, addresses, gateways, mtu, inside },
    ...(agent === undefined ? {} : { agent }),
  };
  return { segment, notes };
}

/**
 * A new namespace starts with the kernel's values, and for IPv4 with those of the machine's first namespace (sysctl
 * net.core.devconf_inherit_init_net): what matters is therefore set, whatever it was.
 */
function segmentSysctls({ addresses, groups }: NetworkDiversion): DesiredSysctl[] {
  const sixth = [...addresses.map(({ address }) => address), ...groups.flatMap(({ ranges }) => ranges)].some(
    ({ family }) => family === 6,
  );
  const both = ['all', segmentLink];
  const needed: DesiredSysctl[] = [
    { key: backlogKey, value: String(wantedBacklog), why: 'one listener takes the connections of all decoys' },
    // One refusal a second (the default) is what one host sends to another; here many decoys share the allowance.
    { key: 'net/ipv4/icmp_ratelimit', value: refusalEveryMs, why: 'many decoys refuse one visitor' },
  ];
  const four = (key: string, value: string, why: string): void => {
    for (const link of both) needed.push({ key: `net/ipv4/conf/${link}/${key}`, value, why });
  };
  four('arp_ignore', '0', 'otherwise the kernel answers no ARP for decoys');
  four('rp_filter', '0', 'touches may come by another way than answers go');
  four('accept_redirects', '0', 'hosts of the segment are hostile');
  four('accept_source_route', '0', 'hosts of the segment are hostile');
  four('send_redirects', '0', 'a decoy is no router');
  four('arp_announce', '0', 'a decoy asks for MACs in its own name');
  four('log_martians', '0', 'forged sources must not fill the log of the machine');
  four('proxy_arp', '0', 'a decoy is no router');
  four('route_localnet', '0', 'what listens on loopback is for decoys alone');
  four('arp_accept', '0', 'who announces himself unasked fills no table');
  // On the kernel path too: bound decoys are led to their service below IP.
  needed.push({ key: `net/ipv4/conf/${segmentLink}/forwarding`, value: '0', why: 'a decoy is no router' });
  needed.push({
    key: `net/ipv6/conf/${segmentLink}/disable_ipv6`,
    value: sixth ? '0' : '1',
    why: sixth ? 'the segment has IPv6' : 'nothing of ours speaks IPv6 there',
  });
  if (sixth) needed.push({ key: `net/ipv6/conf/${segmentLink}/forwarding`, value: '0', why: 'a decoy is no router' });
  if (sixth)
    for (const [key, why] of [
      ['accept_ra', 'anybody in the segment could make us another gateway'],
      ['autoconf', 'the segment has the addresses it was given'],
      ['accept_redirects', 'hosts of the segment are hostile'],
      ['accept_dad', 'our own address works at once'],
    ])
      needed.push({ key: `net/ipv6/conf/${segmentLink}/${key}`, value: '0', why });
  if (sixth) needed.push({ key: 'net/ipv6/icmp/ratelimit', value: refusalEveryMs, why: 'many decoys refuse one visitor' });
  return needed;
}
