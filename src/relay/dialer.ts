// Reaches a service for one flow: from the gateway's own address, with a PROXY header in front or not, or from the attacker's
// address (a socket of the dial pool, both ends spoofed). Gives a connected descriptor; what is said on it is the pump's.

import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  connectSocket,
  errnoName,
  openSocket,
  SOCK_DGRAM,
  SOCK_STREAM,
  takeSocketError,
  tryBindSocket,
  trySocketOption,
} from '../kernel/libc.ts';
import { fillSocketAddress } from '../kernel/socket-address.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, type SocketPoller } from '../kernel/socket-poller.ts';
import { type Address, type Family, parseAddress } from '../model/address.ts';
import { maxUniqueIdBytes, type ProxyTlv, renderProxyV1, renderProxyV2, tlvType } from '../model/proxy-protocol.ts';
import type { InnerGateway, RelayedService } from '../model/relayed-service.ts';
import type { Endpoint, Transport } from '../model/session.ts';
import type { DialPool } from './dial-pool.ts';

/** A flow to be led to a service. */
export interface DialRequest {
  readonly service: RelayedService;
  readonly transport: Transport;
  /** The attacker and the decoy. */
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** As in Arrival. */
  readonly network: string;
  readonly agent?: string | undefined;
  /** The session's identifier, or the one the hop before gave. */
  readonly uniqueId?: string | undefined;
}

export type DialEnd =
  /** `header` goes in front of the stream's first bytes, or of every datagram; empty: none. */
  | {
      readonly fd: number;
      readonly header: Uint8Array;
      /** Whether the poller watches it still: SocketPoller.hand; and whether that told of something to read. */
      readonly watched: boolean;
      readonly readable: boolean;
    }
  /** An errno's name, `no-socket` (the dial pool is dry), `no-gateway` (no such inner gateway), `no-address` (no such decoy can be dialled). */
  | { readonly error: string };

export interface DialerCounters {
  dials: number;
  connected: number;
  refused: number;
  timedOut: number;
  /** No socket was left: descriptors or the dial pool. */
  dry: number;
  cancelled: number;
}

export interface DialerOptions {
  readonly poller: SocketPoller;
  readonly pool: DialPool;
  /** A service that answers nothing is given up after this; default 5 s. */
  readonly timeoutMs?: number;
}

/** Ends a dial that is no longer wanted; nobody is told. Idempotent, also after its end. */
export type CancelDial = () => void;

const SOL_TCP = 6;
const TCP_NODELAY = 1;
const noHeader = new Uint8Array(0);
const nobody: CancelDial = () => {};
const tickMs = 250;
const EINPROGRESS = 115;
const EALREADY = 114;

interface DialTarget {
  readonly address: Address;
  readonly port: number;
  readonly header: Uint8Array;
}

interface Waiting {
  readonly until: number;
  give(end: DialEnd): void;
}

export class Dialer {
  readonly counters: DialerCounters = { dials: 0, connected: 0, refused: 0, timedOut: 0, dry: 0, cancelled: 0 };
  readonly #poller: SocketPoller;
  readonly #pool: DialPool;
  readonly #timeoutMs: number;
  #gateways: ReadonlyMap<string, InnerGateway> = new Map();
  /** In the order of their times: all have the same limit. */
  readonly #waiting = new Set<Waiting>();
  /** For want of a socket of the pool. */
  readonly #dry = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: DialerOptions) {
    this.#poller = options.poller;
    this.#pool = options.pool;
    this.#timeoutMs = options.timeoutMs ?? 5000;
    options.pool.onRefill(this.#refilled);
  }

  /** For services with `via`. */
  setInnerGateways(gateways: readonly InnerGateway[]): void {
    this.#gateways = new Map(gateways.map((one) => [one.name, one]));
  }

  /** Connections being made. */
  get pending(): number {
    return this.#waiting.size;
  }

