// Datagrams led to services: one session and one socket for each five-tuple, bounded, ended when idle. Answers go back through
// the datagram they fit to, never larger than that: an address can be forged, and who answers more than was asked attacks.

import type { Clock } from '../base/clock.ts';
import { type Linked, RecencyList } from '../base/recency-list.ts';
import { closeDescriptor, EAGAIN, receive, sendTo } from '../kernel/libc.ts';
import { EPOLLERR, EPOLLIN, type SocketPoller } from '../kernel/socket-poller.ts';
import type { Limits } from '../model/configuration.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { SessionSink } from '../model/session.ts';
import type { ArrivedDatagram } from './arrival.ts';
import type { CancelDial, DialEnd, Dialer } from './dialer.ts';
import type { FlowEnd } from './pump.ts';
import { SessionTap } from './session-tap.ts';

/** Totals; `udpOpen` is of now. */
export interface DatagramRelayCounters {
  udpOpen: number;
  udpSessions: number;
  udpIn: number;
  udpOut: number;
  /** Answers not given: larger than anything that was asked and not yet answered. */
  udpWithheld: number;
  /** The service's socket would not take a datagram. */
  udpUnsent: number;
  udpShed: number;
  udpRefusedBySource: number;
}

export interface RelayedDatagramsOptions {
  readonly sink: SessionSink;
  readonly limits: Pick<Limits, 'sessions' | 'sessionsPerSource' | 'sessionBytes' | 'idleTimeoutMs'>;
  readonly dialer: Dialer;
  readonly poller: SocketPoller;
  readonly clock: Clock;
}

/** Each flow is a descriptor of ours that a forged source costs nothing. */
const maxFlows = 4096;
/** A service's last word comes soon, or there was none. */
const idleMs = 60_000;
/** Questions of a flow that an answer may still go to. */
const maxQuestions = 8;
/** Datagrams of a flow kept while its socket is on the way. */
const maxWaiting = 2;
/** Answers read of one flow before others get their turn. */
const answersPerTurn = 64;
const maxDatagram = 65_535;

const shared = new Uint8Array(maxDatagram + 4096);

interface Question {
  /** Bytes that may still go back. */
  left: number;
  readonly reply: (bytes: Uint8Array) => boolean;
}

interface Flow extends Linked {
  readonly key: string;
  readonly sourceKey: string;
  readonly tap: SessionTap;
  readonly questions: Question[];
  fd: number;
  header: Uint8Array;
  activeMs: number;
  connectedMs: number;
  answered: boolean;
  /** Came before the socket did. */
  waiting: Uint8Array[];
  /** Nobody is there, as far as is known. */
  unreachable: boolean;
  over: boolean;
  cancel: CancelDial | undefined;
}

