// What the gateway's main thread and its packet thread say to each other. Data only.

import type { Micros } from '../base/clock.ts';
import type { NameFrame } from '../kernel/name-frame.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import type { AddressRange } from '../model/address.ts';
import { DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import type { ProbeRecord } from '../model/event.ts';
import type { Persona } from '../model/persona.ts';
import type { AcceptRingMemory } from './accept-ring.ts';
import type { AddressConflict, NeighbourCounters } from './neighbour-keeper.ts';
import type { IntakeNetwork, InterfaceDiversions } from './network.ts';
import type { ProbeCounters, ProbeLimits } from './probe-tracker.ts';

/** An IntakeNetwork as it crosses a thread. */
export interface NetworkSnapshot {
  readonly name: string;
  readonly groups: readonly DecoyGroup[];
  readonly personas: ReadonlyMap<string, Persona>;
  readonly withheld: readonly AddressRange[];
  readonly interfaces: InterfaceDiversions;
  readonly subnets: readonly AddressRange[];
  readonly agent?: string;
}

export const snapshotOf = ({ name, directory, interfaces, subnets, agent }: IntakeNetwork): NetworkSnapshot => ({
  name,
  groups: directory.groups,
  personas: directory.personas,
  withheld: directory.withheld,
  interfaces,
  subnets,
  ...(agent === undefined ? {} : { agent }),
});

export const networkFrom = ({
  name,
  groups,
  personas,
  withheld,
  interfaces,
  subnets,
  agent,
}: NetworkSnapshot): IntakeNetwork => ({
  name,
  directory: new DecoyDirectory(groups, personas, withheld),
  interfaces,
  subnets,
  ...(agent === undefined ? {} : { agent }),
});

export interface PacketWorkerData {
  readonly ring: AcceptRingMemory;
  readonly networks: readonly NetworkSnapshot[];
  readonly sockets: readonly NamedSocket[];
  readonly probeLimits: Partial<ProbeLimits>;
  readonly sweepRate: number;
}

export type ToPacketWorker =
  | { readonly type: 'sockets'; readonly sockets: readonly NamedSocket[] }
  | { readonly type: 'networks'; readonly networks: readonly NetworkSnapshot[]; readonly sweepRate: number }
  /** The receiver has worked off this much. */
  | { readonly type: 'credit'; readonly datagramBytes: number; readonly records: number; readonly queries: number }
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
  /** Questions for names that went to a whole link, and of those: not handed over because there were too many. */
  readonly nameQueries: number;
  readonly nameQueriesDropped: number;
  readonly nameQueriesMalformed: number;
  readonly nameQueriesLost: number;
  readonly neighboursLost: number;
}

/** A question for a name that went to a whole link. */
export interface NameQuery {
  readonly at: Micros;
  /** Descriptor of the `names` socket it came by, where the answer leaves. */
  readonly fd: number;
  /** Copies of its own. */
  readonly frame: NameFrame;
}

export type FromPacketWorker =
  /** All of one network. */
  | { readonly type: 'datagrams'; readonly network: string; readonly batch: Uint8Array; readonly count: number }
  | { readonly type: 'probes'; readonly records: readonly ProbeRecord[] }
  | { readonly type: 'name-queries'; readonly network: string; readonly queries: readonly NameQuery[] }
  | { readonly type: 'conflict'; readonly conflict: AddressConflict }
  /** These descriptors are no longer used: the main thread closes them. */
  | { readonly type: 'released'; readonly fds: readonly number[] }
  | { readonly type: 'counters'; readonly counters: PacketCounters }
  | { readonly type: 'stopped' };
