// A segment as it should be against what is there: which namespaces and links come and go, what changes on a link, and
// the steps inside. Pure. The order within a namespace is difference.ts's; carrying out is segment-changer.ts.

import { netnsPath } from '../kernel/netns.ts';
import type { NftTable } from '../kernel/nft-ruleset.ts';
import type { SegmentLink } from '../kernel/segment-link.ts';
import type { PresentWire, WireChange } from '../kernel/segment-wire.ts';
import { type Address, type AddressRange, renderAddress } from '../model/address.ts';
import { renderInterfaceAddress } from '../model/segment.ts';
import { planClaims } from './claims.ts';
import { segmentAlias, segmentMac } from './desired-segment.ts';
import { type SegmentState, segmentLink } from './desired-state.ts';
import { nothingSaved, type PresentState, planDifference, planRoutes } from './difference.ts';
import type { LinkRemoval, Step } from './step.ts';

/** What is in the namespace of a segment. */
export interface PresentSegment {
  readonly wire: PresentWire;
  readonly network: PresentState;
}

/** A namespace that was just made. */
export const emptySegment: PresentSegment = {
  wire: { addresses: [], gateways: [], loopbackUp: false },
  network: {
    routes: [],
    claims: { claims: [], broken: [] },
    tables: [],
    ruleset: 'absent',
    promiscuous: [],
    links: [],
    sysctls: {},
    saved: nothingSaved,
  },
};

/** The fabric makes the links of these. */
const isFabricLink = ({ attachment }: SegmentState): boolean => attachment.kind === 'vxlan' && attachment.evpn !== undefined;

/** The device a segment needs; none where an annex makes it. */
export function linkOf(segment: SegmentState, tag: string): SegmentLink | undefined {
  if (isFabricLink(segment)) return undefined;
  const { name, netns, attachment, mtu } = segment;
  const alias = segmentAlias(tag, name);
  const mac = attachment.kind === 'vxlan' ? { mac: segmentMac(alias) } : {};
  return { netns: netnsPath(netns), name: segmentLink, alias, attachment, mtu, ...mac };
}

/** Whether the link that is there is the one the segment needs. */
function linkFits(segment: SegmentState, was: SegmentState | undefined, { link }: PresentWire): boolean {
  if (!link) return false;
  const { attachment } = segment;
  if (isFabricLink(segment)) return link.kind === 'veth';
  if (attachment.kind === 'vlan') {
    // A link does not tell its trunk across namespaces; what was applied does.
    const moved = was?.attachment.kind === 'vlan' && was.attachment.trunk !== attachment.trunk;
    return link.kind === 'vlan' && link.vlan === attachment.vlan && !moved;
  }
  const { vni, local, port } = attachment;
  return link.kind === 'vxlan' && link.vni === vni && link.port === port && sameAddress(link.local, local);
}

const sameAddress = (a: Address | undefined, b: Address): boolean => a?.family === b.family && a.value === b.value;

/**
 * Links to remove and to make. `wires` has every namespace of ours that exists, by its name; `were` the segments applied
 * last, by that name too.
 */
export function planLinks(
  desired: readonly SegmentState[],
  wires: ReadonlyMap<string, PresentWire>,
  were: ReadonlyMap<string, SegmentState>,
  tag: string,
): { readonly remove: readonly LinkRemoval[]; readonly add: readonly SegmentLink[] } {
  const wanted = new Map(desired.map((segment) => [segment.netns, segment]));
  const fits = (netns: string, wire: PresentWire): boolean => {
    const segment = wanted.get(netns);
    return segment !== undefined && linkFits(segment, were.get(netns), wire);
  };
  const remove: LinkRemoval[] = [];
  for (const [netns, wire] of wires) {
    if (!wire.link || fits(netns, wire)) continue;
    const last = were.get(netns);
    const was = last && linkOf(last, tag);
    remove.push({ netns: netnsPath(netns), name: segmentLink, ...(was ? { was } : {}) });
  }
  const add = desired.flatMap((segment) => {
    const wire = wires.get(segment.netns);
    return wire && fits(segment.netns, wire) ? [] : (linkOf(segment, tag) ?? []);
  });
  return { remove, add };
}

