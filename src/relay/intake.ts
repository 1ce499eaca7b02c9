// Everything that reaches the decoys of all networks, in one object: connections, datagrams, probes and address
// conflicts, from the sockets netd hands over. Knows no protocol and records nothing: that is honeypot/ and record/, joined in programs/.

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import type { ProbeRecord } from '../model/event.ts';
import { AcceptRing, createAcceptRingMemory } from './accept-ring.ts';
import type { Datagram } from './datagram-visit.ts';
import type { AddressConflict } from './neighbour-keeper.ts';
import type { IntakeNetwork } from './network.ts';
import { PacketIntake, type PacketIntakeCounters } from './packet-intake.ts';
import type { ProbeLimits } from './probe-tracker.ts';
import { type Connection, TcpIntake, type TcpIntakeCounters } from './tcp-intake.ts';

export interface IntakeOptions {
  /** Later ones: `setNetworks`. */
  readonly networks: readonly IntakeNetwork[];
  /** Their descriptors become ours. More or fewer later: `setSockets`. */
  readonly sockets?: readonly NamedSocket[];
  readonly log: Log;
  readonly clock?: Clock;
  /** Attaches its listeners at once; must not block. */
  readonly onConnection: (connection: Connection) => void;
  readonly onDatagram: (datagram: Datagram) => void;
  readonly onProbe: (record: ProbeRecord) => void;
  /** A live host has an address of a claimed range: the owner alerts and gives it back (`setNetworks` follows). */
  readonly onConflict: (conflict: AddressConflict) => void;
  /** Descriptors run out: close about `wanted` connections now. */
  readonly onExhausted?: (wanted: number) => void;
  readonly probeLimits?: Partial<ProbeLimits>;
  /** As in PacketIntakeOptions. */
  readonly sweepRate?: number;
  readonly descriptorLimit?: number;
}

export interface IntakeCounters {
  readonly tcp: TcpIntakeCounters;
  /** Handshake packets the kernel dropped for want of backlog: raise net.core.somaxconn when it grows. */
  readonly backlogDrops: number;
  readonly packets: PacketIntakeCounters;
  /** Accepts the packet thread was not told of in time: their SYNs are shown half-open as well. */
  readonly acceptsUntold: number;
}

export class Intake {
  readonly #tcp: TcpIntake;
  readonly #packets: PacketIntake;
  readonly #ring: AcceptRing;
  #listeners = new Set<number>();

  constructor(options: IntakeOptions) {
    const memory = createAcceptRingMemory();
    this.#ring = new AcceptRing(memory);
    this.#tcp = new TcpIntake({ ...options, accepted: this.#ring });
    this.#packets = new PacketIntake({ ...options, ring: memory });
    if (options.sockets) this.setSockets(options.sockets);
  }

  get counters(): IntakeCounters {
    return {
      tcp: { ...this.#tcp.counters },
      backlogDrops: this.#tcp.backlogDrops,
      packets: this.#packets.counters,
      acceptsUntold: this.#ring.refused,
    };
  }

  /** As `counters`, with the packet thread asked for its present ones. */
  async report(): Promise<IntakeCounters> {
    const packets = await this.#packets.report();
    return { ...this.counters, packets };
  }

  /**
   * The sockets of the latest offer (handover-client.ts), of all networks. Those no longer in it are closed here, and with
   * them a network that is gone; connections go on.
   */
  setSockets(sockets: readonly NamedSocket[]): void {
    const listening = sockets.filter(({ role }) => role === 'tcp');
    const listeners = new Set(listening.map(({ fd }) => fd));
    for (const fd of this.#listeners) if (!listeners.has(fd)) this.#tcp.remove(fd);
    for (const socket of listening) this.#tcp.add(socket);
    this.#listeners = listeners;
    this.#packets.setSockets(sockets.filter(({ role }) => role !== 'tcp'));
  }

  /** Takes effect with the next connection, datagram and solicitation. */
  setNetworks(networks: readonly IntakeNetwork[], sweepRate?: number): void {
    this.#tcp.setNetworks(networks);
    this.#packets.setNetworks(networks, sweepRate);
  }

  /** Stops taking anything in, hands on pending probes, closes the sockets; connections already delivered go on. */
  async close(): Promise<void> {
    this.#tcp.close();
    this.#listeners = new Set();
    await this.#packets.close();
  }
}
