// What netd and the gateway say to each other over run/handover.sock, and what is checked about it. netd offers its
// sockets with a description; the gateway, when it meets a netd that does not know them yet, gives them back first.
// The two ends are handover-server.ts and handover-client.ts.

import { WeirError } from '../base/errors.ts';
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  readSocketName,
  readSocketOption,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from './libc.ts';
import type { NamedSocket, SocketRole } from './named-socket.ts';
import { socketPort } from './socket-address.ts';

/** Frame kinds. `returned`: gateway -> netd, JSON, once per connection; `offer`: netd -> gateway; `taken`: gateway -> netd. */
export const frameReturned = 1;
export const frameOffer = 2;
export const frameTaken = 3;

/** A list of sockets and what they are for, as the gateway gets it. */
export interface Offer {
  /** Counts up with every offer of one netd. */
  readonly generation: number;
  readonly sockets: readonly NamedSocket[];
  /** Sockets that were not in the previous offer; their descriptors are the receiver's. */
  readonly added: readonly NamedSocket[];
  /** Sockets no longer offered: the receiver stops using and closes them. */
  readonly removed: readonly NamedSocket[];
  /** Any structured-cloneable value; 65,536 decoys may take several megabytes. */
  readonly description: unknown;
}

/** The largest description: 64 MiB. What comes from the gateway to root is far less. */
export const maxOfferBytes = 64 << 20;
export const maxReturnedBytes = 16 << 20;

const roles: readonly SocketRole[] = [
  'tcp',
  'udp',
  'nflog',
  'neighbour',
  'names',
  'raw',
  'proxy',
  'agents',
  'capture',
  'conntrack',
];

/** Everything of a socket but its descriptor. */
export type SocketLabel = Omit<NamedSocket, 'fd'>;

export const labelOf = ({ fd: _fd, ...label }: NamedSocket): SocketLabel => label;

/** Labels as the gateway sends them to root: every field checked. Throws `bad-request`. */
export function parseLabels(body: Uint8Array): SocketLabel[] {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8'));
  } catch (error) {
    throw new WeirError('bad-request', 'the list of returned sockets does not parse', {}, error);
  }
  if (!Array.isArray(value)) throw new WeirError('bad-request', 'the list of returned sockets is no list');
  return value.map((entry: unknown): SocketLabel => {
    const fields = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>;
    const role = roles.find((one) => one === fields.role);
    const text = (key: string): string | undefined => {
      const found = fields[key];
      return typeof found === 'string' && /^[\w.:@-]{1,96}$/.test(found) ? found : undefined;
    };
    const number = (key: string): number | undefined => {
      const found = fields[key];
      return typeof found === 'number' && Number.isSafeInteger(found) && found >= 0 && found <= 0x7fffffff ? found : undefined;
    };
    const name = text('name');
    if (!role || !name) throw new WeirError('bad-request', 'a returned socket has no name or role');
    const family = fields.family === 4 || fields.family === 6 ? fields.family : undefined;
    const port = number('port');
    const interfaceName = text('interface');
    const interfaceIndex = number('interfaceIndex');
    const mac = text('mac');
    const network = text('network');
    const transport = fields.transport === 'tcp' || fields.transport === 'udp' ? fields.transport : undefined;
    const diversion = text('diversion');
    return {
      name,
      role,
      ...(network ? { network } : {}),
      ...(family ? { family } : {}),
      ...(port === undefined ? {} : { port }),
      ...(interfaceName ? { interface: interfaceName } : {}),
      ...(interfaceIndex === undefined ? {} : { interfaceIndex }),
      ...(mac ? { mac } : {}),
      ...(transport ? { transport } : {}),
      ...(diversion ? { diversion } : {}),
    };
  });
}

const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;

/** True when a descriptor is the kind of socket its label says, on the port it says. */
export function matchesLabel(fd: number, label: SocketLabel): boolean {
  const option = (name: number): number => {
    const bytes = new Uint8Array(4);
    return readSocketOption(fd, SOL_SOCKET, name, bytes) === 4 ? new DataView(bytes.buffer).getInt32(0, true) : -1;
  };
  const domain = option(SO_DOMAIN);
  const type = option(SO_TYPE);
  const inet = label.family === 6 ? AF_INET6 : AF_INET;
  switch (label.role) {
    case 'nflog':
    case 'capture':
    case 'conntrack':
      return domain === AF_NETLINK;
    case 'neighbour':
    case 'names':
      return domain === AF_PACKET;
    case 'raw':
      return domain === inet && type === SOCK_RAW;
    default: {
      const name = new Uint8Array(28);
      if (readSocketName(fd, name) < 0 || socketPort(name) !== label.port) return false;
      if (label.role === 'udp' || label.transport === 'udp') return domain === inet && type === SOCK_DGRAM;
      return domain === inet && type === SOCK_STREAM && option(SO_ACCEPTCONN) === 1;
    }
  }
}
