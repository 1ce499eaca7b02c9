// The network that leads bound decoys to services with a TCP/IP stack of their own, as data: where attackers' packets
// enter it (ports), where the services are (legs), what is routed where. Pure. Its rules are services-ruleset.ts, the
// kernel is services-controller.ts.
//
// A port is a macvlan device on the link where the decoys are, in the services namespace: frames to bound decoys are given
// its MAC and so change namespaces without being forwarded by the machine. A leg is one on the services' wire.

import { createHash } from 'node:crypto';
import { renderDestination } from '../kernel/ip-route.ts';
import {
  type Address,
  type AddressRange,
  type Family,
  overlapRanges,
  parseRange,
  rangeSize,
  rangeToCidrs,
  renderAddress,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import type { KernelPathService, PacketTunnel } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Population } from '../model/population.ts';
import { type DesiredState, segmentLink } from './desired-state.ts';
import { dialledServices, planDialRoutes, planDials, type ServiceDial } from './dial-network.ts';
import { type TunnelPath, tunnelKey } from './tunnel-network.ts';

/** Decoys of one diversion that one service answers; no address is in two of them. */
export interface BoundDecoys {
  readonly diversion: string;
  readonly service: string;
  readonly ranges: readonly AddressRange[];
}

/** A route by text as `ip route` takes and shows it. */
export interface ServiceRoute {
  readonly family: Family;
  /** `10.0.0.0/12`; `0.0.0.0/0` is the default route. */
  readonly destination: string;
  readonly type: 'unicast' | 'local' | 'blackhole';
  readonly via?: string;
  /** Absent for `blackhole`. */
  readonly device?: string;
  readonly table: number;
}

/** A next hop by which attackers are answered; without `via` they are on the link themselves. */
export interface WayBack {
  readonly destination: AddressRange;
  readonly via?: Address;
}

/** Where packets of attackers come in: one for each link with bound decoys. */
export interface ServicePort {
  /** The diversion's name, or empty for the machine's own namespace; as in NamedSocket.network. */
  readonly network: string;
  /** Of the link below; absent: the machine's own. */
  readonly netns?: string;
  /** The link the decoys are on, in that namespace. */
  readonly lower: string;
  /** Conntrack zone, mark and routing table of everything that came in here. Steady while the same links have decoys bound. */
  readonly number: number;
  /** The device in the services namespace. */
  readonly link: string;
  readonly mac: string;
  /** In order; the populations tell which of the addresses live. */
  readonly bound: readonly { readonly ranges: readonly AddressRange[]; readonly population: Population }[];
  readonly waysBack: readonly WayBack[];
  /** Which leg leads to the service of which decoys, and its address; no decoy is in two of them. */
  readonly ways: readonly { readonly ranges: readonly AddressRange[]; readonly leg: string; readonly via: string }[];
  /** The leg that all its packets are carried over, as they are, instead of being led to services. */
  readonly tunnel?: string;
}

export interface ServiceLeg {
  /** The machine's interface on whose wire the services are. */
  readonly interface: string;
  readonly link: string;
  readonly mac: string;
  /** `10.1.0.1/24`. */
  readonly addresses: readonly string[];
  /** It is the end of a tunnel, not a macvlan of an interface. */
  readonly tunnel?: PacketTunnel;
}

export interface ServicesNetwork {
  readonly ports: readonly ServicePort[];
  readonly legs: readonly ServiceLeg[];
  readonly routes: readonly ServiceRoute[];
  /** Services that the gateway dials as the attacker; see dial-network.ts. */
  readonly dials: readonly ServiceDial[];
}

/** Routing table of the answers to attackers of a port; the port's own number is the table of the questions. */
export const answersTable = (number: number): number => number + 65_536;

const kernelLocalTable = 255;
const firstNumber = 1000;
const numbers = 60_000;

/** Which service answers which decoys: of overlapping bindings the one with the fewest addresses wins; see KernelPathService. */
export function planBoundDecoys(desired: Pick<DesiredState, 'bindings' | 'services' | 'groups' | 'segments'>): BoundDecoys[] {
  const services = new Set(desired.services.map(({ name }) => name));
  const size = (ranges: readonly AddressRange[]): bigint => ranges.reduce((sum, range) => sum + rangeSize(range), 0n);
  const taken = new Map<string, AddressRange[]>();
  const bound: BoundDecoys[] = [];
  const bySize = [...desired.bindings].sort((a, b) => Number(size(a.addresses) - size(b.addresses)));
  for (const { diversion, service, addresses } of bySize) {
    const before = taken.get(diversion) ?? [];
    const ranges = subtractRanges(overlapRanges(claimedRanges(desired, diversion), addresses), before);
    taken.set(diversion, uniteRanges([...before, ...addresses]));
    if (services.has(service) && ranges.length > 0) bound.push({ diversion, service, ranges });
  }
  return bound.sort((a, b) => (a.diversion + a.service < b.diversion + b.service ? -1 : 1));
}

