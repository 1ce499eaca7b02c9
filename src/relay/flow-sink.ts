// What flows of the kernel path become, within which bounds, and what is counted: the words between flow-tracker.ts and its
// owner. Data and types only.

import type { Micros } from '../base/clock.ts';
import type { ProbeKind } from '../model/event.ts';
import type { Direction, SessionOutcome, SessionStart } from '../model/session.ts';
import type { FlowPlace } from './flow.ts';

export interface FlowSink {
  open(flow: number, start: SessionStart, tags: readonly string[]): void;
  /** `bytes` are valid during the call. */
  chunk(flow: number, direction: Direction, bytes: Uint8Array, at: Micros): void;
  /** Bytes that passed and are not shown. */
  skip(flow: number, direction: Direction, count: number): void;
  close(flow: number, outcome: Exclude<SessionOutcome, 'open'>, at: Micros): void;
  /** A packet, from its IP header on, that stayed a probe. */
  probe(kind: ProbeKind, place: FlowPlace, packet: Uint8Array, mac: string | undefined, at: Micros): void;
}

export interface FlowLimits {
  /** Connections and datagram flows known at a time, in whatever state. */
  readonly flows: number;
  /** Recorded of one session, both directions together. */
  readonly sessionBytes: number;
  /** Captured of one tracked connection, with headers (plan/services-ruleset.ts); of a longer one the kernel's counts tell the rest. */
  readonly capturedBytes: number;
  /** How long a handshake may take. */
  readonly holdMs: number;
  /** How long the refusal of a datagram, or a segment overtaken by the end of its connection, may take. */
  readonly settleMs: number;
  /** After which a datagram flow is over; connections that the kernel tracks end when it forgets them. */
  readonly idleMs: number;
  /** After which a silent connection is over whose end the kernel may have told in vain. */
  readonly unheardMs: number;
  /** After which a silent connection is over that the kernel does not track (times.spoken, plan/services-shortcut.ts). */
  readonly silentMs: number;
  /** Ended flows remembered until the kernel tells their end. */
  readonly ended: number;
  /** Bytes that wait behind gaps, in all. */
  readonly waitingBytes: number;
}

export const defaultFlowLimits: FlowLimits = {
  flows: 65_536,
  sessionBytes: 1 << 20,
  capturedBytes: 16 << 20,
  holdMs: 3000,
  settleMs: 150,
  idleMs: 60_000,
  unheardMs: 600_000,
  silentMs: 7_200_000,
  ended: 131_072,
  waitingBytes: 32 << 20,
};

export interface FlowCounters {
  opened: number;
  closed: number;
  open: number;
  /** Ended before their time because too many were open. */
  shed: number;
  /** Packets that were not understood, or to nobody. */
  strange: number;
  probes: number;
  /** Sessions the capture missed wholly: known from the kernel's own counts alone. */
  uncaptured: number;
  /** Endings the kernel told of connections that were forgotten here, or began before this process. */
  unmatched: number;
  /** Bytes of streams that were not captured. */
  missingBytes: number;
}

export const noFlows: FlowCounters = {
  opened: 0,
  closed: 0,
  open: 0,
  shed: 0,
  strange: 0,
  probes: 0,
  uncaptured: 0,
  unmatched: 0,
  missingBytes: 0,
};
