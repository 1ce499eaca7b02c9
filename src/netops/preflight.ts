// What would go wrong with decoys on this machine, told before anything changes: networks of containers and VPNs in their ranges, rules of
// others that drop their touches, bridges whose frames pass the firewall. Pure; refusing is plan/guard.ts.

import type { Link } from '../kernel/link-state.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import {
  type Address,
  type AddressRange,
  bitsOf,
  overlapRanges,
  parseAddress,
  parseRange,
  rangeHolds,
  renderAddress,
  renderRange,
} from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { FilterPacket, FilterVerdict, PacketFilter, WalkContext } from '../model/packet-filter.ts';
import type { DesiredState } from '../plan/desired-state.ts';
import { walkFilter } from './filter-walk.ts';

export interface PreflightInput {
  readonly desired: Pick<DesiredState, 'groups' | 'interfaces' | 'segments'>;
  readonly facts: Pick<ObservedFacts, 'links'>;
  /** Rules of this namespace; absent where they could not be read. */
  readonly filter?: PacketFilter;
  /** Whether frames between a bridge's ports pass the rules of ip (net.bridge.bridge-nf-call-iptables). */
  readonly bridgeCallsIptables: boolean;
  /** Docker's default-address-pools, where they are configured. */
  readonly dockerPools?: readonly AddressRange[];
}

const ownTable = /^weir(-services)?$/;
const maxWarnings = 24;

/** Each one line, with what it costs and what to do. */
export function planPreflight(input: PreflightInput): string[] {
  const found = [...new Set([...overlaps(input), ...dockerPools(input), ...foreignRules(input), ...bridgedFrames(input)])];
  return found.length <= maxWarnings
    ? found
    : [...found.slice(0, maxWarnings), `and ${found.length - maxWarnings} more of the kind`];
}

const networkOf = (address: Address, prefixLength: number): AddressRange => {
  const size = 1n << BigInt(bitsOf(address.family) - prefixLength);
  const first = address.value - (address.value % size);
  return { family: address.family, first, last: first + size - 1n };
};

const isDocker = ({ name }: Link): boolean => /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(name);

function ownerOf(link: Link): string {
  if (isDocker(link)) return `Docker's network on ${link.name}`;
  if (link.kind === 'tun' || link.kind === 'wireguard' || /^(tun|tap|wg|ppp|tailscale|zt)/.test(link.name))
    return `the VPN on ${link.name}`;
  return `the network on ${link.name}`;
}

const claimedGroups = ({ desired }: PreflightInput): DecoyGroup[] => desired.groups.filter(({ kind }) => kind === 'claimed');

/** Routes of ours are local: what has an address in them is not reached any more. */
function overlaps(input: PreflightInput): string[] {
  const { desired, facts } = input;
  const linkLocal = parseRange('fe80::/10');
  return claimedGroups(input).flatMap(({ diversion, ranges }) =>
    facts.links
      .filter(({ name, loopback }) => !loopback && name !== desired.interfaces[diversion])
      .flatMap((link) =>
        link.addresses
          .filter(
            ({ address, prefixLength }) =>
              prefixLength < bitsOf(address.family) && !(linkLocal && rangeHolds(linkLocal, address)),
          )
          .flatMap(({ address, prefixLength }) => overlapRanges(ranges, [networkOf(address, prefixLength)]))
          .map(
            (range) =>
              `decoys ${renderRange(range)} of ${diversion} lie in ${ownerOf(link)}: what lives there can no longer be reached from this machine; take them out with \`exclude:\``,
          ),
      ),
  );
}

/** What Docker takes for networks of its own when nobody says otherwise (libnetwork, ipamutils). */
const pools: readonly AddressRange[] = [
  '172.17.0.0/16',
  '172.18.0.0/15',
  '172.20.0.0/14',
  '172.24.0.0/13',
  '192.168.0.0/16',
].flatMap((text) => parseRange(text) ?? []);

function dockerPools(input: PreflightInput): string[] {
  const { facts } = input;
  const docker = facts.links.filter(isDocker);
  if (docker.length === 0) return [];
  const taken = docker.flatMap(({ addresses }) => addresses.map(({ address, prefixLength }) => networkOf(address, prefixLength)));
  return claimedGroups(input).flatMap(({ diversion, ranges }) =>
    overlapRanges(ranges, [...(input.dockerPools ?? pools)])
      .filter((range) => overlapRanges([range], taken).length === 0)
      .slice(0, 2)
      .map(
        (range) =>
          `decoys ${renderRange(range)} of ${diversion} are among the addresses Docker picks networks from: a new one may take them; set default-address-pools in /etc/docker/daemon.json`,
      ),
  );
}