  /**
   * Calls `done` once, also before it returns. A descriptor it gives is the caller's, non-blocking and connected. Bounded by the caller's own bound on flows.
   */
  dial(request: DialRequest, done: (end: DialEnd) => void): CancelDial {
    this.counters.dials += 1;
    const target = this.#targetOf(request);
    if (typeof target === 'string') return this.#fail(target, done);
    return this.#begin(request, target, done);
  }

  /** Idempotent. Dials under way end with ECANCELED. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const one of [...this.#waiting]) one.give({ error: 'ECANCELED' });
  }

  #begin(request: DialRequest, target: DialTarget, done: (end: DialEnd) => void): CancelDial {
    const opened = this.#open(request, target);
    if (opened === 'no-socket' && !this.#closed) {
      const { service, transport } = request;
      if (this.#pool.refilling(service.name, transport, target.address.family)) return this.#waitForSocket(request, target, done);
    }
    if (typeof opened === 'string') return this.#fail(opened, done);
    const address = socketAddressOf(target.address, target.port);
    let result = connectSocket(opened, address);
    // A service on this very machine has mostly answered before the call is back: asking again tells (tcp_v4_connect, veth).
    if (result === -EINPROGRESS) result = connectSocket(opened, address);
    if (result === 0) {
      this.counters.connected += 1;
      done({ fd: opened, header: target.header, watched: false, readable: false });
      return nobody;
    }
    if (result !== -EALREADY || this.#closed) {
      closeDescriptor(opened);
      return this.#fail(this.#closed ? 'ECANCELED' : errnoName(-result), done);
    }
    return this.#wait(opened, target.header, done);
  }

  /** The pool is dry for a moment: in the order they came, as soon as there are sockets. */
  #waitForSocket(request: DialRequest, target: DialTarget, done: (end: DialEnd) => void): CancelDial {
    let cancel: CancelDial | undefined;
    const waiting: Waiting = {
      until: performance.now() + this.#timeoutMs,
      give: (end) => {
        if (!this.#waiting.delete(waiting)) return;
        this.#dry.delete(retry);
        this.#fail('error' in end && end.error !== 'ETIMEDOUT' ? end.error : 'no-socket', done);
      },
    };
    const retry = (): void => {
      this.#waiting.delete(waiting);
      cancel = this.#begin(request, target, done);
    };
    this.#keep(waiting);
    this.#dry.add(retry);
    return () => {
      this.#dry.delete(retry);
      if (this.#waiting.delete(waiting)) this.counters.cancelled += 1;
      cancel?.();
    };
  }

  readonly #refilled = (): void => {
    const waiting = [...this.#dry];
    this.#dry.clear();
    for (const retry of waiting) retry();
  };

  #keep(waiting: Waiting): void {
    this.#waiting.add(waiting);
    this.#timer ??= setInterval(() => this.#tick(), tickMs).unref();
  }

