// The sockets of a network namespace as inet_diag tells them: TCP in all states, UDP, with what identifies them, their counters
// and timers. Reading and one removal (SOCK_DESTROY); who holds a socket is socket-owners.ts.
// Sources: sock_diag(7), include/uapi/linux/inet_diag.h, sock_diag.h, tcp.h (struct tcp_info).

import { WeirError } from '../../base/errors.ts';
import { type Address, addressBytes, addressFromBytes, type Family } from '../../model/address.ts';
import type { Transport } from '../../model/session.ts';
import type { NetlinkMessage } from '../netlink-message.ts';
import { RouteSocket } from '../route-socket.ts';

/** As include/net/tcp_states.h numbers them; UDP has CLOSE (bound) and ESTABLISHED (connected). */
export const tcpStates = [
  '',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
  'BOUND_INACTIVE',
] as const;

export type TcpState = Exclude<(typeof tcpStates)[number], ''>;

/** What TCP counted over a socket's life. */
export interface TcpCounters {
  /** Payload handed to the network, with what was sent again. */
  readonly bytesSent: number;
  readonly bytesAcked: number;
  readonly bytesReceived: number;
  readonly segmentsOut: number;
  readonly segmentsIn: number;
  readonly retransmitted: number;
  /** Milliseconds since something was sent or came. */
  readonly lastSentMs: number;
  readonly lastReceivedMs: number;
  readonly rttMicros: number;
  readonly mss: number;
  readonly pathMtu: number;
}

export interface SocketEntry {
  readonly transport: Transport;
  /** Of the socket: a socket of IPv6 may have addresses of IPv4. */
  readonly family: Family;
  readonly state: TcpState;
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
  /** 0 for what no process holds any more, or not yet: TIME_WAIT, SYN_RECV, a closed connection that still sends, the kernel's own. */
  readonly inode: number;
  /** Names a socket beyond doubt. Decimal. */
  readonly cookie: string;
  readonly uid: number;
  /** Of a listening socket the connections that wait for accept, of others bytes not yet read. */
  readonly receiveQueue: number;
  /** Of a listening socket how many may wait, of others bytes not yet acknowledged. */
  readonly sendQueue: number;
  readonly v6only: boolean;
  readonly transparent: boolean;
  /** Index of the device it is bound to; 0: none. */
  readonly device: number;
  /** Inode of its cgroup in the unified hierarchy, decimal; absent in kernels before 5.7. */
  readonly cgroupId?: string;
  readonly timer?: {
    readonly kind: 'retransmit' | 'keepalive' | 'time-wait' | 'probe';
    readonly inMs: number;
    readonly count: number;
  };
  /** Of TCP, where asked for and the state has them. */
  readonly tcp?: TcpCounters;
}

export interface SocketQuery {
  /** Default both. */
  readonly transports?: readonly Transport[];
  /** Default: all. */
  readonly states?: readonly TcpState[];
  /** With TCP's counters. */
  readonly counters?: boolean;
  /** Default 200,000; what is beyond is not read and `complete` is false. */
  readonly limit?: number;
}

export interface SocketAnswer {
  readonly sockets: SocketEntry[];
  /** All of those transports that this kernel tells of. */
  readonly complete: boolean;
  /** Transports asked for that it does not tell of: their module (udp_diag) is not there. */
  readonly missing: readonly Transport[];
}

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const requestBytes = 56;
const messageBytes = 72;
const INET_DIAG_INFO = 2;
const INET_DIAG_SKV6ONLY = 11;
const INET_DIAG_CGROUP_ID = 21;
const INET_DIAG_SOCKOPT = 22;
const protocolNumbers = { tcp: 6, udp: 17 } as const;
const defaultLimit = 200_000;
const timerKinds = [undefined, 'retransmit', 'keepalive', 'time-wait', 'probe'] as const;

