// Diversions whose packets an agent's machine carries to its gateway (`transport: packets`): what the one diversion in the file
// becomes at either end. At the gateway a segment whose link is the tunnel, at the agent decoys bound to that tunnel. Pure.

import { type Address, type AddressRange, parseAddress, subtractRanges, uniteRanges } from '../model/address.ts';
import type {
  Binding,
  Diversion,
  InterfaceAddress,
  KernelPathService,
  NetworkDiversion,
  VxlanAttachment,
} from '../model/configuration.ts';
import { reservedInSegment } from '../model/segment.ts';
import type { Mistakes } from './issues.ts';
import { isMapping } from './personas.ts';
import { type TunnelText, tunnelSettings } from './tunnel-schema.ts';

type Path = readonly PropertyKey[];

const host = (text: string): Address => parseAddress(text) as Address;

/**
 * Inside every tunnel the same: each end is a link in a namespace of its own, or named with its routes. IPv4 link-local
 * (RFC 3927) and a unique local /126 (RFC 4193), which no attacker's packet has a reason to be for.
 */
const inner: Record<4 | 6, { readonly gateway: InterfaceAddress; readonly agent: InterfaceAddress }> = {
  4: {
    gateway: { address: host('169.254.87.1'), prefixLength: 30 },
    agent: { address: host('169.254.87.2'), prefixLength: 30 },
  },
  6: {
    gateway: { address: host('fd57:6569:7287::1'), prefixLength: 126 },
    agent: { address: host('fd57:6569:7287::2'), prefixLength: 126 },
  },
};

/** Over IPv4 the underlay carries larger frames in fragments; of an Ethernet with IPv6 VXLAN leaves this much. */
const usualMtu = { 4: 1500, 6: 1430 } as const;

export interface TunnelContext {
  readonly mistakes: Mistakes;
  /** Whose machine runs the diversion; empty: this one. */
  readonly agent: string;
  /** The file is that agent's part. */
  readonly ofAgent: boolean;
}

/** Undefined: its sessions are carried, not its packets; or there is a mistake that leaves nothing to go on with. */
export function readTunnel(value: unknown, at: Path, { mistakes, agent, ofAgent }: TunnelContext): TunnelText | undefined {
  if (!isMapping(value) || (value.transport === undefined && value.tunnel === undefined)) return undefined;
  if (agent === '' && !ofAgent) {
    mistakes.add(
      [...at, value.transport === undefined ? 'tunnel' : 'transport'],
      'packets to decoys of this machine are here already',
      'add `agent:` with the name of the agent on whose machine the decoys are, or leave `transport` and `tunnel` out',
    );
    return undefined;
  }
  if (value.transport !== 'packets') {
    if (value.tunnel !== undefined)
      mistakes.add([...at, 'tunnel'], '`tunnel` does nothing without `transport: packets`', 'add that, or leave `tunnel` out');
    return undefined;
  }
  if (value.tunnel === undefined) {
    mistakes.add(
      at,
      '`tunnel` is missing',
      'add `tunnel: { kind: vxlan, vni: 4001, local: ADDRESS OF THE GATEWAY, remote: ADDRESS OF THE AGENT }`',
    );
    return undefined;
  }
  // What does not parse was told with the diversion's other keys.
  const parsed = tunnelSettings.safeParse(value.tunnel);
  if (!parsed.success) return undefined;
  const { local, remote } = parsed.data;
  if (local.family !== remote.family || local.value === remote.value) {
    mistakes.add(
      [...at, 'tunnel', 'remote'],
      'the two ends are not two addresses of one family',
      "write the gateway's address as `local` and the agent's as `remote`",
    );
    return undefined;
  }
  return parsed.data;
}

/** Only whole ranges, claimed by route, can be led away. */
export function checkTunnelled({ groups, name }: Diversion, at: Path, mistakes: Mistakes): void {
  const wrong = groups.find(({ kind, claim }) => kind === 'own' || claim !== undefined);
  if (wrong)
    mistakes.add(
      [...at, 'transport'],
      `\`${name}\` has decoys that stay with that machine: ${wrong.kind === 'own' ? 'its own addresses' : `\`claim: ${wrong.claim}\``}`,
      'leave `transport` out, or give the decoys addresses of their own without `claim`',
    );
}

const claimedOf = (diversion: Diversion): AddressRange[] => {
  const ranges = uniteRanges(diversion.groups.filter(({ kind }) => kind === 'claimed').flatMap((group) => group.ranges));
  const reserved = diversion.kind === 'network' ? reservedInSegment(diversion) : [];
  return subtractRanges(
    ranges,
    reserved.map(({ address: { family, value } }) => ({ family, first: value, last: value })),
  );
};

const familiesOf = (ranges: readonly AddressRange[]): (4 | 6)[] =>
  ([4, 6] as const).filter((family) => ranges.some((range) => range.family === family));

const attachmentAt = (end: 'gateway' | 'agent', { vni, port, local, remote }: TunnelText): VxlanAttachment => ({
  kind: 'vxlan',
  vni,
  port,
  local: end === 'gateway' ? local : remote,
  remotes: [end === 'gateway' ? remote : local],
  device: 'per-vni',
});

const mtuOf = ({ mtu, local }: TunnelText): number => mtu ?? usualMtu[local.family];

/** The segment at the gateway. */
export function gatewayEnd(diversion: Diversion, tunnel: TunnelText, agent: string): NetworkDiversion {
  const decoys = claimedOf(diversion);
  const holes = subtractRanges(uniteRanges(diversion.groups.flatMap(({ ranges }) => ranges)), decoys);
  const families = familiesOf(decoys);
  return {
    kind: 'network',
    name: diversion.name,
    attachment: attachmentAt('gateway', tunnel),
    addresses: families.map((family) => inner[family].gateway),
    gateways: families.map((family) => inner[family].agent.address),
    mtu: mtuOf(tunnel),
    agent,
    groups: diversion.groups
      .map((group) => ({ ...group, ranges: subtractRanges(group.ranges, holes) }))
      .filter(({ ranges }) => ranges.length > 0),
    place: diversion.place,
    ...(diversion.placeOf ? { placeOf: diversion.placeOf } : {}),
  };
}

/** What carries the diversion's packets away at the agent: a next hop for each family, and all decoys bound to it. */
export function agentEnd(
  diversion: Diversion,
  tunnel: TunnelText,
): { readonly services: readonly KernelPathService[]; readonly bindings: readonly Binding[] } {
  const { name, place } = diversion;
  const decoys = claimedOf(diversion);
  const services = familiesOf(decoys).map(
    (family): KernelPathService => ({
      kind: 'external',
      path: 'kernel',
      // A blank: no service in a file can have the name.
      name: `tunnel ${name} ${family}`,
      address: inner[family].gateway.address,
      interface: `tunnel ${name}`,
      from: inner[family].agent,
      tunnel: { attachment: attachmentAt('agent', tunnel), mtu: mtuOf(tunnel) },
      place,
    }),
  );
  const bindings = services.map((service): Binding => {
    const addresses = decoys.filter((range) => range.family === service.address.family);
    return { diversion: name, addresses, service: service.name, place };
  });
  return { services, bindings };
}