  #fail(error: string, done: (end: DialEnd) => void): CancelDial {
    if (error === 'no-socket' || error === 'EMFILE' || error === 'ENFILE') this.counters.dry += 1;
    else this.counters.refused += 1;
    done({ error });
    return nobody;
  }

  #wait(fd: number, header: Uint8Array, done: (end: DialEnd) => void): CancelDial {
    const { counters } = this;
    let over = false;
    const leave = (): boolean => {
      if (over) return false;
      over = true;
      this.#waiting.delete(waiting);
      return true;
    };
    const waiting: Waiting = {
      until: performance.now() + this.#timeoutMs,
      give: (end) => {
        if (!leave()) return;
        if ('error' in end) {
          this.#poller.forgetClosing(fd);
          closeDescriptor(fd);
          if (end.error === 'ETIMEDOUT') counters.timedOut += 1;
          else counters.refused += 1;
        } else counters.connected += 1;
        done(end);
      },
    };
    this.#keep(waiting);
    this.#poller.watch(fd, {
      ready: (events) => {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return;
        const errno = events & (EPOLLERR | EPOLLHUP) ? takeSocketError(fd) : 0;
        if (errno !== 0) waiting.give({ error: errnoName(errno) });
        else if (events & EPOLLOUT)
          waiting.give({ fd, header, watched: true, readable: (events & (EPOLLIN | EPOLLRDHUP)) !== 0 });
      },
    });
    return () => {
      if (!leave()) return;
      counters.cancelled += 1;
      this.#poller.forgetClosing(fd);
      closeDescriptor(fd);
    };
  }

  #tick(): void {
    const now = performance.now();
    for (const one of this.#waiting) {
      if (one.until > now) break;
      one.give({ error: 'ETIMEDOUT' });
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #targetOf(request: DialRequest): DialTarget | string {
    const { service, destination } = request;
    if (service.via !== undefined) {
      const gateway = this.#gateways.get(service.via);
      if (!gateway) return 'no-gateway';
      return { address: gateway.address, port: gateway.port, header: renderHeader(request, service.name) };
    }
    if (service.path === 'transparent') {
      const address = parseAddress(destination.ip);
      if (!address || !isDialable(address) || destination.port === 0) return 'no-address';
      return { address, port: destination.port, header: noHeader };
    }
    const port = service.port ?? destination.port;
    if (port === 0) return 'no-address';
    return { address: service.address, port, header: service.path === 'proxy' ? renderHeader(request) : noHeader };
  }

  /** An unconnected socket, or why there is none. */
  #open(request: DialRequest, { address }: DialTarget): number | string {
    const { service, transport, source } = request;
    const stream = transport === 'tcp';
    if (service.path === 'transparent' && service.via === undefined) {
      const attacker = parseAddress(source.ip);
      if (!attacker || !isDialable(attacker)) return 'no-address';
      // Next hop is the service: its family is the only one it can be reached by.
      if (attacker.family !== address.family || service.address.family !== address.family) return 'no-address';
      const fd = this.#pool.take(service.name, transport, address.family);
      if (fd === undefined) return 'no-socket';
      // Its port is chosen while connecting: the attacker's own would confuse whoever tracks both legs.
      const result = tryBindSocket(fd, socketAddressOf(attacker, 0));
      if (result === 0) return fd;
      closeDescriptor(fd);
      return errnoName(-result);
    }
    let fd: number;
    try {
      fd = openSocket(domainOf(address.family), stream ? SOCK_STREAM : SOCK_DGRAM, 0);
    } catch (error) {
      const { details } = error as { details?: { errno?: string } };
      return details?.errno ?? 'EMFILE';
    }
    if (stream) trySocketOption(fd, SOL_TCP, TCP_NODELAY, 1);
    return fd;
  }
}

const address4 = new Uint8Array(16);
const address6 = new Uint8Array(28);

/** Good for one call: an array of its own would cost more than the call does. */
const socketAddressOf = (address: Address, port: number): Uint8Array =>
  fillSocketAddress(address.family === 4 ? address4 : address6, address, port);

const domainOf = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);

/** One host: not unspecified, loopback, multicast or broadcast, IPv4-mapped or link-local (which has no link here). */
function isDialable({ family, value }: Address): boolean {
  if (family === 4) {
    const first = value >> 24n;
    return first !== 0n && first !== 127n && first < 224n;
  }
  return value > 1n && value >> 120n !== 0xffn && value >> 32n !== 0xffffn && value >> 118n !== 0x3fan;
}

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1');

/** `service`: for an inner gateway, which is told which service it is. */
function renderHeader(request: DialRequest, service?: string): Uint8Array {
  const { transport, source, destination, network, agent, uniqueId } = request;
  const flow = { transport, source, destination };
  if (service === undefined && request.service.proxyVersion === 1 && transport === 'tcp') return renderProxyV1(flow);
  const tlvs: ProxyTlv[] = [];
  const add = (type: number, text: string | undefined): void => {
    if (text !== undefined && text !== '') tlvs.push({ type, value: ascii(text) });
  };
  add(tlvType.uniqueId, uniqueId?.slice(0, maxUniqueIdBytes));
  add(tlvType.netns, network.slice(0, maxNameBytes));
  add(tlvType.agent, agent?.slice(0, maxNameBytes));
  add(tlvType.service, service);
  return renderProxyV2(flow, tlvs, { checksum: true });
}

const maxNameBytes = 128;
