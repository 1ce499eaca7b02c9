// The gateway's end of all agents' links. Types until the class that implements them is here.

import type { AgentStatus } from '../../model/agent.ts';
import type { LinkServerCounters } from './link-server-options.ts';

export interface LinkServer {
  readonly counters: Readonly<LinkServerCounters>;
  /** A listening TCP socket of netd's; ours from here on. */
  addListener(fd: number): void;
  /** Stops listening there; links that came in by it go on. */
  removeListener(fd: number): void;
  /** All agents the gate knows, linked or not. */
  statuses(): AgentStatus[];
  /** Sends rules to whom has others; to one agent or all. */
  pushRules(agent?: string): void;
  /** The agent connects to the address and says where from. Rejects with WeirError `not-found` (not linked), `timeout`, `bad-request` (it could not). */
  touch(
    agent: string,
    touch: { readonly transport: 'tcp' | 'udp'; readonly ip: string; readonly port: number; readonly payload: string },
    timeoutMs: number,
  ): Promise<{ readonly from: string }>;
  /** False: not linked. */
  offerUpgrade(agent: string, offer: { readonly version: string; readonly sha256: string; readonly bytes: number }): boolean;
  /** Ends its link with a goodbye; it may come again if the gate lets it. */
  disconnect(agent: string, reason: string): void;
  close(): Promise<void>;
}
