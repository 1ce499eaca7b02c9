// Configuration and observed facts to what should be true of the kernel. Pure; mistakes that could lock somebody out
// were refused before (guard.ts), what has to change is difference.ts.

import type { LinkAddress } from '../kernel/link-state.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import {
  type Address,
  type AddressRange,
  bitsOf,
  overlapRanges,
  rangeHolds,
  renderAddress,
  renderRange,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import { type Configuration, type HostDiversion, hostDiversions, networkDiversions } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { renderPorts, unitePorts } from '../model/port-set.ts';
import { tagsOf } from '../model/suricata-settings.ts';
import { planBoundPorts } from './bound-ports.ts';
import { planSegment } from './desired-segment.ts';
import {
  backlogKey,
  type DesiredState,
  type DesiredSysctl,
  type GatewayPorts,
  type IdsState,
  usedPersonas,
  wantedBacklog,
} from './desired-state.ts';
import type { OperatorSession } from './guard.ts';
import { planRelay } from './relay-state.ts';

export interface DesiredInput {
  readonly configuration: Configuration;
  readonly facts: ObservedFacts;
  readonly ports: GatewayPorts;
  /** See segmentTag. */
  readonly tag: string;
  readonly operator?: OperatorSession;
  /** Addresses of living hosts: probed, or seen before. */
  readonly live: readonly AddressRange[];
  /** What is applied now, if anything: its guards stay until `down`. */
  readonly current?: DesiredState;
  /** Values of sysctls before we changed them. */
  readonly savedSysctls: Readonly<Record<string, string>>;
}

export interface DesiredOutput {
  readonly desired: DesiredState;
  /** What is kept out of the decoys and why, for people. */
  readonly notes: readonly string[];
  /** What will not work as hoped, for people. */
  readonly warnings: readonly string[];
}

/** Never throws for facts of the network; `fault` only for personas the configuration does not have. */
export function planDesired(input: DesiredInput): DesiredOutput {
  const { configuration, facts } = input;
  const notes: string[] = [];
  const warnings: string[] = [];
  const reserved = reservedAddresses(facts);
  const groups: DecoyGroup[] = [];
  const interfaces: Record<string, string> = {};
  for (const diversion of hostDiversions(configuration.diversions))
    for (const group of diversion.groups) {
      if (group.kind === 'own') {
        const ranges = ownRanges(diversion, facts);
        if (ranges.length === 0) warnings.push(`diversion ${diversion.name}: no address of this machine to use yet`);
        else groups.push({ ...group, ranges });
        continue;
      }
      if (diversion.interface === undefined) continue;
      interfaces[diversion.name] = diversion.interface;
      const living = overlapRanges(group.ranges, input.live);
      for (const range of living) notes.push(`${renderRange(range)} in ${diversion.name}: a live host answers there, left alone`);
      const kept = overlapRanges(group.ranges, reserved);
      for (const range of kept)
        notes.push(`${renderRange(range)} in ${diversion.name}: network or broadcast address, left alone`);
      const holes = [...living, ...kept];
      const ranges = holes.length > 0 ? subtractRanges(group.ranges, holes) : group.ranges;
      if (ranges.length > 0) groups.push(ranges === group.ranges ? group : { ...group, ranges });
    }
  const guardPorts = unitePorts(
    [
      ...configuration.management.ports,
      { first: configuration.console.port, last: configuration.console.port },
      ...facts.sshPorts.map((port) => ({ first: port, last: port })),
      ...(input.operator ? [{ first: input.operator.port, last: input.operator.port }] : []),
      ...(input.current?.guards.ports ?? []),
    ].filter(({ first }) => first > 0),
  );
  const hasOwn = groups.some((group) => group.kind === 'own');
  const macLinks = [...new Set(Object.values(interfaces))]
    .filter((name) => facts.links.some((link) => link.name === name && link.ethernet))
    .sort();
  if (hasOwn) {
    notes.push(
      `on this machine's own addresses, never diverted: ports ${renderPorts(guardPorts) || 'none'}, and whatever listens`,
    );
    const listening = describeListeners(facts);
    if (listening) notes.push(`listening now and left alone: ${listening}`);
    for (const source of configuration.management.sources)
      notes.push(`never diverted on own addresses: anything from ${renderRange(source)}`);
  }
  for (const chain of facts.foreign.closedInputs)
    warnings.push(`the foreign nft chain "${chain}" drops what no rule of it accepts: touches of decoys may die there`);
  for (const name of Object.values(interfaces))
    if (!macLinks.includes(name)) warnings.push(`interface ${name} is not Ethernet: decoys on it have no MAC of their own`);
  const segments = networkDiversions(configuration.diversions).map((diversion) => {
    const planned = planSegment(diversion, input);
    notes.push(...planned.notes);
    return planned.segment;
  });
  if (segments.some(({ inside }) => inside.groups.some(({ ranges }) => ranges.some(({ family }) => family === 4))))
    notes.push('in segments: live hosts are looked for as soon as there is a link, and keep their addresses');
  const bound = planBoundPorts(configuration.relayBindings, groups);
  const relay = planRelay(configuration);
  const desired: DesiredState = {
    groups,
    personas: usedPersonas(groups, configuration.personas),
    ...(bound.length > 0 ? { bound } : {}),
    guards: {
      ports: guardPorts,
      sources: configuration.management.sources,
      resolvers: distinct(facts.resolvers),
    },
    ports: input.ports,
    tracking: facts.foreign.tracking || (input.current?.tracking ?? false),
    manyLinks: facts.links.filter(({ ethernet }) => ethernet).length > 1 || (input.current?.manyLinks ?? false),
    interfaces,
    macLinks,
    sysctls: neededSysctls(macLinks, groups, facts, input.savedSysctls, warnings),
    live: uniteRanges(input.live),
    segments,
    services: configuration.services,
    bindings: configuration.bindings,
    ...(relay ? { relay } : {}),
    ...planIds(configuration),
  };
  return { desired, notes, warnings };
}

