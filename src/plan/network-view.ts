// The networks as applied, for whoever answers in user space: who lives in which namespace, on which links. Pure.

import { netnsPath } from '../kernel/netns.ts';
import type { AddressRange } from '../model/address.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import type { NetworkState, SegmentState } from './desired-state.ts';
import type { StoredState } from './state-file.ts';

/** One network namespace with decoys, for whoever answers in user space. */
export interface NetworkView {
  /** Empty: the machine's own; otherwise the name of the diversion. */
  readonly name: string;
  /** Path of its namespace; absent: the one this process is in. */
  readonly netns?: string;
  /** As applied; without the withheld ones taken out. */
  readonly groups: readonly DecoyGroup[];
  readonly withheld: readonly AddressRange[];
  /** Of its groups, as they were when this was applied. */
  readonly personas: readonly Persona[];
  /** Links with claimed decoys, and the diversions that use them. */
  readonly interfaces: Readonly<Record<string, { readonly promiscuous: boolean; readonly diversions: readonly string[] }>>;
  /** Of a segment. */
  readonly segment?: SegmentState;
}

/** The machine's own first; empty while nothing is applied. `netns` is the path of the machine's own namespace. */
export function viewNetworks(stored: StoredState | undefined, netns: string | undefined): NetworkView[] {
  const { current, withheld, networks } = stored ?? {};
  if (!current) return [];
  return [
    { name: '', ...(netns === undefined ? {} : { netns }), ...viewOf(current, withheld ?? []) },
    ...current.segments.map((segment) => ({
      name: segment.name,
      netns: netnsPath(segment.netns),
      segment,
      ...viewOf(segment.inside, networks?.[segment.name]?.withheld ?? []),
    })),
  ];
}

function viewOf(
  state: NetworkState,
  withheld: readonly AddressRange[],
): Pick<NetworkView, 'groups' | 'withheld' | 'personas' | 'interfaces'> {
  const interfaces: Record<string, { readonly promiscuous: boolean; readonly diversions: readonly string[] }> = {};
  for (const { kind, diversion } of state.groups) {
    const link = state.interfaces[diversion];
    if (kind !== 'claimed' || link === undefined) continue;
    const diversions = [...new Set([...(interfaces[link]?.diversions ?? []), diversion])];
    interfaces[link] = { promiscuous: state.macLinks.includes(link), diversions };
  }
  return { groups: state.groups, withheld, personas: state.personas, interfaces };
}
