// The gateway's end of run/handover.sock: gets sockets and their description from netd, now and after every change,
// and gives what it holds to a netd that was restarted. Keeps trying while netd is away; the sockets in hand go on.

import { deserialize } from 'node:v8';
import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { DescriptorChannel, type DescriptorFrame } from './fd-passing.ts';
import { frameOffer, frameReturned, frameTaken, labelOf, maxOfferBytes, type Offer, type SocketLabel } from './handover.ts';
import {
  frameDialSockets,
  frameWanted,
  type MadeSockets,
  parseMadeSockets,
  renderSockets,
  type WantedSockets,
} from './handover-sockets.ts';
import { AF_UNIX, closeDescriptor, connectSocket, errnoName, openSocket, SOCK_STREAM, socketCookie } from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { renderUnixAddress } from './socket-address.ts';

export interface HandoverClientOptions {
  readonly path: string;
  readonly log: Log;
  /** Every new offer, also the first. A socket already held keeps its descriptor. What it throws is logged. */
  readonly onOffer: (offer: Offer) => void;
  /** What `want` was answered with; the descriptors are the receiver's, entry by entry. */
  readonly onSockets?: (made: readonly MadeSockets[], fds: readonly number[]) => void;
  /** netd was reached, or lost: then what was wanted stays unanswered. */
  readonly onConnected?: (connected: boolean) => void;
  /** Between attempts to reach netd. */
  readonly retryMs?: number;
}

export class HandoverClient {
  readonly #options: HandoverClientOptions;
  #channel: DescriptorChannel | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #complained = false;
  /** By the kernel's cookie: what we hold, whatever descriptor number it came under. */
  #held = new Map<string, NamedSocket>();

  constructor(options: HandoverClientOptions) {
    this.#options = options;
    this.#connect();
  }

  get connected(): boolean {
    return this.#channel !== undefined;
  }

  /** The sockets of the latest offer. */
  get sockets(): NamedSocket[] {
    return [...this.#held.values()];
  }

  /** Asks netd for sockets to dial with; false: netd is away. One request at a time: a second may replace the first. */
  want(wanted: readonly WantedSockets[]): boolean {
    if (!this.#channel) return false;
    this.#channel.send({ kind: frameWanted, generation: 0, body: renderSockets(wanted), fds: [] });
    return true;
  }

  /** Idempotent. Ends the connection; descriptors handed out stay the receiver's. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#channel?.close();
    this.#channel = undefined;
  }

  #connect(): void {
    const fd = openSocket(AF_UNIX, SOCK_STREAM, 0);
    const result = connectSocket(fd, renderUnixAddress(this.#options.path));
    if (result < 0) {
      closeDescriptor(fd);
      if (!this.#complained) this.#options.log.warn('netd does not answer; trying on', { errno: errnoName(-result) });
      this.#complained = true;
      this.#again();
      return;
    }
    this.#complained = false;
    this.#channel = new DescriptorChannel(fd, {
      maxBodyBytes: maxOfferBytes,
      onFrame: (frame) => this.#onFrame(frame),
      onClose: (error) => {
        this.#channel = undefined;
        if (error) this.#options.log.warn('the handover connection broke', { error: error.message });
        this.#options.onConnected?.(false);
        this.#again();
      },
    });
    const held = this.sockets;
    this.#channel.send({
      kind: frameReturned,
      generation: 0,
      body: Buffer.from(JSON.stringify(held.map(labelOf))),
      fds: held.map(({ fd: one }) => one),
    });
    // Not before the constructor's caller holds what it made.
    setImmediate(() => {
      if (this.#channel) this.#options.onConnected?.(true);
    });
  }

  #again(): void {
    if (!this.#closed) this.#retry = setTimeout(() => this.#connect(), this.#options.retryMs ?? 100);
  }

  #onSockets({ body, fds }: DescriptorFrame): void {
    try {
      const made = parseMadeSockets(body);
      const count = made.reduce((sum, one) => sum + one.count, 0);
      if (!this.#options.onSockets || count !== fds.length) throw new WeirError('bad-request', 'sockets nobody asked for');
      this.#options.onSockets(made, fds);
    } catch (error) {
      for (const fd of fds) closeDescriptor(fd);
      this.#options.log.warn('sockets for dialling were refused', { error: asWeirError(error).message });
    }
  }

  #onFrame(frame: DescriptorFrame): void {
    if (frame.kind === frameDialSockets) {
      this.#onSockets(frame);
      return;
    }
    if (frame.kind !== frameOffer) {
      for (const fd of frame.fds) closeDescriptor(fd);
      return;
    }
    const { labels, description } = deserialize(frame.body) as { labels: SocketLabel[]; description: unknown };
    const held = new Map<string, NamedSocket>();
    const added: NamedSocket[] = [];
    for (const [index, label] of labels.entries()) {
      const fd = frame.fds[index];
      const cookie = socketCookie(fd);
      const known = this.#held.get(cookie) ?? held.get(cookie);
      if (known) {
        closeDescriptor(fd);
        held.set(cookie, { ...label, fd: known.fd });
      } else {
        const socket = { ...label, fd };
        held.set(cookie, socket);
        added.push(socket);
      }
    }
    const removed = [...this.#held].filter(([cookie]) => !held.has(cookie)).map(([, socket]) => socket);
    this.#held = held;
    try {
      this.#options.onOffer({ generation: frame.generation, sockets: [...held.values()], added, removed, description });
    } catch (error) {
      this.#options.log.error('an offer of netd could not be taken', { error: asWeirError(error).message });
      return;
    }
    this.#channel?.send({ kind: frameTaken, generation: frame.generation, body: new Uint8Array(0), fds: [] });
  }
}
