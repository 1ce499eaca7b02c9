// What the gateway's main thread and its kernel-path thread say to each other, and what netd tells of the services network.
// Data only.

import type { NamedSocket } from '../kernel/named-socket.ts';
import type { AddressRange } from '../model/address.ts';
import type { ProbeRecord } from '../model/event.ts';
import type { Direction, SessionOutcome, SessionStart } from '../model/session.ts';
import type { FlowCounters } from './flow-sink.ts';
import type { NetworkSnapshot } from './packet-protocol.ts';

/** A place where attackers' packets enter the services network: its mark, and who answers whom there. */
export interface KernelPathPort {
  readonly mark: number;
  /** As in NamedSocket.network; empty: the machine's own. */
  readonly network: string;
  readonly bindings: readonly { readonly service: string; readonly ranges: readonly AddressRange[] }[];
}

/** What happened to sessions, in order. `flow` numbers are the thread's own. */
export type FlowEvent =
  | { readonly kind: 'open'; readonly flow: number; readonly start: SessionStart; readonly tags: readonly string[] }
  /** `bytes` of the batch from `from` on. */
  | {
      readonly kind: 'chunk';
      readonly flow: number;
      readonly direction: Direction;
      readonly at: number;
      readonly from: number;
      readonly length: number;
    }
  | { readonly kind: 'skip'; readonly flow: number; readonly direction: Direction; readonly count: number }
  | {
      readonly kind: 'close';
      readonly flow: number;
      readonly outcome: Exclude<SessionOutcome, 'open'>;
      readonly at: number;
    };

export interface KernelPathData {
  readonly networks: readonly NetworkSnapshot[];
  readonly ports: readonly KernelPathPort[];
  readonly sockets: readonly NamedSocket[];
  readonly limits: { readonly sessions: number; readonly sessionBytes: number; readonly idleTimeoutMs: number };
}

export type ToKernelPathWorker =
  | { readonly type: 'sockets'; readonly sockets: readonly NamedSocket[] }
  | { readonly type: 'networks'; readonly networks: readonly NetworkSnapshot[]; readonly ports: readonly KernelPathPort[] }
  /** The receiver has worked off this much. */
  | { readonly type: 'credit'; readonly bytes: number; readonly events: number; readonly records: number }
  | { readonly type: 'report' }
  | { readonly type: 'stop' };

/** All ever counted, since this worker started. */
export interface KernelPathCounters extends FlowCounters {
  readonly packets: number;
  /** Packets the kernel could not hand over: their bytes are counted in the sessions, not shown. */
  readonly packetsLost: number;
  /** Times the kernel dropped news of ended connections. */
  readonly endingsLost: number;
  /** Probes on no record: beyond the bounds of probe-tracker.ts, or because the main thread was behind. */
  readonly probesDropped: number;
}

export type FromKernelPathWorker =
  | { readonly type: 'flows'; readonly events: readonly FlowEvent[]; readonly bytes: Uint8Array }
  | { readonly type: 'probes'; readonly records: readonly ProbeRecord[] }
  | { readonly type: 'released'; readonly fds: readonly number[] }
  | { readonly type: 'counters'; readonly counters: KernelPathCounters }
  | { readonly type: 'stopped' };
