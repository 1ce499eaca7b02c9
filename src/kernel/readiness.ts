// Tells the event loop of this thread when a descriptor Node does not know (AF_PACKET, netlink, a listener we accept
// from ourselves) can be read or written, through libuv's own epoll: no polling timer, no blocked thread.
// Does not own the descriptor: close the watch first, then the descriptor.

import koffi from 'koffi';

export interface ReadinessOptions {
  readonly readable?: boolean;
  readonly writable?: boolean;
}

/**
 * Calls `onReady` after each turn of the loop in which the descriptor was ready (level-triggered).
 * libuv calls back outside any callback scope of Node, where neither microtasks nor nextTick would run and an exception
 * would be lost in native code; hence the hop over setImmediate, which comes in the same turn.
 */
export class Readiness {
  #handle: ReturnType<typeof koffi.node.poll> | undefined;
  readonly #onReady: () => void;
  #scheduled = false;
  #paused = false;
  readonly #options: ReadinessOptions;

  constructor(fd: number, options: ReadinessOptions, onReady: () => void) {
    this.#onReady = onReady;
    this.#options = options;
    this.#handle = koffi.node.poll(fd, options, this.#mark);
  }

  readonly #mark = (): void => {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#run);
  };

  readonly #run = (): void => {
    this.#scheduled = false;
    if (this.#handle && !this.#paused) this.#onReady();
  };

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    if (this.#paused || !this.#handle) return;
    this.#paused = true;
    this.#handle.stop();
  }

  resume(): void {
    if (!this.#paused || !this.#handle) return;
    this.#paused = false;
    this.#handle.start(this.#options, this.#mark);
  }

  /** Lets the process end although this watch is open. */
  unref(): void {
    this.#handle?.unref();
  }

  /** Idempotent. */
  close(): void {
    this.#handle?.close();
    this.#handle = undefined;
  }
}
