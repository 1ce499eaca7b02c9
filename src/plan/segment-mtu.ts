// How large a packet a segment carries, from what it stands on: trunk, or underlay less the headers of VXLAN. Pure.

import type { Link } from '../kernel/link-state.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, type Family, rangeHolds } from '../model/address.ts';
import type { NetworkDiversion, VxlanAttachment } from '../model/configuration.ts';
import { subnetOf } from '../model/segment.ts';

type Ways = Pick<ObservedFacts, 'links' | 'gateways'>;

/** Outer IP, UDP and VXLAN headers and the inner Ethernet header, which the underlay carries as payload; RFC 7348, section 5. */
export const vxlanOverhead: Readonly<Record<Family, number>> = { 4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14 };

/** Of Ethernet; for want of anything better. */
const usualMtu = 1500;

/** The link towards an address: the narrowest subnet that holds it, else the default gateway's. */
export function wayTo(address: Address, { links, gateways }: Ways): Link | undefined {
  let best: { readonly link: Link; readonly length: number } | undefined;
  for (const link of links)
    for (const one of link.addresses)
      if (rangeHolds(subnetOf(one), address) && one.prefixLength > (best?.length ?? -1))
        best = { link, length: one.prefixLength };
  if (best) return best.link;
  const gateway = gateways.find((one) => one.isDefault && one.address.family === address.family);
  return gateway && links.find(({ name }) => name === gateway.interface);
}

/** The link with the smallest MTU on the ways to the other VTEPs; undefined where no link is known. */
export function narrowestUnderlay({ local, remotes, evpn }: VxlanAttachment, facts: Ways): Link | undefined {
  const far = evpn ? evpn.peers.map(({ address }) => address) : remotes;
  const ways = far.filter(({ family }) => family === local.family).map((address) => wayTo(address, facts));
  const holder = facts.links.find(({ addresses }) =>
    addresses.some(({ address }) => address.family === local.family && address.value === local.value),
  );
  // A VTEP's address often sits on a loopback, which says nothing of the wire.
  const wires = [...ways, holder].filter((link) => link !== undefined && !link.loopback && link.mtu > 0) as Link[];
  return wires.reduce<Link | undefined>((least, link) => (!least || link.mtu < least.mtu ? link : least), undefined);
}

/** Payload of a frame in the segment: as given, else what the trunk or the underlay leaves. */
export function segmentMtu({ mtu, attachment }: NetworkDiversion, facts: Ways): number {
  if (mtu !== undefined) return mtu;
  if (attachment.kind === 'vlan') return facts.links.find(({ name }) => name === attachment.trunk)?.mtu || usualMtu;
  return (narrowestUnderlay(attachment, facts)?.mtu ?? usualMtu) - vxlanOverhead[attachment.local.family];
}
