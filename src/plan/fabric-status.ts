// What FRR says of the fabric as lines for people, and as reasons with the next step where it is not well. Pure; takes the
// answers of `show bgp l2vpn evpn summary json` and `show evpn vni detail json` as whatever they may be.

import { printable } from '../base/printable.ts';
import type { AnnexStatus } from './annex.ts';
import type { EntryChanges } from './fabric-entries.ts';
import type { FabricState } from './fabric-state.ts';

/** One look at the fabric. */
export interface FabricReport {
  /** Of bgpd; undefined: no answer. */
  readonly summary: unknown;
  /** Of zebra; undefined: no answer. */
  readonly vnis: unknown;
  /** Last reset of a peer's session in FRR's words, by the peer's address. */
  readonly lastResets: ReadonlyMap<string, string>;
  /** Since when each peer is not established, by its address; milliseconds ago. */
  readonly downForMs: ReadonlyMap<string, number>;
  /** False: another program has BGP's port on a VTEP's address. */
  readonly hears: boolean;
  /** What hosts of the far side have, by port; see EntryChanges. */
  readonly taken: EntryChanges['taken'];
  readonly portNetworks: ReadonlyMap<string, string>;
  /** Why the last attempt to put things right failed. */
  readonly failure?: string;
}

const maxLines = 64;

export interface PeerStanding {
  readonly established: boolean;
  readonly state: string;
  readonly sinceMs: number;
  readonly received: number;
  readonly sent: number;
}

const recordOf = (value: unknown): Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' ? (value as Record<string, unknown>) : {};
const numberOf = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

/** Standing of a configured peer; undefined where bgpd does not know it or does not answer. */
export function readPeer(summary: unknown, address: string): PeerStanding | undefined {
  const peer = recordOf(recordOf(recordOf(summary).peers)[address]);
  if (typeof peer.state !== 'string') return undefined;
  return {
    established: peer.state === 'Established',
    state: printable(peer.state, 40),
    sinceMs: numberOf(peer.peerUptimeMsec),
    received: numberOf(peer.pfxRcd),
    sent: numberOf(peer.pfxSnt),
  };
}

export function renderFabricStatus(state: FabricState, report: FabricReport): AnnexStatus {
  const lines: string[] = [];
  const reasons: string[] = report.failure ? [`the EVPN fabric: ${report.failure}`] : [];
  const { speaker } = state;
  lines.push(
    `BGP EVPN: AS ${speaker.asn}, router id ${speaker.routerId}, ${report.hears ? `hears and calls from ${speaker.locals.join(', ')}` : 'calls only'}`,
  );
  if (report.summary === undefined)
    reasons.push('bgpd does not answer: decoys stay, but far VTEPs learn and forget nothing until it is back');
  if (report.vnis === undefined)
    reasons.push('zebra does not answer: decoys stay, but new hosts of the far side are found by flooding until it is back');
  if (!report.hears)
    reasons.push(
      `another program listens on TCP port 179 of ${speaker.locals.join(', ')}: peers that only wait for us are reached, those that call are not; stop it or give it another address`,
    );
  for (const { address, asn, local } of speaker.peers) {
    const peer = readPeer(report.summary, address);
    if (peer?.established)
      lines.push(
        `peer ${address} (AS ${asn}) established for ${renderSpan(peer.sinceMs)}, ${peer.received} routes received, ${peer.sent} sent`,
      );
    else if (report.summary !== undefined) {
      const last = report.lastResets.get(address);
      const span = renderSpan(report.downForMs.get(address) ?? 0);
      lines.push(`peer ${address} (AS ${asn}) not established: ${peer?.state ?? 'unknown to bgpd'}`);
      reasons.push(
        `peer ${address} not established for ${span}${last ? ` (last: ${printable(last, 120)})` : ''}: decoys stay, the far side may not learn new ones; check that it reaches ${local} on TCP port 179 and expects AS ${speaker.asn}`,
      );
    }
  }
  const known = new Map(
    (Array.isArray(report.vnis) ? report.vnis : []).map((vni) => [numberOf(recordOf(vni).vni), recordOf(vni)]),
  );
  for (const { vni, network, entries } of state.vnis) {
    const found = known.get(vni);
    if (report.vnis !== undefined && !found)
      reasons.push(`zebra does not know VNI ${vni} of ${network}: its devices are being made`);
    const remotes = countVteps(found);
    const announced = `${entries.addresses.length} addresses and ${entries.macs.length} MACs announced${entries.complete ? '' : ' (there are more decoys: those are found by flooding)'}`;
    lines.push(`VNI ${vni} (${network}): ${remotes} far ${remotes === 1 ? 'VTEP' : 'VTEPs'}, ${announced}`);
  }
  for (const [port, { macs, addresses }] of report.taken) {
    const network = report.portNetworks.get(port) ?? port;
    const [example] = [...addresses, ...macs];
    lines.push(
      `VNI of ${network}: ${addresses.length} addresses and ${macs.length} MACs are a far host's (${example}): left to it`,
    );
  }
  return { reasons: reasons.slice(0, maxLines), lines: bounded(lines) };
}

/** A list by the name of a count in FRR 8, a count and a list from FRR 9 on. */
function countVteps(vni: Readonly<Record<string, unknown>> | undefined): number {
  if (Array.isArray(vni?.numRemoteVteps)) return vni.numRemoteVteps.length;
  return Array.isArray(vni?.remoteVteps) ? vni.remoteVteps.length : numberOf(vni?.numRemoteVteps);
}

const bounded = (lines: readonly string[]): readonly string[] =>
  lines.length <= maxLines ? lines : [...lines.slice(0, maxLines - 1), `and ${lines.length - maxLines + 1} more`];

function renderSpan(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
