// What arrives at the catch-all: an accepted connection or one datagram, with its true ends. Types only.
// Where they come from is relay/; what is answered is catch-all.ts.

import type { Duplex } from 'node:stream';
import type { Micros } from '../base/clock.ts';
import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionClaim, SynDetails } from '../model/session.ts';

/** What a session is spoken over; a net.Socket is one, an agent's flow another. */
export type VisitStream = Duplex & { resetAndDestroy(): unknown };

/** One accepted TCP connection. `socket` has `allowHalfOpen` set and nothing was read from it; the catch-all owns it from now on. */
export interface Visit {
  readonly socket: VisitStream;
  readonly source: Endpoint;
  /** What the attacker dialled: the decoy's address and port. */
  readonly destination: Endpoint;
  /** Empty: the machine's own. The same address in two networks is two sources. */
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  /** Of the network's decoys. */
  readonly names?: NameBook | undefined;
  readonly sourceMac?: string | undefined;
  readonly syn?: SynDetails | undefined;
  readonly acceptedAt: Micros;
  /** The agent that handed it over. */
  readonly agent?: string | undefined;
  readonly claim?: SessionClaim | undefined;
}

/** One UDP datagram to a decoy. `payload` is not written into afterwards. */
export interface Datagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** As in Visit. */
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  readonly sourceMac?: string;
  readonly at: Micros;
  readonly payload: Uint8Array;
  readonly names?: NameBook;
  /** The multicast or broadcast address it went to; absent: it went to the decoy alone. */
  readonly group?: string;
  readonly agent?: string | undefined;
  /** For the session it begins, when it begins one. */
  readonly claim?: SessionClaim | undefined;
  /** The source is on the network's own link. */
  readonly onLink: boolean;
  /** Sends from the decoy's address and port; false when it could not be sent. Never throws. */
  reply(bytes: Uint8Array): boolean;
  /** As `reply`, also longer than what came in, for the link alone; false also when the source is not on it. */
  replyOnLink(bytes: Uint8Array, hopLimit: 1 | 255, toGroup: boolean): boolean;
}
