// One attacker's connection at an agent, joined with its flow on the link: back-pressure, half-close and RST pass both ways. What
// the gateway turns away at once is given back with every byte, for somebody else to answer. Bounds on time are the gateway's.

import type { FlowStream } from './arrival.ts';
import { resetError } from './link/link-flow.ts';
import { ReturnedFlow } from './returned-flow.ts';

export interface HandedFlowOptions {
  readonly client: FlowStream;
  /** The flow that LinkClient.openFlow gave. */
  readonly flow: FlowStream;
  /**
   * The gateway will not have it, or the link broke before it said that it does. `client` is as it came, and the receiver's
   * from now on; called once, instead of `onEnd`.
   */
  onTurnedAway(client: FlowStream): void;
  /** Both sides are gone. */
  onEnd(): void;
}

/** Of an error of the flow's: it was turned away before anything was done with it. */
export const turnedAwayCode = 'ECONNREFUSED';

/** What the client sends is kept until the gateway says that it takes the flow; past so much nothing is read from it until then. */
const keptBytes = 64 * 1024;
/** How long the client may take to read the rest once the gateway is done with it. */
const lingerMs = 20_000;

/** Both have `allowHalfOpen`, and nothing was read from them. */
export class HandedFlow {
  readonly #options: HandedFlowOptions;
  /** Until the gateway has taken the flow. */
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #clientEnded = false;
  /** It went away before the gateway had taken the flow. */
  #clientFault: NodeJS.ErrnoException | undefined;
  #open = 2;
  #over = false;
  #lingering: NodeJS.Timeout | undefined;

  constructor(options: HandedFlowOptions) {
    this.#options = options;
    const { client, flow } = options;
    client.on('data', this.#fromClient);
    client.on('end', this.#clientEnd);
    client.on('error', this.#clientError);
    client.on('close', this.#clientClosed);
    client.on('drain', this.#clientDrained);
    flow.on('taken', () => this.#taken());
    flow.on('data', (bytes: Buffer) => {
      if (client.writable && !client.write(bytes)) flow.pause();
    });
    flow.on('drain', () => {
      if (!this.#keptIsFull) client.resume();
    });
    flow.on('end', () => client.end());
    flow.on('error', (error: NodeJS.ErrnoException) => this.#flowFailed(error));
    flow.on('close', () => this.#flowClosed());
  }

  /** Ends both at once, with a RST each. */
  reset(): void {
    if (this.#over) return;
    this.#kept = undefined;
    this.#options.flow.resetAndDestroy();
    cutOff(this.#options.client);
  }

  get #keptIsFull(): boolean {
    return this.#kept !== undefined && this.#keptBytes >= keptBytes;
  }

  #taken(): void {
    const { client, flow } = this.#options;
    this.#kept = undefined;
    if (this.#clientFault) flow.resetAndDestroy();
    else if (!flow.writableNeedDrain) client.resume();
  }

  readonly #fromClient = (bytes: Buffer): void => {
    const { client, flow } = this.#options;
    const full = flow.writable && !flow.write(bytes);
    if (this.#kept) {
      this.#kept.push(bytes);
      this.#keptBytes += bytes.length;
    }
    if (full || this.#keptIsFull) client.pause();
  };

  readonly #clientDrained = (): void => {
    this.#options.flow.resume();
  };

  readonly #clientEnd = (): void => {
    this.#clientEnded = true;
    this.#options.flow.end();
  };

  readonly #clientError = (error: NodeJS.ErrnoException): void => {
    // A connection that times out is gone without a RST; the far end hears the same of both.
    if (error.code !== undefined) this.#clientGone(error);
  };

  readonly #clientClosed = (): void => {
    const { flow } = this.#options;
    clearTimeout(this.#lingering);
    if (!this.#clientEnded && !flow.destroyed) this.#clientGone(resetError());
    this.#closed();
  };

  /** Whether it ever was there is known to the gateway or to us, once it has taken the flow or not. */
  #clientGone(error: NodeJS.ErrnoException): void {
    if (this.#kept) this.#clientFault ??= error;
    else this.#options.flow.resetAndDestroy();
  }

  #flowFailed(error: NodeJS.ErrnoException): void {
    const { client } = this.#options;
    if (error.code === turnedAwayCode && this.#kept) this.#giveBack(this.#kept);
    // Reset by the service, or the link broke under it: the attacker sees a RST, as of a machine that crashed.
    else cutOff(client);
  }

  #giveBack(kept: readonly Buffer[]): void {
    const { client, onTurnedAway } = this.#options;
    this.#over = true;
    client.off('data', this.#fromClient);
    client.off('end', this.#clientEnd);
    client.off('error', this.#clientError);
    client.off('close', this.#clientClosed);
    client.off('drain', this.#clientDrained);
    if (this.#clientEnded || client.destroyed) {
      // What has ended takes nothing back.
      onTurnedAway(new ReturnedFlow(client, kept, this.#clientEnded ? undefined : (this.#clientFault ?? resetError())));
      return;
    }
    if (kept.length > 0) client.unshift(Buffer.concat(kept));
    // Flows again from the next turn on, to whoever listens by then.
    client.resume();
    onTurnedAway(client);
  }

  #flowClosed(): void {
    if (this.#over) return;
    const { client } = this.#options;
    if (!client.destroyed) {
      if (client.writableEnded) {
        this.#lingering = setTimeout(() => cutOff(client), lingerMs).unref();
        // Nobody is left to read what it sends.
        client.resume();
      } else cutOff(client);
    }
    this.#closed();
  }

  #closed(): void {
    this.#open -= 1;
    if (this.#open > 0 || this.#over) return;
    this.#over = true;
    this.#kept = undefined;
    this.#options.onEnd();
  }
}

/** A RST, where the system lets one be sent: not while a FIN waits to leave (libuv refuses, and the socket would stay for ever). */
function cutOff(client: FlowStream): void {
  if (client.writableEnded && !client.writableFinished) client.destroy();
  else client.resetAndDestroy();
}
