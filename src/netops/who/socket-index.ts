// The sockets of one network namespace, found by what a packet says: connected ones by both ends, others by the port they are bound to.
// Pure; reading them is kernel/machine/socket-diag.ts.

import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';
import type { Address } from '../../model/address.ts';
import { directedKey, type Endpoint, type Flow, sameAddress } from './flow.ts';

export interface FoundSocket {
  readonly socket: SocketEntry;
  /** The end of the flow that is this socket's own. */
  readonly own: Endpoint;
  readonly other: Endpoint;
  /** `connected`: it is this flow's alone. `bound`: it takes what comes to its port. `listening`: the flow is one it accepts. */
  readonly how: 'connected' | 'bound' | 'listening';
  /** Others that share the port (SO_REUSEPORT): which of them has the flow cannot be told. */
  readonly shared: number;
}

const protocolOf = { tcp: 6, udp: 17 } as const;

export class SocketIndex {
  readonly #connected = new Map<string, SocketEntry>();
  readonly #bound = new Map<string, SocketEntry[]>();
  readonly #byInode = new Map<number, SocketEntry>();

  constructor(sockets: Iterable<SocketEntry>) {
    for (const socket of sockets) {
      if (socket.inode !== 0) this.#byInode.set(socket.inode, socket);
      const protocol = protocolOf[socket.transport];
      if (socket.remotePort !== 0) {
        const key = directedKey(protocol, ownEnd(socket), otherEnd(socket));
        // One that a process holds goes before what is left of an older one.
        if (socket.inode !== 0 || !this.#connected.has(key)) this.#connected.set(key, socket);
      } else if (socket.localPort !== 0) {
        const key = `${protocol}/${socket.localPort}`;
        const list = this.#bound.get(key);
        if (list) list.push(socket);
        else this.#bound.set(key, [socket]);
      }
    }
  }

  addCounters(to: Map<string, { readonly received: number; readonly sent: number }>): void {
    for (const { cookie, tcp } of this.#connected.values())
      if (tcp) to.set(cookie, { received: tcp.bytesReceived, sent: tcp.bytesAcked });
  }

  byInode(inode: number): SocketEntry | undefined {
    return this.#byInode.get(inode);
  }

  /** The socket whose own end and other end these are. */
  connected(protocol: number, own: Endpoint, other: Endpoint): SocketEntry | undefined {
    return this.#connected.get(directedKey(protocol, own, other));
  }

  /** Listening, or bound without a peer, that takes what comes to this end; the most specific address first. */
  taking(protocol: number, own: Endpoint): SocketEntry[] {
    const list = this.#bound.get(`${protocol}/${own.port}`) ?? [];
    const exact = list.filter(({ local }) => sameAddress(local, own.address));
    return exact.length > 0 ? exact : list.filter((socket) => takesAny(socket, own.address));
  }

  /**
   * Whose packet it is. Either end may be the own one of what is connected; what is only bound must be bound to an address
   * of this namespace, which `isLocal` tells.
   */
  find(flow: Flow, isLocal: (address: Address) => boolean): FoundSocket | undefined {
    const ends = [
      [flow.a, flow.b],
      [flow.b, flow.a],
    ] as const;
    for (const [own, other] of ends) {
      const socket = this.connected(flow.protocol, own, other);
      if (socket && socket.inode !== 0) return { socket, own, other, how: 'connected', shared: 0 };
    }
    for (const [own, other] of ends) {
      if (!isLocal(own.address)) continue;
      const takers = this.taking(flow.protocol, own).filter(({ inode }) => inode !== 0);
      if (takers.length > 0)
        return {
          socket: takers[0],
          own,
          other,
          how: takers[0].state === 'LISTEN' ? 'listening' : 'bound',
          shared: takers.length - 1,
        };
    }
    for (const [own, other] of ends) {
      const socket =
        this.connected(flow.protocol, own, other) ?? (isLocal(own.address) ? this.taking(flow.protocol, own)[0] : undefined);
      if (socket) return { socket, own, other, how: socket.remotePort === 0 ? 'bound' : 'connected', shared: 0 };
    }
    return undefined;
  }
}

export const ownEnd = ({ local, localPort }: SocketEntry): Endpoint => ({ address: local, port: localPort });
export const otherEnd = ({ remote, remotePort }: SocketEntry): Endpoint => ({ address: remote, port: remotePort });

/** The wildcard of IPv6 takes IPv4 as well, unless it was told not to. */
const takesAny = ({ local, family, v6only }: SocketEntry, address: Address): boolean =>
  local.value === 0n && (local.family === address.family || (family === 6 && !v6only));
