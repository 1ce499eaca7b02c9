// Everything Weir records, as one union: sessions, probes, alerts and the system's own events. Data only.

import type { Micros } from '../base/clock.ts';
import type { SessionRecord, SynDetails } from './session.ts';

/** Why a packet stayed a probe. */
export type ProbeKind =
  | 'half-open' // SYN to an open port, never completed
  | 'closed' // to a port the persona shows closed
  | 'filtered' // to a port or address that stays silent
  | 'dead' // to an address of the range nobody lives at
  | 'null'
  | 'fin'
  | 'xmas'
  | 'ack' // other TCP without a connection
  | 'echo'; // ICMP or ICMPv6 echo request

/** One touched target inside a probe record; `count` packets of `kind` to it. Port 0 for ICMP. */
export interface ProbeTarget {
  readonly ip: string;
  readonly port: number;
  readonly transport: 'tcp' | 'udp' | 'icmp';
  readonly kind: ProbeKind;
  readonly count: number;
}

/**
 * Probes of one source in one second. Up to a bound each target is listed; packets beyond it are in
 * `unlisted`. The sum of target counts and `unlisted` is the number of packets seen.
 */
export interface ProbeRecord {
  readonly id: string;
  readonly start: Micros;
  readonly end: Micros;
  readonly source: string;
  /** Of the first packet. */
  readonly sourcePort: number;
  readonly sourceMac?: string;
  readonly diversion: string;
  readonly targets: readonly ProbeTarget[];
  readonly unlisted: number;
  /** Of the first SYN of the record. */
  readonly syn?: SynDetails;
}

export type Severity = 'info' | 'low' | 'medium' | 'high';

/** Something a defender should look at: an address conflict, loss of records, an unexpected change. */
export interface AlertRecord {
  readonly id: string;
  readonly at: Micros;
  /** Stable name such as `address-conflict`, `records-lost`. */
  readonly name: string;
  readonly severity: Severity;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** What happened to Weir itself: `process-started`, `process-died`, `applied`, `rolled-back`, `journal-cut`, `dropped`, … */
export interface SystemRecord {
  readonly id: string;
  readonly at: Micros;
  readonly name: string;
  readonly program: string;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export type WeirEvent =
  | { readonly kind: 'session'; readonly session: SessionRecord }
  | { readonly kind: 'probe'; readonly probe: ProbeRecord }
  | { readonly kind: 'alert'; readonly alert: AlertRecord }
  | { readonly kind: 'system'; readonly system: SystemRecord };

/** Where events go; never throws, never blocks, counts what it must drop. */
export interface EventSink {
  append(event: WeirEvent): void;
}
