// The sockets diverted traffic arrives on, the NFLOG socket of the probes, and the raw sender of UDP answers.
// Opens and configures; reading is packet-reader.ts and relay/. Descriptors are the caller's to close.

import { WeirError } from '../base/errors.ts';
import type { Family } from '../model/address.ts';
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  bindSocket,
  callFailed,
  closeDescriptor,
  errnoName,
  insideNetns,
  listenSocket,
  openSocket,
  readSocketName,
  receive,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_REUSEADDR,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  sendTo,
  setSocketOption,
  trySocketOption,
} from './libc.ts';
import { loopbackOf, renderSocketAddress, socketPort } from './socket-address.ts';

/** The largest window without scaling, RFC 9293. */
const unscaledWindow = 65_535;
/**
 * Window scale of accepted connections, unless `narrow`: that of a Linux as it is delivered, whatever net.ipv4.tcp_rmem
 * says here. Where both tcp_rmem and net.core.rmem_max allow less than 4 MiB it comes out smaller.
 */
const usualScale = 7;

/** A descriptor and the port the kernel gave it. */
export interface OpenedSocket {
  readonly fd: number;
  readonly port: number;
}

export interface IntakeSocketOptions {
  readonly family: Family;
  /** 0: any free port; the one given is reported. */
  readonly port: number;
  /** Path of the network namespace to open it in; absent: the caller's. Needs CAP_SYS_ADMIN when given. */
  readonly netns?: string;
}

// include/uapi/linux/in.h, in6.h, tcp.h
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SOL_TCP = 6;
const IP_HDRINCL = 3;
const IP_TRANSPARENT = 19;
const IP_RECVORIGDSTADDR = 20;
const IPV6_V6ONLY = 26;
const IPV6_HDRINCL = 36;
const IPV6_RECVORIGDSTADDR = 74;
const IPV6_TRANSPARENT = 75;
const TCP_NODELAY = 1;
const TCP_WINDOW_CLAMP = 10;
const TCP_SAVE_SYN = 27;
const IPPROTO_RAW = 255;

/** Runs `body`, closing `fd` when it throws. */
export function orClose<T>(fd: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
}

function bindLoopback(fd: number, family: Family, port: number): number {
  setSocketOption(fd, family === 4 ? SOL_IP : SOL_IPV6, family === 4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1);
  if (family === 6) setSocketOption(fd, SOL_IPV6, IPV6_V6ONLY, 1);
  bindSocket(fd, renderSocketAddress(loopbackOf(family), port));
  const name = new Uint8Array(28);
  readSocketName(fd, name);
  return socketPort(name);
}

/** Asks for a receive buffer of this size, beyond net.core.rmem_max where CAP_NET_ADMIN allows it. */
export function setReceiveBuffer(fd: number, sizeBytes: number): void {
  if (!trySocketOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, sizeBytes)) setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, sizeBytes);
}

/**
 * The TCP listener diverted connections arrive on, on 127.0.0.1 or ::1: TPROXY leads here, the accepted socket's own
 * address is the original destination. Bound to loopback, not the wildcard, which would collide with reply sockets.
 * TCP_SAVE_SYN 2 keeps the link-layer header too (Linux 5.10), 1 from the IP header on; accepted sockets inherit
 * TCP_NODELAY. `backlog` is capped by net.core.somaxconn. Windows of accepted connections scale by 7, with
 * `narrow` by 0 and stay below 64 KiB (tcp(7), TCP_WINDOW_CLAMP; net/ipv4/tcp_output.c tcp_select_initial_window). Needs CAP_NET_RAW or CAP_NET_ADMIN.
 * Throws `not-permitted`, `system-call`.
 */
