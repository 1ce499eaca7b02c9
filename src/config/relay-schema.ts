// The schema of what brings flows from elsewhere and leads them elsewhere in weir.yaml: `kind: agent` and `kind: proxy`
// diversions, services that are dialled, `agents` and `gateways`. How the keys go together is relay-diversions.ts and
// relayed-services.ts.

import { z } from 'zod';
import * as forms from './forms.ts';
import * as network from './network-forms.ts';
import * as relay from './relay-forms.ts';
import { fallback, optional, required } from './schema-keys.ts';

const persona = fallback(
  forms.name,
  'all-open',
  'name',
  'How it looks; which ports answer is decided by those that are listened on.',
);

export const agentDiversion = z.strictObject({
  name: required(forms.name, 'name', 'Stands in every event.'),
  kind: required(forms.text(32), '`agent`', 'Ports of another machine.'),
  agent: optional(forms.name, 'name', 'Whose machine: the name given to `weir agents add`. Required.'),
  listen: z
    .strictObject({
      ports: fallback(forms.ports, [], 'ports', 'TCP ports that the agent listens on.'),
      'udp-ports': fallback(forms.ports, [], 'ports', 'UDP ports.'),
      addresses: optional(relay.hostAddresses, 'addresses', 'Of that machine. Without it: all it has.'),
    })
    .meta({ form: 'mapping', description: 'What is listened on; at least one port.' }),
  persona,
});

export const proxyDiversion = z.strictObject({
  name: required(forms.name, 'name', 'Stands in every event.'),
  kind: required(forms.text(32), '`proxy`', 'Connections of HAProxy, nginx or a load balancer that says whom it speaks for.'),
  listen: required(
    relay.listenAddress,
    'address:port',
    'Where the proxy connects to, TCP and UDP. Never diverted itself; `"[::]:7000"` takes both families.',
  ),
  allow: required(forms.ranges, 'addresses', 'Who may connect: whoever may can claim to speak for anybody. Others are reset.'),
  persona,
  inner: optional(forms.truth, 'true', 'Only in the rules of an agent: what another gateway hands on, as its `gateways` say.'),
});

export const externalService = z.strictObject({
  name: required(forms.name, 'name', 'What bindings call it.'),
  kind: required(forms.text(32), '`external`', 'A machine, container or program of yours that runs already.'),
  address: required(
    relay.serviceAddress,
    'address:port',
    "Where it listens. Without a port: at the decoy's port. With `path: transparent` always without one.",
  ),
  'proxy-protocol': fallback(
    relay.proxyProtocol,
    false,
    '`true`, `v1`, `v2`',
    'Whether it expects a PROXY header, which tells it attacker and decoy; `true` is `v2`. UDP needs `v2`.',
  ),
  path: optional(
    forms.form((value) =>
      value === 'transparent'
        ? (value as 'transparent')
        : new forms.Wrong(`there is no path ${forms.quoted(value)} to a service`, 'write kernel or transparent, or leave it out'),
    ),
    '`transparent`',
    "It is dialled from the attacker's address at the decoy's, and sees no header. It must own the decoys' addresses and route back through `from`, as with `path: kernel`.",
  ),
  interface: optional(
    forms.interfaceName,
    'interface',
    "With `path: transparent`: this machine's interface on whose wire it is.",
  ),
  from: optional(network.interfaceAddress, 'address/length', 'With `path: transparent`: a free address on that wire for Weir.'),
  via: optional(forms.name, 'name', 'One of `gateways`, which reaches it; everything else is then as seen from there.'),
});

export const agentsSection = z.strictObject({
  listen: optional(relay.listenAddress, 'address:port', 'Where agents connect to. Without it there are none.'),
  names: optional(
    relay.publicNames,
    'names',
    "Names and addresses under which agents reach this machine, beside its own addresses; they stand in the gateway's certificate.",
  ),
});

export const gatewayEntry = z.strictObject({
  name: required(forms.name, 'name', 'The name of its agent; what `via` calls it.'),
  address: required(relay.farAddress, 'address:port', 'Where it takes connections of the gateway before it.'),
  from: optional(
    forms.ranges,
    'addresses',
    'From where the gateway before it comes, as it sees it. Without it: from where its own link leads to.',
  ),
  via: optional(forms.name, 'name', 'The gateway before it, where that is not this one.'),
});

export type AgentDiversionText = z.output<typeof agentDiversion>;
export type ProxyDiversionText = z.output<typeof proxyDiversion>;
export type ExternalServiceText = z.output<typeof externalService>;
export type GatewayText = z.output<typeof gatewayEntry>;
