// The keys that say how an agent's machine carries packets to its gateway; of `host` and `network` diversions with `agent`.
// What they become at either end is packet-tunnels.ts.

import { z } from 'zod';
import * as forms from './forms.ts';
import * as network from './network-forms.ts';
import { fallback, optional, required } from './schema-keys.ts';

export const transport = forms.form((value) =>
  value === 'sessions' || value === 'packets'
    ? (value as 'sessions' | 'packets')
    : new forms.Wrong(`${forms.quoted(value)} is neither sessions nor packets`, 'write one of them, or leave it out'),
);

export const transportMeaning =
  'With `agent`: whether the agent ends connections and hands them over (`sessions`, the default), or the packets themselves come here through `tunnel`, so that fingerprints, scans, UDP and ICMP arrive as they were sent; then nobody answers while the tunnel is cut.';

export const tunnelSettings = z.strictObject({
  kind: required(
    forms.form((value) =>
      value === 'vxlan'
        ? (value as 'vxlan')
        : new forms.Wrong(`there is no kind of tunnel ${forms.quoted(value)}`, 'write vxlan'),
    ),
    '`vxlan`',
    'VXLAN (RFC 7348) neither hides nor proves anything: let it cross only networks you trust, or run it inside a VPN of yours.',
  ),
  vni: required(network.vni, '1 to 16777215', 'The VXLAN network identifier; another one for each tunnel of this machine.'),
  local: required(
    network.host("the gateway's address"),
    'address',
    'The address of the gateway, this machine, at which the tunnel ends.',
  ),
  remote: required(
    network.host("the agent's address"),
    'address',
    "The address of the agent's machine at which it begins, as the gateway reaches it without NAT.",
  ),
  port: fallback(forms.wholeNumber(1, 65535), 4789, 'port', 'UDP port of both ends.'),
  mtu: optional(
    forms.wholeNumber(576, 9216),
    'bytes',
    'Largest packet carried, at both ends. Without it 1500 over IPv4, where the underlay carries larger frames in fragments, and 1430 over IPv6. Write the underlay less 50 (IPv6: 70) where fragments get lost.',
  ),
});

export type TunnelText = z.output<typeof tunnelSettings>;
