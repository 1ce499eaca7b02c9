// Owns the API's listening sockets: HTTP on a unix socket for the command line, HTTP or HTTPS on TCP for the console.
// TLS is not optional off loopback. Bounds on connections, headers and time are set here; routes are app.ts.

import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { type Clock, renderMicros, systemClock } from '../base/clock.ts';
import { WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type AddressRange, parseAddress, parseRange, rangeHolds } from '../model/address.ts';
import type { Place } from '../model/insight.ts';
import type { AskedStore } from '../record/insight-questions.ts';
import { Answers } from './answers.ts';
import { createConsoleApp, createLocalApp, type SignInLink } from './app.ts';
import { readAssets } from './assets.ts';
import { openCertificate } from './certificate.ts';
import { listenOnSocketFile } from './control.ts';
import { ownNames, SessionCookie } from './guard.ts';
import type { TakeImport } from './imports.ts';
import { LiveFeed, type Subscribe } from './live-feed.ts';
import type { ApiContext } from './resource.ts';
import { SignIns } from './sign-in.ts';

export interface HttpServerOptions {
  readonly store: AskedStore;
  /** Every batch of events once it is in the store. */
  readonly live: Subscribe;
  /** Where a source is, for the live stream; absent where nobody knows. */
  readonly placeOf?: (ip: string) => Place | undefined;
  /** What `weir status` and the console's banner show; plain JSON. */
  readonly status: () => Promise<unknown>;
  /** Where imported records go; absent: none are taken. */
  readonly takeImport?: TakeImport;
  /** `run/recorder.sock` and its permission bits. */
  readonly socket: { readonly path: string; readonly mode: number };
  /** Absent: no console, only the unix socket. Port 0 takes a free one. */
  readonly console?: {
    readonly address: string;
    readonly port: number;
    /** Where the certificate is kept when TLS is needed: `<data>/tls`. */
    readonly tlsDirectory: string;
    /** The package's folder, with `console/` and `dist/console/` below it. */
    readonly packageRoot: string;
  };
  readonly log: Log;
  readonly clock?: Clock;
}

const maxConnections = 256;
const loopback = ['127.0.0.0/8', '::1'].map((text) => parseRange(text) as AddressRange);

/** True when only this machine can reach the address, so that plain HTTP is safe. */
export function isLoopback(address: string): boolean {
  const parsed = parseAddress(address);
  return address === 'localhost' || (parsed !== undefined && loopback.some((range) => rangeHolds(range, parsed)));
}

const limits = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 30_000,
  maxHeaderSize: 16 * 1024,
  connectionsCheckingInterval: 5000,
} as const;

function bound<T extends http.Server | https.Server>(server: T, open: Set<Socket>, log: Log): T {
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 100;
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('error', (error) => log.error('http server', { error: error.message }));
  return server;
}

