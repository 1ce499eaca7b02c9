// Where sockets for transparent dialling come from: made by netd in the services namespace, which the gateway cannot enter.
// The pool itself is handover-pool.ts.

import type { Family } from '../model/address.ts';
import type { Transport } from '../model/session.ts';

export interface DialPool {
  /**
   * An unbound socket in the services namespace that may take any address (IP_TRANSPARENT, IP_BIND_ADDRESS_NO_PORT), marked
   * for the service's wire; from now on the caller's. Undefined: none left just now, or no such service.
   */
  take(service: string, transport: Transport, family: Family): number | undefined;
  /** More have been asked for, for this service: who found none may wait until `onRefill` tells. */
  refilling(service: string, transport: Transport, family: Family): boolean;
  /** One listener. */
  onRefill(listener: () => void): void;
}

/** No service is dialled transparently. */
export const noDialPool: DialPool = { take: () => undefined, refilling: () => false, onRefill: () => {} };