export function openTproxyListener(
  options: IntakeSocketOptions & { readonly backlog?: number; readonly narrow?: boolean },
): OpenedSocket {
  return insideNetns(options.netns, () => {
    const fd = openSocket(options.family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
    return orClose(fd, () => {
      setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      if (!trySocketOption(fd, SOL_TCP, TCP_SAVE_SYN, 2)) setSocketOption(fd, SOL_TCP, TCP_SAVE_SYN, 1);
      setSocketOption(fd, SOL_TCP, TCP_NODELAY, 1);
      setSocketOption(fd, SOL_TCP, TCP_WINDOW_CLAMP, options.narrow ? unscaledWindow : unscaledWindow << usualScale);
      const port = bindLoopback(fd, options.family, options.port);
      listenSocket(fd, options.backlog ?? 65535);
      return { fd, port };
    });
  });
}

/**
 * The UDP socket diverted datagrams arrive on, with the original destination as ancillary data (IP_ORIGDSTADDR,
 * IPV6_ORIGDSTADDR). One large buffer: what overflows is counted by the kernel (SO_RXQ_OVFL, SO_MEMINFO).
 * Privilege and errors as openTproxyListener.
 */
export function openUdpIntakeSocket(options: IntakeSocketOptions & { readonly bufferBytes?: number }): OpenedSocket {
  return insideNetns(options.netns, () => {
    const fd = openSocket(options.family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    return orClose(fd, () => {
      setReceiveBuffer(fd, options.bufferBytes ?? 16 << 20);
      setSocketOption(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
      if (options.family === 4) setSocketOption(fd, SOL_IP, IP_RECVORIGDSTADDR, 1);
      else setSocketOption(fd, SOL_IPV6, IPV6_RECVORIGDSTADDR, 1);
      return { fd, port: bindLoopback(fd, options.family, options.port) };
    });
  });
}

/**
 * The socket UDP answers leave by, with the decoy as their source. Raw, not a transparent UDP socket bound to the
 * decoy: a bound socket matches the decoy's later datagrams before the rules do and would take them away from the
 * intake; and one per flow would be a table an attacker fills. Packets carry their own IP and UDP header
 * (datagram-frame.ts). IPPROTO_RAW receives nothing. Needs CAP_NET_RAW.
 */
export function openRawSender(family: Family, netns?: string): number {
  return insideNetns(netns, () => {
    const fd = openSocket(family === 4 ? AF_INET : AF_INET6, SOCK_RAW, IPPROTO_RAW);
    return orClose(fd, () => {
      setSocketOption(fd, family === 4 ? SOL_IP : SOL_IPV6, family === 4 ? IP_HDRINCL : IPV6_HDRINCL, 1);
      if (!trySocketOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)) trySocketOption(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20);
      return fd;
    });
  });
}

// include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_log.h
const NETLINK_NETFILTER = 12;
const NFULNL_MSG_CONFIG = (4 << 8) | 1;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLMSG_ERROR = 2;
const NFULA_CFG_CMD = 1;
const NFULA_CFG_MODE = 2;
const NFULA_CFG_NLBUFSIZ = 3;
const NFULA_CFG_TIMEOUT = 4;
const NFULA_CFG_QTHRESH = 5;
const NFULA_CFG_FLAGS = 6;
const NFULNL_CFG_CMD_BIND = 1;
const NFULNL_COPY_PACKET = 2;
const NFULNL_CFG_F_SEQ = 1;

export interface NflogOptions {
  readonly netns?: string;
  /** Bytes of each packet; the rule's own snaplen may be less. */
  readonly copyBytes?: number;
  readonly bufferBytes?: number;
}

/**
 * A netlink socket bound to an NFLOG group: packets arrive in batches of up to 64, at the latest after 50 ms, each
 * with a sequence number of this group, so that a gap is the exact number the kernel had to drop.
 * Needs CAP_NET_ADMIN to open; reading it afterwards needs nothing. One socket per group and namespace:
 * a second is `already-running`.
 */
export function openNflogSocket(group: number, options: NflogOptions = {}): number {
  return insideNetns(options.netns, () => {
    const fd = openSocket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
    return orClose(fd, () => {
      const address = new Uint8Array(12);
      address[0] = AF_NETLINK;
      bindSocket(fd, address);
      configureNflog(fd, group, [attribute(NFULA_CFG_CMD, [NFULNL_CFG_CMD_BIND])], 'bind');
      const copy = options.copyBytes ?? 128;
      configureNflog(
        fd,
        group,
        [
          attribute(NFULA_CFG_MODE, [...be32(copy), NFULNL_COPY_PACKET, 0]),
          attribute(NFULA_CFG_NLBUFSIZ, be32(nflogBatchBytes)),
          attribute(NFULA_CFG_TIMEOUT, be32(5)),
          attribute(NFULA_CFG_QTHRESH, be32(64)),
          attribute(NFULA_CFG_FLAGS, [0, NFULNL_CFG_F_SEQ]),
        ],
        'configure',
      );
      setReceiveBuffer(fd, options.bufferBytes ?? 32 << 20);
      return fd;
    });
  });
}

/** The largest netlink batch the kernel builds for the group; a reader's buffer must hold it. */
export const nflogBatchBytes = 24_576;

const be32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

function attribute(type: number, payload: readonly number[]): Uint8Array {
  const bytes = new Uint8Array((4 + payload.length + 3) & ~3);
  new DataView(bytes.buffer).setUint16(0, 4 + payload.length, true);
  new DataView(bytes.buffer).setUint16(2, type, true);
  bytes.set(payload, 4);
  return bytes;
}

/** Of a group that another socket holds (nfnetlink_log.c, nfulnl_recv_config); without CAP_NET_ADMIN the request is EPERM too. */
const takenErrors: ReadonlySet<string> = new Set(['EPERM', 'EBUSY']);

function configureNflog(fd: number, group: number, attributes: readonly Uint8Array[], step: string): void {
  const length = 20 + attributes.reduce((sum, one) => sum + one.length, 0);
  const request = new Uint8Array(length);
  const view = new DataView(request.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, NFULNL_MSG_CONFIG, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_ACK, true);
  view.setUint32(8, 1, true);
  view.setUint16(18, group); // struct nfgenmsg: family, version, res_id in network order
  let at = 20;
  for (const one of attributes) {
    request.set(one, at);
    at += one.length;
  }
  const kernel = new Uint8Array(12);
  kernel[0] = AF_NETLINK;
  const sent = sendTo(fd, request, kernel);
  if (sent < 0) throw callFailed('sendto', -sent, { group, step });
  // The kernel answers a request within the send call; packets of the group may lie before the answer.
  const answer = new Uint8Array(nflogBatchBytes + 4096);
  for (let tries = 0; tries < 1024; tries += 1) {
    const got = receive(fd, answer);
    if (got < 0) throw callFailed('recv', -got, { group, step });
    const reply = new DataView(answer.buffer, 0, got);
    if (got < 20 || reply.getUint16(4, true) !== NLMSG_ERROR) continue;
    const error = reply.getInt32(16, true);
    if (step === 'bind' && takenErrors.has(errnoName(-error)))
      throw new WeirError(
        'already-running',
        `NFLOG group ${group} of this network namespace is taken: another Weir runs in it (or CAP_NET_ADMIN is missing)`,
        { group },
      );
    if (error !== 0) throw callFailed(`NFLOG ${step}`, -error, { group });
    return;
  }
  throw new WeirError('fault', 'the kernel did not answer an NFLOG request', { group, step });
}
