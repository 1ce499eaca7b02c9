// Every connection of the machine that a selector means: sockets of all namespaces, with who holds them and how they are known where
// addresses are translated, and connections that only pass through. Reads only.

import { asWeirError } from '../../base/errors.ts';
import { type ConntrackEntry, type ConntrackTuple, readConntrack } from '../../kernel/machine/conntrack-dump.ts';
import { readContainerNames } from '../../kernel/machine/container-names.ts';
import { type FoundNamespace, firstProcessOf, nameNamespace } from '../../kernel/machine/namespace-finder.ts';
import { readProcess, whyUnreadable } from '../../kernel/machine/process-reader.ts';
import { readConnections, type SocketEntry } from '../../kernel/machine/socket-diag.ts';
import { readSocketOwners } from '../../kernel/machine/socket-owners.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { MachineProcess } from '../../model/machine.ts';
import type { PathEnd } from './end-on-path.ts';
import { type Candidate, isSelected, type KillSelector } from './select-connections.ts';

export interface KillTarget extends Candidate {
  readonly netns: FoundNamespace;
  /** For people; empty: the one this process is in. */
  readonly netnsName: string;
  /** Absent for what only passes through. */
  readonly socket?: SocketEntry;
  /** Each end as it sees the connection. */
  readonly ends: readonly [PathEnd, PathEnd];
}

export interface FoundConnections {
  readonly targets: readonly KillTarget[];
  /** In words: what could not be looked at. */
  readonly unseen: readonly string[];
}

const maxTracked = 300_000;
/** What connection tracking calls a connection that is, or still closes. */
const passing = new Set(['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK']);

type Ends = Pick<Candidate, 'local' | 'localPort' | 'remote' | 'remotePort'>;
type SocketEnds = Ends & Pick<SocketEntry, 'transport'>;
type TrackedEnds = Pick<ConntrackEntry, 'protocol' | 'original' | 'reply'>;

const keyOf = ({ local, localPort, remote, remotePort }: Ends): string =>
  `${renderAddress(local)} ${localPort} ${renderAddress(remote)} ${remotePort}`;
const socketKey = (entry: SocketEnds): string => `${entry.transport} ${keyOf(entry)}`;
const forth = ({ source, sourcePort, destination, destinationPort }: ConntrackTuple): Ends => ({
  local: source,
  localPort: sourcePort,
  remote: destination,
  remotePort: destinationPort,
});
const turned = ({ local, localPort, remote, remotePort }: Ends): Ends => ({
  local: remote,
  localPort: remotePort,
  remote: local,
  remotePort: localPort,
});
const end = (address: Address, port: number, peer: Address, peerPort: number): PathEnd => ({ address, port, peer, peerPort });
const endsOf = ({ local, localPort, remote, remotePort }: Ends): [PathEnd, PathEnd] => [
  end(local, localPort, remote, remotePort),
  end(remote, remotePort, local, localPort),
];

/** `namespaces`: those to look in. Needs root to see all of it; what it cannot see is told. */
export async function findConnections(
  selector: KillSelector,
  namespaces: readonly FoundNamespace[],
  dockerSocket?: string,
): Promise<FoundConnections> {
  const unseen: string[] = [];
  const owners = readSocketOwners();
  if (owners.unreadable > 0) unseen.push(`who holds the sockets of ${owners.unreadable} processes of others: ${whyUnreadable()}`);
  if (owners.cut) unseen.push('who holds the sockets of further processes: there are more than are looked at');
  const { names, why } = await readContainerNames(dockerSocket);
  if (why !== undefined) unseen.push(`names of containers: ${why}`);
  const read = new Map<number, MachineProcess | undefined>();
  const holders = (inode: number): Candidate['processes'] =>
    owners.of(inode).flatMap(({ pid }) => {
      if (!read.has(pid)) read.set(pid, readProcess(pid));
      const process = read.get(pid);
      if (!process) return [];
      const id = process.container?.id;
      const name = id === undefined ? undefined : (process.container?.name ?? names.get(id));
      return [
        { pid, comm: process.comm, ...(id === undefined ? {} : { container: { id, ...(name === undefined ? {} : { name }) } }) },
      ];
    });

  let closed = 0;
  const lacks = (what: string, error: unknown): void => {
    const { code, message } = asWeirError(error);
    if (code === 'not-permitted') closed += 1;
    else unseen.push(`${what}: ${message}`);
  };
  const sockets: { netns: FoundNamespace; entry: SocketEntry }[] = [];
  const tracked: { netns: FoundNamespace; entry: ConntrackEntry }[] = [];
  for (const netns of namespaces) {
    try {
      const answer = readConnections(netns.path, {});
      if (!answer.complete) unseen.push(`sockets of namespace ${netns.inode} beyond those that were read`);
      if (answer.missing.length > 0)
        unseen.push(`${answer.missing.join(' and ')} sockets of namespace ${netns.inode}: this kernel has no inet_diag for them`);
      for (const entry of answer.sockets) sockets.push({ netns, entry });
    } catch (error) {
      lacks(`sockets of namespace ${netns.inode}`, error);
      continue;
    }
    try {
      const complete = readConntrack(
        netns.path,
        (entry) => {
          if (entry.protocol === 6 || entry.protocol === 17) tracked.push({ netns, entry });
        },
        maxTracked - tracked.length,
      );
      if (!complete) unseen.push(`tracked connections of namespace ${netns.inode} beyond those that were read`);
    } catch (error) {
      lacks(`tracked connections of namespace ${netns.inode}`, error);
    }
  }
  if (closed > 0) unseen.push(`sockets or tracked connections of ${closed} namespaces: needs root`);
  const { views, unclear } = translatedViews(sockets, tracked);
  if (unclear > 0)
    unseen.push(
      `as what ${unclear} connections are known behind a translation: several namespaces have the same addresses and ports`,
    );
  const own = new Set(sockets.map(({ entry }) => socketKey(entry)));
  const nameOf = (netns: FoundNamespace): string => nameNamespace(netns, firstProcessOf(netns));

  const targets: KillTarget[] = [];
  for (const { netns, entry } of sockets) {
    // What only waits out its time is no connection, unless it is asked for.
    if (entry.state === 'TIME_WAIT' && selector.state !== 'TIME_WAIT' && selector.cookie === undefined) continue;
    const { transport, state, local, localPort, remote, remotePort, cookie, uid, inode } = entry;
    const translated = views.get(socketKey(entry));
    const processes = holders(inode);
    const candidate: Candidate = {
      transport,
      state,
      local,
      localPort,
      remote,
      remotePort,
      cookie,
      uid,
      ...(translated ? { translated } : {}),
      ...(inode !== 0 && processes.length === 0 ? { holderUnseen: true } : {}),
      processes,
    };
    if (isSelected(selector, candidate))
      targets.push({ ...candidate, netns, netnsName: nameOf(netns), socket: entry, ends: endsOf(entry) });
  }
  for (const { netns, there, back } of passingConnections(tracked, own)) {
    const candidate: Candidate = { transport: 'tcp', state: 'ESTABLISHED', ...there, translated: [turned(back)], processes: [] };
    if (!isSelected(selector, candidate)) continue;
    // The first as it sees it, before translation; the second as it does, behind it.
    const ends = [endsOf(there)[0], endsOf(back)[0]] as const;
    targets.push({ ...candidate, netns, netnsName: nameOf(netns), ends });
  }
  return { targets, unseen };
}

