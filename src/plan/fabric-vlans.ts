// Which VLAN stands for which VNI on a bridge that segments share, as bridge(8) commands from what is to what should be. Pure.

import type { BridgeVlans } from '../kernel/bridge-vlans.ts';
import { placesOf } from './fabric-links.ts';
import type { FabricState } from './fabric-state.ts';

/** In order: what goes first, since a VLAN or VNI that changes its partner must be free. Empty: all is as it should be. */
export function planVlans(state: FabricState, present: BridgeVlans): string[] {
  const places = placesOf(state);
  const wanted = {
    vlans: new Map<string, string>(),
    vnis: new Map<string, string>(),
    tunnels: new Map<string, string>(),
  };
  const links = new Set<string>();
  for (const { vni } of state.vnis) {
    const place = places.get(vni);
    if (place?.vlan === undefined) continue;
    const { bridge, vxlan, port, vlan } = place;
    for (const link of [bridge, vxlan, port]) links.add(link);
    wanted.vlans.set(vlanKey(bridge, vlan, false), `vlan add dev ${bridge} vid ${vlan} self`);
    wanted.vlans.set(vlanKey(vxlan, vlan, false), `vlan add dev ${vxlan} vid ${vlan}`);
    wanted.vlans.set(vlanKey(port, vlan, true), `vlan add dev ${port} vid ${vlan} pvid untagged`);
    wanted.vnis.set(`${vxlan} ${vni}`, `vni add dev ${vxlan} vni ${vni}`);
    wanted.tunnels.set(`${vxlan} ${vlan} ${vni}`, `vlan add dev ${vxlan} vid ${vlan} tunnel_info id ${vni}`);
  }
  const bridges = new Set([...places.values()].map(({ bridge }) => bridge));
  const ours = <T extends { readonly link: string }>(list: readonly T[]): T[] => list.filter(({ link }) => links.has(link));
  const remove = [
    ...ours(present.tunnels)
      .filter(({ link, vlan, vni }) => !wanted.tunnels.has(`${link} ${vlan} ${vni}`))
      .map(({ link, vlan, vni }) => `vlan del dev ${link} vid ${vlan} tunnel_info id ${vni}`),
    ...ours(present.vnis)
      .filter(({ link, vni }) => !wanted.vnis.has(`${link} ${vni}`))
      .map(({ link, vni }) => `vni delete dev ${link} vni ${vni}`),
    ...ours(present.vlans)
      .filter(({ link, vlan, untagged }) => !wanted.vlans.has(vlanKey(link, vlan, untagged)))
      .map(({ link, vlan }) => `vlan del dev ${link} vid ${vlan}${bridges.has(link) ? ' self' : ''}`),
  ];
  for (const { link, vlan, untagged } of present.vlans) wanted.vlans.delete(vlanKey(link, vlan, untagged));
  for (const { link, vni } of present.vnis) wanted.vnis.delete(`${link} ${vni}`);
  for (const { link, vlan, vni } of present.tunnels) wanted.tunnels.delete(`${link} ${vlan} ${vni}`);
  return [...remove, ...wanted.vlans.values(), ...wanted.vnis.values(), ...wanted.tunnels.values()];
}

const vlanKey = (link: string, vlan: number, untagged: boolean): string => `${link} ${vlan}${untagged ? ' untagged' : ''}`;
