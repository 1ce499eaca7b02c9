// Whether BPF programs of the listener's cgroup let the connection in and its answer out.

import { asWeirError } from '../../base/errors.ts';
import { printable } from '../../base/printable.ts';
import { judgeByCgroup } from '../../kernel/cgroup-bpf.ts';
import { renderAddress } from '../../model/address.ts';
import type { Machine, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { hopOf, rungs, type WalkHop } from './hop.ts';

export function cgroupHops(
  machine: Machine,
  namespace: MachineNamespace,
  listener: MachineListener,
  arrived: FilterPacket,
): WalkHop[] {
  const cgroups = new Set(
    machine.processes
      .filter(({ pid }) => listener.pids.includes(pid))
      .flatMap(({ cgroup }) => (cgroup === undefined ? [] : [cgroup])),
  );
  const answer: FilterPacket = {
    ...arrived,
    source: arrived.destination,
    sourcePort: arrived.destinationPort,
    destination: arrived.source,
    destinationPort: arrived.sourcePort,
    tcpFlags: arrived.protocol === 'tcp' ? 'syn,ack' : undefined,
  };
  const hops: WalkHop[] = [];
  for (const cgroup of cgroups)
    for (const [direction, packet, way] of [
      ['ingress', arrived, 'there'],
      ['egress', answer, 'back'],
    ] as const) {
      const where = { namespace, way };
      const shown = printable(cgroup, 200);
      try {
        for (const { id, name, allows } of judgeByCgroup(cgroup, direction, packet)) {
          const program = `program ${id}${name ? ` (${printable(name, 32)})` : ''} of cgroup ${shown}, ${direction}`;
          const evidence = [
            {
              rung: rungs.kernel,
              text: `${program}, run on this packet: ${allows === undefined ? 'could not be run' : allows ? 'allows' : 'denies'}`,
            },
          ];
          if (allows !== false) {
            hops.push(
              hopOf(where, {
                layer: 'cgroup',
                state: allows ? 'pass' : 'unknown',
                detail: `${program} ${allows ? 'allows it' : 'was not judged'}`,
                evidence,
              }),
            );
            continue;
          }
          const detail = `${program}, denies ${direction === 'egress' ? `what is sent to ${renderAddress(packet.destination)}` : `what comes from ${renderAddress(packet.source)}`}`;
          hops.push(
            hopOf(where, {
              layer: 'cgroup',
              state: 'fail',
              detail,
              evidence,
              fault: { id: 'cgroup-bpf-deny', detail, effect: 'silence', parts: { cgroup, packet: arrived } },
            }),
          );
        }
      } catch (error) {
        hops.push(
          hopOf(where, {
            layer: 'cgroup',
            state: 'not-measured',
            detail: `BPF programs of cgroup ${shown}: ${asWeirError(error).message}`,
          }),
        );
      }
    }
  return hops;
}
