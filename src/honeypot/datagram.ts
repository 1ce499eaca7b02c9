// The one signature every UDP responder has. A datagram's source may be forged, so an answer is never larger than the
// question and often there is none; only names have answers for the link itself that may be. The table, the rate limits and
// the records are datagram-table.ts.

import type { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionFindings } from '../model/session.ts';

export interface Question {
  /** Never empty is not promised: zero-length datagrams exist. */
  readonly payload: Buffer;
  readonly persona: Persona;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** Of the decoys of the network it arrived in. */
  readonly names: NameBook | undefined;
  find(findings: SessionFindings): void;
}

/** A question from a host on the network's own link. */
export interface LinkQuestion extends Question {
  /** The multicast or broadcast address it went to; undefined: to the decoy alone. */
  readonly group: string | undefined;
}

/** May be longer than the question; leaves for the link only. */
export interface LinkAnswer {
  readonly bytes: Buffer;
  /** 1 does not get past a router; 255 where the protocol wants it as a proof that none was passed. */
  readonly hopLimit: 1 | 255;
  /** To the group the question went to, not to the asker alone. */
  readonly toGroup?: boolean;
}

export interface DatagramResponder {
  readonly protocol: string;
  /** Ports on which it is asked first. */
  readonly ports: readonly number[];
  /** True when the payload is this protocol's. Pure, linear, never throws. */
  recognises(payload: Buffer, port: number): boolean;
  /** The answer, or undefined for silence. What is longer than the question is withheld and counted. */
  answer?(question: Question): Buffer | undefined;
  /** Instead of `answer` where the source is on the network's own link. */
  answerOnLink?(question: LinkQuestion): LinkAnswer | undefined;
}