/** struct inet_diag_req_v2. */
export function renderSocketRequest(
  family: Family,
  transport: Transport,
  states: number,
  extensions: number,
  socket?: SocketEntry,
): Uint8Array {
  const bytes = new Uint8Array(requestBytes);
  const view = new DataView(bytes.buffer);
  bytes[0] = family === 4 ? 2 : 10;
  bytes[1] = protocolNumbers[transport];
  bytes[2] = extensions;
  view.setUint32(4, states, true);
  if (socket === undefined) return bytes;
  view.setUint16(8, socket.localPort);
  view.setUint16(10, socket.remotePort);
  bytes.set(socketAddressBytes(socket.local, family), 12);
  bytes.set(socketAddressBytes(socket.remote, family), 28);
  view.setUint32(44, socket.device, true);
  view.setBigUint64(48, BigInt(socket.cookie), true);
  return bytes;
}

/** An address of IPv4 on a socket of IPv6 is written as mapped. */
function socketAddressBytes(address: Address, family: Family): Uint8Array {
  if (address.family === family) return addressBytes(address);
  const bytes = new Uint8Array(16);
  bytes.fill(0xff, 10, 12);
  bytes.set(addressBytes(address), 12);
  return bytes;
}

/** struct inet_diag_msg and its attributes; undefined for what is too short to be one. */
export function parseSocketMessage({ body }: NetlinkMessage, transport: Transport): SocketEntry | undefined {
  if (body.length < messageBytes) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const state = tcpStates[body[1]];
  if (!state) return undefined;
  const family: Family = body[0] === 2 ? 4 : 6;
  const kind = timerKinds[body[2]];
  const found = parseExtras(body, view);
  return {
    transport,
    family,
    state,
    local: readAddress(body, 8, family),
    localPort: view.getUint16(4),
    remote: readAddress(body, 24, family),
    remotePort: view.getUint16(6),
    inode: view.getUint32(68, true),
    cookie: String(view.getBigUint64(44, true)),
    uid: view.getUint32(64, true),
    receiveQueue: view.getUint32(56, true),
    sendQueue: view.getUint32(60, true),
    device: view.getUint32(40, true),
    ...(kind === undefined ? {} : { timer: { kind, inMs: view.getUint32(52, true), count: body[3] } }),
    ...found,
  };
}

function readAddress(body: Uint8Array, at: number, family: Family): Address {
  if (family === 4) return addressFromBytes(body.subarray(at, at + 4));
  let mapped = body[at + 10] === 0xff && body[at + 11] === 0xff;
  for (let index = at; mapped && index < at + 10; index += 1) mapped = body[index] === 0;
  return addressFromBytes(mapped ? body.subarray(at + 12, at + 16) : body.subarray(at, at + 16));
}

interface Extras {
  v6only: boolean;
  transparent: boolean;
  cgroupId?: string;
  tcp?: TcpCounters;
}

function parseExtras(body: Uint8Array, view: DataView): Extras {
  const extras: Extras = { v6only: false, transparent: false };
  for (let at = messageBytes; at + 4 <= body.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > body.length) break;
    const value = at + 4;
    const size = length - 4;
    switch (view.getUint16(at + 2, true) & 0x3fff) {
      case INET_DIAG_INFO:
        if (size >= 144) extras.tcp = readTcpInfo(view, value, size);
        break;
      case INET_DIAG_SKV6ONLY:
        extras.v6only = size >= 1 && body[value] === 1;
        break;
      case INET_DIAG_CGROUP_ID:
        if (size >= 8) extras.cgroupId = String(view.getBigUint64(value, true));
        break;
      case INET_DIAG_SOCKOPT:
        // struct inet_diag_sockopt: `transparent` is the sixth bit.
        extras.transparent = size >= 1 && (body[value] & 0x20) !== 0;
        break;
    }
    at += (length + 3) & ~3;
  }
  return extras;
}

function readTcpInfo(view: DataView, at: number, size: number): TcpCounters {
  const acked = Number(view.getBigUint64(at + 120, true));
  return {
    bytesSent: size >= 208 ? Number(view.getBigUint64(at + 200, true)) : acked,
    bytesAcked: acked,
    bytesReceived: Number(view.getBigUint64(at + 128, true)),
    segmentsOut: view.getUint32(at + 136, true),
    segmentsIn: view.getUint32(at + 140, true),
    retransmitted: view.getUint32(at + 100, true),
    lastSentMs: view.getUint32(at + 44, true),
    lastReceivedMs: view.getUint32(at + 52, true),
    rttMicros: view.getUint32(at + 68, true),
    mss: view.getUint32(at + 16, true),
    pathMtu: view.getUint32(at + 60, true),
  };
}

