// What the relay delivers, whatever way it came: from a TPROXY listener, behind a PROXY header, over an agent's link. The
// receiver cannot tell them apart and need not. Types only.

import type { Duplex } from 'node:stream';
import type { Micros } from '../base/clock.ts';
import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionClaim, SynDetails } from '../model/session.ts';

/** A byte stream with TCP's two ways to end: `end()` is a FIN, `resetAndDestroy()` a RST. net.Socket is one. */
export interface FlowStream extends Duplex {
  resetAndDestroy(): unknown;
}

/**
 * A connection to a decoy. Nothing has been read; reading starts in the next turn of the loop, so the receiver attaches its
 * `data`, `end`, `error` and `close` listeners at once. Half-open: an `end` does not end the other direction. A RST from the
 * attacker is an `error` with the code ECONNRESET, as on a socket.
 */
export interface Arrival {
  /** Where there is `takeDescriptor`, made when it is first looked at; whoever takes an arrival takes one of the two. */
  readonly socket: FlowStream;
  /**
   * The connection as a descriptor, non-blocking and watched by nobody: for who reads it without Node. Undefined once `socket`
   * was looked at; afterwards `socket` may not be. A copy by spreading looks at `socket`.
   */
  readonly takeDescriptor?: () => number | undefined;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** As in NamedSocket.network; empty: the machine's own; `agent NAME` on an agent's machine, `proxy NAME` behind a proxy. */
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  readonly names?: NameBook | undefined;
  readonly sourceMac?: string | undefined;
  readonly syn?: SynDetails | undefined;
  readonly acceptedAt: Micros;
  /** The agent that handed it over, or carried its packets. */
  readonly agent?: string | undefined;
  /** Given by the hop before (PROXY v2 UNIQUE_ID), printable, at most 128 characters. */
  readonly uniqueId?: string;
  /** The service the hop before asks for; of `inner` proxy diversions only. */
  readonly service?: string;
  /** The session it becomes is the agent's as well. */
  readonly claim?: SessionClaim | undefined;
}

/** A datagram to a decoy, as in relay/datagram-visit.ts, from anywhere. `payload` is not written into afterwards. */
export interface ArrivedDatagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly network: string;
  readonly diversion: string;
  readonly persona: Persona;
  readonly sourceMac?: string;
  readonly at: Micros;
  readonly payload: Uint8Array;
  readonly names?: NameBook;
  readonly group?: string;
  readonly onLink: boolean;
  readonly agent?: string | undefined;
  readonly uniqueId?: string;
  readonly service?: string;
  /** As in Arrival, for the session it begins, when it begins one; set by whoever hands it on. */
  claim?: SessionClaim | undefined;
  reply(bytes: Uint8Array): boolean;
  /** As `reply`, for later: it keeps nothing of the payload. It has an allowance of its own, as large as what is left now. */
  replyLater?(): (bytes: Uint8Array) => boolean;
  replyOnLink(bytes: Uint8Array, hopLimit: 1 | 255, toGroup: boolean): boolean;
}
