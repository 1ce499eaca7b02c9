// What a socket in the hands of a process is for. The list netd hands to the gateway is made of these.

import type { Family } from '../model/address.ts';

/**
 * `tcp` a TPROXY listener, `udp` a datagram intake, `nflog` the probes' netlink socket, `neighbour` an AF_PACKET socket
 * that sees ARP and neighbour discovery of one interface, `names` one that sees questions for names which go to the whole
 * link, `raw` the sender of UDP answers; `proxy` where proxies connect or send to (by `transport`), `agents` where agents
 * connect to; `capture` and `conntrack` netlink sockets of the kernel path, for all networks.
 */
export type SocketRole = 'tcp' | 'udp' | 'nflog' | 'neighbour' | 'names' | 'raw' | 'proxy' | 'agents' | 'capture' | 'conntrack';

/**
 * `name` is unique within a list and stable over restarts: `tcp4`, `udp6`, `nflog`, `neighbour-eth0`, `narrow4` for a `tcp`
 * listener without window scaling; in a network other than the machine's own with that network behind it: `tcp4@floor-3`.
 */
export interface NamedSocket {
  readonly name: string;
  readonly role: SocketRole;
  readonly fd: number;
  /** The network diversion in whose namespace the socket lives; absent: the machine's own namespace. */
  readonly network?: string;
  readonly family?: Family;
  /** Of `tcp`, `udp` and `proxy`. */
  readonly port?: number;
  /** Of `proxy`: what it carries, and for which diversion. */
  readonly transport?: 'tcp' | 'udp';
  readonly diversion?: string;
  /** Of `neighbour` and `names`. */
  readonly interface?: string;
  readonly interfaceIndex?: number;
  /** Of `neighbour` and `names`: the interface's own MAC. */
  readonly mac?: string;
}
