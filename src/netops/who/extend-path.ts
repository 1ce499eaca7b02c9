// What a process does with a flow that ends at it: the other connection of a proxy, what a tunnel carries, and from there on to the next process.
// Only for flows that are shown: it asks more than trace-flow.ts does.

import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import { type Flow, flowKey, sameEndpoint } from './flow.ts';
import type { HaproxyLegs } from './haproxy-sessions.ts';
import { type Leg, LegTable } from './other-leg.ts';
import type { PathHop } from './path.ts';
import { otherEnd, ownEnd } from './socket-index.ts';
import { followFlow, otherView } from './trace-flow.ts';
import type { World } from './world.ts';

/** A flow inside a tunnel, with its share of all that the tunnel carried. */
export interface CarriedFlow {
  readonly flow: Flow;
  readonly share: number;
}

export interface ExtensionSources {
  /** Of a HAProxy that answers; undefined for any other process. */
  readonly haproxy: (pid: number) => HaproxyLegs | undefined;
  /** What went through a tunnel's device, the largest first; empty when that was not counted. */
  readonly carried: (netns: string, device: string) => readonly CarriedFlow[];
  /** Bytes a socket moved since the last reading, by cookie; undefined when it was not there. */
  readonly before: (cookie: string) => { readonly received: number; readonly sent: number } | undefined;
}

/** Processes gone through, at most. */
const maxProcesses = 6;

export class PathExtender {
  readonly #world: World;
  readonly #sources: ExtensionSources;
  readonly #legs = new Map<number, LegTable>();

  constructor(world: World, sources: ExtensionSources) {
    this.#world = world;
    this.#sources = sources;
  }

  extend(path: readonly PathHop[]): readonly PathHop[] {
    let hops = [...path];
    const visited = new Set(hops.map(({ netns, flow }) => `${netns} ${flowKey(flow)}`));
    const processes = new Set<string>();
    for (let step = 0; step < maxProcesses; step += 1) {
      const last = hops.at(-1);
      if (last?.kind !== 'process' || last.pid === undefined) return hops;
      const next = this.#through(last, hops) ?? this.#inside(last, hops);
      if (!next) return hops;
      const { netns, hop, follow } = next;
      const key = `${last.pid} ${hop.netns} ${flowKey(hop.flow)}`;
      if (processes.has(key)) return hops;
      processes.add(key);
      hops.push(hop);
      // What it is the near end of has a process at its far end, where that is on this machine.
      const reached = this.#peerOf(netns, follow, hop.kind === 'proxy', [...hops], visited);
      if (!reached) return hops;
      hops = [...reached];
    }
    return hops;
  }

  /** The other connection of a proxy. */
  #through(last: PathHop, hops: readonly PathHop[]): Step | undefined {
    const { pid } = last;
    if (pid === undefined || this.#world.tunnelsOf(pid).length > 0) return undefined;
    const netns = this.#world.namespace(last.netns);
    if (!netns) return undefined;
    const table = this.#legsOf(pid, netns);
    const socket = this.#socketOf(netns, last.flow);
    const one = socket && table.find(socket.cookie);
    if (!one) return undefined;
    const exact = last.fd === undefined ? undefined : this.#sources.haproxy(pid)?.get(one.fd);
    const found = exact !== undefined ? this.#byDescriptor(pid, netns, exact) : table.other(one);
    if (!found) return undefined;
    const flow: Flow = { protocol: last.flow.protocol, a: ownEnd(found.leg.socket), b: otherEnd(found.leg.socket) };
    if (hops.some((hop) => hop.netns === netns.inode && flowKey(hop.flow) === flowKey(flow))) return undefined;
    const { listens: _, ...same } = last;
    const hop: PathHop = { ...same, kind: 'proxy', flow, fd: found.leg.fd, join: found.join, score: found.score * last.score };
    return { netns, hop, follow: flow };
  }

