// UDP sessions: one per five-tuple, bounded, ended when idle; who may be answered and how often.
// What is answered is datagrams/. Nothing here sends more than it received, or to a source that asks too fast.

import type { Limits } from '../model/configuration.ts';
import type { SessionHandle, SessionSink } from '../model/session.ts';
import type { DatagramResponder } from './datagram.ts';
import { recogniseDatagram } from './datagrams/registry.ts';
import { type Linked, RecencyList } from './recency-list.ts';
import { overflowFactor } from './session-host.ts';
import type { Datagram } from './visit.ts';

interface Flow extends Linked {
  readonly key: string;
  /** Network and address. */
  readonly source: string;
  readonly handle: SessionHandle;
  responder: DatagramResponder | undefined;
  activeMs: number;
  readonly openedMs: number;
  bytes: number;
}

/** Answers one source may draw: this many at once, refilled at this rate. */
const answerBurst = 20;
const answersPerSecond = 10;
/** Sources whose allowance is remembered; beyond it nobody new is answered until some are forgotten. */
const allowanceLimit = 65_536;

interface Allowance {
  left: number;
  sinceMs: number;
}

interface Counts {
  bytesIn: number;
  bytesOut: number;
  datagrams: number;
  udpSessions: number;
  udpReplies: number;
  udpWithheld: number;
  udpShed: number;
}

export class DatagramTable {
  readonly #sink: SessionSink;
  readonly #limits: Limits;
  readonly #count: Counts;
  readonly #defect: (error: unknown) => void;
  readonly #flows = new Map<string, Flow>();
  readonly #byActivity = new RecencyList<Flow>();
  readonly #allowances = new Map<string, Allowance>();

  constructor(sink: SessionSink, limits: Limits, count: Counts, defect: (error: unknown) => void) {
    this.#sink = sink;
    this.#limits = limits;
    this.#count = count;
    this.#defect = defect;
  }

  get size(): number {
    return this.#byActivity.size;
  }

  receive(datagram: Datagram, nowMs: number): void {
    const { source, destination } = datagram;
    const payload = Buffer.from(datagram.payload.buffer, datagram.payload.byteOffset, datagram.payload.byteLength);
    this.#count.datagrams += 1;
    this.#count.bytesIn += payload.length;
    const key = `${source.ip} ${source.port} ${destination.ip} ${destination.port} ${datagram.network} ${datagram.diversion}`;
    const flow = this.#flows.get(key) ?? this.#open(key, datagram, nowMs);
    flow.activeMs = nowMs;
    flow.bytes += payload.length;
    this.#byActivity.touch(flow);
    flow.handle.chunk('in', payload, datagram.at);
    if (flow.responder === undefined) {
      flow.responder = recogniseDatagram(payload, destination.port);
      if (flow.responder) flow.handle.find({ protocol: flow.responder.protocol });
    }
    if (flow.bytes > this.#limits.sessionBytes * overflowFactor) this.#end(flow, 'byte-limit');
    else if (flow.responder?.answer) this.#answer(flow, datagram, payload, nowMs);
  }

  tick(nowMs: number): void {
    const idleSince = nowMs - this.#limits.idleTimeoutMs;
    for (let oldest = this.#byActivity.oldest; oldest && oldest.activeMs <= idleSince; oldest = this.#byActivity.oldest)
      this.#end(oldest, 'idle');
    // Allowances are in order of last use: those full again are forgotten from the front.
    for (const [source, allowance] of this.#allowances) {
      if (nowMs - allowance.sinceMs < (1000 * answerBurst) / answersPerSecond) break;
      this.#allowances.delete(source);
    }
  }

  close(): void {
    for (const flow of this.#byActivity) this.#end(flow, 'shutdown');
    this.#allowances.clear();
  }

  #open(key: string, datagram: Datagram, nowMs: number): Flow {
    if (this.#byActivity.size >= this.#limits.sessions && this.#byActivity.oldest) {
      this.#count.udpShed += 1;
      this.#end(this.#byActivity.oldest, 'shed');
    }
    this.#count.udpSessions += 1;
    const handle = this.#sink.open({
      start: datagram.at,
      transport: 'udp',
      source: datagram.source,
      destination: datagram.destination,
      sourceReliable: false,
      diversion: datagram.diversion,
      service: 'catch-all',
      persona: datagram.persona.name,
      ...(datagram.sourceMac === undefined ? {} : { sourceMac: datagram.sourceMac }),
    });
    const flow: Flow = {
      key,
      source: `${datagram.network} ${datagram.source.ip}`,
      handle,
      responder: undefined,
      activeMs: nowMs,
      openedMs: nowMs,
      bytes: 0,
      before: undefined,
      after: undefined,
      listed: false,
    };
    this.#flows.set(key, flow);
    return flow;
  }

  #end(flow: Flow, outcome: 'idle' | 'shed' | 'shutdown' | 'byte-limit'): void {
    this.#byActivity.remove(flow);
    this.#flows.delete(flow.key);
    flow.handle.close(outcome);
  }

  #answer(flow: Flow, datagram: Datagram, payload: Buffer, nowMs: number): void {
    let answer: Buffer | undefined;
    try {
      answer = flow.responder?.answer?.({
        payload,
        persona: datagram.persona,
        source: datagram.source,
        destination: datagram.destination,
        find: (findings) => flow.handle.find(findings),
      });
    } catch (error) {
      this.#defect(error);
      return;
    }
    if (!answer || answer.length === 0) return;
    if (answer.length > payload.length || !this.#allowed(flow.source, nowMs)) {
      this.#count.udpWithheld += 1;
      return;
    }
    if (!datagram.reply(answer)) return;
    this.#count.udpReplies += 1;
    this.#count.bytesOut += answer.length;
    flow.handle.chunk('out', answer);
  }

  #allowed(source: string, nowMs: number): boolean {
    const known = this.#allowances.get(source);
    if (!known && this.#allowances.size >= allowanceLimit) return false;
    const left = known ? Math.min(answerBurst, known.left + ((nowMs - known.sinceMs) * answersPerSecond) / 1000) : answerBurst;
    if (left < 1) return false;
    this.#allowances.delete(source);
    this.#allowances.set(source, { left: left - 1, sinceMs: nowMs });
    return true;
  }
}
