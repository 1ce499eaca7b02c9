// The links of the EVPN fabric's namespace: what should be there, and the ip(8) commands that lead there from what is. Pure.
// A bridge and a VXLAN device for each VNI, or one of each for all where the kernel filters VLANs; a veth to each segment.

import type { BridgeLink } from '../kernel/bridge-links.ts';
import type { EntryHome } from './fabric-entries.ts';
import type { FabricState, FabricVni } from './fabric-state.ts';

/** What is in the fabric's namespace, and in which segments the far end of the veth is. */
export interface PresentFabric {
  readonly links: readonly BridgeLink[];
  /** Names of segments' namespaces (FabricVni.segmentNetns) that have a link `lan`. */
  readonly joined: ReadonlySet<string>;
  /** Names of namespaces of segments that exist. */
  readonly segments: ReadonlySet<string>;
}

export interface LinkStep {
  /** The diversion, or empty: what all share. */
  readonly network: string;
  /** For the plan. */
  readonly change: string;
  /** For the event, when it was found missing. */
  readonly repair: string;
  /** In the fabric's namespace; `born` in the machine's, whose addresses a VXLAN device sends from; `last` in the fabric's. */
  readonly first: readonly string[];
  readonly born: readonly string[];
  readonly last: readonly string[];
}

/** A link that always has its carrier and leads nowhere: next hops resolve through it, no packet ever takes it. */
const reachLink = 'reach';
const reachPeer = 'reach-peer';
/** Of all links in the fabric's namespace (ip-link(8), group): so they can be removed in one go, which waits for the kernel once. */
export const fabricGroup = 87;
/** The kernel's longest, about 497 days: entries of ours are static, those of the far side the routing daemon's. */
const longestAgeing = 4_294_967_294;

export interface VniPlace {
  readonly bridge: string;
  readonly vxlan: string;
  readonly port: string;
  /** Inside a bridge shared by segments. */
  readonly vlan?: number;
  /** Where the routing daemon looks for neighbours. */
  readonly neighbourLink: string;
}

/** The names of each VNI's links, by VNI. Names are at most 15 characters (IFNAMSIZ). */
export function placesOf(state: FabricState): ReadonlyMap<number, VniPlace> {
  const places = new Map<number, VniPlace>();
  const shared = new Map<string, { bridge: string; vxlan: string; vlans: Set<number> }>();
  for (const { vni, single, local, port } of state.vnis) {
    if (!single) {
      places.set(vni, { bridge: `b${vni}`, vxlan: `v${vni}`, port: `s${vni}`, neighbourLink: `b${vni}` });
      continue;
    }
    const key = `${local} ${port}`;
    let device = shared.get(key);
    if (!device) {
      device = { bridge: `bridge${shared.size}`, vxlan: `vxlan${shared.size}`, vlans: new Set() };
      shared.set(key, device);
    }
    let vlan = 2 + (vni % 4000);
    while (device.vlans.has(vlan)) vlan = vlan >= 4093 ? 2 : vlan + 1;
    device.vlans.add(vlan);
    places.set(vni, {
      bridge: device.bridge,
      vxlan: device.vxlan,
      port: `s${vni}`,
      vlan,
      neighbourLink: `${device.bridge}.${vlan}`,
    });
  }
  return places;
}

export const entryHomes = (state: FabricState): EntryHome[] => {
  const places = placesOf(state);
  return state.vnis.flatMap(({ vni, entries }) => {
    const place = places.get(vni);
    return place
      ? [
          {
            port: place.port,
            neighbourLink: place.neighbourLink,
            entries,
            ...(place.vlan === undefined ? {} : { vlan: place.vlan }),
          },
        ]
      : [];
  });
};

/** `sources` are addresses the BGP speaker speaks from: the routing daemon must find them on a link of its namespace. */
export function planFabricLinks(state: FabricState, present: PresentFabric, sources: readonly string[]): LinkStep[] {
  const steps: LinkStep[] = [];
  const places = placesOf(state);
  const links = new Map(present.links.map((link) => [link.name, link]));
  const wanted = new Set<string>([reachLink, reachPeer]);
  for (const place of places.values())
    for (const name of [place.bridge, place.vxlan, place.port, place.neighbourLink]) wanted.add(name);

  const stray = present.links.filter(({ kind, name, alias }) => kind !== '' && !wanted.has(name) && alias.startsWith('weir:'));
  for (const { name, kind, alias } of stray)
    steps.push({
      network: networkOf(alias),
      change: `remove ${kind} ${name} of ${networkOf(alias) || 'the fabric'}`,
      repair: `${kind} ${name}, which belongs to no segment, is removed`,
      first: [`link del dev ${name}`],
      born: [],
      last: [],
    });
  steps.push(...planGround(state, links, sources));
  const shared = new Set<string>();
  for (const vni of state.vnis) {
    const place = places.get(vni.vni);
    if (!place) continue;
    if (!shared.has(place.bridge)) {
      shared.add(place.bridge);
      steps.push(...planBridge(state, vni, place, links), ...planVxlan(state, vni, place, links));
    }
    steps.push(...planPort(state, vni, place, links, present));
  }
  return steps;
}