/** Serves the store to the command line and to browsers. The store and the subscription belong to the caller. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #clock: Clock;
  readonly #feed: LiveFeed;
  readonly #signIns: SignIns;
  readonly #open = new Set<Socket>();
  #local: http.Server | undefined;
  #console: http.Server | https.Server | undefined;
  #origin: string | undefined;
  #fingerprint: string | undefined;
  #consoleError: string | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#feed = new LiveFeed(options.live, this.#clock, options.log, options.placeOf);
    this.#signIns = new SignIns(this.#clock);
  }

  /**
   * Throws `already-running` or `system-call` when the unix socket cannot be had; then nothing listens. A console that
   * cannot listen is logged and shown by status: recording matters more.
   */
  async listen(): Promise<void> {
    const api: ApiContext = {
      store: this.#options.store,
      feed: this.#feed,
      answers: new Answers(),
      status: async () => ({ ...((await this.#options.status()) as object), console: this.consoleState() }),
      clock: this.#clock,
      log: this.#options.log,
    };
    try {
      await this.#listenConsole(api).catch((error: Error) => {
        this.#consoleError = error.message;
        this.#options.log.error('no console', { error: error.message });
      });
      const local = createLocalApp(api, () => this.#createLink(), this.#options.takeImport);
      this.#local = bound(
        http.createServer(limits, getRequestListener(local.fetch, { overrideGlobalObjects: false })),
        this.#open,
        this.#options.log,
      );
      await listenOnSocketFile(this.#local, this.#options.socket.path, this.#options.socket.mode);
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#feed.activity
      .seed(this.#options.store, this.#clock())
      .catch((error: Error) => this.#options.log.warn('the rate picture starts empty', { error: error.message }));
  }

  /** `https://10.0.0.5:8443`, once it listens; undefined without a console. */
  get origin(): string | undefined {
    return this.#origin;
  }

  /** What status shows about the console. */
  consoleState(): { url?: string; fingerprint?: string; error?: string; followers: number } {
    return {
      ...(this.#consoleError === undefined ? {} : { error: this.#consoleError }),
      ...(this.#origin === undefined ? {} : { url: this.#origin }),
      ...(this.#fingerprint === undefined ? {} : { fingerprint: this.#fingerprint }),
      followers: this.#feed.followers,
    };
  }

  /** A new one-time link to the console. Throws `not-running` without a console. */
  createSignInLink(): SignInLink {
    const { url, expires } = this.#createLink();
    return { url, expires: renderMicros(expires) };
  }

  /** Ends every connection, streams included. Idempotent. */
  async close(): Promise<void> {
    this.#feed.close();
    const servers = [this.#local, this.#console].filter((server) => server?.listening);
    const closed = servers.map((server) => new Promise<void>((resolve) => server?.close(() => resolve())));
    for (const socket of this.#open) socket.destroy();
    await Promise.all(closed);
  }

  #createLink(): { url: string; expires: number } {
    if (this.#origin === undefined) throw new WeirError('not-running', 'this recorder serves no console');
    const { token, expires } = this.#signIns.createLink();
    return { url: `${this.#origin}/sign-in?token=${token}`, expires };
  }

  async #listenConsole(api: ApiContext): Promise<void> {
    const settings = this.#options.console;
    if (!settings) return;
    const assets = readAssets(settings.packageRoot);
    const secure = !isLoopback(settings.address);
    const names = ownNames();
    const wildcard = settings.address === '0.0.0.0' || settings.address === '::';
    const shown = wildcard ? names[0] : settings.address;
    const server = await this.#createConsoleServer(secure, [
      ...(wildcard ? [] : [settings.address]),
      ...names,
      'localhost',
      '127.0.0.1',
    ]);
    this.#console = bound(server, this.#open, this.#options.log);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          new WeirError(
            error.code === 'EACCES' ? 'not-permitted' : error.code === 'EADDRINUSE' ? 'already-running' : 'system-call',
            `the console cannot listen on ${settings.address} port ${settings.port}: ${error.message}`,
            { errno: error.code, next: 'set console.port in weir.yaml to a free port' },
            error,
          ),
        ),
      );
      server.listen({ host: settings.address, port: settings.port }, () => resolve());
    });
    const { port } = server.address() as AddressInfo;
    const cookie = new SessionCookie(port, secure);
    const app = createConsoleApp(api, { signIns: this.#signIns, cookie, assets, names });
    server.on('request', getRequestListener(app.fetch, { overrideGlobalObjects: false }));
    this.#origin = `${secure ? 'https' : 'http'}://${shown.includes(':') ? `[${shown}]` : shown}:${port}`;
  }

  async #createConsoleServer(secure: boolean, names: readonly string[]): Promise<http.Server | https.Server> {
    if (!secure) return http.createServer(limits);
    const directory = this.#options.console?.tlsDirectory ?? '';
    const { certificate, key, fingerprint } = await openCertificate(directory, [...new Set(names)], this.#clock() / 1000);
    this.#fingerprint = fingerprint;
    return https.createServer({ ...limits, cert: certificate, key, minVersion: 'TLSv1.2', handshakeTimeout: 10_000 });
  }
}
