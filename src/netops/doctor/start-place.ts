// Where a packet begins: in a namespace that has its source, or at a link by which it comes in from where nothing is seen. Often there are
// several such places; all of them are told, the likeliest first, and whoever walks must not choose silently. Pure.

import { WeirError } from '../../base/errors.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { nameOf } from './hop.ts';
import { decideRoute, prefixHolds } from './route-decision.ts';
import { findOnWire, peerOf, sameAddress } from './wire.ts';

export interface StartPlace {
  readonly namespace: MachineNamespace;
  /** Absent: it is made there. */
  readonly iif?: string;
  /** What was taken for granted. */
  readonly assumed?: string;
  /** Other namespaces that have the address too, beyond those that are told; with the first place. */
  readonly unwalked?: number;
}

export interface StartWish {
  readonly source: Address;
  readonly destination: Address;
  /** Said by the user: nothing is guessed then. */
  readonly iif?: string;
}

/** Containers of one address; more are not looked at. */
const mostOwners = 4;

const isLoopbackAddress = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);

const holds = ({ addresses }: MachineLink, address: Address): boolean =>
  addresses.some((own) => sameAddress(own.address, address));

/** Whether something not seen from here is on the wire behind a link. */
const leadsOut = (machine: Machine, namespace: MachineNamespace, link: MachineLink, source: Address): boolean =>
  link.name !== 'lo' && findOnWire(machine, { namespace, link }, { address: source }).leaves.length > 0;

/** Whether somebody seen behind a link forwards, so that strangers may come through there. */
function leadsToRouter(machine: Machine, namespace: MachineNamespace, link: MachineLink): boolean {
  const ports = link.kind === 'bridge' ? namespace.links.filter(({ master }) => master === link.name) : [link];
  return ports.some((port) => {
    const peer = peerOf(machine, { namespace, link: port });
    if (!peer || peer.namespace === namespace) return false;
    const { sysctls, links } = peer.namespace;
    const bridged = peer.link.master !== undefined;
    const forwards = sysctls['net/ipv4/ip_forward'] === '1' || sysctls['net/ipv6/conf/all/forwarding'] === '1';
    return (bridged || forwards) && links.filter(({ name }) => name !== 'lo').length > 1;
  });
}

/** Links a stranger may come in by, the likeliest first. A bridge of containers that are all seen brings none. */
function linksFor(machine: Machine, home: MachineNamespace, { source, destination }: StartWish): MachineLink[] {
  const brings = (link: MachineLink): boolean =>
    link.name !== 'lo' && (leadsOut(machine, home, link, source) || leadsToRouter(machine, home, link));
  const named = (name: string | undefined): MachineLink[] => home.links.filter((link) => link.name === name);
  const connected = home.links
    .flatMap((link) => link.addresses.filter((own) => prefixHolds(own, source)).map((own) => ({ link, own })))
    .sort((a, b) => b.own.prefixLength - a.own.prefixLength)
    .map(({ link }) => link);
  const back = decideRoute(home, { to: source });
  const near = home.links.filter((link) => holds(link, destination));
  const likely = [...connected, ...(back.kind === 'route' ? named(back.device) : []), ...near].filter(brings);
  if (likely.length > 0) return [...new Set(likely)];
  const outward = home.routes.find(
    ({ prefixLength, family, type }) => prefixLength === 0 && family === source.family && type === 'unicast',
  );
  const any = [...named(outward?.hops[0]?.device), ...home.links.filter(({ up, name }) => up && name !== 'lo')];
  return [any.find(brings) ?? any[0]].filter((link) => link !== undefined);
}

/** At least one. Throws `not-found` where nothing could bring such a packet. */
export function startPlaces(machine: Machine, home: MachineNamespace, wish: StartWish): readonly StartPlace[] {
  const { source, iif } = wish;
  if (iif !== undefined) {
    if (!home.links.some(({ name }) => name === iif))
      throw new WeirError('not-found', `there is no link ${iif} in ${nameOf(home)}`);
    return [{ namespace: home, iif }];
  }
  if (isLoopbackAddress(source) || home.links.some((link) => holds(link, source))) return [{ namespace: home }];
  const text = renderAddress(source);
  const having = machine.namespaces.filter(({ links }) => links.some((link) => holds(link, source)));
  const owners = having.slice(0, mostOwners);
  const unwalked = having.length - owners.length;
  if (owners.length > 0) {
    // A host on a wire of ours that has the same address is as good a source as a container that has it.
    const strangers = home.links.filter(
      (link) => link.addresses.some((own) => prefixHolds(own, source)) && leadsOut(machine, home, link, source),
    );
    const outside = home.links.some((link) => leadsOut(machine, home, link, source));
    return [
      ...owners.map((namespace, index) => ({
        namespace,
        ...(index === 0 && unwalked > 0 && { unwalked }),
        ...((outside || owners.length > 1) && {
          assumed: `which ${text}: that of ${nameOf(namespace)} is meant; another host may have the same address (--netns says which namespace it is, --iif by which link it comes in)`,
        }),
      })),
      ...strangers.map(({ name }) => ({ namespace: home, iif: name })),
    ];
  }
  const links = linksFor(machine, home, wish);
  if (links.length === 0)
    throw new WeirError('not-found', `no link of ${nameOf(home)} could bring anything from ${renderAddress(source)}`);
  return links.map(({ name }) => ({
    namespace: home,
    iif: name,
    assumed: `what is before ${name}: ${text} is not on this machine, and it is assumed to come in there (--iif says otherwise)`,
  }));
}

/** For people: the options that say which of several places it is; a place without a link is looked at from itself. */
export function optionsFor(places: readonly StartPlace[]): string {
  const spaces = places
    .filter(({ iif }) => iif === undefined)
    .map(({ namespace: { name, inode } }) => `--netns ${name || inode}`);
  return [...(places.some(({ iif }) => iif !== undefined) ? ['--iif'] : []), ...spaces].join(' or ');
}

/** For people: how a place is told from another. */
export const placeWords = ({ namespace, iif }: StartPlace): string =>
  iif === undefined ? `from ${nameOf(namespace)}` : `in by ${iif}`;
