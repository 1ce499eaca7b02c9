// Who takes a connection at its end: the listening socket the kernel would choose (__inet_lookup_listener), or why there is none.

import { printable } from '../../base/printable.ts';
import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { seen, type WalkHop } from './hop.ts';
import { findListener } from './listener.ts';

export function listenerHop(
  machine: Machine,
  namespace: MachineNamespace,
  packet: FilterPacket,
  tproxy: { address?: Address; port?: number } | undefined,
  rewritten: boolean,
): { hop: WalkHop; listener?: MachineListener } {
  const address = tproxy?.address ?? packet.destination;
  const port = tproxy?.port ?? packet.destinationPort;
  const candidates = namespace.listeners.filter((listener) => listener.transport === packet.protocol && listener.port === port);
  const listener = findListener(namespace, packet, address, port);
  const base = { layer: 'socket', namespace, way: 'there' as const, ...(packet.inputDevice && { dev: packet.inputDevice }) };
  const where = `${renderAddress(address)}:${port}`;
  const evidence = candidates.map((candidate) => seen(`listens: ${renderListener(machine, candidate)}`));
  const refused = (
    id: 'service-not-listening' | 'service-bound-loopback' | 'service-v6only' | 'dnat-target-not-listening',
    detail: string,
  ) => ({
    hop: {
      ...base,
      state: 'fail' as const,
      detail,
      evidence: evidence.length > 0 ? evidence : [seen(`no socket listens on port ${port} here`)],
      fault: {
        id,
        certain: true,
        effect: 'refused' as const,
        detail,
        parts: { packet, ...(candidates[0] && { listener: candidates[0] }) },
      },
    },
  });
  if (!listener) {
    const loopback = candidates.find((candidate) => isLoopback(candidate.address) && !isLoopback(address));
    const other = candidates.find((candidate) => candidate.address.family !== address.family);
    const reason = loopback
      ? `the service there is bound to ${renderAddress(loopback.address)}, which only this namespace itself reaches`
      : other
        ? `what listens there is for IPv${other.address.family} alone`
        : candidates[0]
          ? `what listens on port ${port} is bound to ${renderAddress(candidates[0].address)}`
          : `nothing listens on ${where}`;
    if (rewritten) return refused('dnat-target-not-listening', `the packet is rewritten to ${where}: ${reason}`);
    if (loopback) return refused('service-bound-loopback', reason);
    if (other && address.family === 4) return refused('service-v6only', reason);
    return refused('service-not-listening', reason);
  }
  const { acceptQueue } = listener;
  // The kernel lets one more in than the limit: sk_acceptq_is_full.
  if (acceptQueue && acceptQueue.waiting > acceptQueue.limit) {
    const detail = `the accept queue is full: ${acceptQueue.waiting} connections wait, ${acceptQueue.limit} may; the program does not take them`;
    return {
      hop: {
        ...base,
        state: 'fail',
        detail,
        evidence: [seen(`listens: ${renderListener(machine, listener)}`)],
        fault: { id: 'accept-queue-full', certain: true, effect: 'silence', detail, parts: { packet, listener } },
      },
      listener,
    };
  }
  return {
    hop: { ...base, state: 'pass', detail: `${where}: ${renderListener(machine, listener)}`, evidence: [] },
    listener,
  };
}

export const isLoopback = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);

export function renderListener(machine: Machine, { transport, address, port, pids, uid, acceptQueue }: MachineListener): string {
  const text = renderAddress(address);
  const holder = machine.processes.find(({ pid }) => pids.includes(pid));
  const who = holder ? `${printable(holder.comm, 32)} (pid ${holder.pid})` : `uid ${uid}`;
  const queue = acceptQueue ? `, queue ${acceptQueue.waiting} of ${acceptQueue.limit}` : '';
  return `${transport} ${address.family === 6 ? `[${text}]` : text}:${port} by ${who}${queue}`;
}
