// What an agent has to know of the system it runs on, without anything of one system alone: how many descriptors, which ports.

import { readFileSync } from 'node:fs';
import type { AgentCapability } from '../model/agent.ts';

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/** Descriptors this process may have; Node has raised its soft limit to the hard one. Where it cannot be told: 4,096. */
export function descriptorLimit(): number {
  if (process.platform === 'win32') return 16_384;
  const text = /^Max open files\s+(\d+|unlimited)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  const limit = text ?? reportedLimit();
  return limit === 'unlimited' ? 1_048_576 : Number(limit) || 4096;
}

function reportedLimit(): string {
  const report = process.report.getReport() as { userLimits?: { open_files?: { soft?: number | string } } };
  return String(report.userLimits?.open_files?.soft ?? '');
}

/** capability.h: CAP_NET_BIND_SERVICE. */
const bindServiceBit = 10n;

function mayBindLowPorts(): boolean {
  if (process.platform !== 'linux')
    return process.platform === 'win32' || process.geteuid?.() === 0 || process.platform === 'darwin';
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(read('/proc/self/status') ?? '')?.[1] ?? '0';
  if ((BigInt(`0x${effective}`) >> bindServiceBit) & 1n) return true;
  return Number(read('/proc/sys/net/ipv4/ip_unprivileged_port_start') ?? 1024) <= 1;
}

export const ownCapabilities = (): AgentCapability[] => ['tcp', 'udp', ...(mayBindLowPorts() ? (['low-ports'] as const) : [])];

/** Kept for the journal, the link, its files. */
const keptFree = 64;

/** How many descriptors may listen, and how many connections may be open beside them. */
export function shareDescriptors(limit = descriptorLimit()): { readonly listeners: number; readonly connections: number } {
  const free = Math.max(32, limit - keptFree);
  // Half at most: a listener that nobody may connect to is worth nothing.
  const listeners = Math.min(140_000, Math.floor(free / 2));
  return { listeners, connections: Math.min(65_536, free - listeners) };
}