  #byDescriptor(pid: number, netns: MachineNamespace, fd: number): { leg: Leg; join: string; score: number } | undefined {
    const inode = this.#world.owners.socketsOf(pid).find(([held]) => held === fd)?.[1];
    const socket = inode === undefined ? undefined : this.#world.sockets(netns).byInode(inode);
    if (!socket) return undefined;
    return {
      leg: { socket, fd, accepted: false, received: 0, sent: 0 },
      join: 'descriptors of one session (HAProxy, show sess)',
      score: 1,
    };
  }

  /** What a tunnel's device carries for the process that holds it. */
  #inside(last: PathHop, hops: readonly PathHop[]): Step | undefined {
    if (last.pid === undefined) return undefined;
    for (const tunnel of this.#world.tunnelsOf(last.pid)) {
      const place = this.#world.findLink(tunnel.device, last.netns);
      if (!place) continue;
      const inTunnel = place.link.addresses.some(({ address }) =>
        [last.flow.a, last.flow.b].some((end) => sameEndpoint({ ...end, port: 0 }, { address, port: 0 })),
      );
      if (inTunnel) continue;
      const carried = this.#sources
        .carried(place.netns.inode, tunnel.device)
        .find(({ flow }) => !hops.some((hop) => flowKey(hop.flow) === flowKey(flow)));
      const common = {
        netns: place.netns.inode,
        netnsName: place.netns.name,
        ...(place.netns.container ? { container: place.netns.container } : {}),
        device: tunnel.device,
        pid: last.pid,
        ...(last.comm === undefined ? {} : { comm: last.comm }),
        fd: tunnel.fd,
      };
      if (!carried) {
        const hop: PathHop = {
          ...last,
          ...common,
          kind: 'tunnel',
          join: 'it holds the tunnel (fdinfo); what went through was not counted',
          score: 1,
        };
        return { netns: place.netns, hop, follow: last.flow };
      }
      const share = Math.floor(carried.share * 100);
      return {
        netns: place.netns,
        follow: carried.flow,
        hop: {
          kind: 'tunnel',
          ...common,
          flow: carried.flow,
          join: `it holds the tunnel (fdinfo); ${share} % of what went through`,
          score: carried.share,
        },
      };
    }
    return undefined;
  }

  /** Undefined when the far end is not on this machine. */
  #peerOf(
    netns: MachineNamespace,
    flow: Flow,
    ownIsKnown: boolean,
    hops: readonly PathHop[],
    visited: Set<string>,
  ): readonly PathHop[] | undefined {
    if (!ownIsKnown) {
      const last = hops.at(-1);
      if (last && visited.has(`${netns.inode} ${flowKey(flow)}`)) return undefined;
      const traced = followFlow(this.#world, netns, flow, hops, last?.device, visited);
      return traced.path;
    }
    visited.add(`${netns.inode} ${flowKey(flow)}`);
    // Where it goes after translation: the server's end as it answers, and ours as the server sees it.
    const tracked = this.#world.conntrack(netns, flow);
    const { far, near } =
      tracked && otherView(tracked, flow)
        ? {
            far: { address: tracked.reply.source, port: tracked.reply.sourcePort },
            near: { address: tracked.reply.destination, port: tracked.reply.destinationPort },
          }
        : { far: flow.b, near: flow.a };
    const onward: Flow = { protocol: flow.protocol, a: near, b: far };
    // On the same machine, in the same namespace: the socket with the ends exchanged.
    const here = this.#world.sockets(netns).connected(flow.protocol, far, near);
    if (here) {
      const [holder] = this.#world.holdersOf(here);
      if (!holder) return undefined;
      return [
        ...hops,
        {
          kind: 'process',
          netns: netns.inode,
          netnsName: netns.name,
          flow: { protocol: flow.protocol, a: ownEnd(here), b: otherEnd(here) },
          pid: holder.pid,
          fd: holder.fd,
          ...this.#world.describe(holder.pid),
          listens: ownEnd(here).port,
          join: 'the other end of the same connection, in the same namespace',
          score: 1,
        },
      ];
    }
    const next = this.#world.nextNamespace(netns, far.address);
    if (!next?.place) return undefined;
    const link: PathHop = {
      kind: 'link',
      netns: next.place.netns.inode,
      netnsName: next.place.netns.name,
      ...(next.place.netns.container ? { container: next.place.netns.container } : {}),
      flow: onward,
      device: next.place.link.name,
      join: `route of ${next.device}, other end of the link`,
      score: 1,
    };
    const traced = followFlow(this.#world, next.place.netns, onward, [...hops, link], next.place.link.name, visited);
    return traced.attributed ? traced.path : undefined;
  }

  #socketOf(netns: MachineNamespace, flow: Flow): SocketEntry | undefined {
    const sockets = this.#world.sockets(netns);
    return sockets.connected(flow.protocol, flow.a, flow.b) ?? sockets.connected(flow.protocol, flow.b, flow.a);
  }

  /** Connections of a process, TCP alone: of others no bytes are known. */
  #legsOf(pid: number, netns: MachineNamespace): LegTable {
    const known = this.#legs.get(pid);
    if (known) return known;
    const sockets = this.#world.sockets(netns);
    const legs: Leg[] = [];
    for (const [fd, inode] of this.#world.owners.socketsOf(pid)) {
      const socket = sockets.byInode(inode);
      if (!socket?.tcp || socket.state === 'LISTEN' || socket.remotePort === 0) continue;
      // Since the last reading where there was one: what is kept open for many requests conserves nothing over its life.
      const before = this.#sources.before(socket.cookie);
      legs.push({
        socket,
        fd,
        accepted: sockets.taking(6, ownEnd(socket)).some(({ state }) => state === 'LISTEN'),
        received: socket.tcp.bytesReceived - (before?.received ?? 0),
        sent: socket.tcp.bytesAcked - (before?.sent ?? 0),
      });
    }
    const table = new LegTable(legs);
    this.#legs.set(pid, table);
    return table;
  }
}

interface Step {
  readonly netns: MachineNamespace;
  readonly hop: PathHop;
  /** The flow to go on with. */
  readonly follow: Flow;
}
