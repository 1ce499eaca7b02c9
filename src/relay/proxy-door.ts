// Where proxies bring connections: any HAProxy, nginx or load balancer that is allow-listed and puts a PROXY header in front,
// or the gateway before this one. A header is expected and never guessed. What follows it is an arrival like any other.
// Datagrams with a header in front are proxy-datagrams.ts.

import { type Clock, systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type Linked, RecencyList } from '../base/recency-list.ts';
import {
  acceptConnection,
  closeDescriptor,
  EAGAIN,
  EINTR,
  EMFILE,
  ENFILE,
  peek,
  receive,
  resetConnection,
} from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { socketAddressText } from '../kernel/socket-address.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLRDHUP, type SocketPoller } from '../kernel/socket-poller.ts';
import { ProxyHeaderReader } from '../model/proxy-header-reader.ts';
import type { ProxyFault, ProxyHeader } from '../model/proxy-protocol.ts';
import { AcceptedDescriptor } from './accepted-descriptor.ts';
import type { Arrival, ArrivedDatagram } from './arrival.ts';
import { ProxyDatagrams } from './proxy-datagrams.ts';
import { serviceOf, uniqueIdOf } from './proxy-header-text.ts';
import { isAllowed, type ProxyDoorCounters, type ProxyListening } from './proxy-listening.ts';

export interface ProxyDoorOptions {
  readonly poller: SocketPoller;
  readonly log: Log;
  readonly clock?: Clock;
  /** Takes its connection at once; must not block. What it throws ends that connection only. */
  readonly onConnection: (arrival: Arrival) => void;
  readonly onDatagram: (arrived: ArrivedDatagram) => void;
  /** Descriptors run out: close about `wanted` connections now. */
  readonly onExhausted?: (wanted: number) => void;
  /** For the whole header; default 5 s. */
  readonly headerTimeoutMs?: number;
  /** Connections whose header has not come, of all doors together; the oldest go first. Default 4,096. */
  readonly maxWaiting?: number;
}

/** Longest header taken, with the TLVs a load balancer may add (a client certificate's name, a link id). */
const maxHeaderBytes = 4096;
const perTurn = 256;
const tickMs = 250;

interface Waiting extends Linked {
  readonly fd: number;
  readonly listening: ProxyListening;
  /** Monotonic: no step of the clock ends or prolongs a wait. */
  readonly sinceMs: number;
  readonly acceptedAt: number;
}

interface Door {
  listening: ProxyListening;
}

