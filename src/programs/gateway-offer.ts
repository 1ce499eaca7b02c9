// What netd tells the gateway beside the sockets: who lives where, and the bounds. Travels by structured clone.

import type { AddressRange } from '../model/address.ts';
import type { Limits } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import type { RelayState } from '../plan/desired-state.ts';
import type { DialOffer } from '../relay/handover-pool.ts';
import type { KernelPathPort } from '../relay/kernel-path-protocol.ts';

/** One network namespace with decoys. Two networks may use the same addresses. */
export interface NetworkOffer {
  /** Empty: this machine's own namespace; otherwise the name of the `network` diversion. As in NamedSocket.network. */
  readonly name: string;
  readonly groups: readonly DecoyGroup[];
  /** Given back to live hosts. */
  readonly withheld: readonly AddressRange[];
  /** Which diversions use which interface. */
  readonly interfaces: Readonly<Record<string, readonly string[]>>;
  /** Whose hosts are on the link itself, not behind a router: only they get answers longer than their questions. */
  readonly subnets: readonly AddressRange[];
  /** Whose machine the decoys are on, where its packets are carried here. */
  readonly agent?: string;
}

export interface GatewayOffer {
  readonly networks: readonly NetworkOffer[];
  readonly personas: readonly Persona[];
  readonly limits: Limits;
  /** Probes a second in search of live hosts, as configured. */
  readonly claimRate: number;
  /** Decoys that services answer with their own TCP/IP stack; empty when none are bound. */
  readonly kernelPath: readonly KernelPathPort[];
  /** Where else flows come in, and where they lead; absent: nowhere. */
  readonly relay?: RelayState;
  /** Services that can be dialled as the attacker now. */
  readonly dials: readonly DialOffer[];
}
