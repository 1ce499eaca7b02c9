// UDP sessions: one per five-tuple, bounded, ended when idle; who may be answered and how often. What is answered is
// datagrams/. Nothing here sends more than it received, but for names on the link (docs/decisions/0014), nor to a source
// that asks too fast.

import { type Linked, RecencyList } from '../base/recency-list.ts';
import type { Limits } from '../model/configuration.ts';
import type { SessionHandle, SessionSink } from '../model/session.ts';
import type { DatagramResponder, LinkAnswer } from './datagram.ts';
import { recogniseDatagram } from './datagrams/registry.ts';
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
/** Longest answer for the link: what every host takes (RFC 1035 section 4.2.1). */
const linkAnswerBytes = 512;
/** Answers for the link, to all sources together. */
const linkBurst = 400;
const linkPerSecond = 200;
/** RFC 6762 section 6: no decoy says the same to the group twice within a second. Decoys remembered, and for how long. */
const groupRecent = 4_096;
const groupAgainMs = 1_000;

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
  udpOnLink: number;
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
  readonly #link: Allowance = { left: linkBurst, sinceMs: 0 };
  /** By network and decoy: when it last spoke to the group. In that order. */
  readonly #group = new Map<string, number>();

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
    else if (datagram.onLink && flow.responder?.answerOnLink) this.#answerOnLink(flow, datagram, payload, nowMs);
    else if (flow.responder?.answer && datagram.group === undefined) this.#answer(flow, datagram, payload, nowMs);
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
    for (const [decoy, at] of this.#group) {
      if (nowMs - at < groupAgainMs) break;
      this.#group.delete(decoy);
    }
  }

  close(): void {
    for (const flow of this.#byActivity) this.#end(flow, 'shutdown');
    this.#allowances.clear();
    this.#group.clear();
  }

  #open(key: string, datagram: Datagram, nowMs: number): Flow {
    if (this.#byActivity.size >= this.#limits.sessions && this.#byActivity.oldest) {
      this.#count.udpShed += 1;
      this.#end(this.#byActivity.oldest, 'shed');
    }
    this.#count.udpSessions += 1;
    const { group } = datagram;
    const handle = this.#sink.open(
      {
        start: datagram.at,
        transport: 'udp',
        source: datagram.source,
        destination: datagram.destination,
        sourceReliable: false,
        diversion: datagram.diversion,
        service: 'catch-all',
        persona: datagram.persona.name,
        ...(datagram.agent === undefined ? {} : { agent: datagram.agent }),
        ...(datagram.sourceMac === undefined ? {} : { sourceMac: datagram.sourceMac }),
      },
      datagram.claim,
    );
    if (group !== undefined) handle.find({ tags: ['asked-of-all', `group-${group}`] });
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
        names: datagram.names,
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

  /** Looking a name up costs a moment too: the allowance comes first. */
  #answerOnLink(flow: Flow, datagram: Datagram, payload: Buffer, nowMs: number): void {
    if (!this.#linkAllowed(nowMs) || !this.#allowed(flow.source, nowMs)) {
      this.#count.udpWithheld += 1;
      return;
    }
    let answer: LinkAnswer | undefined;
    try {
      answer = flow.responder?.answerOnLink?.({
        payload,
        persona: datagram.persona,
        source: datagram.source,
        destination: datagram.destination,
        names: datagram.names,
        group: datagram.group,
        find: (findings) => flow.handle.find(findings),
      });
    } catch (error) {
      this.#defect(error);
      return;
    }
    if (!answer) return;
    const { bytes, hopLimit, toGroup = false } = answer;
    if (bytes.length > linkAnswerBytes || (toGroup && !this.#groupAllowed(datagram, nowMs))) {
      this.#count.udpWithheld += 1;
      return;
    }
    if (!datagram.replyOnLink(bytes, hopLimit, toGroup)) return;
    this.#count.udpReplies += 1;
    this.#count.udpOnLink += 1;
    this.#count.bytesOut += bytes.length;
    flow.handle.chunk('out', bytes);
  }

  #linkAllowed(nowMs: number): boolean {
    const link = this.#link;
    link.left = Math.min(linkBurst, link.left + ((nowMs - link.sinceMs) * linkPerSecond) / 1000);
    link.sinceMs = nowMs;
    if (link.left < 1) return false;
    link.left -= 1;
    return true;
  }

  #groupAllowed({ network, destination }: Datagram, nowMs: number): boolean {
    const decoy = `${network} ${destination.ip}`;
    const last = this.#group.get(decoy);
    if ((last !== undefined && nowMs - last < groupAgainMs) || this.#group.size >= groupRecent) return false;
    this.#group.delete(decoy);
    this.#group.set(decoy, nowMs);
    return true;
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
