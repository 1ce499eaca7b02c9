// The sockets proxies connect and send to: plain ones, on an address of this machine, opened by netd for the gateway. Who may
// speak there, and how, is relay/proxy-door.ts.

import { type Address, renderAddress } from '../model/address.ts';
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  insideNetns,
  listenSocket,
  openSocket,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { renderSocketAddress } from './socket-address.ts';
import { orClose, setReceiveBuffer } from './tproxy-socket.ts';

const SOL_TCP = 6;
const TCP_NODELAY = 1;
const SOL_IPV6 = 41;
const IPV6_V6ONLY = 26;
const SO_REUSEPORT = 15;
const receiveBytes = 4 << 20;

export interface ProxySocketPlan {
  /** Of the proxy diversion. */
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly netns?: string;
}

/** Stable over restarts; changes with the address, so that a moved diversion gets new sockets. */
export const proxySocketName = (transport: 'tcp' | 'udp', { name, address, port }: ProxySocketPlan): string =>
  `proxy-${transport}-${name}:${renderAddress(address).replaceAll('/', '-')}:${port}`;

/**
 * The listener and the datagram socket of each, those of `existing` by name where they are there; what is left over is not
 * closed. An IPv6 wildcard takes IPv4 too. Throws `system-call` (`EADDRINUSE`), `not-permitted`; what was opened is closed then.
 */
export function openProxySockets(plans: readonly ProxySocketPlan[], existing: readonly NamedSocket[] = []): NamedSocket[] {
  const sockets: NamedSocket[] = [];
  const opened: number[] = [];
  try {
    for (const plan of plans)
      for (const transport of ['tcp', 'udp'] as const) {
        const name = proxySocketName(transport, plan);
        const known = existing.find((one) => one.name === name && one.role === 'proxy');
        const fd = known ? known.fd : openPlainSocket(transport, plan);
        if (!known) opened.push(fd);
        const { address, port } = plan;
        sockets.push(known ?? { name, role: 'proxy', fd, family: address.family, port, transport, diversion: plan.name });
      }
    return sockets;
  } catch (error) {
    for (const fd of opened) closeDescriptor(fd);
    throw error;
  }
}

/**
 * An IPv6 wildcard takes IPv4 too. Shares its port with our own only (SO_REUSEPORT, socket(7): of one user), so that one that
 * moves between an address and all of them is open before the old one, which the gateway still has, is closed.
 */
export const openPlainSocket = (
  transport: 'tcp' | 'udp',
  { address, port, netns, shared = true }: Omit<ProxySocketPlan, 'name'> & { readonly shared?: boolean },
): number =>
  insideNetns(netns, () => {
    const domain = address.family === 4 ? AF_INET : AF_INET6;
    const fd = openSocket(domain, transport === 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0);
    return orClose(fd, () => {
      if (shared) setSocketOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (transport === 'tcp') {
        setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        // Accepted sockets inherit it.
        setSocketOption(fd, SOL_TCP, TCP_NODELAY, 1);
      } else setReceiveBuffer(fd, receiveBytes);
      if (address.family === 6) setSocketOption(fd, SOL_IPV6, IPV6_V6ONLY, address.value === 0n ? 0 : 1);
      bindSocket(fd, renderSocketAddress(address, port));
      if (transport === 'tcp') listenSocket(fd, 65_535);
      return fd;
    });
  });
