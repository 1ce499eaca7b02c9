// Whom a proxy diversion lets in, and what its doors count: shared by proxy-door.ts and proxy-datagrams.ts.

import { parseAddress, rangeHolds } from '../model/address.ts';
import type { Persona } from '../model/persona.ts';
import type { ProxyFault } from '../model/proxy-protocol.ts';
import type { ProxyDiversion } from '../model/relayed-service.ts';

/** A proxy diversion with what the gateway needs to let visitors in. */
export interface ProxyListening {
  readonly diversion: ProxyDiversion;
  readonly persona: Persona;
}

/** Totals since the start; `waiting` is of now. */
export interface ProxyDoorCounters {
  /** Connections that became arrivals, and datagrams. */
  delivered: number;
  datagrams: number;
  /** Of peers that are not allow-listed; datagrams too. */
  strangers: number;
  /** Health checks: LOCAL, or v1's UNKNOWN. */
  local: number;
  /** Headers that were none, by what was wrong with them. */
  faults: Partial<Record<ProxyFault | 'no-service', number>>;
  /** Ended before their header did. */
  cut: number;
  /** The header did not come in time. */
  slow: number;
  /** Reset to make room, or for want of a descriptor. */
  shed: number;
  /** Not taken over by whoever was to. */
  failed: number;
  /** Whose headers have not come yet. */
  waiting: number;
}

export function isAllowed(diversion: ProxyDiversion, peer: string): boolean {
  const address = parseAddress(peer);
  return address !== undefined && diversion.allow.some((range) => rangeHolds(range, address));
}
