// The whole set of sockets a gateway works with in one network namespace, opened or reused: what netd offers.

import type { Family } from '../model/address.ts';
import { closeDescriptor } from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { openNeighbourSocket } from './neighbour-socket.ts';
import { openNflogSocket, openRawSender, openTproxyListener, openUdpIntakeSocket } from './tproxy-socket.ts';

/** The NFLOG group every rule of ours logs to; the number of our routes' protocol too. */
export const probeGroup = 87;

export interface IntakeSocketPlan {
  /** Ports the rules lead to; 0: any free one. The same number serves both families. */
  readonly tcpPort: number;
  readonly udpPort: number;
  /** Interfaces with claimed ranges, and whether their decoys have MACs of their own. */
  readonly interfaces: readonly { readonly name: string; readonly promiscuous: boolean }[];
  readonly netns?: string;
}

/**
 * Opens every socket of the plan that `existing` does not hold yet (by name, and by port where one is fixed); what is
 * left over in `existing` is not closed. IPv6 takes the port IPv4 was given, so that one number is in the rules.
 * Needs root (CAP_NET_ADMIN, CAP_NET_RAW). On failure what was opened here is closed.
 */
export function openIntakeSockets(plan: IntakeSocketPlan, existing: readonly NamedSocket[] = []): NamedSocket[] {
  const opened: number[] = [];
  const { netns } = plan;
  const reuse = (name: string, open: () => NamedSocket): NamedSocket => {
    const known = existing.find((one) => one.name === name);
    if (known) return known;
    const socket = open();
    opened.push(socket.fd);
    return socket;
  };
  const both = (role: 'tcp' | 'udp', port: number): NamedSocket[] => {
    const listen = (family: Family, at: number): NamedSocket => {
      const options = { family, port: at, ...(netns ? { netns } : {}) };
      const socket = role === 'tcp' ? openTproxyListener(options) : openUdpIntakeSocket(options);
      return { name: `${role}${family}`, role, family, ...socket };
    };
    const four = reuse(`${role}4`, () => listen(4, port));
    return [four, reuse(`${role}6`, () => listen(6, four.port ?? port))];
  };
  try {
    return [
      ...both('tcp', plan.tcpPort),
      ...both('udp', plan.udpPort),
      reuse('raw4', () => ({ name: 'raw4', role: 'raw', family: 4, fd: openRawSender(4, netns) })),
      reuse('raw6', () => ({ name: 'raw6', role: 'raw', family: 6, fd: openRawSender(6, netns) })),
      reuse('nflog', () => ({ name: 'nflog', role: 'nflog', fd: openNflogSocket(probeGroup, netns ? { netns } : {}) })),
      ...plan.interfaces.map(({ name, promiscuous }) =>
        reuse(`neighbour-${name}`, () => ({
          name: `neighbour-${name}`,
          role: 'neighbour' as const,
          interface: name,
          ...openNeighbourSocket({ interface: name, promiscuous, ...(netns ? { netns } : {}) }),
        })),
      ),
    ];
  } catch (error) {
    for (const fd of opened) closeDescriptor(fd);
    throw error;
  }
}
