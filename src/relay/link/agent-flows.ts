// Flows of one agent at the gateway's end: their headers read and checked, what is not the agent's to hand in refused, their
// number and what waits in them bounded. The link itself is agent-link.ts.

import type { ServerHttp2Stream } from 'node:http2';
import { RateBudget } from '../../base/rate-budget.ts';
import { ProxyHeaderReader } from '../../model/proxy-header-reader.ts';
import type { ProxyFlow } from '../../model/proxy-protocol.ts';
import { DatagramStream, WaitingBudget } from './datagram-stream.ts';
import type { FlowClaim, FlowClaims } from './flow-claims.ts';
import { type FlowFacts, maxFlowHeaderBytes, readFlowFacts } from './flow-header.ts';
import { closeStream, cutStream, type FlowKeeper, LinkFlow } from './link-flow.ts';
import type { FlowMessage } from './link-messages.ts';
import type { AgentPlace, LinkServerCounters, LinkServerLimits, LinkServerOptions } from './link-server-options.ts';

export interface AgentFlowsOwner {
  readonly options: LinkServerOptions;
  readonly limits: LinkServerLimits;
  readonly counters: LinkServerCounters;
  readonly claims: FlowClaims;
  /** At most one line a second. */
  complain(message: string, fields: Record<string, unknown>): void;
}

/** Of answers to datagrams, for each flow. */
const replyBytes = 256 * 1024;
/** How long a stream that has to end may still be sending. */
const endMs = 5_000;
const sweepMs = 1_000;

export class AgentFlows implements FlowKeeper {
  readonly #agent: string;
  readonly #owner: AgentFlowsOwner;
  readonly #rate: RateBudget | undefined;
  /** All streams of flows, by number, from their first byte to their last. */
  readonly #streams = new Map<number, LinkFlow | DatagramStream | undefined>();
  /** What was said of flows whose header is not read yet. */
  readonly #early = new Map<number, FlowMessage>();
  /** The agent has not said yet that it heard we took them. */
  readonly #claims = new Map<number, FlowClaim>();
  readonly #replies: WaitingBudget;
  readonly #stalled = new Set<LinkFlow>();
  readonly #timer: NodeJS.Timeout;
  flows = 0;
  lastAt: number | undefined;

  constructor(agent: string, owner: AgentFlowsOwner) {
    this.#agent = agent;
    this.#owner = owner;
    const { flowsPerSecond, replyBytesPerAgent } = owner.limits;
    this.#replies = new WaitingBudget(replyBytesPerAgent);
    this.#rate = flowsPerSecond > 0 ? new RateBudget(flowsPerSecond, flowsPerSecond, owner.options.clock) : undefined;
    this.#timer = setInterval(() => this.#sweep(), sweepMs).unref();
  }

  get open(): number {
    return this.#streams.size;
  }

  /** A POST /flow. */
  add(stream: ServerHttp2Stream): void {
    const { counters, limits } = this.#owner;
    const { id } = stream;
    stream.on('error', () => {});
    if (id === undefined || this.#streams.size >= limits.flowsPerAgent || this.#rate?.take() === false) {
      counters.flowsShed += 1;
      turnAway(stream);
      return;
    }
    this.#streams.set(id, undefined);
    stream.once('close', () => {
      this.#streams.delete(id);
      this.#early.delete(id);
    });
    this.#readHeader(stream);
  }

