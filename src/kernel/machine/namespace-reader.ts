// One network namespace, read from inside: links, routes, rules, neighbours, listeners, sysctls, qdiscs, IPsec policies, queue consumers,
// counters. What could not be read is told. Which namespaces there are is namespace-finder.ts, all of them together machine-reader.ts.

import { existsSync } from 'node:fs';
import { asWeirError, WeirError } from '../../base/errors.ts';
import type { MachineListener, MachineNamespace, Unseen } from '../../model/machine.ts';
import type { Transport } from '../../model/session.ts';
import { createCommandRunner } from '../command.ts';
import { insideNetns } from '../libc.ts';
import { RouteSocket, withRouteSocket } from '../route-socket.ts';
import { readMachineLinks, readMachineNeighbours, readMachineQdiscs } from './link-reader.ts';
import { type FoundNamespace, readPeerNamespaces } from './namespace-finder.ts';
import { readCounters, readNetworkSysctls, readQueueConsumers } from './proc-tables.ts';
import { readMachineRoutes, readMachineRules } from './route-reader.ts';
import { readConnections, type SocketEntry, type TcpState } from './socket-diag.ts';
import type { SocketOwners } from './socket-owners.ts';

/** Parts that cost time and that not every question needs; links, routes and rules are always read. */
export type MachinePart = 'neighbours' | 'listeners' | 'sysctls' | 'qdiscs' | 'xfrm' | 'queues' | 'counters' | 'filter';

export const machineParts: readonly MachinePart[] = [
  'neighbours',
  'listeners',
  'sysctls',
  'qdiscs',
  'xfrm',
  'queues',
  'counters',
  'filter',
];

export interface NamespaceReading extends Omit<MachineNamespace, 'name' | 'container' | 'filter'> {
  readonly unseen: readonly Unseen[];
}

/** Throws `not-permitted` or `not-found` when the namespace cannot be entered; everything else is told in `unseen`. */
export async function readNamespace(
  found: FoundNamespace,
  parts: ReadonlySet<MachinePart>,
  candidates: readonly FoundNamespace[],
  owners: SocketOwners | undefined,
  budget?: { questions: number },
): Promise<NamespaceReading> {
  const unseen: Unseen[] = [];
  const miss = (what: string, why: string): void => void unseen.push({ netns: found.inode, what, why });
  const attempt = <T>(what: string, otherwise: T, body: () => T): T => {
    try {
      return body();
    } catch (error) {
      const { code, message } = asWeirError(error);
      miss(what, code === 'not-permitted' ? 'needs CAP_NET_ADMIN' : message);
      return otherwise;
    }
  };
  const { path } = found;
  const net = withRouteSocket(path, (socket) => {
    const links = readMachineLinks(socket);
    const names = new Map(links.map(({ index, name }) => [index, name]));
    const wanted = new Set(links.flatMap(({ peerNamespaceId }) => (peerNamespaceId === undefined ? [] : [peerNamespaceId])));
    const peers = wanted.size === 0 ? new Map<number, string>() : readPeerNamespaces(socket, wanted, candidates, budget);
    const routes = attempt('routes', { routes: [], complete: true }, () => readMachineRoutes(socket, names));
    if (!routes.complete) miss('routes', `more than ${routes.routes.length}: the others were not read`);
    const neighbours = parts.has('neighbours')
      ? attempt('neighbours', { neighbours: [], complete: true }, () => readMachineNeighbours(socket, names))
      : { neighbours: [], complete: true };
    if (!neighbours.complete) miss('neighbours', `more than ${neighbours.neighbours.length}: the others were not read`);
    return {
      names,
      links: links.map(({ peerNamespaceId, counters: _, peer, ...link }) => {
        if (!peer) return link;
        const inode = peerNamespaceId === undefined ? undefined : peers.get(peerNamespaceId);
        if (peerNamespaceId !== undefined && inode === undefined)
          miss(`the other end of ${link.name}`, 'it is in a namespace nothing leads to');
        return { ...link, peer: { ...peer, ...(inode === undefined ? {} : { netns: inode }) } };
      }),
      routes: routes.routes,
      rules: attempt('policy rules', [], () => readMachineRules(socket)),
      neighbours: neighbours.neighbours,
      qdiscs: parts.has('qdiscs') ? attempt('queueing disciplines', [], () => readMachineQdiscs(socket, names)) : [],
    };
  });
  const { names, ...rest } = net;
  const listeners = parts.has('listeners') ? attempt('listeners', [], () => readListeners(path, names, owners, miss)) : [];
  const proc = insideNetns(path, () => ({
    counters: parts.has('counters') ? readCounters() : {},
    sysctls: parts.has('sysctls') ? readNetworkSysctls() : { sysctls: {}, complete: true },
    queues: parts.has('queues') ? readQueueConsumers() : [],
  }));
  if (!proc.sysctls.complete) miss('sysctls', 'there are more devices than are read');
  if (proc.queues === undefined) miss('consumers of NFQUEUE', '/proc/net/netfilter/nfnetlink_queue cannot be read');
  let xfrmPolicies: string[] | undefined = [];
  const policies = parts.has('xfrm') ? attempt<boolean | undefined>('IPsec policies', undefined, () => hasPolicies(path)) : false;
  if (policies === undefined) xfrmPolicies = undefined;
  else if (policies)
    try {
      const { stdout } = await createCommandRunner(path).run('ip', ['xfrm', 'policy']);
      xfrmPolicies = splitPolicies(stdout);
    } catch (error) {
      xfrmPolicies = undefined;
      miss('IPsec policies', asWeirError(error).message);
    }
  return {
    inode: found.inode,
    ...(path === undefined ? {} : { path }),
    ...rest,
    listeners,
    sysctls: proc.sysctls.sysctls,
    ...(xfrmPolicies && { xfrmPolicies }),
    ...(proc.queues && { queueConsumers: proc.queues }),
    counters: proc.counters,
    unseen,
  };
}

