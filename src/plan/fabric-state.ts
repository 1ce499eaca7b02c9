// What the EVPN segments of a desired state need of the fabric: its namespace, one BGP speaker, and for every VNI its
// devices and what is announced of it. Pure. The devices' ip commands are fabric-links.ts, FRR's text fabric-speaker.ts.

import { WeirError } from '../base/errors.ts';
import { type AddressRange, renderAddress } from '../model/address.ts';
import type { EvpnSettings, VxlanAttachment } from '../model/configuration.ts';
import { segmentAlias, segmentMac } from './desired-segment.ts';
import type { DesiredState, SegmentState } from './desired-state.ts';
import { planSegmentEntries, type SegmentEntries, shareBounds } from './fabric-entries.ts';

export interface FabricVni {
  /** The diversion's. */
  readonly network: string;
  /** The segment's namespace, where the far end of the veth is `lan`. */
  readonly segmentNetns: string;
  readonly vni: number;
  /** VTEP, IPv4. */
  readonly local: string;
  readonly port: number;
  readonly mtu: number;
  readonly single: boolean;
  /** Of `lan`; the same after it was made again. */
  readonly lanMac: string;
  readonly entries: SegmentEntries;
}

export interface FabricPeer {
  readonly address: string;
  readonly asn: number;
  /** The VTEP of the first segment that names the peer; the session is spoken from there where families agree. */
  readonly local: string;
}

/** One BGP speaker for all segments (RFC 4271, RFC 7432). */
export interface FabricSpeaker {
  readonly asn: number;
  readonly routerId: string;
  readonly peers: readonly FabricPeer[];
  /** VTEPs: addresses where passive peers are heard. */
  readonly locals: readonly string[];
}

export interface FabricState {
  readonly tag: string;
  /** Name of the fabric's namespace. */
  readonly netns: string;
  readonly speaker: FabricSpeaker;
  /** In the order of the configuration. */
  readonly vnis: readonly FabricVni[];
}

export const fabricNetns = (tag: string): string => `weir-${tag}.fabric`;

type EvpnAttachment = VxlanAttachment & { readonly evpn: EvpnSettings };
type EvpnSegment = SegmentState & { readonly attachment: EvpnAttachment };

const isEvpn = (segment: SegmentState): segment is EvpnSegment =>
  segment.attachment.kind === 'vxlan' && segment.attachment.evpn !== undefined;

/**
 * Undefined where no segment speaks EVPN. `withheld` tells what was given back to live hosts since the plan was made.
 * Throws `config-invalid` where segments contradict each other: all share one speaker.
 */
export function planFabric(
  desired: DesiredState | undefined,
  tag: string,
  withheld: (network: string) => readonly AddressRange[] = () => [],
): FabricState | undefined {
  const segments = (desired?.segments ?? []).filter(isEvpn);
  if (segments.length === 0) return undefined;
  const vnis: FabricVni[] = [];
  const holders = new Map<number, string>();
  const bounds = shareBounds(segments.length);
  for (const { name, netns, attachment, addresses, mtu, inside } of segments) {
    if (attachment.local.family !== 4)
      throw contradiction(
        `the VTEP of ${name} is an IPv6 address; EVPN by FRR knows IPv4 VTEPs alone: give local an IPv4 address (peers may be IPv6)`,
      );
    const holder = holders.get(attachment.vni);
    if (holder !== undefined) throw contradiction(`${holder} and ${name} both have VNI ${attachment.vni}: EVPN needs one each`);
    holders.set(attachment.vni, name);
    const lanMac = segmentMac(segmentAlias(tag, name));
    vnis.push({
      network: name,
      segmentNetns: netns,
      vni: attachment.vni,
      local: renderAddress(attachment.local),
      port: attachment.port,
      mtu,
      single: attachment.device === 'single',
      lanMac,
      entries: planSegmentEntries(
        {
          groups: inside.groups,
          personas: inside.personas,
          withheld: [...inside.live, ...withheld(name)],
          ownMac: lanMac,
          ownAddresses: addresses.map(({ address }) => address),
        },
        bounds,
      ),
    });
  }
  return { tag, netns: fabricNetns(tag), speaker: planSpeaker(segments), vnis };
}

function planSpeaker(segments: readonly EvpnSegment[]): FabricSpeaker {
  const [first] = segments;
  const asn = first.attachment.evpn.asn;
  let routerId: { text: string; by: string } | undefined;
  const peers = new Map<string, FabricPeer & { by: string }>();
  const locals = new Set<string>();
  for (const { name, attachment } of segments) {
    const { evpn } = attachment;
    const local = renderAddress(attachment.local);
    locals.add(local);
    if (evpn.asn !== asn)
      throw contradiction(`${first.name} is of AS ${asn} and ${name} of AS ${evpn.asn}: one machine speaks for one AS`);
    if (evpn.routerId) {
      const text = renderAddress(evpn.routerId);
      if (routerId && routerId.text !== text)
        throw contradiction(`${routerId.by} has the router id ${routerId.text} and ${name} ${text}: there is one`);
      routerId ??= { text, by: name };
    }
    for (const peer of evpn.peers) {
      const address = renderAddress(peer.address);
      const peerAsn = peer.asn ?? asn;
      const known = peers.get(address);
      if (known && known.asn !== peerAsn)
        throw contradiction(`peer ${address} is of AS ${known.asn} in ${known.by} and of AS ${peerAsn} in ${name}`);
      if (!known) peers.set(address, { address, asn: peerAsn, local, by: name });
    }
  }
  return {
    asn,
    routerId: routerId?.text ?? renderAddress(first.attachment.local),
    peers: [...peers.values()].map(({ address, asn: peerAsn, local }) => ({ address, asn: peerAsn, local })),
    locals: [...locals],
  };
}

const contradiction = (message: string): WeirError => new WeirError('config-invalid', message);
