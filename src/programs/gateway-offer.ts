// What netd tells the gateway beside the sockets: who lives where, and the bounds. Travels by structured clone.

import type { AddressRange } from '../model/address.ts';
import type { Limits } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';

export interface GatewayOffer {
  readonly groups: readonly DecoyGroup[];
  readonly personas: readonly Persona[];
  /** Given back to live hosts. */
  readonly withheld: readonly AddressRange[];
  /** Which diversions use which interface. */
  readonly interfaces: Readonly<Record<string, readonly string[]>>;
  readonly limits: Limits;
}
