// FRR's configuration and command lines for the fabric, and what must be told to a speaker that runs already so that its
// sessions stay. Pure. VNIs are not in it: zebra sees the devices come and go by itself.

import type { FrrFiles, FrrProgram } from '../kernel/frr-daemon.ts';
import type { FabricPeer, FabricSpeaker } from './fabric-state.ts';

/** A connection is tried anew after this; a silent peer is given up after `holdTimeS`. */
const connectTimeS = 5;
const keepaliveTimeS = 10;
const holdTimeS = 30;

/** Next hops resolve by the default route of the fabric's namespace: whether they are reachable, BGP itself finds out. */
export const renderZebra = (): string => 'ip nht resolve-via-default\nipv6 nht resolve-via-default\n';

export function renderSpeaker(speaker: FabricSpeaker): string {
  return [
    `router bgp ${speaker.asn}`,
    ` bgp router-id ${speaker.routerId}`,
    ' no bgp default ipv4-unicast',
    // Without this a peer of another AS gets and gives nothing until policies are written (RFC 8212).
    ' no bgp ebgp-requires-policy',
    ...speaker.peers.flatMap((peer) => peerLines(speaker, peer)).map((line) => ` ${line}`),
    ' address-family l2vpn evpn',
    ...speaker.peers.flatMap(peerFamilyLines).map((line) => `  ${line}`),
    '  advertise-all-vni',
    ' exit-address-family',
    'exit',
    '',
  ].join('\n');
}

function peerLines(speaker: FabricSpeaker, { address, asn, local }: FabricPeer): string[] {
  return [
    `neighbor ${address} remote-as ${asn}`,
    // Whether a peer of another AS is on a wire of ours is not for zebra to say: it lives in another namespace.
    ...(asn === speaker.asn ? [] : [`neighbor ${address} ebgp-multihop 255`]),
    ...(sameFamily(address, local) ? [`neighbor ${address} update-source ${local}`] : []),
    `neighbor ${address} timers ${keepaliveTimeS} ${holdTimeS}`,
    `neighbor ${address} timers connect ${connectTimeS}`,
    `neighbor ${address} advertisement-interval 0`,
  ];
}

const peerFamilyLines = ({ address }: FabricPeer): string[] => [`neighbor ${address} activate`];

const sameFamily = (a: string, b: string): boolean => a.includes(':') === b.includes(':');

/** Lines for a running speaker, or `restart` where sessions cannot outlive the change. Empty: nothing to tell. */
export function planSpeakerChange(before: FabricSpeaker, after: FabricSpeaker): readonly string[] | 'restart' {
  if (before.asn !== after.asn || before.routerId !== after.routerId || before.locals.join() !== after.locals.join())
    return 'restart';
  const key = (peer: FabricPeer): string => JSON.stringify(peer);
  const was = new Set(before.peers.map(key));
  const is = new Set(after.peers.map(key));
  const gone = before.peers.filter((peer) => !is.has(key(peer)));
  const come = after.peers.filter((peer) => !was.has(key(peer)));
  if (gone.length === 0 && come.length === 0) return [];
  return [
    `router bgp ${after.asn}`,
    ...gone.map(({ address }) => `no neighbor ${address}`),
    ...come.flatMap((peer) => peerLines(after, peer)),
    'address-family l2vpn evpn',
    ...come.flatMap(peerFamilyLines),
    'exit-address-family',
  ];
}

/** No TCP for terminals anywhere; bgpd hears passive peers on the addresses of `heard` alone; none: it only calls. */
export function daemonArguments(program: FrrProgram, files: FrrFiles, heard: readonly string[]): string[] {
  const common = [
    ...['-f', files.configuration(program), '-z', files.zserv, '--vty_socket', files.sockets],
    ...['-i', files.pidFile(program), '-P', '0'],
  ];
  // A segment's worth of neighbours arrives at once: what the netlink buffer cannot hold, zebra would never hear of.
  if (program === 'zebra') return [...common, '-s', '134217728'];
  return [...common, ...(heard.length > 0 ? heard.flatMap((address) => ['-l', address]) : ['-p', '0'])];
}