/**
 * TCP connections of which no end is a socket of this machine: those are ended there. In each namespace by itself: the same addresses and ports
 * in two may be one connection that passes both, or two of networks that know nothing of each other. `own`: keys of sockets.
 */
export function passingConnections<T extends { readonly inode: string }>(
  tracked: readonly { readonly netns: T; readonly entry: TrackedEnds & Pick<ConntrackEntry, 'tcpState'> }[],
  own: ReadonlySet<string>,
): { readonly netns: T; readonly there: Ends; readonly back: Ends }[] {
  const known = new Set<string>();
  return tracked.flatMap(({ netns, entry }) => {
    if (entry.protocol !== 6 || entry.tcpState === undefined || !passing.has(entry.tcpState)) return [];
    const [there, back] = [forth(entry.original), forth(entry.reply)];
    if ([there, turned(there), back, turned(back)].some((one) => own.has(`tcp ${keyOf(one)}`))) return [];
    const key = `${netns.inode} ${keyOf(there)}`;
    if (known.has(key)) return [];
    known.add(key);
    return [{ netns, there, back }];
  });
}

interface Translated {
  readonly views: ReadonlyMap<string, readonly Ends[]>;
  /** Connections for which none is given, since it may be another one's. */
  readonly unclear: number;
}

/**
 * Other ends of a connection than those one of its sockets has, by `socketKey`. Networks may have the same addresses: where several
 * namespaces have sockets with such ends, or translate them, whose translation it is cannot be told.
 */
export function translatedViews(
  sockets: readonly { readonly netns: Pick<FoundNamespace, 'inode'>; readonly entry: SocketEnds }[],
  tracked: readonly { readonly netns: Pick<FoundNamespace, 'inode'>; readonly entry: TrackedEnds }[],
): Translated {
  const views = new Map<string, Ends[]>();
  const translators = new Map<string, Set<string>>();
  for (const { netns, entry } of tracked) {
    const transport = entry.protocol === 17 ? 'udp' : 'tcp';
    const add = (one: Ends, other: Ends): void => {
      const [key, its] = [`${transport} ${keyOf(one)}`, keyOf(other)];
      if (keyOf(one) === its) return;
      translators.set(key, (translators.get(key) ?? new Set<string>()).add(netns.inode));
      const known = views.get(key);
      if (!known) views.set(key, [other]);
      else if (!known.some((view) => keyOf(view) === its)) known.push(other);
    };
    const [there, back] = [forth(entry.original), forth(entry.reply)];
    add(there, turned(back));
    add(turned(there), back);
    add(turned(back), there);
    add(back, turned(there));
  }
  const holders = new Map<string, Set<string>>();
  for (const { netns, entry } of sockets) {
    const key = socketKey(entry);
    if (views.has(key)) holders.set(key, (holders.get(key) ?? new Set<string>()).add(netns.inode));
  }
  let unclear = 0;
  for (const [key, { size }] of holders)
    if (size > 1 || (translators.get(key)?.size ?? 0) > 1) {
      views.delete(key);
      unclear += 1;
    }
  return { views, unclear };
}
