// What else would go wrong with decoys on this machine: networks that routes lead to, ports that rules publish where nobody listens, two backends
// that both send one port elsewhere, parts of nftables that the kernel lacks. Pure; the rest is preflight.ts.

import type { NftFeature } from '../kernel/nft-features.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type AddressRange, bitsOf, overlapRanges, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { MachineRoute } from '../model/machine.ts';
import type { FilterBackend, PacketFilter } from '../model/packet-filter.ts';
import { hasPort } from '../model/port-set.ts';
import type { DesiredState } from '../plan/desired-state.ts';
import { publishedPorts } from './exposure/exposed-services.ts';

export interface NetworksInput {
  readonly desired: Pick<DesiredState, 'groups' | 'interfaces' | 'segments' | 'guards' | 'personas'>;
  readonly facts: Pick<ObservedFacts, 'links' | 'listeners'>;
  readonly routes: readonly MachineRoute[];
  readonly filter?: PacketFilter;
  /** Parts of nftables that are missing. */
  readonly missing: readonly NftFeature[];
}

const maxWarnings = 24;

/** Each one line, with what it costs and what to do. */
export function planNetworkPreflight(input: NetworksInput): string[] {
  const found = [
    ...new Set([...lacking(input), ...routed(input), ...segmentsBeside(input), ...published(input), ...conflicts(input)]),
  ];
  return found.length <= maxWarnings
    ? found
    : [...found.slice(0, maxWarnings), `and ${found.length - maxWarnings} more of the kind`];
}

function rangeOf({ destination, prefixLength }: MachineRoute): AddressRange {
  const size = 1n << BigInt(bitsOf(destination.family) - prefixLength);
  return { family: destination.family, first: destination.value, last: destination.value + size - 1n };
}

const deviceOf = ({ hops }: MachineRoute): string | undefined => hops[0]?.device;

const isVpn = (device: string, { links }: NetworksInput['facts']): boolean => {
  const kind = links.find(({ name }) => name === device)?.kind ?? '';
  return ['tun', 'wireguard', 'ppp', 'ipip', 'gre', 'xfrm'].includes(kind) || /^(tun|tap|wg|ppp|tailscale|zt)/.test(device);
};

const wayOf = (route: MachineRoute, facts: NetworksInput['facts']): string => {
  const device = deviceOf(route) ?? '';
  return `${isVpn(device, facts) ? `the VPN on ${device}` : device} (route ${route.text.trim()})`;
};

/** Networks of links themselves (`proto kernel`) are preflight.ts's. */
function routed({ desired, facts, routes }: NetworksInput): string[] {
  const claimed = desired.groups.filter(({ kind }) => kind === 'claimed');
  return claimed.flatMap(({ diversion, ranges }) =>
    routes
      .filter(
        (route) =>
          route.protocol !== 'kernel' && deviceOf(route) !== undefined && deviceOf(route) !== desired.interfaces[diversion],
      )
      .flatMap((route) =>
        overlapRanges([...ranges], [rangeOf(route)])
          .slice(0, 1)
          .map(
            (range) =>
              `decoys ${renderRange(range)} of ${diversion} are reached by ${wayOf(route, facts)}: what lives there can no longer be reached from this machine; take them out with \`exclude:\``,
          ),
      ),
  );
}

/** A segment has a namespace of its own: both work, but nobody routed here can mean both. */
function segmentsBeside({ desired, facts, routes }: NetworksInput): string[] {
  return desired.segments.flatMap(({ name, inside }) => {
    const ranges = inside.groups.flatMap((group: DecoyGroup) => group.ranges);
    return routes.flatMap((route) =>
      overlapRanges(ranges, [rangeOf(route)])
        .slice(0, 1)
        .map(
          (range) =>
            `segment ${name} and ${wayOf(route, facts)} both have ${renderRange(range)}: each works for itself, but whoever is routed to this machine for one cannot reach the other; use another range where hosts of both meet`,
        ),
    );
  });
}

/** Rules that publish come after ours; where nobody listens, nothing else says that the port is in use. */
function published({ desired, facts, filter }: NetworksInput): string[] {
  const own = desired.groups.filter(({ kind }) => kind === 'own');
  return own.flatMap(({ diversion, population }) =>
    publishedPorts(filter).flatMap((port) => {
      const heard = facts.listeners.some((one) => one.port === port && one.transport === 'tcp');
      const taken = population.shares.some(({ persona }) =>
        desired.personas.some(({ name, tcp }) => name === persona && (hasPort(tcp.open, port) || tcp.otherwise !== 'closed')),
      );
      if (heard || !taken || hasPort(desired.guards.ports, port)) return [];
      return [
        `port ${port} of this machine is published by a rule, and no program listens there: decoys of ${diversion} would take what is meant for it; add ${port} to management.ports`,
      ];
    }),
  );
}

/** Which of both wins depends on which was loaded last, and changes with a restart. */
function conflicts({ filter }: NetworksInput): string[] {
  if (!filter) return [];
  const of = (backend: FilterBackend): number[] =>
    publishedPorts({ ...filter, chains: filter.chains.filter((chain) => chain.backend === backend) });
  const legacy = new Set(of('legacy'));
  return of('nft')
    .filter((port) => legacy.has(port))
    .map(
      (port) =>
        `nft and iptables-legacy both send port ${port} elsewhere: the one loaded last wins, and a restart may turn it round; keep one of them`,
    );
}

const costs: Readonly<Record<NftFeature, string>> = {
  tproxy: 'nothing can be diverted, the rules will be refused; load nft_tproxy',
  socket: 'connections cannot be told apart, the rules will be refused; load nft_socket',
  jhash: 'who lives where cannot be computed, the rules will be refused; load nft_hash',
  reject: 'closed ports cannot refuse, the rules will be refused; load nft_reject_inet',
  log: 'probes cannot be recorded, the rules will be refused; load nft_log and nfnetlink_log',
  'netdev-ingress':
    'ARP for decoys cannot be answered for the living alone: only own addresses can be decoys; use a kernel with CONFIG_NETFILTER_INGRESS',
  'netdev-egress':
    'decoys have no MAC and no TCP/IP stack of their own: only own addresses can be decoys; use Linux 5.16 or later',
};

function lacking({ desired, missing }: NetworksInput): string[] {
  const claims = [desired, ...desired.segments.map(({ inside }) => inside)].some(({ groups }) =>
    groups.some(({ kind }) => kind === 'claimed'),
  );
  return missing
    .filter((feature) => claims || !feature.startsWith('netdev'))
    .map((feature) => `this kernel's nftables lacks ${feature}: ${costs[feature]}`);
}
