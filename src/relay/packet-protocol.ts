// What the gateway's main thread and its packet thread say to each other. Data only.

import type { NamedSocket } from '../kernel/named-socket.ts';
import type { AddressRange } from '../model/address.ts';
import { DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import type { ProbeRecord } from '../model/event.ts';
import type { Persona } from '../model/persona.ts';
import type { AcceptRingMemory } from './accept-ring.ts';
import type { AddressConflict, NeighbourCounters } from './neighbour-keeper.ts';
import type { ProbeCounters, ProbeLimits } from './probe-tracker.ts';

/** Which diversions use which interface: `{eth0: ['dmz']}`. An interface without an entry serves all. */
export type InterfaceDiversions = Readonly<Record<string, readonly string[]>>;

/** A DecoyDirectory as it crosses a thread. */
export interface DirectorySnapshot {
  readonly groups: readonly DecoyGroup[];
  readonly personas: ReadonlyMap<string, Persona>;
  readonly withheld: readonly AddressRange[];
  readonly interfaces: InterfaceDiversions;
}

export const snapshotOf = (directory: DecoyDirectory, interfaces: InterfaceDiversions): DirectorySnapshot => ({
  groups: directory.groups,
  personas: directory.personas,
  withheld: directory.withheld,
  interfaces,
});

export const directoryFrom = (snapshot: DirectorySnapshot): DecoyDirectory =>
  new DecoyDirectory(snapshot.groups, snapshot.personas, snapshot.withheld);

export interface PacketWorkerData {
  readonly ring: AcceptRingMemory;
  readonly directory: DirectorySnapshot;
  readonly sockets: readonly NamedSocket[];
  readonly probeLimits: Partial<ProbeLimits>;
}

export type ToPacketWorker =
  | { readonly type: 'sockets'; readonly sockets: readonly NamedSocket[] }
  | { readonly type: 'directory'; readonly directory: DirectorySnapshot }
  /** The receiver has worked off this much. */
  | { readonly type: 'credit'; readonly datagramBytes: number; readonly records: number }
  | { readonly type: 'report' }
  | { readonly type: 'stop' };

/** All ever counted, since this worker started. */
export interface PacketCounters {
  readonly datagrams: number;
  readonly datagramBytes: number;
  /** Datagrams the kernel dropped because the socket's buffer was full. */
  readonly datagramsLost: number;
  readonly datagramsMalformed: number;
  readonly probes: ProbeCounters;
  /** Logged packets the kernel could not deliver. */
  readonly probesLost: number;
  /** Packets in records that were not handed over because the main thread was behind. */
  readonly probesDropped: number;
  readonly neighbours: NeighbourCounters;
  readonly neighboursLost: number;
}

export type FromPacketWorker =
  | { readonly type: 'datagrams'; readonly batch: Uint8Array; readonly count: number }
  | { readonly type: 'probes'; readonly records: readonly ProbeRecord[] }
  | { readonly type: 'conflict'; readonly conflict: AddressConflict }
  /** These descriptors are no longer used: the main thread closes them. */
  | { readonly type: 'released'; readonly fds: readonly number[] }
  | { readonly type: 'counters'; readonly counters: PacketCounters }
  | { readonly type: 'stopped' };
