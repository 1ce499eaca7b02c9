// What the gateway's end of the agents' links needs from its owner, its bounds, and what it counts. Data and types only.

import type { Readable } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Persona } from '../../model/persona.ts';
import type { Endpoint, Transport } from '../../model/session.ts';
import type { AgentGate } from '../agents/agent-gate.ts';
import type { Arrival, ArrivedDatagram } from '../arrival.ts';

/** Where a flow of an agent belongs: what its certificate entitles it to hand in. */
export interface AgentPlace {
  readonly diversion: string;
  readonly persona: Persona;
}

export interface AgentRules {
  /** First 12 hex digits of the SHA-256 of `configuration`. */
  readonly rules: string;
  /** The JSON text of a weir.yaml for this agent alone; at most `controlLineBytes` of it. */
  readonly configuration: string;
}

export interface LinkServerOptions {
  readonly gate: AgentGate;
  /** Of this program, as in package.json. */
  readonly version: string;
  /** What the agent should work with; undefined: nothing is meant for it. */
  rulesOf(agent: string): AgentRules | undefined;
  /**
   * Undefined: this agent may not hand in a flow to that destination; it is refused and counted. `network` is what the agent
   * says of where it came in (TLV netns): empty for its own machine, otherwise the name of one of its `network` diversions.
   */
  placeOf(agent: string, transport: Transport, destination: Endpoint, network: string): AgentPlace | undefined;
  /** `network` of what arrives is `agent NAME`, or `agent NAME/NETWORK` from a segment of the agent's. */
  onConnection(arrival: Arrival): void;
  onDatagram(datagram: ArrivedDatagram): void;
  /** What a session is called on record that this agent calls `id`; what is called so comes from this agent alone. */
  sessionIdOf(agent: string, id: string): string;
  /** Records of an agent's spool, as the agent sent them. Resolves when durable; a rejection refuses them (the agent tries again). */
  onSpool(agent: string, batch: Uint8Array): Promise<void>;
  /** A program agents may fetch; undefined: there is none of this version. */
  program(version: string): Readable | undefined;
  /** Statuses may have changed; at most a few times a second. */
  onChange?(): void;
  readonly log: Log;
  readonly clock: Clock;
  readonly limits?: Partial<LinkServerLimits>;
}

export interface LinkServerLimits {
  /** From accept to the end of the TLS handshake. */
  readonly handshakeMs: number;
  /** Handshakes at once, in all and from one source (an IPv4 address, an IPv6 /64). What is more is reset unheard. */
  readonly handshakes: number;
  readonly handshakesPerSource: number;
  /** Handshakes begun a second from one source, after a burst of five times as many. */
  readonly handshakesPerSecond: number;
  /** From the handshake to `hello`. */
  readonly helloMs: number;
  readonly pingEveryMs: number;
  /** A ping without an answer for so long, and nothing else heard: the link is dead. */
  readonly deadAfterMs: number;
  /** At once, of one agent. TCP and UDP together. */
  readonly flowsPerAgent: number;
  /** New ones of one agent a second, after a burst of as many; 0: no limit. */
  readonly flowsPerSecond: number;
  /** A flow's PROXY header has to be complete within. */
  readonly headerMs: number;
  /** A datagram flow that is silent for so long ends. */
  readonly datagramIdleMs: number;
  /** What of one agent's flows may wait here for slow receivers; past it the flow that holds most is reset. */
  readonly bufferedBytesPerAgent: number;
  /** Answers to datagrams that wait for one agent's link, of all its flows; past it they are dropped and counted. */
  readonly replyBytesPerAgent: number;
  /** What of one batch of a spool is taken. */
  readonly spoolBatchBytes: number;
  /** Longest line on the control stream that an agent may send. */
  readonly controlLineBytes: number;
  /** Longest line we send: rules. */
  readonly rulesBytes: number;
}

export const linkServerLimits: LinkServerLimits = {
  handshakeMs: 5_000,
  handshakes: 512,
  handshakesPerSource: 64,
  handshakesPerSecond: 50,
  helloMs: 10_000,
  pingEveryMs: 3_000,
  deadAfterMs: 9_000,
  flowsPerAgent: 4_096,
  flowsPerSecond: 0,
  headerMs: 5_000,
  datagramIdleMs: 120_000,
  bufferedBytesPerAgent: 64 * 2 ** 20,
  replyBytesPerAgent: 8 * 2 ** 20,
  spoolBatchBytes: 8 * 2 ** 20,
  controlLineBytes: 64 * 1024,
  rulesBytes: 16 * 2 ** 20,
};

/** Since the start; what is refused is in one of them. */
export interface LinkServerCounters {
  accepted: number;
  /** Reset before the handshake: too many at once, or too many of one source. */
  handshakesShed: number;
  handshakesFailed: number;
  handshakesTimedOut: number;
  /** Through the handshake, and turned away by the gate. */
  notAdmitted: number;
  links: number;
  /** Turned away because they speak another protocol. */
  foreign: number;
  /** A newer link of the same agent took the place. */
  replaced: number;
  /** Ended because nothing was heard any more. */
  dead: number;
  /** Ended for what an agent must not do: HTTP/2 or control lines that are none, floods. */
  misbehaved: number;
  /** For what there is not: an unknown path, a stream before hello, a second one of a kind, a program that is not here. */
  requestsRefused: number;
  enrolled: number;
  enrolmentsRefused: number;
  flows: number;
  /** Bad, late or missing PROXY header. */
  headersRefused: number;
  /** Not of a diversion of this agent. */
  placesRefused: number;
  /** More flows than an agent may have. */
  flowsShed: number;
  /** Reset because their receivers were slow and the agent's share of memory full. */
  flowsOverBudget: number;
  datagrams: number;
  /** Answers to datagrams that found the link full. */
  repliesDropped: number;
  /** Flows of broken links that are on record as they were seen here: records of the agent's, if it has some, come too late. */
  claimsGivenUp: number;
  spoolBatches: number;
  spoolRefused: number;
}
