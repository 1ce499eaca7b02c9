// What netd makes of the networks as applied: which sockets to open where, and what the gateway is told. Pure.

import type { AddressRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import { asksWholeLink, personasOf } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import { subnetOf } from '../model/segment.ts';
import type { AppliedDial } from '../plan/applied-dials.ts';
import type { RelayState } from '../plan/desired-state.ts';
import type { NetworkView } from '../plan/network-view.ts';
import type { GatewayOffer } from './gateway-offer.ts';
import type { DoorNetwork } from './intake-door.ts';

export const doorNetworks = (networks: readonly NetworkView[]): DoorNetwork[] =>
  networks.map(({ name, netns, groups, personas, interfaces }) => ({
    name,
    ...(netns === undefined ? {} : { netns }),
    interfaces: Object.entries(interfaces).map(([link, { promiscuous, diversions }]) => {
      const here = groups.filter(({ diversion }) => diversions.includes(diversion));
      return { name: link, promiscuous, names: asksWholeLink(personasOf(here, byName(personas))) };
    }),
  }));

const byName = (personas: readonly Persona[]): Map<string, Persona> =>
  new Map(personas.map((persona) => [persona.name, persona]));

/** What leads elsewhere; absent: nothing does. */
export interface OfferedRelay {
  readonly kernelPath?: GatewayOffer['kernelPath'];
  readonly relay?: RelayState | undefined;
  readonly dials?: readonly AppliedDial[];
}

/**
 * `ownSubnets` are those of the machine's own addresses. The machine's own network is always in the offer, also while
 * nothing is applied there: its sockets are.
 */
export function describeOffer(
  networks: readonly NetworkView[],
  configuration: Pick<Configuration, 'limits' | 'probing'>,
  ownSubnets: readonly AddressRange[],
  { kernelPath = [], relay, dials = [] }: OfferedRelay = {},
): GatewayOffer {
  const home = { name: '', groups: [], withheld: [], personas: [], interfaces: {} };
  const all: readonly NetworkView[] = networks.some(({ name }) => name === '') ? networks : [home, ...networks];
  return {
    networks: all.map(({ name, groups, withheld, interfaces, segment }) => ({
      name,
      groups,
      withheld,
      interfaces: Object.fromEntries(Object.entries(interfaces).map(([link, { diversions }]) => [link, diversions])),
      subnets: segment ? segment.addresses.map(subnetOf) : ownSubnets,
      ...(segment?.agent === undefined ? {} : { agent: segment.agent }),
    })),
    // As applied: the file may say something else by now, that nobody applied.
    personas: [...byName(networks.flatMap(({ personas }) => personas)).values()],
    limits: configuration.limits,
    claimRate: configuration.probing.claimRate,
    kernelPath,
    ...(relay ? { relay } : {}),
    dials: dials.map(({ service, family, place }) => ({ service, family, place })),
  };
}
