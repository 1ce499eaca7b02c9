// The whole set of sockets a gateway works with in one network namespace, opened or reused: what netd offers.

import type { Family } from '../model/address.ts';
import { closeDescriptor } from './libc.ts';
import { joinNameGroups, openNameSocket } from './name-socket.ts';
import type { NamedSocket } from './named-socket.ts';
import { openNeighbourSocket } from './neighbour-socket.ts';
import { openNflogSocket, openRawSender, openTproxyListener, openUdpIntakeSocket } from './tproxy-socket.ts';

/** The NFLOG group every rule of ours logs to; the number of our routes' protocol too. */
export const probeGroup = 87;

/** What the kernel may hold of what the gateway has not read yet: a limit, used only under load. Segments may be hundreds. */
const ownBufferBytes = { datagrams: 16 << 20, probes: 32 << 20, neighbours: 4 << 20 };
const segmentBufferBytes = { datagrams: 2 << 20, probes: 4 << 20, neighbours: 1 << 20 };

export interface IntakeInterface {
  readonly name: string;
  /** Decoys there have MACs of their own. */
  readonly promiscuous: boolean;
  /** Decoys there answer questions that go to the whole link (model/name-book.ts, asksWholeLink). */
  readonly names?: boolean;
}

export interface IntakeSocketPlan {
  /** Ports the rules lead to; 0: any free one. The same number serves both families. */
  readonly tcpPort: number;
  readonly udpPort: number;
  /** Of listeners whose connections have windows of at most 65,535 bytes and scale by 0; absent: none. */
  readonly narrowPort?: number;
  /** Interfaces with claimed ranges. */
  readonly interfaces: readonly IntakeInterface[];
  readonly netns?: string;
  /** The network diversion whose namespace this is; absent: the machine's own. */
  readonly network?: string;
}

/**
 * Opens every socket of the plan that `existing` does not hold yet (by name, and by port where one is fixed); what is
 * left over in `existing` is not closed. IPv6 takes the port IPv4 was given, so that one number is in the rules.
 * Needs root (CAP_NET_ADMIN, CAP_NET_RAW). On failure what was opened here is closed.
 */
export function openIntakeSockets(plan: IntakeSocketPlan, existing: readonly NamedSocket[] = []): NamedSocket[] {
  const opened: number[] = [];
  const { netns, network } = plan;
  const bytes = network === undefined ? ownBufferBytes : segmentBufferBytes;
  const reuse = (role: string, open: () => Omit<NamedSocket, 'name'>): NamedSocket => {
    const name = network === undefined ? role : `${role}@${network}`;
    const known = existing.find((one) => one.name === name && one.network === network);
    if (known) return known;
    const socket = { name, ...open(), ...(network === undefined ? {} : { network }) };
    opened.push(socket.fd);
    return socket;
  };
  const both = (kind: 'tcp' | 'narrow' | 'udp', port: number): NamedSocket[] => {
    const listen = (family: Family, at: number): Omit<NamedSocket, 'name'> => {
      const options = { family, port: at, ...(netns ? { netns } : {}) };
      const socket =
        kind === 'udp'
          ? openUdpIntakeSocket({ ...options, bufferBytes: bytes.datagrams })
          : openTproxyListener({ ...options, narrow: kind === 'narrow' });
      return { role: kind === 'udp' ? 'udp' : 'tcp', family, ...socket };
    };
    const four = reuse(`${kind}4`, () => listen(4, port));
    return [four, reuse(`${kind}6`, () => listen(6, four.port ?? port))];
  };
  try {
    const sockets = [
      ...both('tcp', plan.tcpPort),
      ...both('udp', plan.udpPort),
      ...(plan.narrowPort === undefined ? [] : both('narrow', plan.narrowPort)),
      reuse('raw4', () => ({ role: 'raw', family: 4, fd: openRawSender(4, netns) })),
      reuse('raw6', () => ({ role: 'raw', family: 6, fd: openRawSender(6, netns) })),
      reuse('nflog', () => ({
        role: 'nflog',
        fd: openNflogSocket(probeGroup, { bufferBytes: bytes.probes, ...(netns ? { netns } : {}) }),
      })),
      ...plan.interfaces.map(({ name, promiscuous }) =>
        reuse(`neighbour-${name}`, () => ({
          role: 'neighbour' as const,
          interface: name,
          ...openNeighbourSocket({ interface: name, promiscuous, bufferBytes: bytes.neighbours, ...(netns ? { netns } : {}) }),
        })),
      ),
    ];
    const datagrams = sockets.filter(({ role }) => role === 'udp');
    for (const { name } of plan.interfaces.filter(({ names }) => names)) {
      const socket = reuse(`names-${name}`, () => ({
        role: 'names' as const,
        interface: name,
        ...openNameSocket({ interface: name, ...(netns ? { netns } : {}) }),
      }));
      for (const { fd, family } of datagrams)
        if (family && socket.interfaceIndex) joinNameGroups(fd, family, socket.interfaceIndex);
      sockets.push(socket);
    }
    return sockets;
  } catch (error) {
    for (const fd of opened) closeDescriptor(fd);
    throw error;
  }
}
