// The main thread's side of the packet thread: gives it sockets and the directory, hands on datagrams, probe records and
// address conflicts, pays the credit back, and starts it anew should it ever die. Reading is packet-worker.ts.

import { Worker } from 'node:worker_threads';
import type { Log } from '../base/log.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { ipv4Text, ipv6Text } from '../kernel/socket-address.ts';
import { openRawSender } from '../kernel/tproxy-socket.ts';
import { addressBytes, addressFromBytes, renderAddress } from '../model/address.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import type { ProbeRecord } from '../model/event.ts';
import { NameBook } from '../model/name-book.ts';
import { askedDecoy } from '../model/name-question.ts';
import type { AcceptRingMemory } from './accept-ring.ts';
import { macBytes } from './announcer.ts';
import { sumCounters } from './counters.ts';
import { unpackDatagrams } from './datagram-batch.ts';
import { createReplyCounters, Datagram, type ReplyCounters, ReplySender } from './datagram-visit.ts';
import type { AddressConflict } from './neighbour-keeper.ts';
import { type IntakeNetwork, nameBookOf, networkOf } from './network.ts';
import {
  type FromPacketWorker,
  type NameQuery,
  type PacketCounters,
  type PacketWorkerData,
  snapshotOf,
  type ToPacketWorker,
} from './packet-protocol.ts';
import type { ProbeLimits } from './probe-tracker.ts';
import { sweepRateLimit } from './sweep-schedule.ts';

export interface PacketIntakeOptions {
  readonly networks: readonly IntakeNetwork[];
  readonly ring: AcceptRingMemory;
  readonly log: Log;
  readonly onDatagram: (datagram: Datagram) => void;
  readonly onProbe: (record: ProbeRecord) => void;
  readonly onConflict: (conflict: AddressConflict) => void;
  readonly probeLimits?: Partial<ProbeLimits>;
  /** Probes a second with which segments are swept for live hosts, all together; at most and by default sweepRateLimit. */
  readonly sweepRate?: number;
}

export interface PacketIntakeCounters extends ReplyCounters {
  /** Datagrams to a destination no living decoy owns. */
  datagramsUnknown: number;
  /** Questions to a whole link that meant no decoy. */
  nameQueriesElsewhere: number;
  /** A receiver threw. */
  datagramsFailed: number;
  workerRestarts: number;
  /** The packet thread's own, of all its lives; at most a second old (see `report`). */
  packets: PacketCounters | undefined;
}

const roles: ReadonlySet<string> = new Set(['udp', 'nflog', 'neighbour', 'names']);
const restartAfterMs = 100;
const nobody = new NameBook(new DecoyDirectory([], new Map()));

