// Bridges, their ports and VXLAN devices of one network namespace as data, in one reading; see bridge(8) and ip-link(8).
// What they should be is plan/fabric-links.ts.

import type { CommandRunner } from './command.ts';

export interface BridgeLink {
  readonly name: string;
  readonly index: number;
  readonly kind: string;
  readonly alias: string;
  readonly mtu: number;
  readonly up: boolean;
  /** Name of the bridge it is a port of, or empty. */
  readonly master: string;
  readonly addresses: readonly string[];
  readonly vxlan?: {
    /** 0 where one device carries many (`external`). */
    readonly vni: number;
    readonly local: string;
    readonly port: number;
    readonly learning: boolean;
    readonly vniFilter: boolean;
  };
  readonly bridge?: { readonly vlanFiltering: boolean; readonly multicastSnooping: boolean };
  /** Of a port of a bridge. */
  readonly portOptions?: { readonly learning: boolean; readonly neighbourSuppression: boolean };
  /** Of a VLAN interface. */
  readonly vlan?: number;
}

interface LinkJson {
  ifname?: string;
  ifindex?: number;
  ifalias?: string;
  mtu?: number;
  flags?: string[];
  master?: string;
  addr_info?: { local?: string }[];
  linkinfo?: {
    info_kind?: string;
    info_data?: Record<string, unknown>;
    info_slave_kind?: string;
    info_slave_data?: Record<string, unknown>;
  };
}

/** All links of the runner's namespace. One process. */
export async function readBridgeLinks(runner: CommandRunner): Promise<BridgeLink[]> {
  const { stdout } = await runner.run('ip', ['-details', '-json', 'addr', 'show']);
  return parseBridgeLinks(stdout);
}

/** Pure; what does not look like a link is left out. */
export function parseBridgeLinks(text: string): BridgeLink[] {
  const list: unknown = text.trim() === '' ? [] : JSON.parse(text);
  if (!Array.isArray(list)) return [];
  return (list as LinkJson[]).flatMap((json) => (json?.ifname ? [linkOf(json, json.ifname)] : []));
}

function linkOf(json: LinkJson, name: string): BridgeLink {
  const info = json.linkinfo ?? {};
  const data = info.info_data ?? {};
  const port = info.info_slave_kind === 'bridge' ? (info.info_slave_data ?? {}) : undefined;
  return {
    name,
    index: json.ifindex ?? 0,
    kind: info.info_kind ?? '',
    alias: json.ifalias ?? '',
    mtu: json.mtu ?? 0,
    up: (json.flags ?? []).includes('UP'),
    master: json.master ?? '',
    addresses: (json.addr_info ?? []).flatMap(({ local }) => (local ? [local] : [])),
    ...(info.info_kind === 'vxlan'
      ? {
          vxlan: {
            vni: numberOf(data.id),
            local: typeof data.local === 'string' ? data.local : '',
            port: numberOf(data.port),
            learning: data.learning === true,
            vniFilter: data.vnifilter === true,
          },
        }
      : {}),
    ...(info.info_kind === 'bridge'
      ? { bridge: { vlanFiltering: numberOf(data.vlan_filtering) === 1, multicastSnooping: numberOf(data.mcast_snooping) === 1 } }
      : {}),
    ...(info.info_kind === 'vlan' ? { vlan: numberOf(data.id) } : {}),
    ...(port ? { portOptions: { learning: port.learning === true, neighbourSuppression: port.neigh_suppress === true } } : {}),
  };
}

const numberOf = (value: unknown): number => (typeof value === 'number' ? value : Number(value ?? 0) || 0);