const address = (text: string): Address[] => {
  const parsed = parseAddress(text);
  return parsed ? [parsed] : [];
};
/** Anybody: what such a host sends, rules for a few do not let in. */
const strangers: readonly Address[] = [...address('8.8.8.8'), ...address('2001:4860:4860::8888')];
const touchedPorts = [22, 80, 443, 445, 3389];

function whyStopped(verdict: FilterVerdict): string | undefined {
  if (verdict.kind === 'drop' && verdict.policyOf) return `the policy of ${verdict.policyOf.table} ${verdict.policyOf.chain}`;
  if (verdict.kind !== 'drop' && verdict.kind !== 'reject') return undefined;
  const { rule } = verdict;
  if (!rule) return undefined;
  const owner = rule.owner === undefined ? '' : ` (${rule.owner})`;
  return `the ${rule.backend === 'legacy' ? 'iptables-legacy' : 'nft'} rule \`${rule.text}\` in ${rule.family} ${rule.table} ${rule.chain}${owner}`;
}

/** A touch of a decoy passes prerouting and input like anything for this machine: whoever drops there drops it unseen. */
function foreignRules({ desired, filter }: PreflightInput): string[] {
  if (!filter) return [];
  const foreign: PacketFilter = {
    ...filter,
    chains: filter.chains.filter(({ backend, table }) => backend === 'legacy' || !ownTable.test(table)),
  };
  const found: string[] = filter.unreadable.map((what) => `not known whether these let touches of decoys in: ${what}`);
  for (const { diversion, ranges } of desired.groups) {
    const stops = new Map<string, number[]>();
    for (const port of touchedPorts) {
      const why = stopOf(foreign, desired.interfaces[diversion], ranges, port);
      if (why !== undefined) stops.set(why, [...(stops.get(why) ?? []), port]);
    }
    for (const [why, ports] of stops)
      found.push(
        `touches of decoys of ${diversion}, at ${ports.length === touchedPorts.length ? 'every port tried' : `port ${ports.join(', ')}`}, end at ${why}: let them through there, or nobody sees them`,
      );
  }
  return found;
}

function stopOf(
  filter: PacketFilter,
  device: string | undefined,
  ranges: readonly AddressRange[],
  port: number,
): string | undefined {
  for (const family of [4, 6] as const) {
    const range = ranges.find((one) => one.family === family);
    const source = strangers.find((one) => one.family === family);
    if (!range || !source) continue;
    let packet: FilterPacket = {
      family,
      protocol: 'tcp',
      source,
      sourcePort: 40_000,
      destination: { family, value: range.first },
      destinationPort: port,
      ...(device === undefined ? {} : { inputDevice: device }),
      mark: 0,
      state: 'new',
    };
    for (const hook of ['prerouting', 'input'] as const) {
      const context: WalkContext = { hook, isLocal: (_packet, which) => which === 'destination', hasReversePath: () => true };
      const walk = walkFilter(filter, packet, context);
      const why = whyStopped(walk.verdict);
      if (why !== undefined) return why;
      // Diverted before addresses are translated: it goes on as it came.
      packet = { ...packet, mark: walk.packet.mark, state: walk.packet.state };
    }
  }
  return undefined;
}

/** Decoys on a bridge: frames of its ports pass the rules for forwarded packets. */
function bridgedFrames({ desired, facts, filter, bridgeCallsIptables }: PreflightInput): string[] {
  if (!bridgeCallsIptables || !filter) return [];
  return Object.entries(desired.interfaces).flatMap(([diversion, name]) => {
    const link = facts.links.find((one) => one.name === name);
    const [own] = link?.addresses.filter(({ address: one }) => one.family === 4) ?? [];
    if (link?.kind !== 'bridge' || !own) return [];
    const neighbour = (offset: bigint): Address => ({
      family: 4,
      value: networkOf(own.address, own.prefixLength).first + offset,
    });
    const packet: FilterPacket = {
      family: 4,
      protocol: 'tcp',
      source: neighbour(1n),
      sourcePort: 40_000,
      destination: neighbour(2n),
      destinationPort: 80,
      inputDevice: name,
      outputDevice: name,
      mark: 0,
      state: 'new',
    };
    const why = whyStopped(walkFilter(filter, packet, { hook: 'forward', bridged: 'with-ip', isLocal: () => false }).verdict);
    if (why === undefined) return [];
    return [
      `frames between the ports of ${name} pass the firewall (br_netfilter) and end at ${why}: decoys of ${diversion} are reached by this machine's side alone; set net.bridge.bridge-nf-call-iptables to 0, or let ${name} through (example: ${renderAddress(packet.source)} to ${renderAddress(packet.destination)})`,
    ];
  });
}
