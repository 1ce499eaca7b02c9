// The agent's end of its link: connects, comes back when the link breaks, and offers streams while there is one. One link at a
// time. How a gateway is reached and known is gateway-connection.ts; one living link is client-session.ts.

import { PassThrough, type Readable } from 'node:stream';
import { asWeirError, WeirError } from '../../base/errors.ts';
import type { AgentMessage } from '../../model/agent.ts';
import type { FlowStream } from '../arrival.ts';
import { ClientSession } from './client-session.ts';
import { type Connecting, connectGateway } from './gateway-connection.ts';
import {
  type DatagramFlow,
  type DatagramRequest,
  type FlowRequest,
  type LinkClientCounters,
  type LinkClientLimits,
  type LinkClientOptions,
  type LinkState,
  linkClientLimits,
} from './link-client-options.ts';

export class LinkClient {
  readonly counters: LinkClientCounters = {
    connects: 0,
    links: 0,
    untrusted: 0,
    flows: 0,
    flowsRefused: 0,
    flowsTurnedAway: 0,
    datagrams: 0,
    datagramsDropped: 0,
    badMessages: 0,
  };
  readonly #options: LinkClientOptions;
  readonly #limits: LinkClientLimits;
  readonly #random: () => number;
  #state: LinkState = { state: 'idle' };
  #connecting: Connecting | undefined;
  #session: ClientSession | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #linkedAtMs = 0;
  #why: string | undefined;

  constructor(options: LinkClientOptions) {
    this.#options = options;
    this.#limits = { ...linkClientLimits, ...options.limits };
    this.#random = options.random ?? Math.random;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Median of the last pings, microseconds; undefined while away. */
  get latencyMicros(): number | undefined {
    return this.#session?.latencyMicros;
  }

  get openFlows(): number {
    return this.#session?.openFlows ?? 0;
  }

  start(): void {
    if (this.#state.state === 'idle') this.#connect();
  }

  /** Connects now instead of at the end of the wait. */
  retryNow(): void {
    if (this.#state.state !== 'away') return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /**
   * Undefined: no link, or too many at once; answer it yourself. The stream is half-open like a socket; a link that breaks is
   * a RST, a gateway that will not have it an error with the code ECONNREFUSED.
   */
  openFlow(request: FlowRequest): FlowStream | undefined {
    const flow = this.#linked?.openFlow(request);
    if (flow) this.counters.flows += 1;
    else this.counters.flowsRefused += 1;
    return flow;
  }

  openDatagrams(request: DatagramRequest): DatagramFlow | undefined {
    const flow = this.#linked?.openDatagrams(request);
    if (flow) this.counters.flows += 1;
    else this.counters.flowsRefused += 1;
    return flow;
  }

  /** False: no link, or what waits is too much; nothing is kept for later. */
  send(message: AgentMessage): boolean {
    return this.#linked?.send(message) ?? false;
  }

  /** At most 8 MiB, one at a time. Resolves when durable at the centre. Rejects with WeirError `not-running` (no link), `timeout`, `store-unavailable` (refused). */
  async sendSpool(batch: Uint8Array): Promise<void> {
    const session = this.#linked;
    if (!session) throw new WeirError('not-running', 'there is no link');
    await session.sendSpool(batch);
  }

  /** Errors when there is none of this version, or the link breaks. */
  fetchProgram(version: string): Readable {
    const session = this.#linked;
    if (session) return session.fetchProgram(version);
    const none = new PassThrough();
    none.destroy(new WeirError('not-running', 'there is no link'));
    return none;
  }

  /** Ends the link and all flows; nothing is tried again. */
  async close(): Promise<void> {
    if (this.#state.state === 'closed') return;
    clearTimeout(this.#timer);
    this.#turn({ state: 'closed' });
    this.#connecting?.abort();
    await this.#session?.close();
  }

  get #linked(): ClientSession | undefined {
    return this.#state.state === 'linked' ? this.#session : undefined;
  }

  #turn(state: LinkState): void {
    this.#state = state;
    this.#options.onStateChange?.(state);
  }

  #connect(): void {
    this.#turn({ state: 'connecting', ...(this.#why === undefined ? {} : { reason: this.#why }) });
    this.counters.connects += 1;
    this.#attempt().catch((error: unknown) => {
      const { code, message } = asWeirError(error);
      if (code === 'unauthorized') {
        this.counters.untrusted += 1;
        this.#options.log.error('the gateway was not trusted', { reason: message });
      }
      this.#wait(message);
    });
  }

  async #attempt(): Promise<void> {
    const options = this.#options;
    const connecting = connectGateway(options, options.credentials(), this.#limits.connectMs);
    this.#connecting = connecting;
    const socket = await connecting.connected.finally(() => {
      this.#connecting = undefined;
    });
    if (this.#state.state !== 'connecting') {
      socket.destroy();
      return;
    }
    this.#session = new ClientSession(socket, {
      options,
      limits: this.#limits,
      counters: this.counters,
      onWelcome: (welcome) => {
        if (this.#state.state !== 'connecting') return;
        this.#linkedAtMs = performance.now();
        this.counters.links += 1;
        this.#turn({ state: 'linked', welcome });
      },
      onClosed: (reason) => {
        this.#session = undefined;
        this.#wait(reason);
      },
    });
  }

  #wait(reason: string): void {
    if (this.#state.state === 'closed') return;
    if (this.#state.state === 'linked' && performance.now() - this.#linkedAtMs >= this.#limits.settledMs) this.#failures = 0;
    const { backOffMs, backOffMaxMs } = this.#limits;
    const longest = Math.min(backOffMaxMs, backOffMs * 2 ** Math.min(this.#failures, 30));
    // Not all at the same time: a gateway that comes back is met by all its agents.
    const waitMs = longest * (0.5 + this.#random() / 2);
    this.#failures += 1;
    this.#why = reason;
    this.#turn({ state: 'away', reason, nextTryAt: Math.round(this.#options.clock() / 1000 + waitMs) });
    this.#timer = setTimeout(() => this.#connect(), waitMs);
  }
}
