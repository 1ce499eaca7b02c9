// netd's end of run/handover.sock: hands the gateway duplicates of its sockets, now and after every change, and takes
// them back from a running gateway when netd itself has been restarted. netd keeps its own descriptors, so connections
// wait in the backlog while a crashed gateway comes back. Not for control requests: those are run/netd.sock.

import { chmodSync, chownSync, rmSync } from 'node:fs';
import { serialize } from 'node:v8';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { DescriptorChannel, type DescriptorFrame } from './fd-passing.ts';
import { frameOffer, frameReturned, frameTaken, labelOf, matchesLabel, maxReturnedBytes, parseLabels } from './handover.ts';
import {
  frameDialSockets,
  frameWanted,
  type MadeSockets,
  parseWantedSockets,
  renderSockets,
  type WantedSockets,
} from './handover-sockets.ts';
import {
  AF_UNIX,
  acceptConnection,
  bindSocket,
  closeDescriptor,
  listenSocket,
  openSocket,
  readSocketOption,
  SO_PEERCRED,
  SOCK_STREAM,
  SOL_SOCKET,
} from './libc.ts';
import type { NamedSocket } from './named-socket.ts';
import { Readiness } from './readiness.ts';
import { renderUnixAddress } from './socket-address.ts';

export interface HandoverServerOptions {
  /** At most 107 bytes. A socket file left behind is replaced; the owner makes sure only one netd runs. */
  readonly path: string;
  /** The only user beside root who may connect (the gateway's). */
  readonly ownerUid: number;
  readonly log: Log;
  /**
   * A gateway has connected and gives the sockets it already holds (often none). The descriptors are the callee's: adopt
   * them when netd has none of its own, else close them.
   */
  readonly onReturn?: (sockets: NamedSocket[]) => void;
  /** The gateway works with this offer now. */
  readonly onTaken?: (generation: number) => void;
  /** The gateway wants sockets to dial with; the answer may hold fewer. What is given is sent and then closed here. */
  readonly onWanted?: (wanted: WantedSockets) => { readonly place: string; readonly fds: readonly number[] } | undefined;
}

/** Gateways connected at a time: one, and its successor while it goes. */
const maxClients = 4;

export class HandoverServer {
  readonly #options: HandoverServerOptions;
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #clients = new Set<DescriptorChannel>();
  #offer: DescriptorFrame | undefined;
  #generation = 0;
  #firstReturn: ((sockets: NamedSocket[]) => void) | undefined;
  /** Given back before anybody asked for it and before there was an offer: the gateway says it once. */
  #early: NamedSocket[] | undefined;
  #closed = false;