function readListeners(
  path: string | undefined,
  names: ReadonlyMap<number, string>,
  owners: SocketOwners | undefined,
  miss: (what: string, why: string) => void,
): MachineListener[] {
  const read = (transport: Transport, state: TcpState): SocketEntry[] => {
    try {
      return readConnections(path, { transports: [transport], states: [state] }).sockets;
    } catch (error) {
      if (!(error instanceof WeirError) || error.code !== 'kernel-missing') throw error;
      miss(`listeners of ${transport}`, error.message);
      return [];
    }
  };
  return [...read('tcp', 'LISTEN'), ...read('udp', 'CLOSE')]
    .filter(({ localPort }) => localPort !== 0)
    .map((socket) => listenerOf(socket, names, owners));
}

export function listenerOf(
  socket: SocketEntry,
  names: ReadonlyMap<number, string>,
  owners: SocketOwners | undefined,
): MachineListener {
  const device = socket.device === 0 ? undefined : (names.get(socket.device) ?? `if${socket.device}`);
  return {
    transport: socket.transport,
    address: socket.local,
    port: socket.localPort,
    v6only: socket.v6only,
    ...(device === undefined ? {} : { device }),
    transparent: socket.transparent,
    inode: socket.inode,
    cookie: socket.cookie,
    uid: socket.uid,
    ...(socket.transport === 'tcp' ? { acceptQueue: { waiting: socket.receiveQueue, limit: socket.sendQueue } } : {}),
    pids: owners?.of(socket.inode).map(({ pid }) => pid) ?? [],
  };
}

const NETLINK_XFRM = 6;
const XFRM_MSG_GETPOLICY = 0x15;
/** struct xfrm_userpolicy_id. */
const policyIdBytes = 64;

/** A kernel without xfrm_user has no policies, unless programs write them by PF_KEY (af_key). socket(2), netlink(7) */
export const lacksPolicies = (error: unknown, hasPfKey: boolean): boolean =>
  error instanceof WeirError && error.details.errno === 'EPROTONOSUPPORT' && !hasPfKey;

/** So that a program is started only where there is something to print. Needs CAP_NET_ADMIN. */
function hasPolicies(path: string | undefined): boolean {
  let socket: RouteSocket;
  try {
    socket = new RouteSocket(path, NETLINK_XFRM);
  } catch (error) {
    if (lacksPolicies(error, existsSync('/proc/net/pfkey'))) return false;
    throw error;
  }
  try {
    return socket.dump(XFRM_MSG_GETPOLICY, [new Uint8Array(policyIdBytes)], 'reading IPsec policies').length > 0;
  } finally {
    socket.close();
  }
}

/** `ip xfrm policy` begins each at the left edge. */
export const splitPolicies = (text: string): string[] =>
  text
    .split(/\n(?=\S)/)
    .map((policy) => policy.trim().replace(/\s*\n\s*/g, ' '))
    .filter((policy) => policy !== '');
