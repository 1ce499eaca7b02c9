// The pump for two sockets of our own: bytes go from one to the other through one buffer that all flows share, with no object
// of Node's in between. Same promises as pump.ts (back-pressure, half-close, RST); idle and total time are the relay's.

import { closeDescriptor, EAGAIN, EINTR, errnoName, receive, resetConnection, sendTo, shutdownWriting } from '../kernel/libc.ts';
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  type PolledSocket,
  type SocketPoller,
} from '../kernel/socket-poller.ts';
import type { Direction } from '../model/session.ts';
import type { FlowEnd, FlowPump } from './pump.ts';

/** Read at once, and the most of one direction of a flow that waits to be written. */
export const pumpBufferBytes = 128 * 1024;
/** Reads of one direction before others get their turn. */
const readsPerTurn = 8;

/** Valid until the next read; one thread, one buffer. */
const shared = new Uint8Array(pumpBufferBytes);

/** Whose flow it is. Calls must not throw or block. */
export interface PumpedFlow {
  /** Every piece once, in order, before it is passed on; `bytes` is valid during the call alone. */
  passed(direction: Direction, bytes: Uint8Array): void;
  halfClosed(): void;
  /** Once; also while the pump is being made. */
  pumpEnded(outcome: FlowEnd): void;
}

/** One direction. */
class Way implements PolledSocket {
  readonly direction: Direction;
  readonly from: number;
  readonly to: number;
  readonly pump: DescriptorPump;
  /** Not yet taken by `to`; while there is any, nothing is read. */
  waiting: Uint8Array | undefined = undefined;
  readable: boolean;
  writable = true;
  /** `from` has something to tell beyond bytes: its end or an error. Only reading on tells which. */
  ending = false;
  /** `from` sent its FIN, and it was passed on. */
  ended = false;

  constructor(pump: DescriptorPump, direction: Direction, from: number, to: number, readable: boolean) {
    this.pump = pump;
    this.direction = direction;
    this.from = from;
    this.to = to;
    this.readable = readable;
  }

  ready(events: number): void {
    this.pump.ready(this, events);
  }
}

/** Both descriptors are non-blocking, connected and the pump's until `onEnd`, when they are closed. */
export class DescriptorPump implements FlowPump {
  readonly #poller: SocketPoller;
  readonly #flow: PumpedFlow;
  readonly #in: Way;
  readonly #out: Way;
  #header: Uint8Array | undefined;
  #outcome: FlowEnd | undefined = undefined;
  #over = false;
  #soon = false;