  /** Binds and listens. Throws `system-call`, `not-permitted`. */
  constructor(options: HandoverServerOptions) {
    this.#options = options;
    rmSync(options.path, { force: true });
    this.#fd = openSocket(AF_UNIX, SOCK_STREAM, 0);
    try {
      bindSocket(this.#fd, renderUnixAddress(options.path));
      chmodSync(options.path, 0o600);
      chownSync(options.path, options.ownerUid, 0);
      listenSocket(this.#fd, 16);
    } catch (error) {
      closeDescriptor(this.#fd);
      throw error;
    }
    this.#readiness = new Readiness(this.#fd, { readable: true }, () => this.#accept());
  }

  get clients(): number {
    return this.#clients.size;
  }

  /**
   * What the gateway is to work with from now on; sent to whoever is connected and to whoever connects. The descriptors
   * stay the caller's and must stay open until the next offer. `description` is anything structuredClone takes.
   */
  offer(sockets: readonly NamedSocket[], description: unknown): number {
    this.#giveUpEarly();
    this.#generation += 1;
    this.#offer = {
      kind: frameOffer,
      generation: this.#generation,
      body: serialize({ labels: sockets.map(labelOf), description }),
      fds: sockets.map(({ fd }) => fd),
    };
    for (const client of this.#clients) client.send(this.#offer);
    return this.#generation;
  }

  /**
   * What the first gateway to connect gives back, also when it came before this was called, or nothing when none comes within
   * the bound. For a netd that starts: before the first offer.
   */
  returned(boundMs: number): Promise<NamedSocket[]> {
    const early = this.#early;
    this.#early = undefined;
    if (early) return Promise.resolve(early);
    return new Promise((resolve) => {
      const timer = setTimeout(() => finish([]), boundMs);
      const finish = (sockets: NamedSocket[]): void => {
        clearTimeout(timer);
        this.#firstReturn = undefined;
        resolve(sockets);
      };
      this.#firstReturn = finish;
    });
  }

  /** Idempotent. The gateway keeps what it has. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    closeDescriptor(this.#fd);
    rmSync(this.#options.path, { force: true });
    for (const client of this.#clients) client.close();
    this.#clients.clear();
    this.#firstReturn?.([]);
    this.#giveUpEarly();
  }

  #giveUpEarly(): void {
    const early = this.#early;
    this.#early = undefined;
    if (early) this.#giveBack(early);
  }

  #giveBack(sockets: NamedSocket[]): void {
    if (this.#options.onReturn) this.#options.onReturn(sockets);
    else for (const { fd } of sockets) closeDescriptor(fd);
  }

  #accept(): void {
    for (;;) {
      const fd = acceptConnection(this.#fd, null);
      if (fd < 0) return;
      const credentials = new Uint8Array(12);
      const length = readSocketOption(fd, SOL_SOCKET, SO_PEERCRED, credentials);
      const uid = new DataView(credentials.buffer).getUint32(4, true);
      if (length !== 12 || (uid !== 0 && uid !== this.#options.ownerUid) || this.#clients.size >= maxClients) {
        this.#options.log.warn('a connection to the handover socket was refused', { uid, clients: this.#clients.size });
        closeDescriptor(fd);
        continue;
      }
      const client = new DescriptorChannel(fd, {
        maxBodyBytes: maxReturnedBytes,
        onFrame: (frame) => this.#onFrame(client, frame),
        onClose: (error) => {
          this.#clients.delete(client);
          if (error) this.#options.log.warn('the handover connection broke', { error: error.message });
        },
      });
      this.#clients.add(client);
    }
  }

  #onFrame(client: DescriptorChannel, frame: DescriptorFrame): void {
    if (frame.kind === frameTaken) {
      for (const fd of frame.fds) closeDescriptor(fd);
      this.#options.onTaken?.(frame.generation);
      return;
    }
    if (frame.kind === frameWanted) {
      for (const fd of frame.fds) closeDescriptor(fd);
      this.#makeSockets(client, frame);
      return;
    }
    const sockets = frame.kind === frameReturned ? this.#check(frame) : undefined;
    if (!sockets) {
      for (const fd of frame.fds) closeDescriptor(fd);
      this.#clients.delete(client);
      client.close();
      return;
    }
    if (this.#firstReturn) this.#firstReturn(sockets);
    else if (!this.#offer && !this.#early) this.#early = sockets;
    else this.#giveBack(sockets);
    if (this.#offer) client.send(this.#offer);
  }

  #makeSockets(client: DescriptorChannel, frame: DescriptorFrame): void {
    const made: MadeSockets[] = [];
    const fds: number[] = [];
    try {
      for (const wanted of parseWantedSockets(frame.body)) {
        const given = this.#options.onWanted?.(wanted);
        fds.push(...(given?.fds ?? []));
        made.push({ ...wanted, count: given?.fds.length ?? 0, place: given?.place ?? '' });
      }
      client.send({ kind: frameDialSockets, generation: frame.generation, body: renderSockets(made), fds });
    } catch (error) {
      this.#options.log.warn('sockets for dialling were not made', { error: asWeirError(error).message });
      client.send({ kind: frameDialSockets, generation: frame.generation, body: renderSockets([]), fds: [] });
    } finally {
      for (const fd of fds) closeDescriptor(fd);
    }
  }

  #check(frame: DescriptorFrame): NamedSocket[] | undefined {
    try {
      const labels = parseLabels(frame.body);
      if (labels.length === frame.fds.length && labels.every((label, index) => matchesLabel(frame.fds[index], label)))
        return labels.map((label, index) => ({ ...label, fd: frame.fds[index] }));
      this.#options.log.warn('returned sockets are not what their labels say', { sockets: labels.length });
    } catch (error) {
      this.#options.log.warn('returned sockets were refused', { error: asWeirError(error).message });
    }
    return undefined;
  }
}
