// What is written beside the packets of a capture: which process of this machine a flow belongs to, and which session Weir made of it.
// Kept for a bounded number of flows; each flow is told once. Who holds a socket is socket-holders.ts, which may be in another process.

import { type Clock, renderMicros, systemClock } from '../../base/clock.ts';
import { asWeirError } from '../../base/errors.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import type { PacketView } from './packet-view.ts';
import type { PacketEnds } from './socket-holders.ts';

/** A session Weir recorded, as far as packets can be told to be of it. */
export interface SessionKey {
  readonly id: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly transport: string;
}

const maxFlows = 16_384;
/** Packets of a flow that are asked about: the first may come before its socket is there. */
const maxAsked = 4;

interface Told {
  asksLeft: number;
  session: boolean;
}

const keyOf = (transport: string, ip: string, port: number, otherIp: string, otherPort: number): string =>
  `${transport} ${ip} ${port} ${otherIp} ${otherPort}`;

export class FlowNotes {
  #holderOf: ((ends: PacketEnds) => string | undefined) | undefined;
  readonly #now: Clock;
  /** The first of each kind. */
  #fault: string | undefined;
  #gone: string | undefined;
  readonly #told = new RecencyMap<string, Told>();
  readonly #sessions = new RecencyMap<string, string>();
  /** Sessions that were told beside a packet. */
  readonly toldSessions = new Set<string>();

  /** `holderOf`: also who of this machine holds a flow. */
  constructor(holderOf?: (ends: PacketEnds) => string | undefined, now: Clock = systemClock) {
    this.#holderOf = holderOf;
    this.#now = now;
  }

  /** What should have been told and could not be asked, in words. */
  get notMeasured(): readonly string[] {
    return [this.#fault, this.#gone].filter((what) => what !== undefined);
  }

  addSession({ id, source, sourcePort, destination, destinationPort, transport }: SessionKey): void {
    for (const key of [
      keyOf(transport, source, sourcePort, destination, destinationPort),
      keyOf(transport, destination, destinationPort, source, sourcePort),
    ])
      this.#sessions.set(key, id);
    while (this.#sessions.size > 2 * maxFlows && this.#sessions.oldest) this.#sessions.delete(this.#sessions.oldest[0]);
  }

  /** What has not been told of this packet's flow yet. `outgoing`: sent by this machine. */
  commentsOf(view: PacketView | undefined, outgoing?: boolean): string[] {
    if (view?.sourcePort === undefined || view.destinationPort === undefined) return [];
    const transport = view.protocol === 6 ? 'tcp' : 'udp';
    const key = keyOf(transport, view.source, view.sourcePort, view.destination, view.destinationPort);
    const back = keyOf(transport, view.destination, view.destinationPort, view.source, view.sourcePort);
    const flow = key < back ? key : back;
    const told = this.#told.get(flow) ?? { asksLeft: this.#holderOf ? maxAsked : 0, session: false };
    const comments: string[] = [];
    if (told.asksLeft > 0) {
      const { source, sourcePort, destination, destinationPort } = view;
      const way = outgoing === undefined ? {} : { outgoing };
      const holder = this.#tryHolderOf({ transport, source, sourcePort, destination, destinationPort, ...way });
      told.asksLeft = holder === undefined ? told.asksLeft - 1 : 0;
      if (holder !== undefined) comments.push(holder);
    }
    const session = told.session ? undefined : this.#sessions.get(key);
    if (session !== undefined) {
      told.session = true;
      this.toldSessions.add(session);
      comments.push(`weir session ${session}`);
    }
    this.#told.set(flow, told);
    while (this.#told.size > maxFlows && this.#told.oldest) this.#told.delete(this.#told.oldest[0]);
    return comments;
  }

  /** A remark is not worth a packet: what cannot be asked is not told, but that it is not told is. */
  #tryHolderOf(ends: PacketEnds): string | undefined {
    try {
      return this.#holderOf?.(ends);
    } catch (error) {
      const { code, message } = asWeirError(error);
      const at = renderMicros(this.#now());
      if (code === 'not-running') {
        this.#gone = `processes from ${at} on: the half that keeps root is gone`;
        this.#holderOf = undefined;
      } else this.#fault ??= `processes of some flows, the first at ${at}: ${message}`;
      return undefined;
    }
  }
}
