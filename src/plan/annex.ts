// Kernel objects beside the segments' own that some configurations need: the EVPN fabric with its routing daemons, the
// network that leads to kernel-path services, the place where Suricata listens. Each is one Annex; the controller drives them, and knows no more of them.

import type { DesiredState } from './desired-state.ts';

/** Something of ours that was gone or changed and has been put back; each becomes an event. */
export interface Repair {
  /** The diversion whose segment it was in; empty: the machine's own namespace or an annex. */
  readonly network: string;
  readonly object: 'table' | 'route' | 'link' | 'netns' | 'address' | 'sysctl' | 'process';
  /** Which of them, the same text each time: `inet weir`, `lan`, `bgpd`; absent where network and object say it. */
  readonly subject?: string;
  /** One sentence: `link lan of floor-3 was gone: made again`. */
  readonly message: string;
}

export interface AnnexStatus {
  /** Why it is not well, one sentence each with the next step; empty when all is well. */
  readonly reasons: readonly string[];
  /** For `weir status`: one line of facts each, such as `peer 10.0.0.254 established, 42 routes`. */
  readonly lines: readonly string[];
}

/** One operation at a time; the controller sees to that. */
export interface Annex {
  readonly name: 'fabric' | 'services' | 'doors' | 'ids';
  /** Path of its own namespace; absent while nothing applied needs one. What changes in there is watched. */
  readonly namespace?: string | undefined;
  /** What apply(desired) would change, one line each for people; empty: nothing. Reads only. */
  difference(desired: DesiredState | undefined): Promise<readonly string[]>;
  /**
   * Makes the kernel so, also back to an earlier state or (undefined) to nothing. Idempotent. The namespaces of all segments
   * exist already when it is called; those of segments that go exist still. Rejects with WeirError; the controller then
   * calls it with the state before.
   */
  apply(desired: DesiredState | undefined): Promise<void>;
  /** Puts back what of the last applied state is missing or changed. Cheap when nothing is (read once, no writes). */
  repair(): Promise<readonly Repair[]>;
  status(): AnnexStatus;
  /** The process ends; the kernel stays as it is. */
  close(): Promise<void>;
}
