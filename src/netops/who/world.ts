// What `weir who` knows of the machine while it answers one reading: namespaces and how they are joined, sockets, connections tracked, routes,
// processes, each asked for when first needed and remembered for that reading. How it is asked is WorldSource; following a flow is trace-flow.ts.

import type { ConntrackEntry } from '../../kernel/machine/conntrack-dump.ts';
import type { RouteAnswer } from '../../kernel/machine/route-get.ts';
import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';
import type { SocketHolder, SocketOwners, TunHolder } from '../../kernel/machine/socket-owners.ts';
import type { Address } from '../../model/address.ts';
import type { Machine, MachineContainer, MachineLink, MachineNamespace, MachineProcess } from '../../model/machine.ts';
import { addressKey, type Endpoint, type Flow } from './flow.ts';
import { SocketIndex } from './socket-index.ts';

/** Who was seen to begin a connection, by its own end; see kernel/machine/connection-origins.ts. */
export interface Origin {
  readonly pid: number;
  /** Of the thread that asked. */
  readonly comm: string;
  /** Says only whether two are in the same namespace. */
  readonly net: string;
  /** It was made after that, in seconds of uptime. */
  readonly notBefore: number;
}

export interface OriginBook {
  /** The latest of each namespace, the latest of all first. */
  find(flow: Flow): readonly Origin[];
  /** A process of that namespace made a connection in `net`. */
  learn(net: string, inode: string): void;
  /** Undefined: not known. */
  inodeOf(net: string): string | undefined;
}

export interface FoundOrigin {
  readonly pid: number;
  readonly comm: string;
  /** That very process, while it lives: a number is given again. */
  readonly process?: MachineProcess;
  /** Others that have the same addresses may be meant instead. */
  readonly doubt?: string;
  readonly score: number;
}

/** Everything is synchronous and may throw WeirError, which is the namespace's to be told as not seen. */
export interface WorldSource {
  sockets(netns: MachineNamespace): SocketEntry[];
  /** Of TCP, UDP and SCTP; seen before or after translation. */
  conntrack(netns: MachineNamespace, flow: Flow): ConntrackEntry | undefined;
  route(netns: MachineNamespace, to: Address): RouteAnswer;
  /** Anew: processes and their sockets as they are now. */
  owners(): SocketOwners;
  process(pid: number): MachineProcess | undefined;
  /** Seconds of uptime at which a process began. */
  begunAt(pid: number): number | undefined;
  /** As /etc/passwd has it. */
  userName(uid: number): string | undefined;
}

export interface ProcessDescription {
  readonly comm?: string;
  readonly exe?: string;
  readonly uid?: number;
  readonly user?: string;
  readonly container?: MachineContainer;
}

/** A link of one namespace. */
export interface Place {
  readonly netns: MachineNamespace;
  readonly link: MachineLink;
}

/** Bridges and pairs gone through between two links that IP sees. */
const maxLinkHops = 64;

export class World {
  readonly machine: Machine;
  readonly #source: WorldSource;
  readonly #origins: OriginBook;
  readonly #byInode: ReadonlyMap<string, MachineNamespace>;
  readonly #sockets = new Map<string, SocketIndex>();
  readonly #local = new Map<string, Set<string>>();
  readonly #routes = new Map<string, RouteAnswer>();
  readonly #neighbours = new Map<string, Place[]>();
  readonly #processes = new Map<number, MachineProcess | undefined>();
  #owners: SocketOwners | undefined;
  /** What could not be asked, once each. */
  readonly unseen = new Map<string, string>();

  constructor(machine: Machine, source: WorldSource, origins: OriginBook) {
    this.machine = machine;
    this.#source = source;
    this.#origins = origins;
    this.#byInode = new Map(machine.namespaces.map((netns) => [netns.inode, netns]));
    for (const process of machine.processes) this.#processes.set(process.pid, process);
  }

  namespace(inode: string): MachineNamespace | undefined {
    return this.#byInode.get(inode);
  }