  take(message: FlowMessage): void {
    if (message.kind === 'taken') {
      for (const stream of message.streams) this.#settle(stream);
      return;
    }
    const flow = this.#streams.get(message.stream);
    if (!(flow instanceof LinkFlow)) {
      if (flow === undefined && this.#streams.has(message.stream)) this.#early.set(message.stream, message);
      return;
    }
    if (message.kind === 'reset') flow.peerReset(message.bytes);
    else flow.peerAbandoned();
  }

  /** The link has ended, and with it every stream. */
  close(): void {
    clearInterval(this.#timer);
  }

  /** Of flows whose end waits for what the agent says; whoever takes them settles them. */
  takeClaims(): FlowClaim[] {
    const claims = [...this.#claims.values()];
    this.#claims.clear();
    return claims;
  }

  reset(flow: LinkFlow): void {
    const { stream } = flow;
    const timer = setTimeout(() => cutStream(stream), endMs).unref();
    flow.onceWritten(() => {
      clearTimeout(timer);
      cutStream(stream);
    });
  }

  abandon({ stream }: LinkFlow): void {
    if (stream.closed) return;
    // Goes out behind what is written: the agent sees an end, and afterwards that nobody reads.
    closeStream(stream);
    const timer = setTimeout(() => cutStream(stream), endMs).unref();
    stream.once('close', () => clearTimeout(timer));
  }

  stalled(flow: LinkFlow, stalled: boolean): void {
    if (stalled) {
      this.#stalled.add(flow);
      if (this.#stalled.size % 16 === 0) this.#keepBudget(this.#stalled);
    } else this.#stalled.delete(flow);
  }

  #readHeader(stream: ServerHttp2Stream): void {
    const { counters, limits } = this.#owner;
    const reader = new ProxyHeaderReader({
      versions: [2],
      transports: ['tcp', 'udp'],
      maxBytes: maxFlowHeaderBytes,
    });
    let receivedBytes = 0;
    const timer = setTimeout(() => refuse('late'), limits.headerMs).unref();
    const settle = (): void => {
      clearTimeout(timer);
      stream.off('data', take).off('end', ended).off('close', gone);
    };
    const refuse = (why: string): void => {
      settle();
      counters.headersRefused += 1;
      turnAway(stream);
      this.#owner.complain('an agent sent a flow without a good header', { agent: this.#agent, why });
    };
    const take = (bytes: Buffer): void => {
      receivedBytes += bytes.length;
      const reading = reader.push(bytes);
      if (reading.state === 'more') return;
      if (reading.state === 'bad') {
        refuse(reading.fault);
        return;
      }
      const { flow } = reading.header;
      const facts = flow && readFlowFacts(reading.header);
      if (!flow || !facts) {
        refuse('not as agents write it');
        return;
      }
      settle();
      stream.pause();
      this.#arrive(stream, flow, facts, receivedBytes, reading.rest);
    };
    const ended = (): void => refuse('ended');
    const gone = (): void => {
      settle();
      counters.headersRefused += 1;
    };
    stream.on('data', take).on('end', ended).on('close', gone);
  }

  #arrive(stream: ServerHttp2Stream, flow: ProxyFlow, facts: FlowFacts, receivedBytes: number, first: Uint8Array): void {
    const { options, counters } = this.#owner;
    const place = options.placeOf(this.#agent, flow.transport, flow.destination, facts.network);
    if (!place) {
      counters.placesRefused += 1;
      turnAway(stream);
      this.#owner.complain('an agent handed in a flow that is not of its diversions', {
        agent: this.#agent,
        destination: `${flow.destination.ip} ${flow.destination.port}/${flow.transport}`,
      });
      return;
    }
    stream.respond({ ':status': 200 });
    counters.flows += 1;
    this.flows += 1;
    this.lastAt = options.clock();
    if (flow.transport === 'tcp') this.#connect(stream, flow, facts, place, receivedBytes, first);
    else this.#exchange(stream, flow, facts, place, first);
  }

  #settle(stream: number): void {
    this.#claims.get(stream)?.settle();
    this.#claims.delete(stream);
  }

  /** As many as flows: an agent that does not say what it heard has no more of them waiting. */
  #claim({ id }: ServerHttp2Stream, { session }: FlowFacts): FlowClaim | undefined {
    if (id === undefined || session === undefined) return undefined;
    const claim = this.#owner.claims.open(this.#agent, session);
    if (!claim) return undefined;
    this.#claims.set(id, claim);
    const [oldest] = this.#claims.keys();
    if (this.#claims.size > this.#owner.limits.flowsPerAgent) this.#settle(oldest);
    return claim;
  }

