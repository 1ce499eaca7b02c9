// Services that can be dialled as the attacker now: their marks, and the namespace their sockets are opened in. The gateway is
// told of them, and asks netd for sockets by their names.

import { openDialSockets } from '../kernel/dial-socket.ts';
import type { WantedSockets } from '../kernel/handover-sockets.ts';
import { readNamespaceIdentity } from '../kernel/namespace-handle.ts';
import type { Family } from '../model/address.ts';
import type { ServiceDial } from './dial-network.ts';

export interface AppliedDial {
  readonly service: string;
  readonly family: Family;
  readonly mark: number;
  /** Tells this namespace and mark from earlier ones. */
  readonly place: string;
}

/** None while the namespace is not there. */
export function readAppliedDials(dials: readonly ServiceDial[], netns: string): AppliedDial[] {
  const identity = readNamespaceIdentity(netns);
  return identity === undefined ? [] : dials.map((one) => ({ ...one, place: `${identity} ${one.mark}` }));
}

/** What the gateway asked for, or less; for HandoverServer.onWanted. Throws as openDialSockets. */
export function openWantedSockets(
  wanted: WantedSockets,
  dials: readonly AppliedDial[],
  netns: string,
): { place: string; fds: number[] } | undefined {
  const dial = dials.find(({ service, family }) => service === wanted.service && family === wanted.family);
  if (!dial) return undefined;
  const { transport, family, count } = wanted;
  return { place: dial.place, fds: openDialSockets({ netns, transport, family, mark: dial.mark, count }) };
}