  isLocal(netns: MachineNamespace, address: Address): boolean {
    let local = this.#local.get(netns.inode);
    if (!local) {
      local = new Set(netns.links.flatMap(({ addresses }) => addresses.map((one) => addressKey(one.address))));
      this.#local.set(netns.inode, local);
    }
    // 127.0.0.0/8 whole, without a line for each.
    return local.has(addressKey(address)) || (address.family === 4 && address.value >> 24n === 127n);
  }

  sockets(netns: MachineNamespace): SocketIndex {
    let index = this.#sockets.get(netns.inode);
    if (!index) {
      index = new SocketIndex(this.#ask(netns, 'sockets', [], () => this.#source.sockets(netns)));
      this.#sockets.set(netns.inode, index);
    }
    return index;
  }

  /** What the namespace's connection tracking made of this flow; undefined where it tracks none. */
  conntrack(netns: MachineNamespace, flow: Flow): ConntrackEntry | undefined {
    if (flow.protocol !== 6 && flow.protocol !== 17 && flow.protocol !== 132) return undefined;
    return this.#ask(netns, 'connection tracking', undefined, () => this.#source.conntrack(netns, flow));
  }

  route(netns: MachineNamespace, to: Address): RouteAnswer {
    const key = `${netns.inode} ${addressKey(to)}`;
    let answer = this.#routes.get(key);
    if (!answer) {
      answer = this.#ask(netns, 'routes', { kind: 'none', errno: 'EPERM' } as RouteAnswer, () => this.#source.route(netns, to));
      this.#routes.set(key, answer);
    }
    return answer;
  }

  get owners(): SocketOwners {
    this.#owners ??= this.#source.owners();
    return this.#owners;
  }

  holdersOf(socket: SocketEntry): readonly SocketHolder[] {
    return socket.inode === 0 ? [] : this.owners.of(socket.inode);
  }

  tunnelsOf(pid: number): readonly TunHolder[] {
    return this.owners.tunnels.filter((tunnel) => tunnel.pid === pid);
  }

  process(pid: number): MachineProcess | undefined {
    if (!this.#processes.has(pid)) this.#processes.set(pid, this.#source.process(pid));
    return this.#processes.get(pid);
  }

  /** For a hop: what is known of a process; a user's name only outside of containers, which have names of their own. */
  describe(pid: number): ProcessDescription {
    const process = this.process(pid);
    if (!process) return {};
    const { comm, exe, uid, container } = process;
    const user = container ? undefined : this.#source.userName(uid);
    return { comm, uid, ...(exe ? { exe } : {}), ...(user ? { user } : {}), ...(container ? { container } : {}) };
  }

  /** Who began it. `ends`: it has an end in this namespace, and only who is there is meant. */
  origin(flow: Flow, netns: MachineNamespace, ends: boolean): FoundOrigin | undefined {
    const judged = this.#origins.find(flow).map((origin) => {
      const { pid, comm, net, notBefore } = origin;
      const living = this.process(pid);
      const process =
        living && (living.comm === comm || (this.#source.begunAt(pid) ?? Number.POSITIVE_INFINITY) <= notBefore)
          ? living
          : undefined;
      if (process) this.#origins.learn(net, process.netns);
      const inode = process?.netns ?? this.#origins.inodeOf(net);
      return { inode, found: { pid, comm, ...(process ? { process } : {}) } };
    });
    const sure = judged.find(({ inode }) => ends && inode === netns.inode);
    if (sure) return { ...sure.found, score: 1 };
    const possible = judged.filter(({ inode }) => !ends || inode === undefined);
    if (possible.length === 0) return undefined;
    const [{ inode, found }] = possible;
    if (possible.length > 1)
      return { ...found, doubt: `one of ${possible.length} with the same addresses`, score: 0.7 / possible.length };
    return inode === undefined ? { ...found, doubt: 'in which namespace is not known', score: 0.7 } : { ...found, score: 1 };
  }

  /** What each connection looked at had moved, by cookie. */
  socketCounters(): Map<string, { readonly received: number; readonly sent: number }> {
    const counters = new Map<string, { readonly received: number; readonly sent: number }>();
    for (const index of this.#sockets.values()) index.addCounters(counters);
    return counters;
  }

  /** Where a device of this name and kind is, the given namespace first. */
  findLink(name: string, first: string): Place | undefined {
    const preferred = this.#byInode.get(first);
    for (const netns of preferred ? [preferred, ...this.machine.namespaces] : this.machine.namespaces) {
      const link = netns.links.find((one) => one.name === name && (one.kind === 'tun' || netns.inode === first));
      if (link) return { netns, link };
    }
    return undefined;
  }

  /** Links with addresses that frames sent on this one reach without a router: through pairs, bridges and devices above. */
  onLink(from: Place): Place[] {
    const key = `${from.netns.inode} ${from.link.index}`;
    const known = this.#neighbours.get(key);
    if (known) return known;
    const seen = new Set([key]);
    const found: Place[] = [];
    let edge = beyond(this, from, true);
    for (let hop = 0; hop < maxLinkHops && edge.length > 0; hop += 1) {
      const next: Place[] = [];
      for (const place of edge) {
        const id = `${place.netns.inode} ${place.link.index}`;
        if (seen.has(id)) continue;
        seen.add(id);
        if (place.link.addresses.length > 0) found.push(place);
        next.push(...beyond(this, place, false));
      }
      edge = next;
    }
    this.#neighbours.set(key, found);
    return found;
  }

  /** Where a packet goes that this namespace sends to an address: a namespace of this machine, or nobody here. */
  nextNamespace(netns: MachineNamespace, to: Address): { device: string; via: Endpoint['address']; place?: Place } | undefined {
    const route = this.route(netns, to);
    if (route.kind !== 'route' || route.device === undefined) return undefined;
    const via = route.via ?? to;
    const link = netns.links.find(({ name }) => name === route.device);
    if (!link) return undefined;
    const owners = this.onLink({ netns, link }).filter((place) =>
      place.link.addresses.some(({ address }) => address.family === via.family && address.value === via.value),
    );
    return { device: route.device, via, ...(owners.length === 1 ? { place: owners[0] } : {}) };
  }

  #ask<T>(netns: MachineNamespace, what: string, otherwise: T, body: () => T): T {
    try {
      return body();
    } catch (error) {
      this.unseen.set(`${what} of ${netns.name || 'this namespace'}`, error instanceof Error ? error.message : String(error));
      return otherwise;
    }
  }
}

/**
 * Links one step further. A frame leaves a link by its other end; that end hands it to its bridge, the bridge to all its ports. From a
 * bridge itself it goes to the ports.
 */
function beyond(world: World, { netns, link }: Place, sending: boolean): Place[] {
  const places: Place[] = [];
  const ports = (bridge: string): void => {
    for (const port of netns.links) if (port.master === bridge) places.push(...otherEnds(world, { netns, link: port }));
  };
  if (link.kind === 'bridge') ports(link.name);
  else if (sending) places.push(...otherEnds(world, { netns, link }));
  else if (link.master !== undefined) {
    const bridge = netns.links.find(({ name }) => name === link.master);
    if (bridge) places.push({ netns, link: bridge });
  }
  return places;
}

/** Of a pair the other one; of a device above another the one below, and of that those above. */
function otherEnds(world: World, { netns, link }: Place): Place[] {
  const places: Place[] = [];
  if (link.peer) {
    const there = link.peer.netns === undefined ? netns : world.namespace(link.peer.netns);
    const peer = there?.links.find(({ index }) => index === link.peer?.index);
    if (there && peer) places.push({ netns: there, link: peer });
  }
  for (const other of world.machine.namespaces)
    for (const above of other.links)
      if (
        above.kind !== 'veth' &&
        above.peer?.index === link.index &&
        (above.peer.netns ?? other.inode) === netns.inode &&
        above !== link
      )
        places.push({ netns: other, link: above });
  return places;
}
