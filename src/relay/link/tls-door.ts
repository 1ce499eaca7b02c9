// Where agents' links arrive: listening sockets, TLS handshakes, and the gate that says who is there. Handshakes are bounded
// in number, time and rate, per source too, since anybody can begin one. Nothing is parsed of who is not admitted.

import { constants } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { RateBudget } from '../../base/rate-budget.ts';
import { RecencyMap } from '../../base/recency-map.ts';
import { addressBytes, parseAddress } from '../../model/address.ts';
import type { AgentGate, LinkPeer } from '../agents/agent-gate.ts';
import type { LinkServerCounters, LinkServerLimits } from './link-server-options.ts';

export interface TlsDoorOptions {
  readonly gate: AgentGate;
  readonly limits: LinkServerLimits;
  readonly counters: LinkServerCounters;
  readonly clock: Clock;
  readonly log: Log;
  /** HTTP/2 was agreed on, nothing of it was read. */
  onPeer(socket: tls.TLSSocket, peer: LinkPeer): void;
}

interface Handshake {
  readonly raw: net.Socket;
  readonly source: string;
}

const sourcesKept = 4096;

export class TlsDoor {
  readonly #options: TlsDoorOptions;
  readonly #server: tls.Server;
  readonly #listeners = new Map<number, net.Server>();
  /** By the remote address and port, and our own. */
  readonly #handshakes = new Map<string, Handshake>();
  readonly #perSource = new Map<string, number>();
  readonly #rates = new RecencyMap<string, RateBudget>();

  constructor(options: TlsDoorOptions) {
    this.#options = options;
    this.#server = tls.createServer({
      ...this.#context(),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
      handshakeTimeout: options.limits.handshakeMs,
    });
    this.#server.on('secureConnection', (socket) => this.#secured(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const { counters } = options;
      if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') counters.handshakesTimedOut += 1;
      else counters.handshakesFailed += 1;
      socket.destroy();
    });
  }

  /** Handshakes that have begun and not ended. */
  get pending(): number {
    return this.#handshakes.size;
  }

  /** The gate's certificates and trust have changed; handshakes from here on use the new ones. */
  renew(): void {
    this.#server.setSecureContext(this.#context());
  }

  addListener(fd: number): void {
    if (this.#listeners.has(fd)) return;
    const listener = net.createServer({ noDelay: true }, (raw) => this.#accepted(raw));
    this.#listeners.set(fd, listener);
    listener.on('error', (error) => this.#options.log.error('the listener for agents failed', { error: error.message }));
    listener.listen({ fd });
  }

  removeListener(fd: number): void {
    this.#listeners.get(fd)?.close();
    this.#listeners.delete(fd);
  }

  close(): void {
    for (const fd of [...this.#listeners.keys()]) this.removeListener(fd);
    for (const { raw } of this.#handshakes.values()) raw.destroy();
    this.#server.close();
  }

  #context(): tls.TlsOptions {
    return {
      ...this.#options.gate.tlsOptions(),
      minVersion: 'TLSv1.3',
      // A resumed session would pass by the check of the certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
    };
  }

  #accepted(raw: net.Socket): void {
    const { counters, limits } = this.#options;
    const { remoteAddress } = raw;
    raw.on('error', () => {});
    if (remoteAddress === undefined) {
      raw.destroy();
      return;
    }
    const source = sourceOf(remoteAddress);
    const ofSource = this.#perSource.get(source) ?? 0;
    if (this.#handshakes.size >= limits.handshakes || ofSource >= limits.handshakesPerSource || !this.#mayBegin(source)) {
      counters.handshakesShed += 1;
      raw.resetAndDestroy();
      return;
    }
    counters.accepted += 1;
    const key = keyOf(raw);
    this.#handshakes.set(key, { raw, source });
    this.#perSource.set(source, ofSource + 1);
    raw.once('close', () => this.#finish(key, raw));
    this.#server.emit('connection', raw);
  }

  #mayBegin(source: string): boolean {
    const { handshakesPerSecond } = this.#options.limits;
    const rate = this.#rates.get(source) ?? new RateBudget(5 * handshakesPerSecond, handshakesPerSecond, this.#options.clock);
    this.#rates.set(source, rate);
    if (this.#rates.size > sourcesKept && this.#rates.oldest) this.#rates.delete(this.#rates.oldest[0]);
    return rate.take();
  }

  /** Idempotent. */
  #finish(key: string, raw: net.Socket | undefined): void {
    const handshake = this.#handshakes.get(key);
    if (!handshake || (raw && handshake.raw !== raw)) return;
    this.#handshakes.delete(key);
    const left = (this.#perSource.get(handshake.source) ?? 1) - 1;
    if (left > 0) this.#perSource.set(handshake.source, left);
    else this.#perSource.delete(handshake.source);
  }

  #secured(socket: tls.TLSSocket): void {
    const { gate, counters, log } = this.#options;
    this.#finish(keyOf(socket), undefined);
    socket.on('error', () => {});
    let peer: LinkPeer | undefined;
    try {
      const known = socket.authorized && !socket.isSessionReused() && socket.alpnProtocol === 'h2';
      peer = known ? gate.admit(socket) : undefined;
    } catch (error) {
      log.error('the gate failed', { error: String(error) });
    }
    if (!peer) {
      counters.notAdmitted += 1;
      // Not by a RST: taking the connection away from under TLS within its own callback crashes Node 20.
      socket.destroy();
      return;
    }
    this.#options.onPeer(socket, peer);
  }
}

const keyOf = (socket: net.Socket): string =>
  `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;

/** An IPv4 address, or an IPv6 /64: whoever has one address of it has all. */
function sourceOf(remoteAddress: string): string {
  const address = parseAddress(remoteAddress.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, ''));
  if (!address) return remoteAddress;
  return Buffer.from(addressBytes(address))
    .subarray(0, address.family === 4 ? 4 : 8)
    .toString('hex');
}