/** `ask` gives whether that was all, and throws what the kernel refused with. Throws `kernel-missing` when no transport is told of. */
export function askTransports(
  transports: readonly Transport[],
  ask: (transport: Transport, family: Family) => boolean,
): Omit<SocketAnswer, 'sockets'> {
  const missing: Transport[] = [];
  let complete = true;
  let cause: WeirError | undefined;
  for (const transport of transports)
    for (const family of [4, 6] as const) {
      if (!complete || missing.includes(transport)) break;
      try {
        complete = ask(transport, family);
      } catch (error) {
        if (!(error instanceof WeirError) || error.details.errno !== 'ENOENT') throw error;
        // A machine without IPv6 answers so for family 6; one without inet_diag for both.
        if (family === 6) continue;
        missing.push(transport);
        cause = error;
      }
    }
  if (missing.length > 0 && missing.length === transports.length)
    throw new WeirError('kernel-missing', `this kernel has no inet_diag for ${missing.join(' and ')}`, {}, cause);
  return { complete, missing };
}

/**
 * Sockets of one namespace (a path; undefined: this one). Needs no privilege in this namespace, CAP_SYS_ADMIN to enter
 * another. Throws `not-found` (no such namespace), `not-permitted`, `kernel-missing` (no inet_diag for any transport).
 */
export function readConnections(netns: string | undefined, query: SocketQuery = {}): SocketAnswer {
  const limit = query.limit ?? defaultLimit;
  const sockets: SocketEntry[] = [];
  const states = query.states ? query.states.reduce((bits, state) => bits | (1 << tcpStates.indexOf(state)), 0) : 0xfff;
  const account = askTransports(query.transports ?? ['tcp', 'udp'], (transport, family) => {
    const socket = new RouteSocket(netns, NETLINK_SOCK_DIAG);
    try {
      const extensions = query.counters && transport === 'tcp' ? 1 << (INET_DIAG_INFO - 1) : 0;
      return socket.each(
        SOCK_DIAG_BY_FAMILY,
        [renderSocketRequest(family, transport, states, extensions)],
        'reading sockets',
        (message) => {
          if (sockets.length >= limit) return false;
          const entry = parseSocketMessage(message, transport);
          if (entry) sockets.push(entry);
          return true;
        },
      ).complete;
    } finally {
      socket.close();
    }
  });
  return { sockets, ...account };
}

/** `gone`: no such socket (any more); `refused`: the kernel's own error, EOPNOTSUPP where it has no SOCK_DESTROY. */
export type DestroyOutcome = { readonly kind: 'destroyed' | 'gone' } | { readonly kind: 'refused'; readonly errno: string };

/**
 * Ends one socket as if an error had come (ECONNABORTED), by its cookie: no other can be meant. Of TCP the peer gets a RST where
 * the state has one. Refuses LISTEN: a server is not a connection. Needs CAP_NET_ADMIN in the namespace.
 */
export function destroySocket(netns: string | undefined, entry: SocketEntry): DestroyOutcome {
  if (entry.state === 'LISTEN') return { kind: 'refused', errno: 'LISTEN' };
  const socket = new RouteSocket(netns, NETLINK_SOCK_DIAG);
  try {
    const body = [renderSocketRequest(entry.family, entry.transport, 0xffff, 0, entry)];
    socket.change([{ type: SOCK_DESTROY, body, what: 'ending a socket' }]);
    return { kind: 'destroyed' };
  } catch (error) {
    if (!(error instanceof WeirError) || typeof error.details.errno !== 'string') throw error;
    return error.details.errno === 'ENOENT' ? { kind: 'gone' } : { kind: 'refused', errno: error.details.errno };
  } finally {
    socket.close();
  }
}
