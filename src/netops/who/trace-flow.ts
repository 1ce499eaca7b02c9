// From a flow seen on a device to the process whose it is: the socket here, else through connection tracking and over links into the
// next namespace, and again. What a process does with it (proxies, tunnels) is extend-path.ts. Reads the world only.

import type { ConntrackEntry, ConntrackTuple } from '../../kernel/machine/conntrack-dump.ts';
import type { Address } from '../../model/address.ts';
import type { MachineLink, MachineNamespace } from '../../model/machine.ts';
import { type Endpoint, type Flow, flowKey, protocolName, sameAddress } from './flow.ts';
import type { PathHop, TracedFlow } from './path.ts';
import type { FoundSocket } from './socket-index.ts';
import type { FoundOrigin, Place, World } from './world.ts';

/** Namespaces gone through, at most. */
const maxDepth = 12;

/** Kinds of links whose packets the kernel itself makes. */
const kernelTunnels = new Set(['wireguard', 'vxlan', 'geneve', 'gre', 'ip6gre', 'ipip', 'sit', 'l2tp', 'bareudp', 'fou']);

/** `device`: where it was seen; absent where it was only found in a table. */
export function traceFlow(world: World, netns: MachineNamespace, flow: Flow, device?: string): TracedFlow {
  const first: PathHop = {
    kind: 'wire',
    ...placeOf(netns),
    flow,
    ...(device === undefined ? {} : { device }),
    join: device === undefined ? 'found in a table' : 'seen on the device',
    score: 1,
  };
  return followFlow(world, netns, flow, [first], device, new Set());
}

/** As traceFlow, from what is known already: `path` is what led here, `device` where it came from. */
export function followFlow(
  world: World,
  start: MachineNamespace,
  startFlow: Flow,
  path: readonly PathHop[],
  startDevice: string | undefined,
  visited: Set<string>,
): TracedFlow {
  const hops = [...path];
  let netns = start;
  let flow = startFlow;
  let device = startDevice;
  for (let depth = 0; depth < maxDepth; depth += 1) {
    const key = `${netns.inode} ${flowKey(flow)}`;
    if (visited.has(key)) return unattributed(hops, 'it comes back to where it was');
    visited.add(key);
    const isLocal = (address: Endpoint['address']): boolean => world.isLocal(netns, address);
    const sockets = world.sockets(netns);
    const direct = sockets.find(flow, isLocal);
    // A server's port may be another one than the packet says (REDIRECT): then what is bound there is not meant.
    if (direct && direct.how === 'connected') return ownedBy(world, netns, flow, direct, hops);
    const tracked = world.conntrack(netns, flow);
    const translated = tracked && otherView(tracked, flow);
    if (translated) {
      const found = sockets.find(translated, isLocal);
      hops.push(natHop(netns, translated));
      if (found) return ownedBy(world, netns, translated, found, hops);
    } else if (direct) return ownedBy(world, netns, flow, direct, hops);
    // Who began it and who answers, each with the flow as it is seen on that side.
    const ends = tracked
      ? [
          { address: tracked.original.source, flow: flowOf(flow.protocol, tracked.original) },
          { address: tracked.reply.source, flow: flowOf(flow.protocol, tracked.reply) },
        ]
      : [flow.a, flow.b].map(({ address }) => ({ address, flow }));
    const local = ends.some(({ address }) => isLocal(address));
    const step = local ? whyNobody(flow, netns) : stepInside(world, netns, ends, device);
    if (typeof step === 'string') {
      const begun = world.origin(flow, netns, local) ?? (translated && world.origin(translated, netns, local));
      return begun ? begunBy(world, netns, translated ?? flow, begun, hops) : unattributed(hops, step);
    }
    hops.push({
      kind: 'link',
      ...placeOf(step.place.netns),
      flow: step.flow,
      device: step.place.link.name,
      join: `route of ${step.device}, other end of the link`,
      score: 1,
    });
    ({ netns } = step.place);
    flow = step.flow;
    device = step.place.link.name;
  }
  return unattributed(hops, `it goes through more than ${maxDepth} namespaces`);
}

const placeOf = (netns: MachineNamespace) => ({
  netns: netns.inode,
  netnsName: netns.name,
  ...(netns.container ? { container: netns.container } : {}),
});

const unattributed = (path: readonly PathHop[], reason: string): TracedFlow => ({ path, attributed: false, reason });

const flowOf = (protocol: number, { source, sourcePort, destination, destinationPort }: ConntrackTuple): Flow => ({
  protocol,
  a: { address: source, port: sourcePort },
  b: { address: destination, port: destinationPort },
});

/** The same connection on the other side of translation; undefined where nothing is translated. */
export function otherView({ protocol, original, reply }: ConntrackEntry, flow: Flow): Flow | undefined {
  const one = flowOf(protocol, original);
  const two = flowOf(protocol, reply);
  const oneKey = flowKey(one);
  const twoKey = flowKey(two);
  if (oneKey === twoKey) return undefined;
  return flowKey(flow) === oneKey ? two : one;
}

const natHop = (netns: MachineNamespace, flow: Flow): PathHop => ({
  kind: 'nat',
  ...placeOf(netns),
  flow,
  join: 'the two tuples of one tracked connection',
  score: 1,
});

