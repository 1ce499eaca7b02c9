// The schema of what makes networks in weir.yaml: `kind: network` diversions, services and bindings. The rest of the
// file is schema.ts; how the keys go together is network-diversions.ts and bindings.ts.

import { z } from 'zod';
import * as forms from './forms.ts';
import * as network from './network-forms.ts';
import { transport } from './relay-forms.ts';
import { decoyEntry } from './schema.ts';
import { fallback, optional, required } from './schema-keys.ts';
import * as tunnels from './tunnel-schema.ts';

const evpnSettings = z.strictObject({
  asn: required(network.asn, 'number', "The autonomous system of Weir's own BGP speaker."),
  peers: required(
    network.evpnPeers,
    'list',
    'BGP neighbours: addresses, or `{ address: 10.0.0.254, asn: 65000 }` where the peer is in another autonomous system.',
  ),
  'router-id': optional(network.routerId, 'IPv4 address', "The BGP identifier; without it, the VTEP's address."),
});

export const vxlanSettings = z.strictObject({
  vni: required(network.vni, '1 to 16777215', 'The VXLAN network identifier.'),
  local: required(
    network.host("a VTEP's address"),
    'address',
    'The VTEP: an address of this machine, from which and to which frames travel.',
  ),
  remotes: optional(
    network.remotes,
    'addresses',
    'The other VTEPs, to each of which broadcasts are copied. Either these or `evpn`.',
  ),
  evpn: evpnSettings.optional().meta({
    description:
      'The other VTEPs are learned by BGP EVPN, and told of the decoys before the first packet. All segments with `evpn` share one speaker.',
  }),
  device: fallback(
    forms.form((value) =>
      value === 'per-vni' || value === 'single'
        ? (value as 'per-vni' | 'single')
        : new forms.Wrong(`${forms.quoted(value)} is neither per-vni nor single`, 'write per-vni, or leave it out'),
    ),
    'per-vni',
    '`per-vni` or `single`',
    'With `evpn`: a VXLAN device for each segment, or one for all, which needs a kernel with bridge VLAN filtering.',
  ),
  port: fallback(forms.wholeNumber(1, 65535), 4789, 'port', 'UDP port of all VTEPs.'),
});

export const networkDiversion = z.strictObject({
  name: required(forms.name, 'name', 'Stands in every event of its decoys, and in the name of its network namespace.'),
  kind: required(forms.text(32), '`network`', 'A segment that did not exist.'),
  trunk: optional(forms.interfaceName, 'interface', 'With `vlan`: the interface whose far end sends this VLAN tagged.'),
  vlan: optional(network.vlanId, '1 to 4094', 'The 802.1Q VLAN. Either `trunk` and `vlan`, or `vxlan`.'),
  vxlan: vxlanSettings.optional().meta({ description: 'The segment arrives in VXLAN (RFC 7348).' }),
  address: required(
    network.interfaceAddresses,
    'address/length',
    "Weir's own address in the segment, one for each subnet: one or a list, both families. Every decoy lies in one of the subnets.",
  ),
  gateway: optional(
    network.gateways,
    'address',
    'The way to attackers beyond the segment: one or a list, at most one of each family.',
  ),
  agent: optional(forms.name, 'name', 'The agent on whose machine this happens; without it, on this one.'),
  transport: optional(tunnels.transport, '`sessions` or `packets`', tunnels.transportMeaning),
  tunnel: tunnels.tunnelSettings.optional().meta({ description: 'The way of the packets.' }),
  mtu: optional(
    forms.wholeNumber(576, 9216),
    'bytes',
    "Largest packet of the segment. Without it: the trunk's, or the underlay's less 50 bytes of VXLAN over IPv4, 70 over IPv6.",
  ),
  decoys: required(z.array(decoyEntry, { error: () => 'this is not a list' }), 'list', 'Who lives there, and how it looks.'),
});

export const kernelPathService = z.strictObject({
  name: required(forms.name, 'name', 'What bindings call it.'),
  kind: required(forms.text(32), '`external`', 'A machine, container or VM of yours that runs already.'),
  path: required(
    forms.text(32),
    '`kernel`',
    "Packets are routed to it unchanged. It must own the decoys' addresses (AnyIP: `ip route add local RANGE dev lo`) and route back through `from`.",
  ),
  address: required(
    network.host('the address of a service'),
    'address',
    "Its own address on the wire behind `interface`, to which the decoys' packets are routed.",
  ),
  interface: required(forms.interfaceName, 'interface', "This machine's interface on whose wire the service is."),
  from: required(
    network.interfaceAddress,
    'address/length',
    "A free address on that wire for Weir: the service's way back to the attackers.",
  ),
});

export const bindingEntry = z.strictObject({
  diversion: optional(forms.name, 'name', 'Whose decoys. Required, except for `catch-all`.'),
  addresses: optional(forms.ranges, 'addresses', 'Which of its decoys; without it, all of them. The more specific binding wins.'),
  ports: optional(
    forms.ports,
    'ports',
    'Which of their ports. Those named for a service are open, whatever the persona says; without it, all that are open. A service on the kernel path gets whole addresses.',
  ),
  protocol: optional(transport, '`tcp` or `udp`', 'Only these; without it, both.'),
  service: required(
    forms.name,
    'name',
    'A name from `services`, or `catch-all`, which also answers everything that is not bound.',
  ),
});

export type NetworkDiversionText = z.output<typeof networkDiversion>;
export type KernelPathServiceText = z.output<typeof kernelPathService>;
export type BindingText = z.output<typeof bindingEntry>;