export class PacketIntake {
  readonly #options: PacketIntakeOptions;
  /** By network: those with sockets. */
  #senders = new Map<string, ReplySender>();
  readonly #replies = createReplyCounters();
  readonly #own = {
    datagramsUnknown: 0,
    nameQueriesElsewhere: 0,
    datagramsFailed: 0,
    workerRestarts: 0,
  };
  #networks: ReadonlyMap<string, IntakeNetwork> = new Map();
  #names: ReadonlyMap<string, NameBook> = new Map();
  #sockets: readonly NamedSocket[] = [];
  #sweepRate: number;
  #worker: Worker | undefined;
  #restart: NodeJS.Timeout | undefined;
  #latest: PacketCounters | undefined;
  /** Of earlier lives of the thread. */
  #past: PacketCounters | undefined;
  /** Handed to a thread that has not released them yet. */
  #leaving = new Set<number>();
  #reporting: ((counters: PacketCounters) => void)[] = [];
  #stopped: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  /** Raw senders of our own, where none were handed to us. */
  #ownSenders: number[] = [];

  constructor(options: PacketIntakeOptions) {
    this.#options = options;
    this.#sweepRate = options.sweepRate ?? sweepRateLimit;
    this.#take(options.networks);
    this.#start();
  }

  get counters(): PacketIntakeCounters {
    const packets = this.#latest && this.#past ? sumCounters(this.#past, this.#latest) : (this.#latest ?? this.#past);
    return { ...this.#replies, ...this.#own, packets };
  }

  /** Fresh counters of the packet thread, or the latest known when it does not answer within the bound. */
  async report(boundMs = 1000): Promise<PacketIntakeCounters> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, boundMs);
      this.#reporting.push(() => {
        clearTimeout(timer);
        resolve();
      });
      this.#post({ type: 'report' });
    });
    return this.counters;
  }

  /**
   * The `udp`, `nflog`, `neighbour` and `raw` sockets to work with from now on; others are ignored. The descriptors are
   * ours: those no longer in the list are closed when the packet thread has let go of them.
   */
  setSockets(sockets: readonly NamedSocket[]): void {
    const kept = sockets.filter(({ role }) => roles.has(role) || role === 'raw');
    const stays = new Set(kept.map(({ fd }) => fd));
    for (const { fd, role } of this.#sockets) {
      if (stays.has(fd)) continue;
      if (role === 'raw') closeDescriptor(fd);
      else this.#leaving.add(fd);
    }
    this.#sockets = kept;
    const senders = new Map<string, ReplySender>();
    for (const name of new Set(kept.map(networkOf))) {
      const sender = this.#senders.get(name) ?? new ReplySender(name, this.#namesOf(name), this.#replies);
      sender.four = this.#rawSender(sender, 4);
      sender.six = this.#rawSender(sender, 6);
      senders.set(name, sender);
    }
    for (const [name, sender] of this.#senders) if (!senders.has(name)) sender.four = sender.six = -1;
    this.#senders = senders;
    if (this.#worker) this.#post({ type: 'sockets', sockets: this.#read });
    else this.#closeLeaving(this.#leaving);
  }

  /** All networks there are from now on; their sockets come and go by `setSockets`. */
  setNetworks(networks: readonly IntakeNetwork[], sweepRate = this.#sweepRate): void {
    this.#sweepRate = sweepRate;
    this.#take(networks);
    for (const [name, sender] of this.#senders) sender.names = this.#namesOf(name);
    this.#post({ type: 'networks', networks: networks.map(snapshotOf), sweepRate });
  }

  /** Ends the packet thread as a fault in it would. */
  killWorkerForTest(): void {
    void this.#worker?.terminate();
  }

  /** Hands on what is pending, stops the thread, closes the sockets. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  #take(networks: readonly IntakeNetwork[]): void {
    this.#networks = new Map(networks.map((one) => [one.name, one]));
    this.#names = new Map(networks.map((one) => [one.name, nameBookOf(one)]));
  }

  #namesOf(network: string): NameBook {
    return this.#names.get(network) ?? nobody;
  }

  get #read(): NamedSocket[] {
    return this.#sockets.filter(({ role }) => roles.has(role));
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#restart);
    const worker = this.#worker;
    if (worker) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 2000);
        this.#stopped = () => {
          clearTimeout(timer);
          resolve();
        };
        this.#post({ type: 'stop' });
      });
      this.#worker = undefined;
      await worker.terminate();
    }
    this.#closeLeaving(new Set([...this.#leaving, ...this.#sockets.map(({ fd }) => fd)]));
    this.#sockets = [];
    for (const fd of this.#ownSenders) closeDescriptor(fd);
    this.#ownSenders = [];
    for (const sender of this.#senders.values()) sender.four = sender.six = -1;
    this.#senders = new Map();
    for (const done of this.#reporting.splice(0)) done(this.#latest as PacketCounters);
  }

  #closeLeaving(fds: ReadonlySet<number>): void {
    for (const fd of fds) closeDescriptor(fd);
    this.#leaving = new Set();
  }

  #rawSender(sender: ReplySender, family: 4 | 6): number {
    const here = this.#sockets.filter((one) => one.family === family && networkOf(one) === sender.network);
    const given = here.find(({ role }) => role === 'raw');
    if (given) return given.fd;
    // One of our own can only be opened where we are.
    if (sender.network !== '' || !here.some(({ role }) => role === 'udp')) return -1;
    const current = family === 4 ? sender.four : sender.six;
    if (this.#ownSenders.includes(current)) return current;
    try {
      const fd = openRawSender(family);
      this.#ownSenders.push(fd);
      return fd;
    } catch (error) {
      this.#options.log.warn('UDP cannot be answered', { family, error: String(error) });
      return -1;
    }
  }

  #post(message: ToPacketWorker): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    const workerData: PacketWorkerData = {
      ring: this.#options.ring,
      networks: [...this.#networks.values()].map(snapshotOf),
      sockets: this.#read,
      probeLimits: this.#options.probeLimits ?? {},
      sweepRate: this.#sweepRate,
    };
    const worker = new Worker(new URL('./packet-worker.js', import.meta.url), {
      workerData,
      name: 'packets',
      resourceLimits: { maxOldGenerationSizeMb: 192 },
    });
    this.#worker = worker;
    worker.on('message', (message: FromPacketWorker) => {
      if (this.#worker === worker) this.#onMessage(message);
    });
    worker.on('error', (error) => this.#options.log.error('the packet thread failed', { error: String(error) }));
    worker.on('exit', () => this.#onExit(worker));
  }

  #onExit(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    this.#stopped?.();
    if (this.#closing) return;
    this.#own.workerRestarts += 1;
    if (this.#latest) this.#past = this.#past ? sumCounters(this.#past, this.#latest) : this.#latest;
    this.#latest = undefined;
    this.#closeLeaving(this.#leaving);
    this.#restart = setTimeout(() => this.#start(), restartAfterMs);
  }

  #onMessage(message: FromPacketWorker): void {
    switch (message.type) {
      case 'datagrams':
        this.#datagrams(message.network, message.batch);
        this.#post({ type: 'credit', datagramBytes: message.batch.length, records: 0, queries: 0 });
        break;
      case 'name-queries':
        for (const query of message.queries) this.#nameQuery(message.network, query);
        this.#post({ type: 'credit', datagramBytes: 0, records: 0, queries: message.queries.length });
        break;
      case 'probes':
        for (const record of message.records) this.#guarded(() => this.#options.onProbe(record));
        this.#post({ type: 'credit', datagramBytes: 0, records: message.records.length, queries: 0 });
        break;
      case 'conflict':
        this.#guarded(() => this.#options.onConflict(message.conflict));
        break;
      case 'released':
        for (const fd of message.fds) if (this.#leaving.delete(fd)) closeDescriptor(fd);
        break;
      case 'counters':
        this.#latest = message.counters;
        for (const done of this.#reporting.splice(0)) done(message.counters);
        break;
      case 'stopped':
        this.#stopped?.();
    }
  }

  #datagrams(network: string, batch: Uint8Array): void {
    const directory = this.#networks.get(network)?.directory;
    const sender = this.#senderOf(network);
    sender.agent = this.#networks.get(network)?.agent;
    for (const packed of unpackDatagrams(batch)) {
      const destination = packed.family === 4 ? ipv4Text(packed.destination, 0) : ipv6Text(packed.destination, 0);
      const decoy = directory?.find(destination);
      if (!decoy) {
        this.#own.datagramsUnknown += 1;
        continue;
      }
      const source = packed.family === 4 ? ipv4Text(packed.source, 0) : ipv6Text(packed.source, 0);
      this.#guarded(() =>
        this.#options.onDatagram(new Datagram(packed, source, destination, decoy.diversion, decoy.persona, sender)),
      );
    }
  }

  #senderOf(network: string): ReplySender {
    return this.#senders.get(network) ?? new ReplySender(network, this.#namesOf(network), this.#replies);
  }

  /** A question to a whole link is a touch of the decoy it means. */
  #nameQuery(network: string, { at, fd, frame }: NameQuery): void {
    const { family, sourcePort, destinationPort, source, payload } = frame;
    const asked = askedDecoy(this.#namesOf(network), family, destinationPort, payload);
    const socket = this.#sockets.find((one) => one.fd === fd);
    if (!asked || !socket || !this.#serves(network, socket, asked.decoy.diversion)) {
      this.#own.nameQueriesElsewhere += 1;
      return;
    }
    const { address, decoy } = asked;
    const packed = { family, at, sourcePort, destinationPort, source, destination: addressBytes(address), payload };
    const from = renderAddress(addressFromBytes(source));
    const origin = { ...frame, fd, decoyMac: macBytes(decoy.mac ?? socket.mac ?? '00:00:00:00:00:00') };
    const sender = this.#senderOf(network);
    this.#guarded(() =>
      this.#options.onDatagram(
        new Datagram(packed, from, renderAddress(address), decoy.diversion, decoy.persona, sender, origin),
      ),
    );
  }

  #serves(network: string, socket: NamedSocket, diversion: string): boolean {
    const served = this.#networks.get(network)?.interfaces[socket.interface ?? ''];
    return served === undefined || served.includes(diversion);
  }

  /** What a receiver throws must not stop the rest of a batch. */
  #guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#own.datagramsFailed += 1;
      if (this.#own.datagramsFailed === 1) this.#options.log.error('a packet was not taken over', { error: String(error) });
    }
  }
}
