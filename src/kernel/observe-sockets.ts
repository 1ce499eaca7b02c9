// What already listens and who is connected, from /proc/net: so that nothing in use is diverted or locked out.
// Sockets of ours are opened elsewhere in this room.

import { readdir, readFile, readlink } from 'node:fs/promises';
import { type Address, addressFromBytes } from '../model/address.ts';
import type { Transport } from '../model/session.ts';
import type { CommandRunner } from './command.ts';

export interface Listener {
  readonly transport: Transport;
  /** All zero for the wildcard. */
  readonly address: Address;
  readonly port: number;
  readonly inode: number;
}

export interface Connection {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
}

const established = '01';
const listening = '0A';
/** Lines beyond this are not read: a flood of connections must not make planning slow. */
const maxLines = 50_000;

/** `00000000:0016` as /proc/net/tcp writes it: words of 32 bits in host order. See proc_net(5). */
export function parseProcEndpoint(text: string): { address: Address; port: number } | undefined {
  const colon = text.indexOf(':');
  const hex = text.slice(0, colon);
  if (colon < 0 || (hex.length !== 8 && hex.length !== 32)) return undefined;
  const bytes = Buffer.from(hex, 'hex');
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  const mapped = bytes.length === 16 && bytes.readBigUInt64BE(0) === 0n && bytes.readUInt32BE(8) === 0xffff;
  const address = addressFromBytes(mapped ? bytes.subarray(12) : bytes);
  return { address, port: Number.parseInt(text.slice(colon + 1), 16) };
}

export async function readSockets(runner: CommandRunner): Promise<{ listeners: Listener[]; connections: Connection[] }> {
  const listeners: Listener[] = [];
  const connections: Connection[] = [];
  for (const table of ['tcp', 'tcp6', 'udp', 'udp6'] as const) {
    const text = (await runner.readProc(`/proc/net/${table}`)) ?? '';
    const transport = table.startsWith('tcp') ? 'tcp' : 'udp';
    for (const line of text.split('\n', maxLines).slice(1)) {
      const fields = line.trim().split(/\s+/);
      const local = parseProcEndpoint(fields[1] ?? '');
      const remote = parseProcEndpoint(fields[2] ?? '');
      if (!local || !remote) continue;
      if (transport === 'tcp' && fields[3] === established)
        connections.push({ local: local.address, localPort: local.port, remote: remote.address, remotePort: remote.port });
      else if (transport === 'udp' ? remote.port === 0 : fields[3] === listening)
        listeners.push({ transport, address: local.address, port: local.port, inode: Number(fields[9]) });
    }
  }
  return { listeners, connections };
}

/** Ports of those listeners that a process of this name holds. Needs root to see other users' processes. */
export async function readPortsOfProgram(listeners: readonly Listener[], program: string): Promise<number[]> {
  const byInode = new Map(listeners.map((listener) => [`socket:[${listener.inode}]`, listener.port]));
  const ports = new Set<number>();
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      if ((await readFile(`/proc/${pid}/comm`, 'utf8')).trim() !== program) continue;
      for (const fd of await readdir(`/proc/${pid}/fd`)) {
        const port = byInode.get(await readlink(`/proc/${pid}/fd/${fd}`));
        if (port !== undefined) ports.add(port);
      }
    } catch {
      // The process ended while we looked, or is not ours to read.
    }
  }
  return [...ports].sort((a, b) => a - b);
}