  #common(flow: ProxyFlow, facts: FlowFacts, place: AgentPlace, claim: FlowClaim | undefined) {
    const { source, destination } = flow;
    const network = `agent ${this.#agent}${facts.network === '' ? '' : `/${facts.network}`}`;
    const { sourceMac, uniqueId } = facts;
    return {
      source,
      destination,
      network,
      diversion: place.diversion,
      persona: place.persona,
      agent: this.#agent,
      ...(sourceMac === undefined ? {} : { sourceMac }),
      ...(uniqueId === undefined ? {} : { uniqueId }),
      ...(claim ? { claim } : {}),
    };
  }

  #connect(
    stream: ServerHttp2Stream,
    flow: ProxyFlow,
    facts: FlowFacts,
    place: AgentPlace,
    receivedBytes: number,
    first: Uint8Array,
  ): void {
    const { options } = this.#owner;
    const socket = new LinkFlow(stream, this, { sentBytes: 0, receivedBytes, first });
    if (stream.id !== undefined) this.#streams.set(stream.id, socket);
    try {
      const claim = this.#claim(stream, facts);
      const common = this.#common(flow, facts, place, claim);
      // With a claim both records begin at the same time, where the agent's can be: it is its clock.
      options.onConnection({ socket, ...common, syn: facts.syn, acceptedAt: claim?.start ?? options.clock() });
    } catch (error) {
      socket.on('error', () => {});
      socket.resetAndDestroy();
      this.#owner.complain('a flow was not taken over', { agent: this.#agent, error: String(error) });
    }
    const early = stream.id === undefined ? undefined : this.#early.get(stream.id);
    if (early) this.take(early);
  }

  #exchange(stream: ServerHttp2Stream, flow: ProxyFlow, facts: FlowFacts, place: AgentPlace, first: Uint8Array): void {
    const { options, counters } = this.#owner;
    const claim = this.#claim(stream, facts);
    const common = this.#common(flow, facts, place, claim);
    let begun = false;
    const reply = (bytes: Uint8Array): boolean => {
      const sent = datagrams.send(bytes);
      if (!sent) counters.repliesDropped += 1;
      return sent;
    };
    const onDatagram = (payload: Uint8Array): void => {
      counters.datagrams += 1;
      this.lastAt = options.clock();
      try {
        // Both records of a claim begin at the same time.
        const at = begun ? this.lastAt : (claim?.start ?? this.lastAt);
        begun = true;
        options.onDatagram({ ...common, at, payload, onLink: false, reply, replyOnLink: () => false });
      } catch (error) {
        this.#owner.complain('a datagram was not taken over', { agent: this.#agent, error: String(error) });
      }
    };
    const datagrams = new DatagramStream(stream, {
      waitingBytes: replyBytes,
      budget: this.#replies,
      onDatagram,
      onEnd: () => {
        closeStream(stream);
      },
    });
    if (stream.id !== undefined) this.#streams.set(stream.id, datagrams);
    datagrams.take(Buffer.from(first));
    stream.resume();
  }

  #sweep(): void {
    const idleBefore = performance.now() - this.#owner.limits.datagramIdleMs;
    const flows: LinkFlow[] = [];
    for (const one of this.#streams.values()) {
      if (one instanceof LinkFlow) flows.push(one);
      else if (one && one.lastAtMs < idleBefore) one.terminate();
    }
    this.#keepBudget(flows);
  }

  /** Slow receivers share what an agent may have waiting; past it, who holds most goes. */
  #keepBudget(flows: Iterable<LinkFlow>): void {
    let total = 0;
    for (const flow of flows) total += flow.waitingBytes;
    const { bufferedBytesPerAgent } = this.#owner.limits;
    if (total <= bufferedBytesPerAgent) return;
    for (const flow of [...flows].sort((a, b) => b.waitingBytes - a.waitingBytes)) {
      if (total <= bufferedBytesPerAgent) return;
      total -= flow.waitingBytes;
      this.#owner.counters.flowsOverBudget += 1;
      flow.resetAndDestroy(new Error('too much waits for its reader'));
    }
  }
}

/** Ends a stream nobody took over; what still comes on it is dropped. */
function turnAway(stream: ServerHttp2Stream): void {
  cutStream(stream);
  stream.resume();
}