/** Elements of `a` that `b` has not. */
function lacking<T>(a: readonly T[], b: readonly T[], key: (item: T) => string): T[] {
  const there = new Set(b.map(key));
  return a.filter((item) => !there.has(key(item)));
}

/** Addresses, default routes, far VTEPs, size, mark and state of the link. */
function planWire(segment: SegmentState, wire: PresentWire, tag: string): Step | undefined {
  const { addresses, gateways, mtu, name, netns } = segment;
  const remotes = segment.attachment.kind === 'vxlan' && !isFabricLink(segment) ? segment.attachment.remotes : [];
  const { link } = wire;
  const alias = segmentAlias(tag, name);
  const removeAddresses = lacking(wire.addresses, addresses, renderInterfaceAddress);
  const down = !link?.up || !wire.loopbackUp;
  const change: WireChange = {
    removeAddresses,
    addAddresses: lacking(addresses, wire.addresses, renderInterfaceAddress),
    removeGateways: lacking(wire.gateways, gateways, renderAddress),
    // The kernel lets go of routes with the address or the link they lead over.
    addGateways: removeAddresses.length > 0 || down ? gateways : lacking(gateways, wire.gateways, renderAddress),
    removeRemotes: lacking(link?.remotes ?? [], remotes, renderAddress),
    addRemotes: lacking(remotes, link?.remotes ?? [], renderAddress),
    ...(link?.mtu === mtu ? {} : { mtu }),
    ...(link?.alias === alias ? {} : { alias }),
    up: down,
  };
  const back: WireChange = {
    removeAddresses: change.addAddresses,
    addAddresses: change.removeAddresses,
    removeGateways: change.addGateways,
    addGateways: wire.gateways,
    removeRemotes: change.addRemotes,
    addRemotes: change.removeRemotes,
    ...(link && change.mtu !== undefined ? { mtu: link.mtu } : {}),
    ...(link && change.alias !== undefined ? { alias: link.alias } : {}),
    up: false,
  };
  const words = [
    ...listed('add', [
      ...change.addAddresses.map(renderInterfaceAddress),
      ...change.addGateways.map((address) => `default via ${renderAddress(address)}`),
    ]),
    ...listed('remove', [
      ...change.removeAddresses.map(renderInterfaceAddress),
      ...change.removeGateways.map((address) => `default via ${renderAddress(address)}`),
    ]),
    ...listed('add far VTEP', change.addRemotes.map(renderAddress)),
    ...listed('remove far VTEP', change.removeRemotes.map(renderAddress)),
    ...(change.mtu === undefined ? [] : [`mtu ${mtu}`]),
    ...(change.alias === undefined ? [] : [`mark ${alias}`]),
    ...(down ? ['up'] : []),
  ];
  if (words.length === 0) return undefined;
  return {
    kind: 'wire',
    network: name,
    netns: netnsPath(netns),
    link: segmentLink,
    change,
    back,
    line: `${segmentLink}: ${words.join(', ')}`,
  };
}

const listed = (verb: string, items: readonly string[]): string[] =>
  items.length === 0 ? [] : [`${verb} ${items.slice(0, 4).join(' ')}${items.length > 4 ? ` and ${items.length - 4} more` : ''}`];

/** Steps inside one segment whose namespace and link are there. `tables` are those of its state and `withheld`. */
export function planSegmentDifference(
  segment: SegmentState,
  tables: readonly NftTable[],
  tablesAsApplied: boolean,
  withheld: readonly AddressRange[],
  present: PresentSegment,
  tag: string,
): Step[] {
  const { name, netns, inside } = segment;
  const wire = planWire(segment, present.wire, tag);
  const steps = planDifference(
    inside,
    tables,
    tablesAsApplied,
    planRoutes(inside, withheld),
    planClaims(inside, withheld),
    present.network,
    wire ? [wire] : [],
  );
  return steps.map((step) => ({ ...step, network: name, netns: netnsPath(netns) }));
}
