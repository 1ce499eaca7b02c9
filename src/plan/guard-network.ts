// Refuses segments and services that this machine cannot carry, or that would take what others use: trunks, VLANs, VTEPs,
// MTUs, wires. Pure, like guard.ts, which calls it. Mistakes that need no machine were refused by config/.

import type { KernelFeature } from '../kernel/features.ts';
import type { Link } from '../kernel/link-state.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, renderAddress } from '../model/address.ts';
import type {
  Configuration,
  KernelPathService,
  NetworkDiversion,
  PacketTunnel,
  VlanAttachment,
  VxlanAttachment,
} from '../model/configuration.ts';
import type { Place } from '../model/decoy.ts';
import type { OperatorSession, PlanMistake } from './guard.ts';
import { narrowestUnderlay, vxlanOverhead, wayTo } from './segment-mtu.ts';

interface Found {
  /** What could keep somebody from reaching this machine. */
  readonly lockOuts: PlanMistake[];
  readonly invalid: PlanMistake[];
}

const at = (place: Place, mistake: string, next: string): PlanMistake => ({ file: place.file, line: place.line, mistake, next });
const same = (a: Address, b: Address): boolean => a.family === b.family && a.value === b.value;
const isOurs = ({ alias }: Link): boolean => alias?.startsWith('weir:') === true;

/** RFC 8200, section 5; and what every IPv4 host takes, RFC 791. */
const leastMtu = { 4: 576, 6: 1280 } as const;

/** What the kernel must be able to do for this configuration. */
export function neededFeatures(configuration: Configuration): KernelFeature[] {
  return [...featurePlaces(configuration).keys()];
}

/** Each needed feature with the first line that needs it. */
function featurePlaces(configuration: Configuration): Map<KernelFeature, Place> {
  const { diversions, services, bindings } = configuration;
  const needed = new Map<KernelFeature, Place>();
  const need = (feature: KernelFeature, place: Place): void => {
    if (!needed.has(feature)) needed.set(feature, place);
  };
  for (const diversion of diversions) {
    if (diversion.kind === 'network') {
      const { attachment, place } = diversion;
      need(attachment.kind, place);
      if (attachment.kind === 'vxlan' && attachment.evpn) need(attachment.device === 'single' ? 'single-vxlan' : 'bridge', place);
    }
    for (const group of diversion.groups) if (group.claim === 'macvlan') need('macvlan', group.place);
  }
  for (const service of services)
    if (bindings.some((binding) => binding.service === service.name)) {
      need('macvlan', service.place);
      if (service.tunnel) need('vxlan', service.place);
    }
  for (const { place } of dialledWires(configuration)) need('macvlan', place);
  return needed;
}

const lacking: Readonly<Record<KernelFeature, { readonly mistake: string; readonly next: string }>> = {
  vlan: {
    mistake: 'this kernel has no 802.1Q VLANs (module 8021q)',
    next: 'boot a kernel that has them, such as that of the distribution, or use `vxlan:`',
  },
  vxlan: { mistake: 'this kernel has no VXLAN (module vxlan)', next: 'boot a kernel that has it, or use `trunk:` and `vlan:`' },
  macvlan: {
    mistake: 'this kernel has no macvlan links (module macvlan)',
    next: 'boot a kernel that has them, or leave out what needs them: `claim: macvlan`, and services on the kernel path',
  },
  bridge: {
    mistake: 'this kernel has no bridges (module bridge)',
    next: 'boot a kernel that has them, or use `remotes:` instead of `evpn:`',
  },
  'single-vxlan': {
    mistake: 'this kernel cannot put all VNIs on a single VXLAN device: it lacks bridge VLAN filtering or the VNI filter',
    next: 'use `device: per-vni`',
  },
};

export function checkNetworks(
  configuration: Configuration,
  facts: ObservedFacts,
  operator: OperatorSession | undefined,
  found: Found,
): void {
  const { invalid } = found;
  const places = featurePlaces(configuration);
  for (const feature of facts.missingFeatures ?? []) {
    const place = places.get(feature);
    if (place) invalid.push(at(place, lacking[feature].mistake, lacking[feature].next));
  }
  for (const diversion of configuration.diversions) {
    if (diversion.kind === 'network') {
      if (diversion.attachment.kind === 'vlan') checkVlan(diversion, diversion.attachment, facts, operator, found);
      else checkVxlan(diversion, diversion.attachment, facts, invalid);
    } else if (diversion.interface !== undefined) {
      // Bound decoys too leave by a macvlan link on the interface.
      const user =
        diversion.groups.find(({ claim }) => claim === 'macvlan') ??
        configuration.bindings.find((binding) => binding.diversion === diversion.name);
      const link = facts.links.find(({ name }) => name === diversion.interface);
      if (user && link?.up) checkLower(link, 'macvlan links', user.place, facts, invalid);
    }
  }
  for (const service of configuration.services)
    if (service.tunnel) checkTunnel(service, service.tunnel, facts, invalid);
    else checkService(service, facts, invalid);
  for (const service of dialledWires(configuration)) checkService(service, facts, invalid);
}

