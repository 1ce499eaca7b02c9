// Links, their addresses, gateways and known neighbours of a machine as data. Reads only.
// Routes of ours are ip-route.ts, flags link-message.ts.

import { type Address, parseAddress } from '../model/address.ts';
import type { CommandRunner } from './command.ts';

export interface LinkAddress {
  readonly address: Address;
  readonly prefixLength: number;
  readonly scope: 'global' | 'site' | 'link' | 'host' | string;
  /** False while tentative or after duplicate address detection failed. */
  readonly usable: boolean;
}

export interface Link {
  readonly name: string;
  readonly mac: string;
  /** Bytes of payload in a frame. */
  readonly mtu: number;
  /** True for links with Ethernet frames and ARP/NDP. */
  readonly ethernet: boolean;
  readonly loopback: boolean;
  readonly up: boolean;
  /** The flag set with `ip link set promisc on`, not the count held by captures. */
  readonly promiscuous: boolean;
  readonly addresses: readonly LinkAddress[];
  /** As rtnetlink names the driver: `vlan`, `vxlan`, `bridge`, `veth`; absent for hardware. */
  readonly kind?: string;
  /** The bridge, bond or VRF that this link is a port of. */
  readonly master?: string;
  /** The link below a VLAN or macvlan, where that is in this namespace; of a veth its peer. */
  readonly parent?: string;
  /** As given with `ip link set alias`; those of ours begin with `weir:`. */
  readonly alias?: string;
  /** 802.1Q identifier of a link of kind `vlan`; those of other protocols (802.1ad) have none. */
  readonly vlan?: number;
  /** Of kind `vxlan`; without `vni` it takes every one of its port. */
  readonly vxlan?: { readonly vni?: number; readonly port: number };
}

export interface Gateway {
  readonly address: Address;
  readonly interface: string;
  readonly isDefault: boolean;
}

export interface Neighbour {
  readonly address: Address;
  readonly interface: string;
  readonly mac: string;
}

interface LinkJson {
  ifname?: string;
  flags?: string[];
  link_type?: string;
  address?: string;
  mtu?: number;
  link?: string;
  master?: string;
  ifalias?: string;
  linkinfo?: { info_kind?: string; info_data?: { id?: number; port?: number; protocol?: string; external?: boolean } };
  addr_info?: { local?: string; prefixlen?: number; scope?: string; tentative?: boolean; dadfailed?: boolean }[];
}

export async function readLinks(runner: CommandRunner): Promise<Link[]> {
  const { stdout } = await runner.run('ip', ['-d', '-j', 'addr', 'show']);
  const links: Link[] = [];
  for (const json of parseJsonList<LinkJson>(stdout)) {
    if (!json.ifname) continue;
    const flags = json.flags ?? [];
    const addresses: LinkAddress[] = [];
    for (const info of json.addr_info ?? []) {
      const address = info.local ? parseAddress(info.local) : undefined;
      if (!address) continue;
      addresses.push({
        address,
        prefixLength: info.prefixlen ?? (address.family === 4 ? 32 : 128),
        scope: info.scope ?? 'global',
        usable: !info.tentative && !info.dadfailed,
      });
    }
    links.push({
      name: json.ifname,
      mac: json.address ?? '',
      mtu: json.mtu ?? 0,
      ethernet: json.link_type === 'ether' && !flags.includes('NOARP'),
      loopback: flags.includes('LOOPBACK'),
      up: flags.includes('UP'),
      promiscuous: flags.includes('PROMISC'),
      addresses,
      ...structureOf(json),
    });
  }
  return links;
}

function structureOf({ linkinfo, master, link, ifalias }: LinkJson): Partial<Link> {
  const kind = linkinfo?.info_kind;
  const { id, port, protocol, external } = linkinfo?.info_data ?? {};
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(master === undefined ? {} : { master }),
    ...(link === undefined ? {} : { parent: link }),
    ...(ifalias === undefined ? {} : { alias: ifalias }),
    ...(kind === 'vlan' && id !== undefined && (protocol ?? '802.1Q') === '802.1Q' ? { vlan: id } : {}),
    ...(kind === 'vxlan' && port !== undefined ? { vxlan: { port, ...(id === undefined || external ? {} : { vni: id }) } } : {}),
  };
}

/** Next hops of every route in the main tables; `isDefault` where the route covers everything. */
export async function readGateways(runner: CommandRunner): Promise<Gateway[]> {
  interface RouteJson {
    dst?: string;
    gateway?: string;
    dev?: string;
    via?: { host?: string };
    nexthops?: { gateway?: string; dev?: string }[];
  }
  const gateways: Gateway[] = [];
  for (const family of ['-4', '-6']) {
    const { stdout } = await runner.run('ip', [family, '-j', 'route', 'show', 'table', 'main'], { anyCode: true });
    for (const route of parseJsonList<RouteJson>(stdout)) {
      const hops = [{ gateway: route.gateway ?? route.via?.host, dev: route.dev }, ...(route.nexthops ?? [])];
      for (const hop of hops) {
        const address = hop.gateway ? parseAddress(hop.gateway) : undefined;
        if (address) gateways.push({ address, interface: hop.dev ?? route.dev ?? '', isDefault: route.dst === 'default' });
      }
    }
  }
  return gateways;
}

/** Neighbours with a known link address: hosts that live, or lived a moment ago. */
export async function readNeighbours(runner: CommandRunner): Promise<Neighbour[]> {
  interface NeighbourJson {
    dst?: string;
    dev?: string;
    lladdr?: string;
    state?: string[];
  }
  const { stdout } = await runner.run('ip', ['-j', 'neigh', 'show'], { anyCode: true });
  const neighbours: Neighbour[] = [];
  for (const json of parseJsonList<NeighbourJson>(stdout)) {
    const address = json.dst ? parseAddress(json.dst) : undefined;
    const dead = (json.state ?? []).some((state) => state === 'FAILED' || state === 'INCOMPLETE' || state === 'NOARP');
    if (address && json.dev && json.lladdr && !dead) neighbours.push({ address, interface: json.dev, mac: json.lladdr });
  }
  return neighbours;
}

function parseJsonList<T>(text: string): T[] {
  if (text.trim() === '') return [];
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? (value.filter((item) => item !== null && typeof item === 'object') as T[]) : [];
  } catch {
    return [];
  }
}
