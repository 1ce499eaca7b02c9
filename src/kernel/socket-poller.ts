// Many sockets of our own (raw descriptors) in one epoll instance, which the event loop watches as one: no object of Node's
// for each of them. Edge-triggered: a socket tells of news once, its owner reads and writes until EAGAIN. See epoll(7).

import { closeDescriptor, controlEpoll, errnoName, openEpoll, readEpoll } from './libc.ts';
import { Readiness } from './readiness.ts';

// include/uapi/linux/eventpoll.h
export const EPOLLIN = 0x001;
export const EPOLLOUT = 0x004;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
export const EPOLLRDHUP = 0x2000;
const EPOLLET = 0x80000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;

/** struct epoll_event is packed on x86-64 alone (include/uapi/linux/eventpoll.h). */
const eventBytes = process.arch === 'x64' ? 12 : 16;
const dataAt = process.arch === 'x64' ? 4 : 8;
const eventsPerRead = 256;
/** Reads in one turn of the loop, then timers and everybody else. */
const readsPerTurn = 8;

/** Told what is new on its socket, as a sum of EPOLL*. Must not throw. */
export interface PolledSocket {
  ready(events: number): void;
}

interface Entry {
  owner: PolledSocket;
  readonly generation: number;
}

/** One for each thread is enough. Sockets are not owned: `forget` one before closing it. */
export class SocketPoller {
  readonly #epoll = openEpoll();
  readonly #events = new Uint8Array(eventBytes * eventsPerRead);
  readonly #view = new DataView(this.#events.buffer);
  readonly #event = new Uint8Array(eventBytes);
  readonly #eventView = new DataView(this.#event.buffer);
  readonly #entries = new Map<number, Entry>();
  readonly #readiness: Readiness;
  /** A number closed and given to another socket while its events still lie in our buffer must not be mistaken. */
  #generation = 0;
  #again: (() => void)[] = [];
  #scheduled = false;
  #closed = false;

  constructor() {
    this.#readiness = new Readiness(this.#epoll, { readable: true }, this.#read);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** From now on `owner` hears of `fd`: readable, writable, ended, broken; what is so already is told in the next turn. */
  watch(fd: number, owner: PolledSocket): void {
    this.#generation = (this.#generation + 1) >>> 0;
    this.#eventView.setUint32(0, (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) >>> 0, true);
    this.#eventView.setUint32(dataAt, fd, true);
    this.#eventView.setUint32(dataAt + 4, this.#generation, true);
    const result = controlEpoll(this.#epoll, EPOLL_CTL_ADD, fd, this.#event);
    if (result < 0) throw new Error(`epoll_ctl failed: ${errnoName(-result)}`);
    this.#entries.set(fd, { owner, generation: this.#generation });
  }

  /** Gives a watched `fd` to another owner at no cost. What was told before is not told again. */
  hand(fd: number, owner: PolledSocket): void {
    const entry = this.#entries.get(fd);
    if (entry) entry.owner = owner;
    else this.watch(fd, owner);
  }

  /** Idempotent. `fd` may go to another owner, or be closed. */
  forget(fd: number): void {
    if (this.#entries.delete(fd)) controlEpoll(this.#epoll, EPOLL_CTL_DEL, fd, null);
  }

  /** As `forget`, for a descriptor that is closed at once: the kernel takes it out by itself. */
  forgetClosing(fd: number): void {
    this.#entries.delete(fd);
  }

  /** Runs `body` in the next turn of the loop: for who has more to do than one turn's fair share. */
  soon(body: () => void): void {
    this.#again.push(body);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#runAgain);
  }

  /** Idempotent; nobody hears of anything any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    closeDescriptor(this.#epoll);
    this.#entries.clear();
    this.#again = [];
  }

  readonly #runAgain = (): void => {
    this.#scheduled = false;
    const bodies = this.#again;
    this.#again = [];
    for (const body of bodies) body();
  };

  readonly #read = (): void => {
    const view = this.#view;
    for (let reads = 0; reads < readsPerTurn && !this.#closed; reads += 1) {
      const got = readEpoll(this.#epoll, this.#events, eventsPerRead);
      for (let index = 0; index < got; index += 1) {
        const at = index * eventBytes;
        const entry = this.#entries.get(view.getUint32(at + dataAt, true));
        if (entry?.generation === view.getUint32(at + dataAt + 4, true)) entry.owner.ready(view.getUint32(at, true));
      }
      if (got < eventsPerRead) return;
    }
  };
}