function ownedBy(world: World, netns: MachineNamespace, flow: Flow, found: FoundSocket, hops: readonly PathHop[]): TracedFlow {
  const { socket, how, shared } = found;
  const [holder, ...others] = world.holdersOf(socket);
  if (!holder) {
    const origin = world.origin(flow, netns, true);
    if (origin) return begunBy(world, netns, flow, origin, hops);
    const listener = how === 'connected' ? acceptedBy(world, netns, flow, found) : undefined;
    if (listener) return { path: [...hops, listener], attributed: true };
    const kernel = socket.transport === 'udp' ? netns.links.filter(({ kind }) => kind && kernelTunnels.has(kind)) : [];
    if (kernel.length > 0) return { path: [...hops, kernelHop(netns, flow, kernel)], attributed: true };
    if (world.owners.unreadable > 0) return unattributed(hops, `its process may not be seen: needs root (user ${socket.uid})`);
    if (world.owners.cut) return unattributed(hops, 'there are more processes than are looked at');
    return unattributed(
      hops,
      socket.inode === 0 ? 'no process holds it any more' : 'its process was gone when it was looked for',
    );
  }
  const joins = {
    connected: 'socket with both ends (inet_diag), held as this descriptor',
    bound: 'socket bound to the port (inet_diag), held as this descriptor',
    listening: 'accepted by who listens at the port; the connection itself is over',
  } as const;
  const among = shared > 0 ? `, one of ${shared + 1} that share the port` : '';
  const also = others.length > 0 ? `; also held by ${others.length} more` : '';
  return {
    path: [
      ...hops,
      {
        kind: 'process',
        ...placeOf(netns),
        flow,
        pid: holder.pid,
        fd: holder.fd,
        ...world.describe(holder.pid),
        ...(serves(world, netns, found) ? { listens: found.own.port } : {}),
        join: `${joins[how]}${among}${also}`,
        score: (how === 'listening' ? 0.9 : 1) / (shared + 1),
      },
    ],
    attributed: true,
  };
}

/** First of the ports that are given to whoever asks for any (net.ipv4.ip_local_port_range, as it is unless changed). */
const firstEphemeral = 32_768;

function serves(world: World, netns: MachineNamespace, { how, own, socket }: FoundSocket): boolean {
  if (how === 'listening') return true;
  if (socket.transport === 'udp') return how === 'bound' && own.port < firstEphemeral;
  const takers = world.sockets(netns).taking(6, own);
  return takers.some(({ state }) => state === 'LISTEN');
}

/** A connection no process holds, at a port where one listens: not yet accepted, or over. */
function acceptedBy(world: World, netns: MachineNamespace, flow: Flow, found: FoundSocket): PathHop | undefined {
  const listeners = world
    .sockets(netns)
    .taking(flow.protocol, found.own)
    .filter(({ state }) => state === 'LISTEN');
  for (const listener of listeners) {
    const [holder] = world.holdersOf(listener);
    if (!holder) continue;
    return {
      kind: 'process',
      ...placeOf(netns),
      flow,
      pid: holder.pid,
      ...world.describe(holder.pid),
      listens: found.own.port,
      join: `${found.socket.state}, at a port this process listens at`,
      score: 0.9 / listeners.length,
    };
  }
  return undefined;
}

function begunBy(
  world: World,
  netns: MachineNamespace,
  flow: Flow,
  { pid, comm, process, doubt, score }: FoundOrigin,
  hops: readonly PathHop[],
): TracedFlow {
  const place = (process && world.namespace(process.netns)) ?? netns;
  return {
    path: [
      ...hops,
      {
        kind: 'process',
        ...placeOf(place),
        flow,
        pid,
        comm,
        // Of another one that has its number by now nothing is said.
        ...(process ? world.describe(pid) : {}),
        join: `the kernel told of its connect(2)${doubt === undefined ? '' : `; ${doubt}`}`,
        score,
      },
    ],
    attributed: true,
  };
}

const kernelHop = (netns: MachineNamespace, flow: Flow, links: readonly MachineLink[]): PathHop => ({
  kind: 'tunnel',
  ...placeOf(netns),
  flow,
  device: links.map(({ name }) => name).join(', '),
  join: `a socket of the kernel, where there ${links.length === 1 ? 'is a tunnel' : 'are tunnels'} of its own`,
  score: 0.9 / links.length,
});

function whyNobody({ protocol }: Flow, netns: MachineNamespace): string {
  if (protocol === 1 || protocol === 58) return 'ICMP: answered or sent by the kernel, or by a raw socket';
  if (protocol !== 6 && protocol !== 17) return `${protocolName(protocol)}: the kernel's own, or a raw socket's`;
  if (protocol === 17) return 'no socket took it when it was looked for';
  return `the connection ended before it was looked for, and nobody listens at its port in ${netns.name || 'this namespace'}`;
}

interface SeenEnd {
  readonly address: Address;
  readonly flow: Flow;
}

interface InsideStep {
  readonly device: string;
  readonly place: Place;
  readonly flow: Flow;
}

/** Into which namespace it goes; in words why it is not known. */
function stepInside(
  world: World,
  netns: MachineNamespace,
  ends: readonly SeenEnd[],
  device: string | undefined,
): InsideStep | string {
  let why = 'it is only forwarded here, between other machines';
  for (const { address, flow } of ends) {
    const next = world.nextNamespace(netns, address);
    if (!next || next.device === device) continue;
    if (next.place) return { device: next.device, place: next.place, flow };
    why = `it is forwarded to ${next.device}, where no namespace of this machine has that address`;
  }
  // A device above or below this one has the address: macvlan, a port of a bridge.
  const link = netns.links.find(({ name }) => name === device);
  if (!link) return why;
  const found = world.onLink({ netns, link }).flatMap((place) => {
    const end = ends.find((one) => place.link.addresses.some(({ address }) => sameAddress(address, one.address)));
    return end ? [{ device: link.name, place, flow: end.flow }] : [];
  });
  return found.length === 1 ? found[0] : why;
}
