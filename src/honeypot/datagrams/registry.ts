// All UDP responders, and which of them a datagram belongs to: the port's own is asked first, then all in order.

import type { DatagramResponder } from '../datagram.ts';
import { answeringResponders } from './answering.ts';
import { namingResponders } from './naming.ts';
import { silentResponders } from './silent.ts';

export const datagramResponders: readonly DatagramResponder[] = [
  ...namingResponders,
  ...answeringResponders,
  ...silentResponders,
];

const byPort = new Map<number, DatagramResponder[]>();
for (const responder of datagramResponders)
  for (const port of responder.ports) byPort.set(port, [...(byPort.get(port) ?? []), responder]);

/** Undefined when no protocol is recognised. */
export function recogniseDatagram(payload: Buffer, port: number): DatagramResponder | undefined {
  if (payload.length === 0) return undefined;
  for (const responder of byPort.get(port) ?? []) if (responder.recognises(payload, port)) return responder;
  for (const responder of datagramResponders) if (responder.recognises(payload, port)) return responder;
  return undefined;
}
