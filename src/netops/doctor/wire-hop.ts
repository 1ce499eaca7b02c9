// What is between a device and whoever hears it: its queue, the neighbour's entry, links that are down, and nobody at all. Pure; bridges on the
// way and their rules are path-walk.ts.

import { type Address, renderAddress } from '../../model/address.ts';
import type { Machine, MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { type Evidence, type FaultWords, type HopWords, hopOf, seen, type WalkHop } from './hop.ts';
import { qdiscHop } from './qdisc-hop.ts';
import { findOnWire, type Landing, linkNamed, sameAddress } from './wire.ts';

export interface Departure {
  readonly machine: Machine;
  readonly namespace: MachineNamespace;
  readonly device: string;
  readonly nextHop: Address;
  readonly packet: FilterPacket;
  readonly way: 'there' | 'back';
  /** What the source asked for, where that was rewritten. */
  readonly rewritten?: { readonly address: Address; readonly port: number };
}

export interface WireOutcome {
  readonly hops: readonly WalkHop[];
  /** Who hears it; else how it ends. */
  readonly landing?: Landing;
  readonly ended?: 'left' | 'stopped';
}

export function crossWire(departure: Departure): WireOutcome {
  const { machine, namespace, device, nextHop, way } = departure;
  const link = linkNamed(namespace, device);
  const hops: WalkHop[] = [];
  const add = (words: HopWords, where = namespace): void => void hops.push(hopOf({ namespace: where, way }, words));
  if (!link) {
    add({ layer: 'link', dev: device, state: 'unknown', detail: `there is no link ${device}` });
    return { hops, ended: 'stopped' };
  }
  const queue = qdiscHop(namespace, device, way);
  if (queue) hops.push(queue);
  const entry = namespace.neighbours.find((neighbour) => neighbour.device === device && sameAddress(neighbour.address, nextHop));
  const evidence = entry
    ? [seen(`neighbour ${renderAddress(entry.address)} dev ${device} ${entry.mac ?? ''} ${entry.state}`)]
    : [];
  const byAddress = findOnWire(machine, { namespace, link }, { address: nextHop });
  const fixed = entry?.state.includes('PERMANENT') ? entry.mac : undefined;
  // Who answered lately is there, whatever he answers for (proxies for single addresses are not read).
  const heard = entry && /REACHABLE|DELAY/.test(entry.state) && !byAddress.landing ? entry.mac : undefined;
  const mac = fixed ?? heard;
  const byMac = mac === undefined ? undefined : findOnWire(machine, { namespace, link }, { mac });
  const search = byMac && (fixed !== undefined || byMac.landing) ? byMac : byAddress;
  const { landing } = search;
  if (fixed !== undefined && (!landing || (byAddress.landing && landing.link !== byAddress.landing.link))) {
    const real = byAddress.landing ? `; ${renderAddress(nextHop)} really is ${byAddress.landing.link.mac}` : '';
    const fault: FaultWords = {
      id: 'reply-lost-off-host',
      detail: `${renderAddress(nextHop)} has a PERMANENT neighbour entry, ${fixed} on ${device}: what is sent there leaves, and whether that is right cannot be told from here${real}`,
      effect: 'silence',
      certain: byAddress.landing !== undefined,
      parts: { address: nextHop, mac: fixed, link },
    };
    add({ layer: 'neighbour', dev: device, state: 'fail', detail: fault.detail, evidence, fault });
    return byAddress.landing ? { hops, landing: byAddress.landing } : { hops, ended: 'left' };
  }
  if (!landing) return unheard(departure, search.leaves.length > 0, evidence, hops);
  for (const { namespace: where, link: down } of landing.down)
    if (!down.up || landing.down.length === 1) {
      const detail = `${down.name} is ${down.up ? `up, but its state is ${down.operstate}` : 'switched off'}`;
      const text = `${down.name}: ${down.up ? 'UP' : 'DOWN'}, operstate ${down.operstate}`;
      const fault: FaultWords = { id: 'link-down', detail, effect: 'silence', parts: { link: down } };
      add({ layer: 'link', dev: down.name, state: 'fail', detail, evidence: [seen(text)], fault }, where);
    }
  return { hops, landing };
}

function unheard(
  { namespace, device, nextHop, packet, way, rewritten }: Departure,
  leaves: boolean,
  evidence: readonly Evidence[],
  hops: WalkHop[],
): WireOutcome {
  const link = linkNamed(namespace, device);
  const add = (words: HopWords): void => void hops.push(hopOf({ namespace, way }, words));
  if (link && !link.up) {
    const detail = `${device} is switched off`;
    add({
      layer: 'link',
      dev: device,
      state: 'fail',
      detail,
      fault: { id: 'link-down', detail, effect: 'silence', parts: { link } },
    });
    return { hops, ended: 'stopped' };
  }
  const failed = namespace.neighbours.some(
    ({ address, device: on, state }) => on === device && sameAddress(address, nextHop) && /FAILED|INCOMPLETE/.test(state),
  );
  // An entry that failed is what was true when it was last asked for: it is asked again with the next packet.
  if (leaves && !failed) {
    add({
      layer: 'link',
      dev: device,
      state: 'not-measured',
      detail: `it leaves by ${device}; what comes behind is not seen from here`,
    });
    return { hops, ended: 'left' };
  }
  const nobody = `nobody on ${device} has ${renderAddress(nextHop)}`;
  const target = `${renderAddress(packet.destination)}:${packet.destinationPort}`;
  const fault: FaultWords =
    way === 'there' && rewritten
      ? {
          id: 'dnat-target-down',
          detail: `${renderAddress(rewritten.address)}:${rewritten.port} is rewritten to ${target}, and ${nobody}`,
          effect: 'unreachable',
        }
      : { id: 'next-hop-unreachable', detail: nobody, effect: 'unreachable' };
  add({
    layer: 'neighbour',
    dev: device,
    state: 'fail',
    detail: fault.detail,
    evidence,
    fault: { ...fault, certain: !leaves, parts: { packet, address: nextHop } },
  });
  return { hops, ended: 'stopped' };
}
