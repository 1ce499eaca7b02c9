// Datagrams of proxies: each with a PROXY v2 header in front, answered without one. The part of proxy-door.ts that has no
// connections.

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { closeDescriptor, EAGAIN, receiveMessages, sendTo } from '../kernel/libc.ts';
import { MessageBatch } from '../kernel/message-header.ts';
import { socketAddressText } from '../kernel/socket-address.ts';
import type { SocketPoller } from '../kernel/socket-poller.ts';
import { parseProxyDatagram } from '../model/proxy-protocol.ts';
import type { ArrivedDatagram } from './arrival.ts';
import { serviceOf, uniqueIdOf } from './proxy-header-text.ts';
import { isAllowed, type ProxyDoorCounters, type ProxyListening } from './proxy-listening.ts';

export interface ProxyDatagramsOptions {
  readonly poller: SocketPoller;
  readonly log: Log;
  readonly clock: Clock;
  readonly count: ProxyDoorCounters;
  readonly onDatagram: (arrived: ArrivedDatagram) => void;
}

const batchCount = 16;
const batchesPerTurn = 8;
const longest = 65_536;

export class ProxyDatagrams {
  readonly #options: ProxyDatagramsOptions;
  #listening = new Map<number, ProxyListening>();
  /** Made when the first socket comes. */
  #batch: MessageBatch | undefined;

  constructor(options: ProxyDatagramsOptions) {
    this.#options = options;
  }

  setSockets(fds: readonly number[], listening: ReadonlyMap<number, ProxyListening>): void {
    for (const fd of [...this.#listening.keys()]) if (!listening.has(fd)) this.#remove(fd);
    for (const fd of fds) {
      const one = listening.get(fd);
      if (!one) continue;
      const known = this.#listening.has(fd);
      this.#listening.set(fd, one);
      if (!known) this.#options.poller.watch(fd, { ready: () => this.#read(fd) });
    }
  }

  close(): void {
    for (const fd of [...this.#listening.keys()]) this.#remove(fd);
  }

  #remove(fd: number): void {
    this.#listening.delete(fd);
    this.#options.poller.forget(fd);
    closeDescriptor(fd);
  }

  #read(fd: number): void {
    this.#batch ??= new MessageBatch({ count: batchCount, nameBytes: 28, dataBytes: longest, controlBytes: 0 });
    const batch = this.#batch;
    for (let reads = 0; reads < batchesPerTurn; reads += 1) {
      const listening = this.#listening.get(fd);
      if (!listening) return;
      batch.reset(batchCount);
      const got = receiveMessages(fd, batch.headers, batchCount);
      if (got < 0) {
        if (got === -EAGAIN) return;
        // An ICMP error of an answer; what waits behind it is still to be read.
        continue;
      }
      for (let index = 0; index < got; index += 1) {
        const name = batch.names.slice(index * 28, index * 28 + batch.nameLength(index));
        const data = batch.data.slice(index * longest, index * longest + batch.length(index));
        this.#take(fd, listening, name, data);
      }
      if (got < batchCount) return;
    }
    this.#options.poller.soon(() => this.#read(fd));
  }

  #take(fd: number, { diversion, persona }: ProxyListening, peer: Uint8Array, bytes: Uint8Array): void {
    const { count, clock, log } = this.#options;
    if (!isAllowed(diversion, socketAddressText(peer))) {
      count.strangers += 1;
      return;
    }
    const parsed = parseProxyDatagram(bytes);
    if ('fault' in parsed) {
      count.faults[parsed.fault] = (count.faults[parsed.fault] ?? 0) + 1;
      return;
    }
    const { header, payload } = parsed;
    if (!header.flow) {
      count.local += 1;
      return;
    }
    const service = diversion.inner ? serviceOf(header) : undefined;
    if (diversion.inner && service === undefined) {
      count.faults['no-service'] = (count.faults['no-service'] ?? 0) + 1;
      return;
    }
    const uniqueId = uniqueIdOf(header);
    const replyLater = (): ((answer: Uint8Array) => boolean) => {
      let left = payload.length;
      return (answer) => {
        if (answer.length > left || this.#listening.get(fd) === undefined || sendTo(fd, answer, peer) < 0) return false;
        left -= answer.length;
        return true;
      };
    };
    const reply = replyLater();
    try {
      this.#options.onDatagram({
        source: header.flow.source,
        destination: header.flow.destination,
        network: `proxy ${diversion.name}`,
        diversion: diversion.name,
        persona,
        at: clock(),
        payload,
        onLink: false,
        ...(uniqueId === undefined ? {} : { uniqueId }),
        ...(service === undefined ? {} : { service }),
        reply,
        replyLater,
        replyOnLink: () => false,
      });
      count.datagrams += 1;
    } catch (error) {
      count.failed += 1;
      log.warn('a proxied datagram was not taken over', { error: String(error) });
    }
  }
}
