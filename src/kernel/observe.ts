// One look at everything a plan depends on. Reads only; every part has its own file in this room.

import { type Address, parseAddress } from '../model/address.ts';
import { isClaimDevice, type OwnClaim, readOwnClaims } from './claim-link.ts';
import type { CommandRunner } from './command.ts';
import type { KernelFeature } from './features.ts';
import { type OwnRoute, readOwnRoutes } from './ip-route.ts';
import { type Gateway, type Link, type Neighbour, readGateways, readLinks, readNeighbours } from './link-state.ts';
import { type ForeignRules, readRuleset } from './nft-read.ts';
import { type Connection, type Listener, readPortsOfProgram, readSockets } from './observe-sockets.ts';
import { readSysctl } from './sysctl.ts';

export interface ObservedFacts {
  readonly links: readonly Link[];
  readonly gateways: readonly Gateway[];
  readonly neighbours: readonly Neighbour[];
  readonly resolvers: readonly Address[];
  readonly listeners: readonly Listener[];
  readonly connections: readonly Connection[];
  /** Ports sshd listens on. */
  readonly sshPorts: readonly number[];
  readonly foreign: ForeignRules;
  readonly ownRoutes: readonly OwnRoute[];
  /** The kernel's words for our tables, without elements of sets. */
  readonly ownTables: string;
  /** Present values of the sysctls a diversion can depend on, by key. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Of the features that were asked for, those this kernel does not have; see readMissingFeatures. */
  readonly missingFeatures?: readonly KernelFeature[];
}

/** Resolver files in order of trust; systemd's stub hides the real ones behind 127.0.0.53. */
export const defaultResolverFiles = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf'];

/** Sysctls of an interface (or `all`) that decide whether decoys on it can work. */
export const watchedSysctls = (link: string): string[] => [
  `net/ipv4/conf/${link}/arp_ignore`,
  `net/ipv4/conf/${link}/rp_filter`,
  `net/ipv6/conf/${link}/disable_ipv6`,
];

export function parseResolvers(text: string): Address[] {
  const found: Address[] = [];
  for (const line of text.split('\n', 1000)) {
    const address = parseAddress(/^\s*nameserver\s+([^\s%#]+)/.exec(line)?.[1] ?? '');
    if (address) found.push(address);
  }
  return found;
}

/** Decoys are not the machine's own, though some have an address or a device here. */
const withoutClaims = (links: readonly Link[], claims: readonly OwnClaim[]): Link[] =>
  links
    .filter(({ name }) => !isClaimDevice(name))
    .map((link) => {
      const ours = claims.filter((claim) => claim.way === 'address' && claim.link === link.name).map(({ address }) => address);
      if (ours.length === 0) return link;
      const isOurs = ({ family, value }: Address): boolean => ours.some((one) => one.family === family && one.value === value);
      return { ...link, addresses: link.addresses.filter(({ address }) => !isOurs(address)) };
    });

/** Needs CAP_NET_ADMIN for the ruleset, root for the names of other users' processes. */
export async function observeKernel(
  runner: CommandRunner,
  readText: (path: string) => Promise<string | undefined>,
  resolverFiles: readonly string[] = defaultResolverFiles,
): Promise<ObservedFacts> {
  const [allLinks, gateways, neighbours, sockets, ruleset, ownRoutes] = await Promise.all([
    readLinks(runner),
    readGateways(runner),
    readNeighbours(runner),
    readSockets(runner),
    readRuleset(runner),
    readOwnRoutes(runner),
  ]);
  const links = withoutClaims(allLinks, readOwnClaims(runner.netns).claims);
  const resolvers: Address[] = [];
  for (const file of resolverFiles) resolvers.push(...parseResolvers((await readText(file)) ?? ''));
  const sysctls: Record<string, string> = {};
  const names = ['all', ...links.filter((link) => link.ethernet).map((link) => link.name)];
  for (const key of ['net/core/somaxconn', ...names.flatMap(watchedSysctls)]) {
    const value = await readSysctl(runner, key);
    if (value !== undefined) sysctls[key] = value;
  }
  return {
    links,
    gateways,
    neighbours,
    resolvers,
    listeners: sockets.listeners,
    connections: sockets.connections,
    sshPorts: await readPortsOfProgram(
      sockets.listeners.filter((listener) => listener.transport === 'tcp'),
      'sshd',
    ),
    foreign: ruleset.foreign,
    ownRoutes,
    ownTables: ruleset.own,
    sysctls,
  };
}