const claimedGroups = (desired: Pick<DesiredState, 'groups' | 'segments'>, diversion: string): readonly DecoyGroup[] => {
  const segment = desired.segments.find(({ name }) => name === diversion);
  return (segment?.inside.groups ?? desired.groups).filter(
    (group) => group.diversion === diversion && group.kind === 'claimed' && group.claim === undefined,
  );
};

const claimedRanges = (desired: Pick<DesiredState, 'groups' | 'segments'>, diversion: string): AddressRange[] =>
  uniteRanges(claimedGroups(desired, diversion).flatMap(({ ranges }) => ranges));

/**
 * Undefined when no decoy is bound. `homeWays` are the ways from an interface of the machine's own namespace to attackers:
 * the only fact that is observed.
 */
export function planServicesNetwork(
  desired: DesiredState | undefined,
  tag: string,
  homeWays: ReadonlyMap<string, readonly WayBack[]>,
): ServicesNetwork | undefined {
  const bound = desired ? planBoundDecoys(desired) : [];
  const dialled = dialledServices(desired);
  if (!desired || (bound.length === 0 && dialled.length === 0)) return undefined;
  const services = new Map(desired.services.map((service) => [service.name, service]));
  const used = new Set(bound.map(({ service }) => service));
  const legs = planLegs([...desired.services.filter(({ name }) => used.has(name)), ...dialled.map(({ wire }) => wire)], tag);
  const legOf = new Map(legs.map((leg) => [leg.interface, leg.link]));
  const byPort = new Map<string, { network: string; lower: string; bound: BoundDecoys[]; tunnel?: string }>();
  for (const one of bound) {
    const segment = desired.segments.some(({ name }) => name === one.diversion);
    const network = segment ? one.diversion : '';
    const lower = segment ? segmentLink : desired.interfaces[one.diversion];
    if (lower === undefined) continue;
    const { tunnel, interface: wire } = services.get(one.service) as KernelPathService;
    const key = tunnel ? `${network} ${lower} ${wire}` : `${network} ${lower}`;
    const entry = byPort.get(key) ?? { network, lower, bound: [], ...(tunnel ? { tunnel: legOf.get(wire) as string } : {}) };
    entry.bound.push(one);
    byPort.set(key, entry);
  }
  const numbered = assignNumbers([...byPort.keys()]);
  const ports: ServicePort[] = [];
  const routes: ServiceRoute[] = planDialRoutes(dialled, legOf);
  for (const [key, { network, lower, bound: here, tunnel }] of [...byPort].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const number = numbered.get(key) as number;
    const link = `p${number}`;
    const segment = desired.segments.find(({ name }) => name === network);
    const ways = segment ? waysOfSegment(segment) : (homeWays.get(lower) ?? []);
    const ranges = uniteRanges(here.flatMap((one) => one.ranges));
    const diversions = [...new Set(here.map(({ diversion }) => diversion))];
    ports.push({
      network,
      ...(segment ? { netns: `/run/netns/${segment.netns}` } : {}),
      lower,
      number,
      link,
      mac: macOf(`${tag} ${key}`),
      bound: diversions.flatMap((diversion) =>
        claimedGroups(desired, diversion)
          .map(({ ranges: all, population }) => ({ ranges: overlapRanges(all, ranges), population }))
          .filter((group) => group.ranges.length > 0),
      ),
      waysBack: ways,
      ways: here.map(({ service: name, ranges: mine }) => {
        const service = services.get(name) as KernelPathService;
        return { ranges: mine, leg: legOf.get(service.interface) as string, via: renderAddress(service.address) };
      }),
      ...(tunnel === undefined ? {} : { tunnel }),
    });
    for (const { service: name, ranges: mine } of here) {
      const service = services.get(name) as KernelPathService;
      const device = legOf.get(service.interface) as string;
      for (const one of cidrsOf(mine))
        routes.push({ ...one, type: 'unicast', via: renderAddress(service.address), device, table: number });
    }
    for (const { destination, via } of ways)
      for (const one of cidrsOf([destination]))
        routes.push({
          ...one,
          type: 'unicast',
          ...(via ? { via: renderAddress(via) } : {}),
          device: link,
          table: answersTable(number),
        });
    // What has no way stays here: it must not fall through to another table.
    for (const table of [number, answersTable(number)])
      for (const [family, destination] of [
        [4, '0.0.0.0/0'],
        [6, '::/0'],
      ] as const)
        if (!routes.some((route) => route.table === table && route.destination === destination))
          routes.push({ family, destination, type: 'blackhole', table });
  }
  // Decoys are our own here only so that questions for attackers' MACs are asked in their name; nothing is delivered.
  for (const one of cidrsOf(uniteRanges(bound.flatMap(({ ranges }) => ranges))))
    routes.push({ ...one, type: 'local', device: 'lo', table: kernelLocalTable });
  return { ports, legs, routes, dials: planDials(dialled) };
}