/** The VTEPs' addresses, and the default routes by which next hops resolve. */
function planGround(state: FabricState, links: ReadonlyMap<string, BridgeLink>, sources: readonly string[]): LinkStep[] {
  const steps: LinkStep[] = [];
  const alias = `weir:${state.tag}:`;
  const reach = links.get(reachLink);
  if (!reach?.up || !links.get(reachPeer)?.up)
    steps.push({
      network: '',
      change: `create link ${reachLink}, through which next hops resolve`,
      repair: `link ${reachLink} of the fabric was gone: made again`,
      first: [
        ...(reach ? [`link del dev ${reachLink}`] : []),
        `link add ${reachLink} type veth peer name ${reachPeer}`,
        `link set dev ${reachLink} alias ${alias} group ${fabricGroup} up`,
        `link set dev ${reachPeer} alias ${alias} up`,
        `route replace 0.0.0.0/0 dev ${reachLink}`,
      ],
      born: [],
      last: [],
    });
  const held = new Set(links.get('lo')?.addresses ?? []);
  const needed = new Set([...state.vnis.map(({ local }) => local), ...sources]);
  const lacking = [...needed].filter((address) => !held.has(address));
  const extra = [...held].filter((address) => address !== '127.0.0.1' && address !== '::1' && !needed.has(address));
  if (lacking.length > 0 || extra.length > 0 || !links.get('lo')?.up)
    steps.push({
      network: '',
      change: `${lacking.length > 0 ? 'create' : 'remove'} VTEP address ${[...lacking, ...extra].join(', ')} on lo of the fabric`,
      repair: `addresses on lo of the fabric differed (${[...lacking, ...extra].join(', ') || 'link down'}): put right`,
      first: [
        'link set dev lo up',
        ...extra.map((address) => `addr del ${hostRoute(address)} dev lo`),
        ...(lacking.some((address) => address.includes(':')) ? [`route replace ::/0 dev ${reachLink}`] : []),
        ...lacking.map((address) => `addr add ${hostRoute(address)} dev lo${address.includes(':') ? ' nodad' : ''}`),
      ],
      born: [],
      last: [],
    });
  return steps;
}