/** The agent's end; the gateway's is a segment like any other. */
function checkTunnel(
  { name, place }: WiredService,
  { attachment }: PacketTunnel,
  facts: ObservedFacts,
  mistakes: PlanMistake[],
): void {
  const end = { kind: 'network', name, attachment, addresses: [], gateways: [], agent: name, groups: [], place } as const;
  checkVxlan(end, attachment, facts, mistakes);
}

type WiredService = Omit<KernelPathService, 'kind' | 'path'>;

/** Services that this machine itself dials as the attacker. */
const dialledWires = ({ relayedServices }: Pick<Configuration, 'relayedServices'>): WiredService[] =>
  relayedServices.flatMap(({ name, address, wire, via, place }) =>
    wire && via === undefined ? [{ name, address, ...wire, place }] : [],
  );

/** The link, if it is there and up; the mistake otherwise. */
function usableLink(name: string, place: Place, facts: ObservedFacts, mistakes: PlanMistake[]): Link | undefined {
  const link = facts.links.find((candidate) => candidate.name === name);
  const names = facts.links.filter(({ ethernet, loopback }) => ethernet && !loopback).map((candidate) => candidate.name);
  if (!link) {
    const shown = `${names.slice(0, 20).join(', ')}${names.length > 20 ? ', ...' : ''}`;
    mistakes.push(at(place, `there is no interface ${name} here`, `use one of: ${shown || 'none exists'}`));
  } else if (!link.up) mistakes.push(at(place, `interface ${name} is down`, `\`ip link set ${name} up\`, then plan again`));
  return link?.up ? link : undefined;
}

const masters: Readonly<Record<string, string>> = { bridge: 'bridge', bond: 'bond', team: 'team', openvswitch: 'switch' };

/** Whether other links can stand on this one: Ethernet, and nobody else takes its frames. */
function checkLower(link: Link, what: string, place: Place, facts: ObservedFacts, mistakes: PlanMistake[]): boolean {
  if (!link.ethernet || link.loopback) {
    mistakes.push(at(place, `interface ${link.name} is not Ethernet: it carries no ${what}`, 'use an Ethernet interface'));
    return false;
  }
  const master = facts.links.find(({ name }) => name === link.master);
  const kind = masters[master?.kind ?? ''];
  if (!master || kind === undefined) return true;
  mistakes.push(
    at(
      place,
      `interface ${link.name} is a port of the ${kind} ${master.name}, which takes its frames`,
      kind === 'bridge' || kind === 'switch'
        ? `\`ip link set ${link.name} nomaster\` if it can be spared there, or use another interface`
        : `use ${master.name} itself`,
    ),
  );
  return false;
}

function checkVlan(
  { place, mtu, addresses }: NetworkDiversion,
  { trunk: name, vlan }: VlanAttachment,
  facts: ObservedFacts,
  operator: OperatorSession | undefined,
  { lockOuts, invalid }: Found,
): void {
  const trunk = usableLink(name, place, facts, invalid);
  if (!trunk || !checkLower(trunk, 'VLANs', place, facts, invalid)) return;
  if (mtu !== undefined && mtu > trunk.mtu)
    invalid.push(
      at(
        place,
        `an MTU of ${mtu} is more than the trunk ${name} carries (${trunk.mtu})`,
        `write \`mtu: ${trunk.mtu}\` or less, or \`ip link set ${name} mtu ${mtu}\` on both ends`,
      ),
    );
  else checkLeast(trunk.mtu, addresses, `the trunk ${name} carries`, place, invalid);
  const user = facts.links.find((link) => link.kind === 'vlan' && link.parent === name && link.vlan === vlan && !isOurs(link));
  if (!user) return;
  const carried = whatItCarries(user, facts, operator);
  if (carried)
    lockOuts.push(at(place, `VLAN ${vlan} of ${name} (${user.name}) carries ${carried}`, 'choose another VLAN for the decoys'));
  else
    invalid.push(
      at(
        place,
        `VLAN ${vlan} of ${name} is in use: ${user.name}`,
        `choose another VLAN, or \`ip link del ${user.name}\` if nobody needs it`,
      ),
    );
}

/** What of this machine's own traffic goes through a link or through what stands on it; undefined: nothing known. */
function whatItCarries(link: Link, facts: ObservedFacts, operator: OperatorSession | undefined): string | undefined {
  const names = new Set([link.name]);
  // Ports lead to their bridge, VLANs and macvlans stand on their parent; a few rounds reach everything above.
  for (let round = 0; round < 8; round += 1)
    for (const one of facts.links) {
      if (names.has(one.name) && one.master !== undefined) names.add(one.master);
      if (one.parent !== undefined && names.has(one.parent) && one.kind !== 'veth') names.add(one.name);
    }
  const session = operator && linkOfSession(operator, facts);
  if (session !== undefined && names.has(session)) return 'your own SSH session';
  const gateway = facts.gateways.find(({ isDefault, interface: name }) => isDefault && names.has(name));
  if (gateway) return `the way to the default gateway ${renderAddress(gateway.address)}`;
  const own = facts.links.find(({ name, addresses }) => names.has(name) && addresses.some(({ scope }) => scope === 'global'));
  const address = own?.addresses.find(({ scope }) => scope === 'global');
  return address && `this machine's own address ${renderAddress(address.address)}`;
}

