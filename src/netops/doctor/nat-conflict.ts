// nft and iptables-legacy that both rewrite one destination, each to another: which one is asked first depends on who registered last,
// and that changes with the next restart. A fault only where their rules meet on the same packet.

import { renderAddress } from '../../model/address.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type { FilterBackend, FilterPacket, PacketFilter, RulePlace } from '../../model/packet-filter.ts';
import { walkFilter } from '../filter-walk.ts';
import { renderPlace } from './filter-hop.ts';
import { seen, type WalkHop } from './hop.ts';
import { isLocalAddress } from './route-decision.ts';
import { sameAddress } from './wire.ts';

interface Rewriting {
  readonly packet: FilterPacket;
  readonly rule: RulePlace;
}

function rewritingOf(
  namespace: MachineNamespace,
  filter: PacketFilter,
  backend: FilterBackend,
  packet: FilterPacket,
): Rewriting | undefined {
  const walk = walkFilter({ ...filter, chains: filter.chains.filter((chain) => chain.backend === backend) }, packet, {
    hook: 'prerouting',
    isLocal: (asked, which) => isLocalAddress(namespace, asked[which]),
  });
  const same = sameAddress(walk.packet.destination, packet.destination) && walk.packet.destinationPort === packet.destinationPort;
  const step = walk.steps.findLast(({ outcome }) => outcome === 'rewrote');
  return same || !step ? undefined : { packet: walk.packet, rule: step.rule };
}

export function natConflict(namespace: MachineNamespace, packet: FilterPacket): WalkHop | undefined {
  const { filter } = namespace;
  if (!filter?.chains.some(({ backend, base }) => backend === 'legacy' && base?.type === 'nat')) return undefined;
  const [nft, legacy] = (['nft', 'legacy'] as const).map((backend) => rewritingOf(namespace, filter, backend, packet));
  if (!nft || !legacy) return undefined;
  if (
    sameAddress(nft.packet.destination, legacy.packet.destination) &&
    nft.packet.destinationPort === legacy.packet.destinationPort
  )
    return undefined;
  const target = ({ packet: { destination, destinationPort } }: Rewriting): string =>
    `${renderAddress(destination)}:${destinationPort}`;
  const detail = `both backends rewrite this destination: nft to ${target(nft)}, iptables-legacy to ${target(legacy)}; whichever was registered last wins`;
  return {
    layer: 'nat',
    namespace,
    way: 'there',
    ...(packet.inputDevice && { dev: packet.inputDevice }),
    state: 'fail',
    detail,
    evidence: [seen(renderPlace(nft.rule)), seen(renderPlace(legacy.rule))],
    fault: {
      id: 'nat-backend-conflict',
      certain: true,
      effect: 'silence',
      detail,
      parts: { rule: legacy.rule, packet, hook: 'prerouting' },
    },
  };
}
