// VLANs of ports of bridges and the VNIs they stand for on a VXLAN device that carries many, as data; see bridge(8). Needs
// a kernel with CONFIG_BRIDGE_VLAN_FILTERING. What they should be is plan/fabric-vlans.ts.

import type { CommandRunner } from './command.ts';

export interface PortVlan {
  readonly link: string;
  readonly vlan: number;
  /** What comes without a tag is in this VLAN, and goes out without one. */
  readonly untagged: boolean;
}

export interface VlanTunnel {
  readonly link: string;
  readonly vlan: number;
  readonly vni: number;
}

export interface BridgeVlans {
  readonly vlans: readonly PortVlan[];
  readonly tunnels: readonly VlanTunnel[];
  /** VNIs a device takes frames of. */
  readonly vnis: readonly { readonly link: string; readonly vni: number }[];
}

/** Three processes. */
export async function readBridgeVlans(runner: CommandRunner): Promise<BridgeVlans> {
  const texts = await Promise.all(
    [
      ['vlan', 'show'],
      ['vlan', 'tunnelshow'],
      ['vni', 'show'],
    ].map(async (words) => (await runner.run('bridge', ['-json', ...words], { anyCode: true })).stdout),
  );
  return parseBridgeVlans(texts[0], texts[1], texts[2]);
}

type Row = Readonly<Record<string, unknown>>;

/** Pure; ranges (`vlanEnd`, `tunidEnd`, `vniEnd`) are written out, at most a port's 4094 VLANs. */
export function parseBridgeVlans(vlanText: string, tunnelText: string, vniText: string): BridgeVlans {
  const vlans = rowsOf(vlanText, 'vlans').flatMap(({ link, row }) => {
    const untagged = Array.isArray(row.flags) && row.flags.includes('PVID');
    return span(row.vlan, row.vlanEnd).map((vlan) => ({ link, vlan, untagged }));
  });
  const tunnels = rowsOf(tunnelText, 'tunnels').flatMap(({ link, row }) =>
    span(row.vlan, row.vlanEnd).map((vlan, index) => ({ link, vlan, vni: Number(row.tunid) + index })),
  );
  const vnis = rowsOf(vniText, 'vnis').flatMap(({ link, row }) => span(row.vni, row.vniEnd).map((vni) => ({ link, vni })));
  return { vlans, tunnels, vnis };
}

function rowsOf(text: string, key: string): { link: string; row: Row }[] {
  const list: unknown = text.trim() === '' ? [] : JSON.parse(text);
  if (!Array.isArray(list)) return [];
  return (list as Row[]).flatMap((item) => {
    const rows = item[key];
    if (typeof item.ifname !== 'string' || !Array.isArray(rows)) return [];
    const link = item.ifname;
    return (rows as Row[]).map((row) => ({ link, row }));
  });
}

function span(first: unknown, last: unknown): number[] {
  const from = Number(first);
  const length = Math.min(Number(last ?? first) - from + 1, 4094);
  return Number.isInteger(from) && length > 0 ? Array.from({ length }, (_, index) => from + index) : [];
}