export class ProxyDoor {
  readonly #options: ProxyDoorOptions;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #maxWaiting: number;
  readonly #doors = new Map<number, Door>();
  readonly #waiting = new RecencyList<Waiting>();
  readonly #datagrams: ProxyDatagrams;
  readonly #buffer = new Uint8Array(maxHeaderBytes);
  readonly #peer = new Uint8Array(28);
  readonly #count: ProxyDoorCounters = {
    delivered: 0,
    datagrams: 0,
    strangers: 0,
    local: 0,
    faults: {},
    cut: 0,
    slow: 0,
    shed: 0,
    failed: 0,
    waiting: 0,
  };
  #ticker: NodeJS.Timeout | undefined;
  #complaintAt = Number.NEGATIVE_INFINITY;

  constructor(options: ProxyDoorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#timeoutMs = options.headerTimeoutMs ?? 5000;
    this.#maxWaiting = options.maxWaiting ?? 4096;
    this.#datagrams = new ProxyDatagrams({ ...options, clock: this.#clock, count: this.#count });
  }

  counters(): ProxyDoorCounters {
    return { ...this.#count, faults: { ...this.#count.faults }, waiting: this.#waiting.size };
  }

  /**
   * From now on these sockets (role `proxy`, named by proxySocketName) are listened on, for the diversions of their names.
   * Their descriptors become ours; what is no longer named is closed, connections already delivered go on.
   */
  setListening(sockets: readonly NamedSocket[], listening: readonly ProxyListening[]): void {
    const byName = new Map(listening.map((one) => [one.diversion.name, one]));
    const wanted = new Map<number, ProxyListening>();
    for (const { role, fd, diversion } of sockets) {
      const one = role === 'proxy' && diversion !== undefined ? byName.get(diversion) : undefined;
      if (one) wanted.set(fd, one);
    }
    const streams = sockets.filter(({ fd, transport }) => wanted.has(fd) && transport !== 'udp');
    for (const fd of [...this.#doors.keys()]) if (!streams.some((one) => one.fd === fd)) this.#remove(fd);
    for (const { fd } of streams) {
      const one = wanted.get(fd) as ProxyListening;
      const door = this.#doors.get(fd);
      if (door) door.listening = one;
      else this.#add(fd, one);
    }
    this.#datagrams.setSockets(
      sockets.filter(({ transport }) => transport === 'udp').map(({ fd }) => fd),
      wanted,
    );
  }

  /** Idempotent. Closes the sockets and whoever has not said its header yet; connections already delivered go on. */
  close(): void {
    clearInterval(this.#ticker);
    this.#ticker = undefined;
    for (const fd of [...this.#doors.keys()]) this.#remove(fd);
    for (const one of this.#waiting) this.#leave(one, 'reset');
    this.#datagrams.close();
  }

  #add(fd: number, listening: ProxyListening): void {
    const door: Door = { listening };
    this.#doors.set(fd, door);
    const accept = (): void => {
      if (this.#doors.get(fd) === door) this.#accept(fd, door, accept);
    };
    this.#options.poller.watch(fd, { ready: accept });
  }

  #remove(fd: number): void {
    this.#doors.delete(fd);
    this.#options.poller.forget(fd);
    closeDescriptor(fd);
  }

  #accept(listener: number, { listening }: Door, again: () => void): void {
    for (let count = 0; count < perTurn; count += 1) {
      const fd = acceptConnection(listener, this.#peer);
      if (fd >= 0) this.#take(fd, listening);
      else if (fd === -EAGAIN) return;
      else if (fd === -EMFILE || fd === -ENFILE) {
        this.#count.shed += 1;
        this.#options.onExhausted?.(perTurn);
        this.#complain('no descriptor left: connections of proxies wait');
        // Nothing tells when one is free again.
        setTimeout(again, 50).unref();
        return;
      }
    }
    this.#options.poller.soon(again);
  }

  #take(fd: number, listening: ProxyListening): void {
    if (!isAllowed(listening.diversion, socketAddressText(this.#peer))) {
      this.#count.strangers += 1;
      resetConnection(fd);
      return;
    }
    const waiting: Waiting = {
      fd,
      listening,
      sinceMs: performance.now(),
      acceptedAt: this.#clock(),
      before: undefined,
      after: undefined,
      listed: false,
    };
    // Mostly the header has come with the connection: then nobody needs to watch it.
    if (this.#read(waiting, false)) return;
    if (this.#waiting.size >= this.#maxWaiting && this.#waiting.oldest) {
      this.#count.shed += 1;
      this.#leave(this.#waiting.oldest, 'reset');
    }
    this.#waiting.touch(waiting);
    this.#ticker ??= setInterval(() => this.#tick(), Math.min(tickMs, this.#timeoutMs)).unref();
    this.#options.poller.watch(fd, {
      ready: (events) => {
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
          this.#read(waiting, (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) !== 0);
      },
    });
  }

  /** Looks at what came, without taking it, until the header is whole. True when this connection is no longer waiting. */
  #read(waiting: Waiting, ended: boolean): boolean {
    const { fd, listening } = waiting;
    const got = peek(fd, this.#buffer);
    if (got === -EAGAIN || got === -EINTR) return false;
    if (got <= 0) {
      this.#count.cut += 1;
      this.#leave(waiting, 'close');
      return true;
    }
    const bytes = this.#buffer.subarray(0, got);
    const reading = new ProxyHeaderReader({ maxBytes: maxHeaderBytes }).push(bytes);
    if (reading.state === 'more') {
      if (!ended) return false;
      this.#count.cut += 1;
      this.#leave(waiting, 'reset');
      return true;
    }
    if (reading.state === 'bad') {
      this.#fault(waiting, reading.fault);
      return true;
    }
    // Taken off the queue exactly: what follows is the attacker's, and unread.
    receive(fd, bytes.subarray(0, got - reading.rest.length));
    const { header } = reading;
    if (!header.flow) {
      this.#count.local += 1;
      this.#leave(waiting, 'close');
      return true;
    }
    const service = listening.diversion.inner ? serviceOf(header) : undefined;
    if (listening.diversion.inner && service === undefined) {
      this.#fault(waiting, 'no-service');
      return true;
    }
    this.#deliver(waiting, header, header.flow, service);
    return true;
  }

  #deliver(waiting: Waiting, header: ProxyHeader, flow: NonNullable<ProxyHeader['flow']>, service: string | undefined): void {
    const { diversion, persona } = waiting.listening;
    this.#forget(waiting);
    const accepted = new AcceptedDescriptor(waiting.fd);
    const uniqueId = uniqueIdOf(header);
    try {
      this.#options.onConnection({
        get socket() {
          return accepted.adopt();
        },
        takeDescriptor: accepted.take,
        source: flow.source,
        destination: flow.destination,
        network: `proxy ${diversion.name}`,
        diversion: diversion.name,
        persona,
        acceptedAt: waiting.acceptedAt,
        ...(uniqueId === undefined ? {} : { uniqueId }),
        ...(service === undefined ? {} : { service }),
      });
      this.#count.delivered += 1;
    } catch (error) {
      this.#count.failed += 1;
      accepted.drop();
      this.#complain('a proxied connection was not taken over', { error: String(error) });
    }
  }

  #fault(waiting: Waiting, fault: ProxyFault | 'no-service'): void {
    this.#count.faults[fault] = (this.#count.faults[fault] ?? 0) + 1;
    this.#complain('a proxy sent no PROXY header that can be taken', { fault, diversion: waiting.listening.diversion.name });
    this.#leave(waiting, 'reset');
  }

  #leave(waiting: Waiting, how: 'close' | 'reset'): void {
    this.#forget(waiting);
    if (how === 'reset') resetConnection(waiting.fd);
    else closeDescriptor(waiting.fd);
  }

  #forget(waiting: Waiting): void {
    if (!waiting.listed) return;
    this.#waiting.remove(waiting);
    this.#options.poller.forget(waiting.fd);
  }

  #tick(): void {
    const since = performance.now() - this.#timeoutMs;
    for (let oldest = this.#waiting.oldest; oldest && oldest.sinceMs <= since; oldest = this.#waiting.oldest) {
      this.#count.slow += 1;
      this.#leave(oldest, 'reset');
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#ticker);
    this.#ticker = undefined;
  }

  /** At most one line a second, whatever a peer does. */
  #complain(message: string, fields: Record<string, unknown> = {}): void {
    const now = performance.now();
    if (now - this.#complaintAt < 1000) return;
    this.#complaintAt = now;
    this.#options.log.warn(message, fields);
  }
}
