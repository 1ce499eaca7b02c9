// An agent's packets on their way to its gateway and back, as rules and routes of the services namespace: carried as they are,
// without connection tracking, record or a hop to be seen. Pure. Where they enter and leave is services-network.ts.

import { accept, drop, match, type NftChain, type NftRule, type NftStatement } from '../kernel/nft-ruleset.ts';
import { type AddressRange, type Family, renderAddress } from '../model/address.ts';
import type { PacketTunnel } from '../model/configuration.ts';
import { rangeElements } from './decoy-layout.ts';

/** A port whose decoys are all at the other end of one leg. */
export interface TunnelPath {
  /** Where attackers' packets come in, and where the gateway's do. */
  readonly port: string;
  readonly leg: string;
  /** The port's number. */
  readonly number: number;
  /** In whose names the gateway answers. */
  readonly decoys: readonly AddressRange[];
}

const hopFields = { 4: 'ip ttl', 6: 'ip6 hoplimit' } as const;
const families: readonly Family[] = [4, 6];
/** A packet on its last hop was given another, so that it gets through here. */
const lastHopMark = 0x5745_0001;

/** nft 1.0 writes a field of one byte from a constant alone: a chain for each number of hops. */
const hopChains: readonly NftChain[] = Array.from({ length: 254 }, (_, index) => ({
  name: `hop-${index + 2}`,
  rules: families.map((family): NftRule => [{ do: 'set', field: hopFields[family], value: String(index + 2) }]),
}));
const oneMore: Record<Family, NftStatement> = {
  4: hopMap('ip ttl'),
  6: hopMap('ip6 hoplimit'),
};

function hopMap(key: string): NftStatement {
  return { do: 'vmap', key, map: { entries: hopChains.map(({ name }, index) => [index + 1, { jump: name }] as const) } };
}

const isFamily = (family: Family): NftStatement => match('meta nfproto', family === 4 ? 'ipv4' : 'ipv6');

/** Before routing, which would let a packet on its last hop die. */
const letThrough: readonly NftRule[] = families.map((family) => [
  match(hopFields[family], 1),
  { do: 'set', field: hopFields[family], value: '2' },
  { do: 'set', field: 'meta mark', value: String(lastHopMark) },
]);

/** The hop was counted before the forward hook (net/ipv4/ip_forward.c, net/ipv6/ip6_output.c). */
const carry: NftChain = {
  name: 'carry',
  rules: [
    [match('meta mark', lastHopMark), { do: 'set', field: 'meta mark', value: '0' }, accept],
    ...families.map((family): NftRule => [isFamily(family), oneMore[family], accept]),
    [accept],
  ],
};

/** Chains of the services table; none where nothing is tunnelled. A chain comes after those it names. */
export function planTunnelChains(paths: readonly TunnelPath[]): NftChain[] {
  if (paths.length === 0) return [];
  const links = paths.flatMap(({ port, leg }) => [port, leg]);
  return [
    ...hopChains,
    carry,
    { name: 'tunnel-in', rules: [...letThrough, [accept]] },
    ...paths.map(({ number, decoys }) => ({
      name: `tunnel-out-${number}`,
      // Decoys answer through here, and nobody else speaks.
      rules: [
        ...families.flatMap((family): NftRule[] => {
          const ranges = rangeElements(decoys, family);
          const field = family === 4 ? 'ip saddr' : 'ip6 saddr';
          return ranges.length === 0 ? [] : [[match(field, ranges), { do: 'verdict', verdict: { goto: 'tunnel-in' } }]];
        }),
        [match('icmpv6 type', ['nd-neighbor-solicit', 'nd-neighbor-advert']), accept],
        [{ do: 'counter' } as const, drop],
      ],
    })),
    {
      name: 'untracked',
      hook: { type: 'filter', hook: 'prerouting', priority: -300 },
      rules: [[match('iifname', links), { do: 'notrack' }]],
    },
  ];
}

/** `pref 1500 iif leg1 lookup 67000`: answers of the gateway go back by the port they belong to. */
export const tunnelRule = ({ leg }: TunnelPath, table: number): string => `pref 1500 iif ${leg} lookup ${table}`;

/** Steady while the tunnel is the same: a leg with another MAC is made anew. */
export function tunnelKey({ attachment, mtu }: PacketTunnel): string {
  const { vni, port, local, remotes } = attachment;
  return `${vni} ${port} ${renderAddress(local)} ${remotes.map(renderAddress).join()} ${mtu}`;
}

/** In words, for plans. */
export const describeTunnel = ({ attachment: { vni, remotes } }: PacketTunnel): string =>
  `the tunnel to the gateway ${remotes.map(renderAddress).join()} (vni ${vni})`;