const hostRoute = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`;

function planBridge(state: FabricState, vni: FabricVni, place: VniPlace, links: ReadonlyMap<string, BridgeLink>): LinkStep[] {
  const link = links.get(place.bridge);
  const network = vni.single ? '' : vni.network;
  const sound =
    link?.kind === 'bridge' &&
    link.up &&
    link.mtu === sharedMtu(state, vni) &&
    link.bridge?.vlanFiltering === vni.single &&
    !link.bridge.multicastSnooping;
  if (sound) return [];
  const what = network ? `of ${network} (VNI ${vni.vni})` : 'of the single VXLAN device';
  const rebuild = link !== undefined && (link.kind !== 'bridge' || link.bridge?.vlanFiltering !== vni.single);
  return [
    {
      network,
      change: `${link ? 'change' : 'create'} bridge ${place.bridge} ${what}`,
      repair: `bridge ${place.bridge} ${what} ${link ? 'was changed: put right' : 'was gone: made again'}`,
      first: [
        ...(rebuild ? [`link del dev ${place.bridge}`] : []),
        ...(link && !rebuild
          ? []
          : [
              `link add ${place.bridge} type bridge stp_state 0 forward_delay 0 ageing_time ${longestAgeing}${vni.single ? ' vlan_filtering 1 vlan_default_pvid 0' : ''}`,
            ]),
        `link set dev ${place.bridge} type bridge mcast_snooping 0`,
        `link set dev ${place.bridge} alias weir:${state.tag}:${network} group ${fabricGroup} mtu ${sharedMtu(state, vni)} addrgenmode none up`,
      ],
      born: [],
      last: [],
    },
  ];
}

/** The bridge and device that segments share are as wide as the widest. */
const sharedMtu = (state: FabricState, vni: FabricVni): number =>
  vni.single ? Math.max(...state.vnis.filter(({ single }) => single).map(({ mtu }) => mtu)) : vni.mtu;

function planVxlan(state: FabricState, vni: FabricVni, place: VniPlace, links: ReadonlyMap<string, BridgeLink>): LinkStep[] {
  const link = links.get(place.vxlan);
  const network = vni.single ? '' : vni.network;
  const device = link?.vxlan;
  const same =
    device !== undefined &&
    device.vni === (vni.single ? 0 : vni.vni) &&
    device.local === vni.local &&
    device.port === vni.port &&
    !device.learning &&
    device.vniFilter === vni.single;
  const sound =
    same &&
    link?.up === true &&
    link.mtu === sharedMtu(state, vni) &&
    link.master === place.bridge &&
    links.has(place.bridge) &&
    link.portOptions?.learning === false &&
    link.portOptions.neighbourSuppression;
  if (sound) return [];
  const what = network ? `of ${network} (VNI ${vni.vni}, VTEP ${vni.local})` : `for all VNIs (VTEP ${vni.local})`;
  const identity = vni.single ? 'external vnifilter' : `id ${vni.vni}`;
  return [
    {
      network,
      change: `${link ? 'change' : 'create'} VXLAN device ${place.vxlan} ${what}`,
      repair: `VXLAN device ${place.vxlan} ${what} ${link ? 'was changed: put right' : 'was gone: made again'}`,
      first: link && !same ? [`link del dev ${place.vxlan}`] : [],
      born: same
        ? []
        : [
            `link add ${place.vxlan} netns ${state.netns} type vxlan ${identity} local ${vni.local} dstport ${vni.port} ttl 64 nolearning`,
          ],
      last: [
        `link set dev ${place.vxlan} alias weir:${state.tag}:${network} group ${fabricGroup} mtu ${sharedMtu(state, vni)} addrgenmode none`,
        `link set dev ${place.vxlan} master ${place.bridge}`,
        `link set dev ${place.vxlan} type bridge_slave learning off neigh_suppress on${vni.single ? ' vlan_tunnel on' : ''}`,
        `link set dev ${place.vxlan} up`,
      ],
    },
  ];
}

function planPort(
  state: FabricState,
  vni: FabricVni,
  place: VniPlace,
  links: ReadonlyMap<string, BridgeLink>,
  present: PresentFabric,
): LinkStep[] {
  // A segment that is gone is made by whoever owns it; the way to it follows then.
  if (!present.segments.has(vni.segmentNetns)) return [];
  const link = links.get(place.port);
  const joined = link !== undefined && present.joined.has(vni.segmentNetns);
  const sound =
    joined &&
    link.up &&
    link.kind === 'veth' &&
    link.mtu === vni.mtu &&
    link.master === place.bridge &&
    links.has(place.bridge) &&
    link.portOptions?.learning === false &&
    (place.vlan === undefined || links.get(place.neighbourLink)?.up === true);
  if (sound) return [];
  const rebuild = link !== undefined && (!joined || link.kind !== 'veth');
  const alias = `weir:${state.tag}:${vni.network}`;
  return [
    {
      network: vni.network,
      change: `${link ? 'change' : 'create'} link lan of ${vni.network}, joined to VNI ${vni.vni}`,
      repair: `link lan of ${vni.network} ${joined ? 'was changed: put right' : 'was gone: made again'}`,
      first: rebuild ? [`link del dev ${place.port}`] : [],
      born: [],
      // After the VXLAN devices: zebra takes a device for its own only when the namespace it sends from has the first number
      // (nsid 0) among those the fabric's namespace knows, and the kernel gives numbers in the order of first mention.
      last: [
        ...(link && !rebuild
          ? []
          : [
              `link add ${place.port} mtu ${vni.mtu} type veth peer name lan address ${vni.lanMac} mtu ${vni.mtu} netns ${vni.segmentNetns}`,
            ]),
        `link set dev ${place.port} alias ${alias} group ${fabricGroup} mtu ${vni.mtu} addrgenmode none`,
        `link set dev ${place.port} master ${place.bridge}`,
        `link set dev ${place.port} type bridge_slave learning off`,
        `link set dev ${place.port} up`,
        ...(place.vlan !== undefined && !links.has(place.neighbourLink)
          ? [
              `link add link ${place.bridge} name ${place.neighbourLink} type vlan id ${place.vlan}`,
              `link set dev ${place.neighbourLink} alias ${alias} addrgenmode none up`,
            ]
          : []),
      ],
    },
  ];
}

const networkOf = (alias: string): string => alias.split(':')[2] ?? '';
