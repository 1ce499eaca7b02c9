// Refuses to listen for agents and proxies where this machine has no such address, or where somebody else listens already, and
// services by which attackers would reach this machine itself.
// Pure, like guard.ts, which calls it.

import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, renderAddress } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { Place } from '../model/decoy.ts';
import type { Transport } from '../model/session.ts';
import type { RelayState } from './desired-state.ts';
import type { PlanMistake } from './guard.ts';
import { renderEndpoint } from './relay-state.ts';

interface Door {
  readonly address: Address;
  readonly port: number;
  readonly what: string;
  readonly transports: readonly Transport[];
  readonly place: Place;
}

type Relayed = Pick<Configuration, 'proxyDiversions'> & {
  readonly agents: Pick<Configuration['agents'], 'listen' | 'place'>;
};

const doorsOf = ({ proxyDiversions, agents }: Relayed, file: string): Door[] => [
  ...proxyDiversions.map(({ name, listen, place }) => ({
    ...listen,
    what: name,
    transports: ['tcp', 'udp'] as const,
    place,
  })),
  ...(agents.listen
    ? [{ ...agents.listen, what: 'agents', transports: ['tcp'] as const, place: agents.place ?? { file, line: 0 } }]
    : []),
];

const isWildcard = ({ value }: Address): boolean => value === 0n;
const isLoopback = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);
const same = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;

/** Whether two sockets of one port are in each other's way; an IPv6 wildcard may take IPv4 as well. */
const collide = (a: Address, b: Address): boolean =>
  same(a, b) ||
  (isWildcard(a) && (a.family === b.family || a.family === 6)) ||
  (isWildcard(b) && (a.family === b.family || b.family === 6));

/** Attackers choose the port of a service that has none of its own. */
export function checkServices(
  { relayedServices }: Pick<Configuration, 'relayedServices'>,
  facts: ObservedFacts,
  mistakes: PlanMistake[],
): void {
  for (const { name, address, port, path, via, place } of relayedServices) {
    if (via !== undefined || path === 'transparent') continue;
    const text = renderAddress(address);
    const own = facts.links.some(({ addresses }) => addresses.some((one) => same(one.address, address)));
    if (port === undefined && (own || isLoopback(address)))
      mistakes.push({
        ...place,
        mistake: `the service ${name} is this machine (${text}) at whatever port an attacker chooses, management among them`,
        next: `write the port with it: ${renderEndpoint({ address, port: 8080 })}`,
      });
  }
}

export function checkDoors(
  configuration: Configuration,
  facts: ObservedFacts,
  applied: RelayState | undefined,
  mistakes: PlanMistake[],
): void {
  const held = applied ? doorsOf(applied, '') : [];
  for (const { address, port, what, transports, place } of doorsOf(configuration, configuration.file ?? '')) {
    const text = renderEndpoint({ address, port });
    const own = facts.links.some(({ addresses }) => addresses.some((one) => same(one.address, address)));
    if (!own && !isWildcard(address) && !isLoopback(address)) {
      const some = facts.links
        .filter(({ loopback }) => !loopback)
        .flatMap(({ addresses }) => addresses)
        .filter((one) => one.address.family === address.family && one.scope === 'global')
        .map((one) => renderAddress(one.address));
      mistakes.push({
        ...place,
        mistake: `${what} cannot listen at ${text}: ${renderAddress(address)} is not an address of this machine`,
        next: some.length > 0 ? `write one of ${some.slice(0, 8).join(', ')}` : 'write an address of its own',
      });
      continue;
    }
    const other = facts.listeners.find(
      (listener) =>
        listener.port === port &&
        transports.includes(listener.transport) &&
        collide(listener.address, address) &&
        !held.some(
          (one) => one.port === port && one.transports.includes(listener.transport) && same(one.address, listener.address),
        ),
    );
    if (other)
      mistakes.push({
        ...place,
        mistake: `${what} cannot listen at ${text}: another program listens on ${other.transport} ${renderEndpoint(other)}`,
        next: `choose another port, or stop that program (\`ss -lp${other.transport === 'tcp' ? 't' : 'u'} sport = :${port}\` tells which)`,
      });
  }
}
