// Who gets a frame: from a link over veth pairs and bridges, through whatever namespaces they are in, to the link that answers for an
// address or has a MAC. Pure; what bridges do to a frame with br_netfilter is path-walk.ts.

import type { Address } from '../../model/address.ts';
import type { Machine, MachineLink, MachineNamespace } from '../../model/machine.ts';
import { decideRoute, isLocalAddress } from './route-decision.ts';

export interface Place {
  readonly namespace: MachineNamespace;
  readonly link: MachineLink;
}

/** A bridge on the way: in by one port, out by the other; a port is absent where the bridge itself sends or receives. */
export interface Crossing {
  readonly namespace: MachineNamespace;
  readonly bridge: string;
  readonly from?: string;
  readonly to?: string;
}

export interface Landing extends Place {
  readonly crossings: readonly Crossing[];
  /** Links on the way that are down. */
  readonly down: readonly Place[];
}

export interface WireSearch {
  readonly landing?: Landing;
  /** Links behind which something may be that is not seen from here. */
  readonly leaves: readonly Place[];
}

export type Wanted = { readonly address: Address } | { readonly mac: string };

/** Links visited in one search. */
const longestSearch = 4096;

export const linkNamed = (namespace: MachineNamespace, name: string | undefined): MachineLink | undefined =>
  name === undefined ? undefined : namespace.links.find((link) => link.name === name);

export function peerOf(machine: Machine, { namespace, link }: Place): Place | undefined {
  if (link.kind !== 'veth' || link.peer === undefined) return undefined;
  const { index, netns } = link.peer;
  const other = netns === undefined ? namespace : machine.namespaces.find(({ inode }) => inode === netns);
  const peer = other?.links.find((candidate) => candidate.index === index && candidate.kind === 'veth');
  if (!other || !peer || peer.peer?.index !== link.index) return undefined;
  return { namespace: other, link: peer };
}

export const isDown = ({ up, operstate }: MachineLink): boolean => !up || operstate === 'down' || operstate === 'lowerlayerdown';

const sysctl = ({ sysctls }: MachineNamespace, key: string): number => Number(sysctls[key] ?? 0);

/** `proxy`: in another's place. */
function answers(place: Place, wanted: Wanted): 'owner' | 'proxy' | undefined {
  if (owns(place, wanted)) return 'owner';
  return 'address' in wanted && answersForAnother(place, wanted.address) ? 'proxy' : undefined;
}

function owns({ namespace, link }: Place, wanted: Wanted): boolean {
  if ('mac' in wanted) return link.mac.toLowerCase() === wanted.mac.toLowerCase();
  const { address } = wanted;
  const strict =
    Math.max(sysctl(namespace, 'net/ipv4/conf/all/arp_ignore'), sysctl(namespace, `net/ipv4/conf/${link.name}/arp_ignore`)) > 0;
  if (address.family === 6 || strict)
    return (
      link.addresses.some((own) => sameAddress(own.address, address)) ||
      (address.family === 6 && isLocalAddress(namespace, address))
    );
  return isLocalAddress(namespace, address);
}

/**
 * Proxy ARP, as container networks have it (Calico's 169.254.1.1): a device that forwards answers for whatever it would send out by another one.
 * Entries for single addresses (`ip neigh add proxy`) are not read. Source: net/ipv4/arp.c (arp_process, arp_fwd_proxy).
 */
function answersForAnother({ namespace, link }: Place, address: Address): boolean {
  const key = (device: string, name: string): string => `net/ipv4/conf/${device}/${name}`;
  if (address.family !== 4 || sysctl(namespace, key(link.name, 'forwarding')) === 0) return false;
  if (Math.max(sysctl(namespace, key('all', 'proxy_arp')), sysctl(namespace, key(link.name, 'proxy_arp'))) === 0) return false;
  const decision = decideRoute(namespace, { to: address, iif: link.name });
  return decision.kind === 'route' && decision.route.type === 'unicast' && decision.device !== link.name;
}

export const sameAddress = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;

/**
 * Where a frame for `wanted` that leaves by this link arrives. Of several the way with fewest links that are down; of those who has the address before
 * who answers in its place, whose answer is held back (net/ipv4/arp.c, proxy_delay).
 */
export function findOnWire(machine: Machine, start: Place, wanted: Wanted): WireSearch {
  const leaves: Place[] = [];
  const landings: { readonly landing: Landing; readonly as: 'owner' | 'proxy' }[] = [];
  const visited = new Set<string>();
  let steps = 0;

  const once = ({ namespace, link }: Place, side: string): boolean => {
    const key = `${namespace.inode} ${link.index} ${side}`;
    steps += 1;
    if (visited.has(key) || steps > longestSearch) return false;
    visited.add(key);
    return true;
  };

  const send = (place: Place, crossings: readonly Crossing[], down: readonly Place[]): void => {
    const { namespace, link } = place;
    if (!once(place, 'out')) return;
    if (link.kind === 'bridge') {
      for (const port of namespace.links)
        if (port.master === link.name)
          send({ namespace, link: port }, [...crossings, { namespace, bridge: link.name, to: port.name }], down);
      return;
    }
    const peer = peerOf(machine, place);
    // What the kernel calls the state of a pair lags behind; both ends being switched on is what counts.
    const here = link.up && (peer !== undefined || !isDown(link)) ? [] : [place];
    if (!peer) {
      if (link.kind !== 'loopback' && link.name !== 'lo') leaves.push(place);
      return;
    }
    receive(peer, crossings, [...down, ...here, ...(peer.link.up ? [] : [peer])]);
  };

  const receive = (place: Place, crossings: readonly Crossing[], down: readonly Place[]): void => {
    const { namespace, link } = place;
    if (!once(place, 'in')) return;
    const master = linkNamed(namespace, link.master);
    if (master?.kind === 'bridge') {
      const bridge = { namespace, link: master };
      const below = master.up ? down : [...down, bridge];
      const as = answers(bridge, wanted);
      const behind = [...crossings, { namespace, bridge: master.name, from: link.name }];
      if (as) landings.push({ as, landing: { ...bridge, crossings: behind, down: below } });
      for (const port of namespace.links)
        if (port.master === master.name && port.name !== link.name)
          send(
            { namespace, link: port },
            [...crossings, { namespace, bridge: master.name, from: link.name, to: port.name }],
            below,
          );
    } else {
      const at = master && master.kind !== 'vrf' ? { namespace, link: master } : place;
      const as = answers(at, wanted);
      if (as) landings.push({ as, landing: { ...at, crossings, down } });
    }
  };

  send(start, [], []);
  const rank = ({ landing, as }: (typeof landings)[number]): number => 2 * landing.down.length + (as === 'owner' ? 0 : 1);
  const landing = landings.sort((a, b) => rank(a) - rank(b))[0]?.landing;
  return { ...(landing && { landing }), leaves };
}
