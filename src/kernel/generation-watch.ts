// Tells that the nft ruleset of a network namespace became another, by asking for its generation four times a second. Not by
// nftables' own notifications: while anybody on the machine listens to those, in whatever namespace, the kernel writes a
// message of a page for each element of each transaction, and keeps them all until the transaction is through: 65,536
// listed decoys took three times as long, and 1.6 GB. Sources: net/netfilter/nf_tables_api.c, nf_tables_setelem_notify.

import { askGeneration, NETLINK_NETFILTER } from './nft-digest.ts';
import { RouteSocket } from './route-socket.ts';

const everyMs = 250;

export class GenerationWatch {
  readonly #socket: RouteSocket;
  readonly #onChange: () => void;
  readonly #timer: NodeJS.Timeout;
  #known: number;
  #open = true;

  /**
   * `netns` is a path; absent: this process's own. Tells anybody's changes, our own too, from now on. Throws `not-found` when
   * there is no such namespace. It does not keep the process running.
   */
  constructor(netns: string | undefined, onChange: () => void) {
    this.#socket = new RouteSocket(netns, NETLINK_NETFILTER);
    this.#onChange = onChange;
    this.#known = this.#ask();
    this.#timer = setInterval(() => this.#look(), everyMs);
    this.#timer.unref();
  }

  /** Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#timer);
    this.#socket.close();
  }

  #look(): void {
    const now = this.#ask();
    if (now === this.#known) return;
    this.#known = now;
    this.#onChange();
  }

  /** NaN, which is no generation, when the kernel does not answer: then anything may have changed. */
  #ask(): number {
    try {
      return askGeneration(this.#socket) ?? 0;
    } catch {
      return Number.NaN;
    }
  }
}
