// What follows from the addresses of a network diversion alone: its subnets, and which addresses in them are nobody's
// decoy. Also its attachment in words. Pure; how a segment is made is plan/.

import { type Address, type AddressRange, bitsOf, parseRange, rangeHolds, renderAddress } from './address.ts';
import type { InterfaceAddress, NetworkDiversion } from './configuration.ts';

/** The subnet that an interface address lies in. */
export function subnetOf({ address, prefixLength }: InterfaceAddress): AddressRange {
  const size = 1n << BigInt(bitsOf(address.family) - prefixLength);
  const first = address.value - (address.value % size);
  return { family: address.family, first, last: first + size - 1n };
}

export const renderInterfaceAddress = ({ address, prefixLength }: InterfaceAddress): string =>
  `${renderAddress(address)}/${prefixLength}`;

/**
 * Addresses of a subnet that no host may have: network and broadcast address of an IPv4 subnet (none in a /31: RFC 3021),
 * the subnet-router anycast address of an IPv6 one (RFC 4291, 2.6.1; none in a /127: RFC 6164).
 */
export function edgesOfSubnet(subnet: AddressRange): { readonly address: Address; readonly what: string }[] {
  if (subnet.last - subnet.first < 3n) return [];
  const { family } = subnet;
  return family === 4
    ? [
        { address: { family, value: subnet.first }, what: 'the network address' },
        { address: { family, value: subnet.last }, what: 'the broadcast address' },
      ]
    : [{ address: { family, value: subnet.first }, what: 'the subnet-router anycast address' }];
}

/** Addresses in a segment's subnets that are left out of its decoys, and what each is: `the gateway`. */
export function reservedInSegment({
  addresses,
  gateways,
}: Pick<NetworkDiversion, 'addresses' | 'gateways'>): { readonly address: Address; readonly what: string }[] {
  return [
    ...addresses.map(({ address }) => ({ address, what: "Weir's own address" })),
    ...gateways.map((address) => ({ address, what: 'the gateway' })),
    ...addresses.flatMap((one) => edgesOfSubnet(subnetOf(one))),
  ];
}

const linkLocal = parseRange('fe80::/10') as AddressRange;

/** RFC 4291, 2.5.6: valid on every link, outside every subnet. */
export const isLinkLocal = (address: Address): boolean => rangeHolds(linkLocal, address);

/** `vlan 110 on eth1`, `vni 10, vtep 10.0.0.1, 2 remotes`, `vni 10, vtep 10.0.0.1, evpn as 65001`. */
export function describeAttachment(attachment: NetworkDiversion['attachment']): string {
  if (attachment.kind === 'vlan') return `vlan ${attachment.vlan} on ${attachment.trunk}`;
  const { vni, local, port, remotes, evpn, device } = attachment;
  const parts = [`vni ${vni}`, `vtep ${renderAddress(local)}${port === 4789 ? '' : ` port ${port}`}`];
  if (evpn) parts.push(`evpn as ${evpn.asn}`, ...(device === 'single' ? ['single device'] : []));
  else parts.push(`${remotes.length} ${remotes.length === 1 ? 'remote' : 'remotes'}`);
  return parts.join(', ');
}
