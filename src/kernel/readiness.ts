// Tells the event loop of this thread when a descriptor Node does not know (AF_PACKET, netlink, a listener we accept
// from ourselves) can be read or written, through libuv's own epoll: no polling timer, no blocked thread.
// Does not own the descriptor: close the watch first, then the descriptor. One watch per descriptor and thread.

import koffi from 'koffi';

export interface ReadinessOptions {
  readonly readable?: boolean;
  readonly writable?: boolean;
}

/** An error or hang-up on the descriptor counts as both: the next call on it tells which. */
export type ReadyListener = (readable: boolean, writable: boolean) => void;

/**
 * Calls `onReady` after each turn of the loop in which the descriptor was ready (level-triggered).
 * libuv calls back outside any callback scope of Node, where neither microtasks nor nextTick would run and an exception
 * would be lost in native code; hence the hop over setImmediate, which comes in the same turn.
 */
export class Readiness {
  #handle: ReturnType<typeof koffi.node.poll> | undefined;
  readonly #onReady: ReadyListener;
  #options: ReadinessOptions;
  #scheduled = false;
  #paused = false;
  #readable = false;
  #writable = false;
  /** libuv gives a watch up when the descriptor has an error waiting (ENOBUFS on netlink): it is to be started anew. */
  #givenUp = false;
  #errorsInARow = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(fd: number, options: ReadinessOptions, onReady: ReadyListener) {
    this.#onReady = onReady;
    this.#options = options;
    this.#handle = koffi.node.poll(fd, options, this.#mark as unknown as () => void);
  }

  /** koffi's own declaration leaves out libuv's status, which comes first. */
  readonly #mark = (status: number, events: { readable: boolean; writable: boolean }): void => {
    this.#readable ||= status < 0 || events.readable;
    this.#writable ||= status < 0 || events.writable;
    if (status < 0) this.#givenUp = true;
    else this.#errorsInARow = 0;
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  };

  readonly #run = (): void => {
    const readable = this.#readable;
    const writable = this.#writable;
    this.#scheduled = false;
    this.#readable = false;
    this.#writable = false;
    if (this.#handle && !this.#paused) this.#onReady(readable, writable);
    if (!this.#givenUp) return;
    this.#givenUp = false;
    this.#errorsInARow += 1;
    if (this.#errorsInARow < 16) this.#startAnew();
    else this.#retry = setTimeout(this.#startAnew, 50); // an error that reading does not clear must not spin
  };

  readonly #startAnew = (): void => {
    if (this.#handle && !this.#paused) this.#handle.start(this.#options, this.#mark as unknown as () => void);
  };

  get paused(): boolean {
    return this.#paused;
  }

  /** Waits for something else from now on. */
  change(options: ReadinessOptions): void {
    this.#options = options;
    if (this.#handle && !this.#paused) this.#handle.start(options, this.#mark as unknown as () => void);
  }

  pause(): void {
    if (this.#paused || !this.#handle) return;
    this.#paused = true;
    this.#handle.stop();
  }

  resume(): void {
    if (!this.#paused || !this.#handle) return;
    this.#paused = false;
    this.#handle.start(this.#options, this.#mark as unknown as () => void);
  }

  /** Lets the process end although this watch is open. */
  unref(): void {
    this.#handle?.unref();
  }

  /** Idempotent. */
  close(): void {
    clearTimeout(this.#retry);
    this.#handle?.close();
    this.#handle = undefined;
  }
}
