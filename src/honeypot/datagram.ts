// The one signature every UDP responder has. A datagram's source may be forged, so an answer is never larger than the
// question and often there is none; the table, the rate limits and the records are datagram-table.ts.

import type { Persona } from '../model/persona.ts';
import type { Endpoint, SessionFindings } from '../model/session.ts';

export interface Question {
  /** Never empty is not promised: zero-length datagrams exist. */
  readonly payload: Buffer;
  readonly persona: Persona;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  find(findings: SessionFindings): void;
}

export interface DatagramResponder {
  readonly protocol: string;
  /** Ports on which it is asked first. */
  readonly ports: readonly number[];
  /** True when the payload is this protocol's. Pure, linear, never throws. */
  recognises(payload: Buffer, port: number): boolean;
  /** The answer, or undefined for silence. What is longer than the question is withheld and counted. */
  answer?(question: Question): Buffer | undefined;
}
