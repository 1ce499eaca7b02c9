// One relayed connection from its arrival to its end: its session, the dial, the pump between both sides. Which flows there
// may be, and for how long, is relay.ts.

import net from 'node:net';
import type { Clock, Micros } from '../base/clock.ts';
import type { Linked } from '../base/recency-list.ts';
import { resetConnection } from '../kernel/libc.ts';
import type { SocketPoller } from '../kernel/socket-poller.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { Direction } from '../model/session.ts';
import type { Arrival, FlowStream } from './arrival.ts';
import { DescriptorPump, type PumpedFlow } from './descriptor-pump.ts';
import type { CancelDial, DialEnd, Dialer } from './dialer.ts';
import { type FlowEnd, type FlowPump, Pump } from './pump.ts';
import type { SessionTap } from './session-tap.ts';

/** What a flow needs of the relay it is in. */
export interface FlowHost {
  readonly poller: SocketPoller;
  readonly dialer: Dialer;
  readonly clock: Clock;
  touched(flow: RelayedFlow): void;
  ended(flow: RelayedFlow, outcome: FlowEnd): void;
}

export class RelayedFlow implements Linked, PumpedFlow {
  before: Linked | undefined;
  after: Linked | undefined;
  listed = false;
  readonly sourceKey: string;
  readonly tap: SessionTap;
  readonly openedMs: number;
  activeMs: number;
  /** One side has said all it has to say. */
  isHalfClosed = false;
  /** Which of the relay's lists it is in. */
  lingering = false;
  readonly #host: FlowHost;
  /** The attacker's connection, as one of the two, until the pump has it. */
  #stream: FlowStream | undefined;
  #descriptor: number | undefined;
  #cancelDial: CancelDial | undefined;
  #pump: FlowPump | undefined;
  #connectedAt: Micros | undefined;
  #answered = false;
  #over = false;

  constructor(host: FlowHost, tap: SessionTap, arrival: Arrival, service: RelayedService, sourceKey: string, nowMs: number) {
    this.#host = host;
    this.tap = tap;
    this.sourceKey = sourceKey;
    this.openedMs = nowMs;
    this.activeMs = nowMs;
    this.#descriptor = arrival.takeDescriptor?.();
    if (this.#descriptor === undefined) this.#listen(arrival.socket);
    const { source, destination, network, agent } = arrival;
    const started = host.clock();
    const uniqueId = tap.id ?? arrival.uniqueId;
    this.#cancelDial = host.dialer.dial({ service, transport: 'tcp', source, destination, network, agent, uniqueId }, (end) =>
      this.#dialled(end, started),
    );
  }

  get over(): boolean {
    return this.#over;
  }

  /** Idempotent. */
  finish(outcome: FlowEnd): void {
    if (this.#over) return;
    if (this.#pump) {
      this.#pump.end(outcome);
      // A stream of Node's tells its end later; what is on record is told now.
      this.#ended(outcome);
      return;
    }
    this.#cancelDial?.();
    this.#dropClient();
    this.#ended(outcome);
  }

  #listen(stream: FlowStream): void {
    this.#stream = stream;
    stream.on('error', this.#clientLost);
    stream.on('close', this.#clientLost);
  }

  readonly #clientLost = (): void => {
    if (!this.#pump) this.finish('client-reset');
  };

  #dialled(end: DialEnd, started: Micros): void {
    this.#cancelDial = undefined;
    if (this.#over) return;
    if ('error' in end) {
      this.tap.find({ tags: ['service-unreachable', end.error] });
      this.finish('service-unreachable');
      return;
    }
    this.#connectedAt = this.#host.clock();
    this.tap.find({ connectMicros: this.#connectedAt - started });
    if (this.#descriptor !== undefined) {
      const client = this.#descriptor;
      this.#descriptor = undefined;
      const pump = new DescriptorPump(this.#host.poller, this, client, end.fd, end.header, end.readable);
      if (!this.#over) this.#pump = pump;
      return;
    }
    const client = this.#stream as FlowStream;
    this.#stream = undefined;
    this.#host.poller.forget(end.fd);
    const service = new net.Socket({ fd: end.fd, allowHalfOpen: true, readable: true, writable: true });
    if (end.header.length > 0) service.write(end.header);
    this.#pump = new Pump({
      client,
      service,
      clock: this.#host.clock,
      onBytes: (direction, bytes) => this.passed(direction, bytes),
      onHalfClose: () => this.halfClosed(),
      onEnd: ({ outcome }) => this.pumpEnded(outcome),
    });
  }

  /** The pump's word. */
  passed(direction: Direction, bytes: Uint8Array): void {
    const at = this.#host.clock();
    if (direction === 'out' && !this.#answered) {
      this.#answered = true;
      this.tap.find({ firstByteMicros: at - (this.#connectedAt ?? at) });
    }
    this.tap.take(direction, bytes, at);
    this.#host.touched(this);
  }

  /** The pump's word. */
  halfClosed(): void {
    this.isHalfClosed = true;
    this.#host.touched(this);
  }

  /** The pump's word. */
  pumpEnded(outcome: FlowEnd): void {
    this.#ended(outcome);
  }

  #dropClient(): void {
    if (this.#descriptor !== undefined) resetConnection(this.#descriptor);
    this.#descriptor = undefined;
    // Its listeners stay: an error of a stream that goes is nobody's news.
    this.#stream?.resetAndDestroy();
    this.#stream = undefined;
  }

  #ended(outcome: FlowEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.tap.close(outcome);
    this.#host.ended(this, outcome);
  }
}
