// Bytes by flow over a time, from whatever can be had: counted on devices, else by connection tracking, else of sockets alone. Pure sums;
// the readings are kernel/machine/flow-tally.ts, conntrack-dump.ts and socket-diag.ts.

import type { ConntrackEntry } from '../../kernel/machine/conntrack-dump.ts';
import type { Tally } from '../../kernel/machine/flow-tally.ts';
import type { SocketEntry } from '../../kernel/machine/socket-diag.ts';
import { type Flow, flowKey } from './flow.ts';
import { otherEnd, ownEnd } from './socket-index.ts';

/** `wire`: every packet of the device. `conntrack`: what is tracked. `sockets`: TCP payload of this namespace's own sockets. */
export type Measure = 'wire' | 'conntrack' | 'sockets';

export interface FlowBytes {
  readonly flow: Flow;
  inBytes: number;
  outBytes: number;
}

/** Both directions of a tally put together. A loopback device shows each packet twice. */
export function sumTally(tally: Tally, loopback: boolean): Map<string, FlowBytes> {
  const sums = new Map<string, FlowBytes>();
  for (const { protocol, outgoing, source, sourcePort, destination, destinationPort, bytes } of tally.flows) {
    if (loopback && !outgoing) continue;
    const [from, to] = [
      { address: source, port: sourcePort },
      { address: destination, port: destinationPort },
    ];
    // This side of the device first, whichever packet came first.
    const flow: Flow = outgoing ? { protocol, a: from, b: to } : { protocol, a: to, b: from };
    const key = flowKey(flow);
    let sum = sums.get(key);
    if (!sum) {
      sum = { flow, inBytes: 0, outBytes: 0 };
      sums.set(key, sum);
    }
    if (outgoing) sum.outBytes += bytes;
    else sum.inBytes += bytes;
  }
  return sums;
}

/** Remembers counters from reading to reading and gives what was added; what is new counts whole, what is gone is forgotten. */
export class CounterDifference {
  #before: Map<string, readonly [number, number]> | undefined;

  /** The first reading gives nothing: its counters may be of years. */
  take(
    now: ReadonlyMap<string, { readonly flow: Flow; readonly counters: readonly [inBytes: number, outBytes: number] }>,
  ): Map<string, FlowBytes> {
    const before = this.#before;
    this.#before = new Map([...now].map(([key, { counters }]) => [key, counters]));
    const added = new Map<string, FlowBytes>();
    if (!before) return added;
    for (const [key, { flow, counters }] of now) {
      const [inBefore, outBefore] = before.get(key) ?? [0, 0];
      // Fewer than before: another flow of the same name.
      const same = counters[0] >= inBefore && counters[1] >= outBefore;
      const inBytes = counters[0] - (same ? inBefore : 0);
      const outBytes = counters[1] - (same ? outBefore : 0);
      if (inBytes + outBytes > 0) added.set(key, { flow, inBytes, outBytes });
    }
    return added;
  }
}

/** As the first packet was, outward what it sent. Undefined without accounting. */
export function countedConnection({ protocol, original, counters }: ConntrackEntry) {
  if (!counters) return undefined;
  const flow: Flow = {
    protocol,
    a: { address: original.source, port: original.sourcePort },
    b: { address: original.destination, port: original.destinationPort },
  };
  return { flow, counters: [counters.bytesReply, counters.bytesOriginal] as const };
}

/** Undefined for a socket that counts nothing. */
export function countedSocket(socket: SocketEntry) {
  if (!socket.tcp || socket.remotePort === 0 || socket.state === 'LISTEN') return undefined;
  const flow: Flow = { protocol: 6, a: ownEnd(socket), b: otherEnd(socket) };
  return { flow, counters: [socket.tcp.bytesReceived, socket.tcp.bytesSent] as const };
}