  /**
   * `header` is sent to the service before the client's first bytes, together with them where they are there. `readable`: the
   * service may have something to read; where it is watched already (SocketPoller.hand) nothing would tell.
   */
  constructor(poller: SocketPoller, flow: PumpedFlow, client: number, service: number, header: Uint8Array, readable: boolean) {
    this.#poller = poller;
    this.#flow = flow;
    this.#header = header.length > 0 ? header : undefined;
    this.#in = new Way(this, 'in', client, service, true);
    this.#out = new Way(this, 'out', service, client, readable);
    poller.watch(client, this.#in);
    poller.hand(service, this.#out);
    this.#move(this.#in);
    if (!this.#over && this.#out.readable) this.#move(this.#out);
  }

  end(outcome: FlowEnd): void {
    this.#finish(outcome, outcome === 'shed' ? 'client' : 'nobody');
  }

  /** Of its ways alone: `ours` reads from the socket that has news, `theirs` writes to it. */
  ready(ours: Way, events: number): void {
    if (this.#over) return;
    const theirs = ours === this.#in ? this.#out : this.#in;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) ours.readable = true;
    if (events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)) ours.ending = true;
    if (events & EPOLLOUT) theirs.writable = true;
    if (events & EPOLLERR && (ours.ended || ours.waiting)) {
      // Reading would not tell, or may not be done.
      this.#reset(ours);
      return;
    }
    if (ours.readable) this.#move(ours);
    if (!this.#over && theirs.writable && (theirs.waiting || theirs.readable)) this.#move(theirs);
  }

  #move(way: Way): void {
    if (way.waiting && !this.#sendWaiting(way)) return;
    if (way === this.#in && this.#header && !way.readable) {
      const header = this.#header;
      this.#header = undefined;
      if (!this.#send(way, header)) return;
    }
    for (let reads = 0; way.readable && !way.ended; reads += 1) {
      if (reads === readsPerTurn) {
        this.#later();
        return;
      }
      const before = way === this.#in ? this.#header : undefined;
      const offset = before?.length ?? 0;
      const got = receive(way.from, offset === 0 ? shared : shared.subarray(offset));
      if (got === -EINTR) continue;
      if (got === -EAGAIN) {
        way.readable = false;
        if (before) this.#move(way);
        return;
      }
      if (got < 0) {
        this.#broken(way, -got);
        return;
      }
      if (before) {
        shared.set(before);
        this.#header = undefined;
      }
      if (got === 0) {
        if (before && !this.#send(way, before)) return;
        this.#halfClose(way);
        return;
      }
      const piece = shared.subarray(0, offset + got);
      this.#flow.passed(way.direction, offset === 0 ? piece : piece.subarray(offset));
      if (this.#over) return;
      // A socket that gave less than was asked for is empty, unless its end waits behind.
      if (got < shared.length - offset && !way.ending) way.readable = false;
      if (!this.#send(way, piece)) return;
    }
  }

  #later(): void {
    if (this.#soon) return;
    this.#soon = true;
    this.#poller.soon(() => {
      this.#soon = false;
      if (!this.#over) this.#move(this.#in);
      if (!this.#over) this.#move(this.#out);
    });
  }

  /** True when all of it was taken; the rest is kept. */
  #send(way: Way, bytes: Uint8Array): boolean {
    let rest = bytes;
    while (way.writable) {
      const sent = sendTo(way.to, rest, null);
      if (sent === rest.length) return true;
      if (sent >= 0) rest = rest.subarray(sent);
      else if (sent === -EAGAIN) way.writable = false;
      else if (sent !== -EINTR) {
        this.#lastWords(way === this.#in ? this.#out : this.#in);
        this.#broken(way === this.#in ? this.#out : this.#in, -sent);
        return false;
      }
    }
    way.waiting = rest.slice();
    return false;
  }

  #sendWaiting(way: Way): boolean {
    if (!way.writable) return false;
    const { waiting } = way;
    way.waiting = undefined;
    return waiting === undefined || this.#send(way, waiting);
  }

  /** Who no longer takes anything may have said why before. */
  #lastWords(way: Way): void {
    for (let reads = 0; reads < readsPerTurn && !this.#over && !way.ended && !way.waiting; reads += 1) {
      const got = receive(way.from, shared);
      if (got <= 0) return;
      this.#flow.passed(way.direction, shared.subarray(0, got));
      if (this.#over || sendTo(way.to, shared.subarray(0, got), null) !== got) return;
    }
  }

  #halfClose(way: Way): void {
    way.ended = true;
    way.readable = false;
    this.#outcome ??= way === this.#in ? 'client-closed' : 'server-closed';
    const other = way === this.#in ? this.#out : this.#in;
    // Closing sends the second FIN, after what is still to be sent.
    if (other.ended) {
      this.#finish(this.#outcome, 'nobody');
      return;
    }
    shutdownWriting(way.to);
    this.#flow.halfClosed();
  }

  /** A read from `way.from`, or a write to it, failed. */
  #broken(way: Way, errno: number): void {
    const name = errnoName(errno);
    if (name === 'ECONNRESET' || name === 'EPIPE') this.#reset(way);
    else this.#finish(name === 'ETIMEDOUT' ? 'idle' : way === this.#in ? 'client-reset' : 'server-closed', 'nobody');
  }

  /** `way.from` has reset its connection: so is the other. */
  #reset(way: Way): void {
    this.#finish(way === this.#in ? 'client-reset' : 'server-closed', way === this.#in ? 'service' : 'client');
  }

  #finish(outcome: FlowEnd, resetWhom: 'client' | 'service' | 'nobody'): void {
    if (this.#over) return;
    this.#over = true;
    for (const way of [this.#in, this.#out]) {
      this.#poller.forgetClosing(way.from);
      if (resetWhom === (way === this.#in ? 'client' : 'service')) resetConnection(way.from);
      else closeDescriptor(way.from);
    }
    this.#in.waiting = undefined;
    this.#out.waiting = undefined;
    this.#flow.pumpEnded(this.#outcome ?? outcome);
  }
}
