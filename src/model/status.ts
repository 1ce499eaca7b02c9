// The state of a running Weir as `weir status`, GET /api/status and the console's banner show it. Data only.
// Each program fills in what it knows; whoever shows it copes with what is absent.

import type { AgentStatus } from './agent.ts';

export type Health = 'good' | 'degraded' | 'bad';

export interface ProcessStatus {
  /** `up`, `netd`, `gateway`, `recorder`. */
  readonly name: string;
  readonly state: 'running' | 'starting' | 'restarting' | 'stopped';
  readonly pid?: number;
  readonly user?: string;
  /** ISO 8601. */
  readonly since?: string;
  readonly restarts?: number;
  readonly memoryBytes?: number;
}

/** How a `network` diversion comes in, and where it lives. */
export interface NetworkStatus {
  /** As describeAttachment() says it: `vlan 110 on eth1`, `vni 10, vtep 10.0.0.1, 2 remotes`. */
  readonly attachment: string;
  /** Name of its network namespace, below /run/netns. */
  readonly netns: string;
  /** Bytes of payload in a frame. */
  readonly mtu: number;
  /** Weir's own in the segment: `192.168.110.2/24`. */
  readonly addresses: readonly string[];
  readonly gateways?: readonly string[];
}

export interface DiversionStatus {
  readonly name: string;
  readonly kind: string;
  /** Of a `host` diversion. */
  readonly interface?: string;
  /** Of a `network` diversion. */
  readonly network?: NetworkStatus;
  /** Of what comes in elsewhere: `tcp 23, 445 on the machine of branch-1`. */
  readonly source?: string;
  /** Living decoys, as a decimal number: an IPv6 range exceeds 2^53. */
  readonly decoys: string;
  /** As text: `10.64.0.0/12`. */
  readonly ranges: readonly string[];
  readonly personas?: readonly string[];
  /** Addresses given back to live hosts. */
  readonly withheld?: readonly string[];
}

/** Something beside the segments that some configurations need: the EVPN fabric, the network of services. */
export interface AnnexReport {
  /** `fabric`, `services`. */
  readonly name: string;
  /** Facts, one a line: `peer 10.0.0.254 established, 42 routes`. */
  readonly lines: readonly string[];
  /** Why it is not well, with the next step; whoever gathers the status repeats them in Status.reasons. */
  readonly reasons: readonly string[];
}

/** What of ours was gone or changed in the kernel and was put back, since netd started. */
export interface RepairStatus {
  readonly count: number;
  /** Attempts that failed and are tried again. */
  readonly failures?: number;
  /** `at` is ISO 8601; `network` names the diversion whose segment it was in, absent for this machine's own network. */
  readonly last?: { readonly at: string; readonly message: string; readonly network?: string };
}

/** What analysis did since the recorder began. */
export interface AnalysisStatus {
  /** Sessions looked at, and those that a signature matched. */
  readonly sessions: number;
  readonly matched: number;
  readonly verdicts: number;
  /** Payload families that are new. */
  readonly families: number;
  /** Signatures loaded. */
  readonly rules: number;
  /** Sessions that said something and are not over. */
  readonly held: number;
  /** Sessions let go to bound memory and read back when they ended; those looked at without all of their bytes. */
  readonly spilled: number;
  readonly partial: number;
  /** Payloads of which signatures left a part unread: its bounds of work and of decoded bytes. */
  readonly curtailed?: number;
  /** Sources whose behaviour was forgotten to bound memory. */
  readonly forgotten: number;
  /** By part: times it failed at a session. */
  readonly faults: Readonly<Record<string, number>>;
}

export interface Status {
  readonly version?: string;
  readonly health?: Health;
  /** Why health is not good, one sentence each, with the next step. */
  readonly reasons?: readonly string[];
  readonly data?: string;
  readonly processes?: readonly ProcessStatus[];
  readonly diversions?: readonly DiversionStatus[];
  readonly annexes?: readonly AnnexReport[];
  /** Absent when no agent was ever added. */
  readonly agents?: readonly AgentStatus[];
  readonly repairs?: RepairStatus;
  /** Set while an apply waits for `weir confirm`; ISO 8601. */
  readonly confirmBefore?: string;
  readonly sessions?: { readonly open: number; readonly total?: number };
  readonly journal?: { readonly lagMs?: number; readonly lagBytes?: number; readonly sizeBytes?: number };
  readonly store?: { readonly sizeBytes?: number; readonly sessions?: number; readonly oldest?: string };
  readonly analysis?: AnalysisStatus;
  /** Everything that was lost or refused, by name; zeros may be left out. */
  readonly drops?: Readonly<Record<string, number>>;
  readonly console?: {
    readonly url?: string;
    readonly fingerprint?: string;
    readonly error?: string;
    readonly followers?: number;
  };
}