function linkOfSession({ client, server }: OperatorSession, facts: ObservedFacts): string | undefined {
  const holder = server && facts.links.find(({ addresses }) => addresses.some(({ address }) => same(address, server)));
  return holder && !holder.loopback ? holder.name : wayTo(client, facts)?.name;
}

function checkLeast(
  left: number,
  addresses: NetworkDiversion['addresses'],
  who: string,
  place: Place,
  mistakes: PlanMistake[],
): void {
  const family = addresses.some(({ address }) => address.family === 6) ? 6 : 4;
  if (left < leastMtu[family])
    mistakes.push(
      at(place, `${who} ${left} bytes, and IPv${family} needs ${leastMtu[family]}`, 'raise the MTU below, on both ends'),
    );
}

function checkVxlan(
  diversion: NetworkDiversion,
  attachment: VxlanAttachment,
  facts: ObservedFacts,
  mistakes: PlanMistake[],
): void {
  const { place } = diversion;
  const { local, remotes, vni, port } = attachment;
  const text = renderAddress(local);
  const held = (address: Address): Link | undefined =>
    facts.links.find((link) => link.addresses.some((one) => same(one.address, address)));
  const holder = held(local);
  if (!holder) {
    const own = facts.links
      .filter(({ loopback }) => !loopback)
      .flatMap(({ addresses }) => addresses)
      .filter(({ address, scope }) => address.family === local.family && scope === 'global')
      .map(({ address }) => renderAddress(address));
    mistakes.push(
      at(
        place,
        `the VTEP ${text} is not an address of this machine`,
        own.length > 0 ? `write one of its own as \`local\`: ${own.slice(0, 8).join(', ')}` : `give this machine ${text} first`,
      ),
    );
    return;
  }
  const mine = remotes.find((remote) => held(remote));
  if (mine)
    mistakes.push(
      at(place, `the remote VTEP ${renderAddress(mine)} is an address of this machine`, 'write the addresses of the others only'),
    );
  const other = facts.links.find(
    (link) => link.vxlan?.port === port && (link.vxlan.vni === undefined || link.vxlan.vni === vni) && !isOurs(link),
  );
  if (other)
    mistakes.push(
      at(
        place,
        other.vxlan?.vni === undefined
          ? `${other.name} takes every VNI of port ${port}`
          : `VNI ${vni} on port ${port} is in use: ${other.name}`,
        `choose another ${other.vxlan?.vni === undefined ? '' : 'VNI or '}\`port\`, or \`ip link del ${other.name}\` if nobody needs it`,
      ),
    );
  // A tunnel between two machines may be wider than its underlay, which then carries its frames in fragments.
  if (diversion.agent === undefined) checkUnderlay(diversion, attachment, facts, mistakes);
}

function checkUnderlay(
  { place, mtu, addresses }: NetworkDiversion,
  attachment: VxlanAttachment,
  facts: ObservedFacts,
  mistakes: PlanMistake[],
): void {
  const overhead = vxlanOverhead[attachment.local.family];
  const narrowest = narrowestUnderlay(attachment, facts);
  if (!narrowest) return;
  const largest = narrowest.mtu - overhead;
  const wire = `${narrowest.name} carries ${narrowest.mtu}, of which VXLAN takes ${overhead}`;
  if (mtu !== undefined && mtu > largest)
    mistakes.push(
      at(
        place,
        `an MTU of ${mtu} does not fit: ${wire}`,
        `write \`mtu: ${largest}\` or less, or \`ip link set ${narrowest.name} mtu ${mtu + overhead}\` all the way to the other VTEPs`,
      ),
    );
  else checkLeast(mtu ?? largest, addresses, `${wire}: that leaves`, place, mistakes);
}

function checkService(
  { place, name, interface: wire, address, from }: WiredService,
  facts: ObservedFacts,
  mistakes: PlanMistake[],
): void {
  const link = usableLink(wire, place, facts, mistakes);
  if (!link || !checkLower(link, `leg to the service ${name}`, place, facts, mistakes)) return;
  for (const { name: holder, addresses } of facts.links)
    for (const one of addresses) {
      if (same(one.address, address))
        mistakes.push(
          at(
            place,
            `the service ${name} has ${renderAddress(address)}, an address of this machine (${holder})`,
            'a service on the kernel path is another machine, container or VM: write its address',
          ),
        );
      if (same(one.address, from.address))
        mistakes.push(
          at(
            place,
            `\`from\`: ${renderAddress(from.address)} is this machine's own address already (${holder})`,
            `write a free address on the wire of ${wire}`,
          ),
        );
    }
  const neighbour = facts.neighbours.find((one) => same(one.address, from.address));
  if (neighbour)
    mistakes.push(
      at(
        place,
        `\`from\`: ${renderAddress(from.address)} belongs to ${neighbour.mac} on ${neighbour.interface}`,
        `write a free address on the wire of ${wire}`,
      ),
    );
}