const cidrsOf = (ranges: readonly AddressRange[]): { family: Family; destination: string }[] =>
  ranges.flatMap((range) =>
    rangeToCidrs(range).map(({ first, prefixLength }) => ({
      family: range.family,
      destination: renderDestination(first, prefixLength),
    })),
  );

const everything: Record<Family, AddressRange> = {
  4: parseRange('0.0.0.0/0') as AddressRange,
  6: parseRange('::/0') as AddressRange,
};

function waysOfSegment({ addresses, gateways }: DesiredState['segments'][number]): WayBack[] {
  return [
    ...addresses.map(({ address, prefixLength }) => ({
      destination: parseRange(`${renderAddress(address)}/${prefixLength}`) as AddressRange,
    })),
    ...gateways.map((via) => ({ destination: everything[via.family], via })),
  ];
}

function planLegs(services: readonly Pick<KernelPathService, 'interface' | 'from' | 'tunnel'>[], tag: string): ServiceLeg[] {
  const interfaces = [...new Set(services.map((service) => service.interface))].sort();
  const numbered = assignNumbers(interfaces);
  return interfaces.map((name) => {
    const here = services.filter((service) => service.interface === name);
    const tunnel = here[0]?.tunnel;
    return {
      interface: name,
      link: `leg${numbered.get(name)}`,
      mac: macOf(`${tag} leg ${name}${tunnel ? ` ${tunnelKey(tunnel)}` : ''}`),
      addresses: [...new Set(here.map(({ from }) => `${renderAddress(from.address)}/${from.prefixLength}`))].sort(),
      ...(tunnel ? { tunnel } : {}),
    };
  });
}

/** The ports whose packets are carried over a tunnel. */
export const tunnelPaths = ({ ports }: ServicesNetwork): TunnelPath[] =>
  ports.flatMap(({ link, tunnel, number, bound }) =>
    tunnel === undefined ? [] : [{ port: link, leg: tunnel, number, decoys: uniteRanges(bound.flatMap(({ ranges }) => ranges)) }],
  );

/** A number for each name, by its hash, so that one more name leaves the others' alone (but for a collision). */
function assignNumbers(names: readonly string[]): Map<string, number> {
  const taken = new Set<number>();
  const assigned = new Map<string, number>();
  for (const name of [...names].sort()) {
    let number = createHash('sha256').update(name).digest().readUInt32BE(0) % numbers;
    while (taken.has(number)) number = (number + 1) % numbers;
    taken.add(number);
    assigned.set(name, firstNumber + number);
  }
  return assigned;
}

/** Locally administered, as virtual machines have: it shows only as the sender of IPv6 neighbour solicitations. */
function macOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return `52:54:00:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}`;
}

/** Which mark is which network, and who answers whom there: what the gateway needs to know. */
export function planKernelPathPorts(
  network: ServicesNetwork | undefined,
  desired: DesiredState,
): { mark: number; network: string; bindings: { service: string; ranges: readonly AddressRange[] }[] }[] {
  const bound = planBoundDecoys(desired);
  return (network?.ports ?? []).map(({ number, network: name, lower }) => ({
    mark: number,
    network: name,
    bindings: bound
      .filter(({ diversion }) => (name === '' ? desired.interfaces[diversion] === lower : diversion === name))
      .map(({ service, ranges }) => ({ service, ranges })),
  }));
}
