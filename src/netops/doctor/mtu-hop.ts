// Large packets where a router can send only smaller ones: it has to tell the sender (RFC 1191), and somebody must let that through. Where
// nobody does, connections come about and then stall. Pure.

import { type Address, renderAddress } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { FilterPacket } from '../../model/packet-filter.ts';
import { renderPlace, visitHook } from './filter-hop.ts';
import { seen, type WalkHop } from './hop.ts';

/** A device the data leaves by on its way, with the addresses it has there. */
export interface DataLeg {
  readonly namespace: MachineNamespace;
  readonly device: string;
  readonly mtu: number;
  readonly from: Address;
  readonly to: Address;
  readonly way: 'there' | 'back';
}

const clamps = ({ filter }: MachineNamespace): boolean =>
  filter?.chains.some(({ rules }) => rules.some(({ text }) => /TCPMSS|maxseg size set/.test(text))) ?? false;

/** Of the legs of one direction in order. The first is the sender's own. */
export function mtuHops(legs: readonly DataLeg[]): WalkHop[] {
  const [sender, ...routers] = legs;
  if (!sender) return [];
  const hops: WalkHop[] = [];
  for (const leg of routers) {
    if (leg.mtu >= sender.mtu || clamps(leg.namespace) || clamps(sender.namespace)) continue;
    const { namespace, device, way } = leg;
    const told: FilterPacket = {
      family: leg.from.family,
      protocol: 'icmp',
      source: ownAddress(namespace, device, leg.from) ?? leg.to,
      sourcePort: 0,
      destination: leg.from,
      destinationPort: 0,
      mark: 0,
      state: 'related',
      icmp: leg.from.family === 4 ? { type: 3, code: 4 } : { type: 2, code: 0 },
    };
    const lost = [
      ...visitHook({ namespace, hook: 'output', packet: told, way }).hops,
      ...visitHook({ namespace: sender.namespace, hook: 'input', packet: told, way }).hops,
    ].find(({ fault, state }) => fault !== undefined || state === 'unknown');
    const sizes = `${device} takes ${leg.mtu} bytes, ${renderAddress(leg.from)} sends up to ${sender.mtu}`;
    const evidence = [seen(`mtu ${leg.mtu} on ${device}, ${sender.mtu} on ${sender.device}`)];
    if (!lost) {
      hops.push({
        layer: 'mtu',
        namespace,
        dev: device,
        way,
        state: 'pass',
        detail: `${sizes}; the message that says so passes the rules`,
        evidence,
      });
      continue;
    }
    const rule = lost.fault?.parts.rule;
    const detail = `${sizes}, and the ICMP message that tells it is dropped${rule ? ` by ${renderPlace(rule)}` : ''}: small packets pass, large ones vanish`;
    const certain = lost.fault?.certain === true;
    hops.push({
      layer: 'mtu',
      namespace: lost.namespace,
      dev: device,
      way,
      state: certain ? 'fail' : 'unknown',
      detail,
      evidence,
      fault: {
        id: 'pmtu-blackhole',
        certain,
        effect: 'stall',
        detail,
        parts: { ...lost.fault?.parts, packet: told, mtu: leg.mtu },
      },
    });
  }
  return hops;
}

const ownAddress = ({ links }: MachineNamespace, device: string, like: Address): Address | undefined =>
  links
    .filter(({ name }) => name !== device && name !== 'lo')
    .flatMap(({ addresses }) => addresses)
    .find(({ address, usable }) => usable && address.family === like.family)?.address;
