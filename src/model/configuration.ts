// The configuration after parsing: complete, checked, frozen. The text form and its messages are config/.

import type { Address, AddressRange } from './address.ts';
import type { DecoyGroup, Place } from './decoy.ts';
import type { Persona } from './persona.ts';
import type { PortSet } from './port-set.ts';

export interface Retention {
  readonly days: number;
  readonly sizeBytes: number;
}

/** Never diverted, always reachable. */
export interface Management {
  readonly ports: PortSet;
  readonly sources: readonly AddressRange[];
}

/** Bounds of the catch-all; every one is enforced and what it cuts is counted. */
export interface Limits {
  readonly sessions: number;
  readonly sessionsPerSource: number;
  readonly sessionBytes: number;
  readonly idleTimeoutMs: number;
  readonly totalTimeoutMs: number;
  /** How long a client of a server-first protocol may stay silent before the banner is sent. */
  readonly bannerDelayMs: number;
}

export interface ProbeLimits {
  /** ARP probes per second while looking for live hosts before a claim. */
  readonly claimRate: number;
}

/** W1 knows `host`; other kinds are refused with a message until their diversion exists. */
export interface HostDiversion {
  readonly kind: 'host';
  readonly name: string;
  /** Absent: every interface that holds an address of this machine (kind `own` groups only). */
  readonly interface?: string;
  readonly groups: readonly DecoyGroup[];
  readonly place: Place;
  /** The line of the decoy that holds this address, where single decoys were gathered into one group. For messages. */
  readonly placeOf?: (address: Address) => Place;
}

export interface ConsoleSettings {
  readonly address: string;
  readonly port: number;
}

export interface Configuration {
  readonly version: 1;
  /** Absolute path. */
  readonly data: string;
  /** Absent when there is no file and the defaults hold. */
  readonly file?: string;
  readonly retention: Retention;
  readonly management: Management;
  readonly console: ConsoleSettings;
  readonly limits: Limits;
  readonly probing: ProbeLimits;
  readonly diversions: readonly HostDiversion[];
  readonly personas: ReadonlyMap<string, Persona>;
}
