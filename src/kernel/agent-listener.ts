// The sockets agents' links come in by: plain listeners on an address of this machine, opened by netd for the gateway. Who
// may come in is decided in the TLS handshake, relay/link/.

import { type Address, renderAddress } from '../model/address.ts';
import type { NamedSocket } from './named-socket.ts';
import { openPlainSocket } from './proxy-socket.ts';

export interface AgentListenerPlan {
  readonly address: Address;
  readonly port: number;
  readonly netns?: string;
}

export const agentListenerName = ({ address, port }: AgentListenerPlan): string => `agents:${renderAddress(address)}:${port}`;

/** That of `existing` where it is there. Throws `system-call` (`EADDRINUSE`), `not-permitted`. */
export function openAgentListener(plan: AgentListenerPlan, existing: readonly NamedSocket[] = []): NamedSocket {
  const name = agentListenerName(plan);
  const known = existing.find((one) => one.name === name && one.role === 'agents');
  const { address, port } = plan;
  return known ?? { name, role: 'agents', fd: openPlainSocket('tcp', plan), family: address.family, port };
}
