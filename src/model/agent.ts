// Agents: what the far end is told, and what it says of itself, as it travels on the control stream of its link (one JSON
// object a line) and as `weir agents` shows it. Data only; the link is relay/, who may speak is relay/agents/.

import { createHash } from 'node:crypto';
import type { Endpoint } from './session.ts';
import type { Health } from './status.ts';

/** Of the link. A gateway speaks with agents of the same number only, and tells the others to be upgraded. */
export const linkProtocol = 1;

/** Keeps a hello within the longest control line. */
export const maxTakenBack = 2000;

/** What an agent is able to do where it runs. */
export type AgentCapability = 'tcp' | 'udp' | 'low-ports' | 'host' | 'network' | 'transparent' | 'vxlan' | 'wireguard';

/** What waits at the agent for the centre. */
export interface SpoolState {
  readonly records: number;
  readonly bytes: number;
  /** Refused because the spool was full, or its disk; since the agent's first start. */
  readonly droppedRecords: number;
  readonly diskFull: boolean;
  /** Of the oldest record that waits, ISO 8601. */
  readonly oldest?: string;
}

export type AgentMessage =
  | {
      readonly kind: 'hello';
      readonly protocol: number;
      /** Of the program, as in package.json. */
      readonly version: string;
      readonly platform: string;
      readonly arch: string;
      readonly node: string;
      readonly hostname: string;
      readonly capabilities: readonly AgentCapability[];
      /** Microseconds since 1970 by the agent's own clock. */
      readonly clock: number;
      /** Of the rules it works with; absent: none yet. */
      readonly rules?: string;
      readonly spool: SpoolState;
      /** Flows of earlier links that it answers itself, by the identifiers it gave them; at most `maxTakenBack`, the first. */
      readonly takenBack?: readonly string[];
    }
  /** The rules hold now, except for what is named. */
  | {
      readonly kind: 'applied';
      readonly rules: string;
      readonly refused: readonly RefusedListener[];
      readonly addresses: readonly string[];
    }
  | {
      readonly kind: 'health';
      readonly health: Health;
      readonly reasons: readonly string[];
      readonly memoryBytes: number;
      readonly openFlows: number;
      readonly flows: number;
      /** Answered by the agent's own catch-all, since its start. */
      readonly answeredAlone: number;
      readonly spool: SpoolState;
      /** By what the agent's clock is ahead of the gateway's, microseconds. */
      readonly skewMicros: number;
    }
  /** Answer to `touch`: what the agent connected from, or why it could not. */
  | { readonly kind: 'touched'; readonly id: string; readonly from?: string; readonly error?: string }
  | { readonly kind: 'renew'; readonly request: string }
  /**
   * How far an upgrade is: `staged` the new program is in place and starts, `committed` (said by the new one) it stays,
   * `failed` the old one goes on.
   */
  | {
      readonly kind: 'upgrade';
      readonly version: string;
      readonly state: 'staged' | 'committed' | 'failed';
      readonly reason?: string;
    };

export interface RefusedListener {
  readonly transport: 'tcp' | 'udp';
  readonly port: number;
  /** `EADDRINUSE`, `EACCES`, or a sentence. */
  readonly why: string;
}

export type GatewayMessage =
  | {
      readonly kind: 'welcome';
      readonly protocol: number;
      readonly version: string;
      /** The name the certificate gives the agent. */
      readonly agent: string;
      /** Microseconds since 1970 by the gateway's clock. */
      readonly clock: number;
      /** It keeps sessions under the identifiers that agents give their flows, and wants to hear which they know it took. */
      readonly claims?: boolean;
    }
  /** `configuration` is the JSON text of a weir.yaml for this agent alone; `rules` its digest, see rulesDigest(). */
  | { readonly kind: 'rules'; readonly rules: string; readonly configuration: string }
  /** Connect to this address and port yourself, send `payload`, and say where you came from. For `weir agents test`. */
  | {
      readonly kind: 'touch';
      readonly id: string;
      readonly transport: 'tcp' | 'udp';
      readonly ip: string;
      readonly port: number;
      readonly payload: string;
    }
  | { readonly kind: 'certificate'; readonly certificate: string }
  /** Fetch this program over the link, check it, stage it, start it; the old one returns when it does not report. */
  | { readonly kind: 'upgrade'; readonly version: string; readonly sha256: string; readonly bytes: number }
  /** The link ends; the reason is for the agent's status: `revoked`, `replaced`, `shutdown`, `protocol`. */
  | { readonly kind: 'goodbye'; readonly reason: string };