export class RelayedDatagrams {
  readonly #options: RelayedDatagramsOptions;
  readonly #flows = new Map<string, Flow>();
  readonly #byActivity = new RecencyList<Flow>();
  readonly #bySource = new Map<string, number>();
  readonly #idleMs: number;
  readonly #most: number;
  readonly #count = {
    udpSessions: 0,
    udpIn: 0,
    udpOut: 0,
    udpWithheld: 0,
    udpUnsent: 0,
    udpShed: 0,
    udpRefusedBySource: 0,
  };

  constructor(options: RelayedDatagramsOptions) {
    this.#options = options;
    this.#idleMs = Math.min(idleMs, options.limits.idleTimeoutMs);
    this.#most = Math.min(maxFlows, options.limits.sessions);
  }

  get size(): number {
    return this.#flows.size;
  }

  counters(): DatagramRelayCounters {
    return { ...this.#count, udpOpen: this.#flows.size };
  }

  receive(arrived: ArrivedDatagram, service: RelayedService): void {
    const { source, destination, network, diversion } = arrived;
    this.#count.udpIn += 1;
    const key = `${source.ip} ${source.port} ${destination.ip} ${destination.port} ${network} ${diversion} ${service.name}`;
    const flow = this.#flows.get(key) ?? this.#open(key, arrived, service);
    if (!flow) return;
    // One that was never dialled ends in its time, however steadily it is asked: the next one tries again.
    if (flow.fd >= 0 || !flow.unreachable || !flow.listed) {
      flow.activeMs = this.#options.clock() / 1000;
      this.#byActivity.touch(flow);
    }
    flow.tap.take('in', arrived.payload, arrived.at);
    if (flow.over) return;
    if (flow.questions.length === maxQuestions) flow.questions.shift();
    const reply = arrived.replyLater?.() ?? ((bytes: Uint8Array) => arrived.reply(bytes));
    flow.questions.push({ left: arrived.payload.length, reply });
    this.#send(flow, arrived.payload);
  }

  tick(): void {
    const since = this.#options.clock() / 1000 - this.#idleMs;
    for (let oldest = this.#byActivity.oldest; oldest && oldest.activeMs <= since; oldest = this.#byActivity.oldest)
      this.#end(oldest, 'idle');
  }

  close(): void {
    for (const flow of [...this.#flows.values()]) this.#end(flow, 'shutdown');
  }

  #open(key: string, arrived: ArrivedDatagram, service: RelayedService): Flow | undefined {
    const { limits, clock, sink, dialer } = this.#options;
    const { source, destination, network, agent, sourceMac } = arrived;
    const sourceKey = `${network} ${source.ip}`;
    const ofSource = this.#bySource.get(sourceKey) ?? 0;
    if (ofSource >= limits.sessionsPerSource) {
      this.#count.udpRefusedBySource += 1;
      return undefined;
    }
    if (this.#flows.size >= this.#most && this.#byActivity.oldest) {
      this.#count.udpShed += 1;
      this.#end(this.#byActivity.oldest, 'shed');
    }
    const inner = arrived.service !== undefined;
    if (!inner) this.#count.udpSessions += 1;
    const handle = inner
      ? undefined
      : sink.open(
          {
            start: arrived.at,
            transport: 'udp',
            source,
            destination,
            sourceReliable: false,
            diversion: arrived.diversion,
            service: service.name,
            persona: arrived.persona.name,
            ...(agent === undefined ? {} : { agent }),
            ...(sourceMac === undefined ? {} : { sourceMac }),
          },
          arrived.claim,
        );
    if (arrived.uniqueId !== undefined) handle?.find({ tags: [`hop-id:${arrived.uniqueId}`] });
    const flow: Flow = {
      key,
      sourceKey,
      tap: new SessionTap(handle, limits.sessionBytes),
      questions: [],
      fd: -1,
      header: shared.subarray(0, 0),
      activeMs: clock() / 1000,
      connectedMs: 0,
      answered: false,
      waiting: [],
      unreachable: false,
      over: false,
      cancel: undefined,
      before: undefined,
      after: undefined,
      listed: false,
    };
    this.#flows.set(key, flow);
    this.#bySource.set(sourceKey, ofSource + 1);
    const uniqueId = handle?.id ?? arrived.uniqueId;
    flow.cancel = dialer.dial({ service, transport: 'udp', source, destination, network, agent, uniqueId }, (end) =>
      this.#dialled(flow, end),
    );
    return flow;
  }

  /** Connecting a datagram socket asks nobody: this comes before `dial` returns, but where the dial pool is dry. */
  #dialled(flow: Flow, end: DialEnd): void {
    if ('error' in end) {
      this.#refused(flow, end.error);
      return;
    }
    flow.fd = end.fd;
    flow.header = end.header;
    flow.connectedMs = this.#options.clock() / 1000;
    this.#options.poller.hand(end.fd, {
      ready: (events) => {
        if (events & (EPOLLIN | EPOLLERR)) this.#answers(flow);
      },
    });
    const { waiting } = flow;
    flow.waiting = [];
    for (const payload of waiting) this.#send(flow, payload);
  }

  #send(flow: Flow, payload: Uint8Array): void {
    if (flow.fd < 0) {
      // A flow whose dial failed stays for a while, so that a dead service is not dialled for each datagram.
      if (flow.unreachable || flow.waiting.length === maxWaiting) this.#count.udpUnsent += 1;
      else flow.waiting.push(payload.slice());
      return;
    }
    let bytes = payload;
    if (flow.header.length > 0) {
      if (flow.header.length + payload.length > shared.length) bytes = new Uint8Array(0);
      else {
        shared.set(flow.header);
        shared.set(payload, flow.header.length);
        bytes = shared.subarray(0, flow.header.length + payload.length);
      }
    }
    const sent = bytes.length === 0 && payload.length > 0 ? -1 : sendTo(flow.fd, bytes, null);
    if (sent < 0) this.#count.udpUnsent += 1;
    if (sent === -ECONNREFUSED) this.#refused(flow, 'ECONNREFUSED');
  }

  #answers(flow: Flow): void {
    for (let count = 0; count < answersPerTurn && !flow.over; count += 1) {
      const got = receive(flow.fd, shared);
      if (got === -EAGAIN) return;
      if (got === -ECONNREFUSED) {
        this.#refused(flow, 'ECONNREFUSED');
        continue;
      }
      if (got < 0) return;
      this.#answer(flow, shared.subarray(0, got));
    }
    if (!flow.over) this.#options.poller.soon(() => this.#answers(flow));
  }

  #answer(flow: Flow, bytes: Uint8Array): void {
    const now = this.#options.clock();
    flow.activeMs = now / 1000;
    this.#byActivity.touch(flow);
    if (!flow.answered) {
      flow.answered = true;
      flow.tap.find({ firstByteMicros: Math.round(now - flow.connectedMs * 1000) });
    }
    // The newest question it fits to: questions and answers mostly take turns.
    let question: Question | undefined;
    for (let index = flow.questions.length - 1; index >= 0 && !question; index -= 1)
      if (flow.questions[index].left >= bytes.length) question = flow.questions[index];
    if (!question) {
      this.#count.udpWithheld += 1;
      flow.tap.find({ tags: ['answer-withheld'] });
      return;
    }
    if (!question.reply(bytes)) return;
    question.left -= bytes.length;
    this.#count.udpOut += 1;
    flow.tap.take('out', bytes, now);
  }

  #refused(flow: Flow, error: string): void {
    flow.unreachable = true;
    this.#count.udpUnsent += flow.waiting.length;
    flow.waiting = [];
    flow.tap.find({ tags: ['service-unreachable', error] });
  }

  #end(flow: Flow, outcome: FlowEnd): void {
    if (flow.over) return;
    flow.over = true;
    flow.cancel?.();
    if (flow.fd >= 0) {
      this.#options.poller.forgetClosing(flow.fd);
      closeDescriptor(flow.fd);
    }
    this.#byActivity.remove(flow);
    this.#flows.delete(flow.key);
    const left = (this.#bySource.get(flow.sourceKey) ?? 1) - 1;
    if (left > 0) this.#bySource.set(flow.sourceKey, left);
    else this.#bySource.delete(flow.sourceKey);
    flow.questions.length = 0;
    flow.tap.close(outcome === 'idle' && flow.unreachable && !flow.answered ? 'service-unreachable' : outcome);
  }
}

const ECONNREFUSED = 111;