/** Tags are by place in the configuration: steady while nothing before it comes or goes. */
function planIds({ suricata, ...configuration }: Configuration): { ids?: IdsState } {
  if (!suricata) return {};
  const { diversions, agentDiversions, proxyDiversions, remoteDiversions } = configuration;
  const remote = remoteDiversions.map(({ diversion }) => diversion);
  const names = [...diversions, ...agentDiversions, ...proxyDiversions, ...remote].map(({ name }) => name);
  return { ids: { settings: suricata, tags: tagsOf([...new Set(names)]) } };
}

/** Network and broadcast address of every IPv4 subnet here, and the subnet-router anycast address (RFC 4291, 2.6.1). */
function reservedAddresses(facts: ObservedFacts): AddressRange[] {
  const reserved: AddressRange[] = [];
  for (const link of facts.links)
    for (const { address, prefixLength } of link.addresses) {
      const hostBits = bitsOf(address.family) - prefixLength;
      if (hostBits < 2) continue;
      const size = 1n << BigInt(hostBits);
      const first = address.value - (address.value % size);
      reserved.push({ family: address.family, first, last: first });
      if (address.family === 4) reserved.push({ family: 4, first: first + size - 1n, last: first + size - 1n });
    }
  return uniteRanges(reserved);
}

function ownRanges(diversion: HostDiversion, facts: ObservedFacts): AddressRange[] {
  const usable = ({ scope, usable: ready }: LinkAddress): boolean => ready && scope === 'global';
  const ranges: AddressRange[] = [];
  for (const link of facts.links) {
    if (link.loopback || (diversion.interface !== undefined && link.name !== diversion.interface)) continue;
    for (const entry of link.addresses)
      if (usable(entry)) ranges.push({ family: entry.address.family, first: entry.address.value, last: entry.address.value });
  }
  return uniteRanges(ranges);
}

