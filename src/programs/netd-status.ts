// netd's part of `weir status`: the diversions as applied. Pure.

import { renderMicros } from '../base/clock.ts';
import { type AddressRange, rangeSize, renderAddress, renderRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { populationModulus } from '../model/population.ts';
import { describeAttachment, renderInterfaceAddress } from '../model/segment.ts';
import type { DiversionStatus, NetworkStatus, Status } from '../model/status.ts';
import type { Annex } from '../plan/annex.ts';
import type { RelayState, SegmentState } from '../plan/desired-state.ts';
import type { NetworkView } from '../plan/network-view.ts';
import type { ReconcileStatus } from '../plan/reconciler.ts';
import { describeAgentDiversion, describeProxyDiversion } from '../plan/relay-state.ts';

const maxRangesPerGroup = 8;
const maxRanges = 32;
const maxWithheld = 64;

/** By what is applied alone: the file may say something else by now, and a restarted netd has read that. */
export function diversionStatus(networks: readonly NetworkView[]): DiversionStatus[] {
  return networks.flatMap((network) =>
    [...new Set(network.groups.map(({ diversion }) => diversion))].map((name) => statusOf(name, network)),
  );
}

function statusOf(name: string, { groups: all, withheld: given, interfaces, segment }: NetworkView): DiversionStatus {
  const groups = all.filter(({ diversion }) => diversion === name);
  const withheld = withheldOf(groups, given);
  const link = segment ? undefined : Object.keys(interfaces).find((one) => interfaces[one].diversions.includes(name));
  return {
    name,
    kind: segment ? 'network' : 'host',
    ...(link === undefined ? {} : { interface: link }),
    ...(segment ? { network: networkStatus(segment) } : {}),
    decoys: String(countLiving(groups)),
    ranges: groups.flatMap(({ ranges }) => ranges.slice(0, maxRangesPerGroup).map(renderRange)).slice(0, maxRanges),
    personas: [...new Set(groups.flatMap(({ population }) => population.shares.map(({ persona }) => persona)))],
    ...(withheld.length > 0 ? { withheld: withheld.slice(0, maxWithheld).map(renderRange) } : {}),
  };
}

/** Diversions whose packets arrive elsewhere: agents' and proxies'. */
export function relayedDiversions(relay: RelayState | undefined): DiversionStatus[] {
  if (!relay) return [];
  const flow = (name: string, kind: string, persona: string, source: string): DiversionStatus => ({
    name,
    kind,
    source,
    decoys: '1',
    ranges: [],
    personas: [persona],
  });
  return [
    ...relay.agentDiversions.map((one) => flow(one.name, 'agent', one.persona, describeAgentDiversion(one))),
    ...relay.proxyDiversions.map((one) => flow(one.name, 'proxy', one.persona, describeProxyDiversion(one))),
    ...relay.remote.map(({ agent, groups }) => ({
      name: groups[0]?.diversion ?? '',
      kind: 'remote',
      source: `on the machine of ${agent}`,
      decoys: String(countLiving(groups)),
      ranges: groups.flatMap(({ ranges }) => ranges.slice(0, maxRangesPerGroup).map(renderRange)).slice(0, maxRanges),
      personas: [...new Set(groups.flatMap(({ population }) => population.shares.map(({ persona }) => persona)))],
    })),
  ];
}

function networkStatus({ attachment, netns, mtu, addresses, gateways }: SegmentState): NetworkStatus {
  return {
    attachment: describeAttachment(attachment),
    netns,
    mtu,
    addresses: addresses.map(renderInterfaceAddress),
    ...(gateways.length > 0 ? { gateways: gateways.map(renderAddress) } : {}),
  };
}

/** What was put right, how the annexes are, and why either is not well. */
export function repairStatus(
  { repairs, failures, lastRepair, reasons }: ReconcileStatus,
  annexes: readonly Annex[],
): Pick<Status, 'repairs' | 'annexes' | 'reasons'> {
  const reports = annexes.map((annex) => ({ name: annex.name, ...annex.status() })).filter(isTelling);
  const all = [...reasons, ...reports.flatMap((report) => report.reasons)];
  return {
    repairs: {
      count: repairs,
      ...(failures > 0 ? { failures } : {}),
      ...(lastRepair ? { last: { at: renderMicros(lastRepair.at), message: lastRepair.message } } : {}),
    },
    ...(reports.length > 0 ? { annexes: reports } : {}),
    ...(all.length > 0 ? { reasons: all } : {}),
  };
}

const isTelling = ({ lines, reasons }: { readonly lines: readonly string[]; readonly reasons: readonly string[] }): boolean =>
  lines.length + reasons.length > 0;

const withheldOf = (groups: readonly DecoyGroup[], withheld: readonly AddressRange[]): AddressRange[] =>
  withheld.filter((range) =>
    groups.some(({ ranges }) =>
      ranges.some(({ family, first, last }) => family === range.family && first <= range.first && range.last <= last),
    ),
  );

/** By the population's shares; who exactly lives is a matter of each address. */
function countLiving(groups: readonly DecoyGroup[]): bigint {
  let living = 0n;
  for (const { population, ranges } of groups) {
    const share = population.shares.reduce((sum, one) => sum + one.share, 0);
    for (const range of ranges) living += (rangeSize(range) * BigInt(share)) / BigInt(populationModulus);
  }
  return living;
}
