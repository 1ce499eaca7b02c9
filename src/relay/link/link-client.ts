// The agent's end of its link. Types until the class that implements them is here.

import type { Readable } from 'node:stream';
import type { AgentMessage } from '../../model/agent.ts';
import type { FlowStream } from '../arrival.ts';
import type { DatagramFlow, DatagramRequest, FlowRequest, LinkClientCounters, LinkState } from './link-client-options.ts';

export interface LinkClient {
  readonly state: LinkState;
  readonly counters: Readonly<LinkClientCounters>;
  /** Median of the last pings, microseconds; undefined while away. */
  readonly latencyMicros: number | undefined;
  readonly openFlows: number;
  start(): void;
  /** Connects now instead of at the end of the wait. */
  retryNow(): void;
  /** Undefined: no link, or too many at once; answer it yourself. The stream is half-open like a socket; a gateway that will not have it is a RST. */
  openFlow(request: FlowRequest): FlowStream | undefined;
  openDatagrams(request: DatagramRequest): DatagramFlow | undefined;
  /** False: no link, or what waits is too much; nothing is kept for later. */
  send(message: AgentMessage): boolean;
  /** At most 8 MiB. Resolves when durable at the centre. Rejects with WeirError `not-running` (no link), `timeout`, `store-unavailable` (refused). */
  sendSpool(batch: Uint8Array): Promise<void>;
  /** Errors when there is none of this version, or the link breaks. */
  fetchProgram(version: string): Readable;
  /** Ends the link and all flows; nothing is tried again. */
  close(): Promise<void>;
}