/** Hosts that live for certain, from what the kernel already knows: neighbours with a MAC, peers of our connections. */
export function knownLiveHosts(configuration: Configuration, facts: ObservedFacts): AddressRange[] {
  const claimed = uniteRanges(
    hostDiversions(configuration.diversions).flatMap(({ groups }) =>
      groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges),
    ),
  );
  const hosts = [...facts.neighbours.map(({ address }) => address), ...facts.connections.map(({ remote }) => remote)];
  const ranges = hosts.map((address) => ({ family: address.family, first: address.value, last: address.value }));
  return uniteRanges(overlapRanges(claimed, ranges));
}

function neededSysctls(
  macLinks: readonly string[],
  groups: readonly DecoyGroup[],
  facts: ObservedFacts,
  saved: Readonly<Record<string, string>>,
  warnings: string[],
): DesiredSysctl[] {
  const original = (key: string): number => Number(saved[key] ?? facts.sysctls[key] ?? 0);
  const needed: DesiredSysctl[] = [];
  if (groups.length > 0 && original(backlogKey) > 0 && original(backlogKey) < wantedBacklog)
    needed.push({ key: backlogKey, value: String(wantedBacklog), why: 'one listener takes the connections of all decoys' });
  const all = original('net/ipv4/conf/all/arp_ignore');
  for (const link of macLinks) {
    const key = `net/ipv4/conf/${link}/arp_ignore`;
    if (original(key) !== 0) needed.push({ key, value: '0', why: 'otherwise the kernel answers no ARP for decoys' });
    // The greater of rp_filter's two values counts; 2 accepts any source that is reachable at all.
    const strict = Math.max(original('net/ipv4/conf/all/rp_filter'), original(`net/ipv4/conf/${link}/rp_filter`)) === 1;
    const elsewhere = facts.gateways.some((gateway) => gateway.isDefault && gateway.interface !== link);
    if (strict && elsewhere)
      needed.push({
        key: `net/ipv4/conf/${link}/rp_filter`,
        value: '2',
        why: 'touches from beyond the default gateway arrive here',
      });
    const sixth = groups.some((group) => group.kind === 'claimed' && group.ranges.some(({ family }) => family === 6));
    if (sixth && original(`net/ipv6/conf/${link}/disable_ipv6`) !== 0)
      warnings.push(`IPv6 is switched off on ${link} (disable_ipv6): its IPv6 decoys cannot be reached`);
  }
  if (macLinks.length > 0 && all !== 0) {
    // The greater of `all` and the link's own counts: lower `all`, and keep every other link as it was.
    for (const link of facts.links) {
      const key = `net/ipv4/conf/${link.name}/arp_ignore`;
      if (link.ethernet && !macLinks.includes(link.name) && original(key) < all)
        needed.push({ key, value: String(all), why: 'stands in for conf/all, which is lowered' });
    }
    needed.push({ key: 'net/ipv4/conf/all/arp_ignore', value: '0', why: 'otherwise the kernel answers no ARP for decoys' });
  }
  return needed;
}

function distinct(addresses: readonly Address[]): Address[] {
  return [...new Map(addresses.map((address) => [renderAddress(address), address])).values()].filter(
    (address) => !rangeHolds({ family: 4, first: 0x7f000000n, last: 0x7fffffffn }, address),
  );
}

function describeListeners(facts: ObservedFacts): string {
  const parts: string[] = [];
  for (const transport of ['tcp', 'udp'] as const) {
    const ports = facts.listeners
      .filter((listener) => listener.transport === transport && !isLoopback(listener.address))
      .map(({ port }) => ({ first: port, last: port }));
    if (ports.length > 0) parts.push(`${transport} ${renderPorts(unitePorts(ports))}`);
  }
  return parts.join('; ');
}

const isLoopback = (address: Address): boolean => (address.family === 4 ? address.value >> 24n === 127n : address.value === 1n);
