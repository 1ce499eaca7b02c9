// Takes in TCP packets, keeps the flows they are of, and gives out the RSTs and the SYNs into established connections. Bounded; the flow
// that was silent longest goes first.

import type { Micros } from '../../base/clock.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { type PacketView, tcpFlags } from '../capture/packet-view.ts';
import { type ChallengeTally, factsOf, observePacket, openFlow, type SeenReset, sideOf, type TcpFlow } from './tcp-flow.ts';

const maxFlows = 16_384;
/** The same RST seen on two interfaces: told once. */
const sameWithin = 20_000;
const maxRecent = 4096;

const keyOf = (here: string, there: string): string => (here < there ? `${here} ${there}` : `${there} ${here}`);

export interface SeenChallenge {
  readonly flow: TcpFlow;
  readonly tally: ChallengeTally;
}

export class ResetTable {
  readonly #flows = new RecencyMap<string, TcpFlow>();
  readonly #recent = new RecencyMap<string, { readonly at: Micros; readonly interface: string | undefined }>();
  readonly #onReset: (reset: SeenReset) => void;
  /** Flows with a tally that was not taken yet. */
  readonly #challenged = new Set<TcpFlow>();
  packets = 0;
  /** Flows given up for want of room. */
  forgotten = 0;

  constructor(onReset: (reset: SeenReset) => void) {
    this.#onReset = onReset;
  }

  get flows(): number {
    return this.#flows.size;
  }

  /** Whether any packet between these ends was seen, as long as it is remembered. */
  knows(one: { readonly ip: string; readonly port: number }, other: { readonly ip: string; readonly port: number }): boolean {
    return this.#flows.get(keyOf(`${one.ip} ${one.port}`, `${other.ip} ${other.port}`)) !== undefined;
  }

  packet(
    view: PacketView | undefined,
    at: Micros,
    more: { readonly outgoing?: boolean; readonly interface?: string } = {},
  ): void {
    const tcp = view?.tcp;
    if (!view || !tcp || view.sourcePort === undefined || view.destinationPort === undefined) return;
    this.packets += 1;
    const [here, there] = [`${view.source} ${view.sourcePort}`, `${view.destination} ${view.destinationPort}`];
    const key = keyOf(here, there);
    const flow = this.#flows.get(key) ?? openFlow(key, view, at);
    this.#flows.set(key, flow);
    if (this.#flows.size > maxFlows && this.#flows.oldest) {
      this.#challenged.delete(this.#flows.oldest[1]);
      this.#flows.delete(this.#flows.oldest[0]);
      this.forgotten += 1;
    }
    if (!(tcp.flags & tcpFlags.rst)) {
      if (observePacket(flow, view, tcp, at)) this.#challenged.add(flow);
      return;
    }
    // On another interface also behind a translation of addresses: numbers stay. A file may not say where it was seen.
    const { outgoing, interface: name } = more;
    const numbers = `${tcp.sequence} ${tcp.acknowledgement} ${tcp.flags} ${tcp.window}`;
    const mark = name === undefined ? `${here} ${there} ${numbers} ${view.ipId}` : numbers;
    const known = this.#recent.get(mark);
    if (known && (name === undefined || known.interface !== name) && Math.abs(at - known.at) < sameWithin) return;
    this.#recent.set(mark, { at, interface: name });
    if (this.#recent.size > maxRecent && this.#recent.oldest) this.#recent.delete(this.#recent.oldest[0]);
    const side = sideOf(flow, view);
    const whole = { ...view, tcp, sourcePort: view.sourcePort, destinationPort: view.destinationPort };
    const before = factsOf(flow, side, at);
    flow.resets[side] += 1;
    flow.lastAt = at;
    this.#onReset({ at, view: whole, flow, side, outgoing, ...(name === undefined ? {} : { interface: name }), before });
  }

  /** Tallies that have been quiet since `before`; each is given once. */
  takeChallenges(before: Micros): SeenChallenge[] {
    const taken: SeenChallenge[] = [];
    for (const flow of this.#challenged) {
      const tally = flow.challenge;
      if (tally && tally.lastAt > before) continue;
      this.#challenged.delete(flow);
      flow.challenge = undefined;
      if (tally) taken.push({ flow, tally });
    }
    return taken;
  }
}
