// The part of the services network that leads connections with both ends spoofed to services, as data: the gateway's sockets
// there carry a service's mark, by which they leave on its wire; what comes back to one of them is delivered, whatever address
// it is for. Not tracked: a socket knows its connection. Pure; hooked into services-network.ts and services-ruleset.ts.

import { createHash } from 'node:crypto';
import { accept, match, type NftChain, type NftRule } from '../kernel/nft-ruleset.ts';
import type { RouteText } from '../kernel/services-namespace.ts';
import { type Family, renderAddress } from '../model/address.ts';
import type { InterfaceAddress, KernelPathService } from '../model/configuration.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { ServiceRoute } from './services-network.ts';

/** A service that is dialled as the attacker. */
export interface ServiceDial {
  readonly service: string;
  readonly family: Family;
  /** Of the sockets, and the number of the table that leads to the service. Above every number of a port. */
  readonly mark: number;
}

/** A service with a wire of its own machine's. */
export type DialledService = RelayedService & { readonly wire: { readonly interface: string; readonly from: InterfaceAddress } };

const firstMark = 1 << 24;
const marks = 1 << 23;
/** Of packets for a socket that dialled, and the table that delivers them. */
const answerMark = 1 << 25;

/** Services that this machine dials transparently itself, over a wire that is named. */
export function dialledServices(desired: object | undefined): DialledService[] {
  const services = (desired as { relay?: { services: readonly RelayedService[] } } | undefined)?.relay?.services ?? [];
  return services.filter(
    (one): one is DialledService => one.path === 'transparent' && one.via === undefined && one.wire !== undefined,
  );
}

/** All services on a wire, by kernel path or dialled. */
export const wiredServices = (
  desired: { readonly services: readonly KernelPathService[] } | undefined,
): readonly Pick<KernelPathService, 'name' | 'address' | 'interface' | 'tunnel'>[] => [
  ...(desired?.services ?? []),
  ...dialledServices(desired).map(({ name, address, wire }) => ({ name, address, interface: wire.interface })),
];

/** Marks by name, so that one more service leaves the others' alone (but for a collision). */
export function planDials(services: readonly DialledService[]): ServiceDial[] {
  const taken = new Set<number>();
  return [...services]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, address }) => {
      let number = createHash('sha256').update(name).digest().readUInt32BE(0) % marks;
      while (taken.has(number)) number = (number + 1) % marks;
      taken.add(number);
      return { service: name, family: address.family, mark: firstMark + number };
    });
}

const everything: Readonly<Record<Family, string>> = { 4: '0.0.0.0/0', 6: '::/0' };

/** `legOf`: the device on a wire. */
export function planDialRoutes(services: readonly DialledService[], legOf: ReadonlyMap<string, string>): ServiceRoute[] {
  const dials = new Map(planDials(services).map((one) => [one.service, one]));
  const routes = services.flatMap(({ name, address, wire }): ServiceRoute[] => {
    const { family, mark: table } = dials.get(name) as ServiceDial;
    const device = legOf.get(wire.interface);
    const other = family === 4 ? 6 : 4;
    if (device === undefined) return [];
    return [
      { family, destination: everything[family], type: 'unicast', via: renderAddress(address), device, table },
      { family: other, destination: everything[other], type: 'blackhole', table },
    ];
  });
  const back = ([4, 6] as const).map(
    (family): ServiceRoute => ({ family, destination: everything[family], type: 'local', device: 'lo', table: answerMark }),
  );
  return services.length > 0 ? [...routes, ...back] : [];
}

/** Before every other rule: neither a decoy's address nor an attacker's may be taken for our own on the way out. */
export const planDialRules = (dials: readonly ServiceDial[]): RouteText[] =>
  dials.length === 0
    ? []
    : ([4, 6] as const).flatMap((family): RouteText[] => [
        { family, text: `pref 500 fwmark ${answerMark} lookup ${answerMark}` },
        ...dials.map(({ mark }) => ({ family, text: `pref 600 fwmark ${mark} lookup ${mark}` })),
      ]);

/** What comes back to a socket that dialled; nothing else of a service is. Errors of ICMP about such packets are too. */
const toSocket = match('socket transparent', 1);

/** First rules of the chain for what services send: a mark is of our own making here, see `dial-in`. */
export const planDialAnswers = (dials: readonly ServiceDial[]): NftRule[] =>
  dials.length === 0 ? [] : [[match('meta mark', answerMark), accept]];

/** First rules of what this namespace hears (`input`) and says (`output`) itself. */
export const planDialSelf = (dials: readonly ServiceDial[], hook: 'input' | 'output'): NftRule[] =>
  dials.length === 0 ? [] : [[match('meta mark', hook === 'input' ? answerMark : dials.map(({ mark }) => mark)), accept]];

/** Keeps what sockets here send and get out of connection tracking. */
export const planDialChains = (dials: readonly ServiceDial[]): NftChain[] =>
  dials.length === 0
    ? []
    : [
        {
          name: 'dial-in',
          hook: { type: 'filter', hook: 'prerouting', priority: -300 },
          rules: [[toSocket, { do: 'set', field: 'meta mark', value: String(answerMark) }, { do: 'notrack' }]],
        },
        {
          name: 'dial-out',
          hook: { type: 'filter', hook: 'output', priority: -300 },
          rules: [
            [
              match(
                'meta mark',
                dials.map(({ mark }) => mark),
              ),
              { do: 'notrack' },
            ],
          ],
        },
      ];
