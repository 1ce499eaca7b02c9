// Sockets for connections with both ends spoofed: unbound, allowed any address, marked for one way out of their namespace.
// Opened by netd in the services namespace, bound and connected by the gateway, which cannot enter it. See ip(7), ipv6(7).

import type { Family } from '../model/address.ts';
import type { Transport } from '../model/session.ts';
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  insideNetns,
  openSocket,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  setSocketOption,
} from './libc.ts';

// include/uapi/linux/in.h, in6.h, tcp.h, asm-generic/socket.h
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SOL_TCP = 6;
const IP_TRANSPARENT = 19;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPV6_V6ONLY = 26;
const IPV6_TRANSPARENT = 75;
const SO_MARK = 36;
const TCP_NODELAY = 1;

export interface DialSocketPlan {
  /** Path of the namespace. */
  readonly netns: string;
  readonly transport: Transport;
  readonly family: Family;
  /** SO_MARK: which way its packets take there. */
  readonly mark: number;
  readonly count: number;
}

/**
 * `count` sockets, in one visit to the namespace. Binding one to port 0 takes no port before it connects
 * (IP_BIND_ADDRESS_NO_PORT), so as many may come from one address as there are ports for each destination. Needs CAP_SYS_ADMIN,
 * CAP_NET_ADMIN. Throws `not-found`, `not-permitted`, `system-call`; what was opened is closed then.
 */
export function openDialSockets({ netns, transport, family, mark, count }: DialSocketPlan): number[] {
  const fds: number[] = [];
  try {
    insideNetns(netns, () => {
      for (let index = 0; index < count; index += 1) {
        const fd = openSocket(family === 4 ? AF_INET : AF_INET6, transport === 'tcp' ? SOCK_STREAM : SOCK_DGRAM, 0);
        fds.push(fd);
        setSocketOption(fd, family === 4 ? SOL_IP : SOL_IPV6, family === 4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1);
        // An IPv6 socket reads this IPv4 option too (net/ipv6/af_inet6.c, inet6_bind).
        setSocketOption(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (family === 6) setSocketOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
        setSocketOption(fd, SOL_SOCKET, SO_MARK, mark);
        if (transport === 'tcp') setSocketOption(fd, SOL_TCP, TCP_NODELAY, 1);
      }
    });
  } catch (error) {
    for (const fd of fds) closeDescriptor(fd);
    throw error;
  }
  return fds;
}