/** Names a text of rules: the first 12 hex digits of its SHA-256. */
export const rulesDigest = (configuration: string): string =>
  createHash('sha256').update(configuration).digest('hex').slice(0, 12);

/** Where one agent stands, as `weir agents` and the status show it. */
export interface AgentStatus {
  readonly name: string;
  /** `waiting`: has a token and never came. */
  readonly state: 'linked' | 'away' | 'waiting' | 'revoked';
  readonly health: Health;
  readonly reasons: readonly string[];
  /** As the agent itself says, since its link came up; absent: not heard yet. */
  readonly ownHealth?: Health;
  readonly version?: string;
  readonly platform?: string;
  /** Where its link comes from. */
  readonly peer?: string;
  /** ISO 8601: of the state. */
  readonly since?: string;
  readonly lastTouch?: string;
  /** Round trip over the link, microseconds: median of the last pings. */
  readonly latencyMicros?: number;
  readonly openFlows?: number;
  readonly flows?: number;
  readonly spool?: SpoolState;
  readonly skewMicros?: number;
  readonly rules?: {
    readonly wanted: string;
    readonly applied?: string;
    readonly refused: readonly RefusedListener[];
    /** The agent's own, on which it listens, as its `applied` said. */
    readonly addresses?: readonly string[];
  };
  readonly memoryBytes?: number;
  readonly certificateUntil?: string;
  readonly upgrade?: {
    readonly version: string;
    readonly state: 'offered' | 'staged' | 'done' | 'failed';
    readonly reason?: string;
  };
}

/** All of them, and what is wrong with their identities as a whole, a sentence each with the next step. */
export interface AgentReport {
  readonly agents: readonly AgentStatus[];
  readonly reasons: readonly string[];
}

/** What `weir agents add` answers. */
export interface AgentToken {
  readonly name: string;
  /** One line; works once. */
  readonly token: string;
  /** ISO 8601. */
  readonly expires: string;
  /** The agent has a certificate, which holds until that of this token was seen. */
  readonly again: boolean;
  /** `HOST:PORT` where agents reach the gateway, the best guess first; empty: nothing listens for agents. */
  readonly gateways: readonly string[];
  /** The configuration has nothing for an agent of this name. */
  readonly unused: boolean;
}

/** One decoy of an agent's that the agent connected to itself, for `weir agents test`. */
export interface AgentTouch {
  readonly diversion: string;
  readonly transport: 'tcp' | 'udp';
  readonly decoy: Endpoint;
  /** Where the agent says it came from. */
  readonly source?: Endpoint;
  /** Instead of `source`: why not. */
  readonly error?: string;
}

/** What the agent was let do; `error`: nothing, and why. */
export interface AgentTouches {
  readonly agent: string;
  readonly touches: readonly AgentTouch[];
  readonly error?: { readonly step: 'known' | 'link' | 'rules'; readonly message: string; readonly next?: string };
}

/** What is rolled out, and to whom. */
export interface AgentUpgradeOrder {
  /** Absent: all that are not revoked. */
  readonly names?: readonly string[];
  /** So many at a time; absent: one, then a tenth, then the rest. */
  readonly stage?: number;
  /** Also to newer ones, to those that have it, and to those in bad health. */
  readonly force?: boolean;
  /** For each stage. */
  readonly withinMs?: number;
  /** Which of the programs the gateway keeps, by SHA-256. */
  readonly sha256: string;
}

/** How the upgrade of one agent is. */
export interface AgentUpgrade {
  readonly agent: string;
  /**
   * `offered`: under way; `waiting`: its turn comes; when it stopped before that, `untouched`, and `unfinished` when nothing final
   * was heard by then. `current`: it has this version. `refused`: not asked, see `reason`.
   */
  readonly state: 'waiting' | 'offered' | 'done' | 'failed' | 'unfinished' | 'untouched' | 'current' | 'refused';
  readonly version?: string;
  /** From 1. */
  readonly stage?: number;
  readonly reason?: string;
}

/** A roll-out of one version, as `weir agents upgrade` follows it. */
export interface AgentRollOut {
  readonly version: string;
  /** Rises with each change. */
  readonly change: number;
  readonly over: boolean;
  /** The agent because of which it stopped. */
  readonly stoppedBy?: string;
  readonly stages: number;
  readonly agents: readonly AgentUpgrade[];
}
