// A relay on loopback between real sockets: attackers connect to a listener of ours, a service made here answers, sessions are
// kept in memory. For tests of src/relay that need no namespaces.

import { once } from 'node:events';
import net from 'node:net';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { bytesOf, MemorySink } from '../../src/honeypot/memory-sink.ts';
import { SocketPoller } from '../../src/kernel/socket-poller.ts';
import { parseAddress } from '../../src/model/address.ts';
import type { RelayedService } from '../../src/model/relayed-service.ts';
import type { Arrival } from '../../src/relay/arrival.ts';
import { type DialPool, noDialPool } from '../../src/relay/dial-pool.ts';
import { Dialer } from '../../src/relay/dialer.ts';
import { homeNetwork } from '../../src/relay/network.ts';
import { Relay, type RelayOptions } from '../../src/relay/relay.ts';
import { TcpIntake } from '../../src/relay/tcp-intake.ts';
import { openListener, ownDirectory } from './loopback-listener.ts';

export { bytesOf };

export const bedLimits = {
  sessions: 100,
  sessionsPerSource: 100,
  sessionBytes: 1 << 20,
  idleTimeoutMs: 10_000,
  totalTimeoutMs: 60_000,
};

export function relayedService(port: number | undefined, changed: Partial<RelayedService> = {}): RelayedService {
  const address = parseAddress('127.0.0.1');
  if (!address) throw new Error('unreachable');
  return {
    kind: 'external',
    name: 'real',
    path: 'direct',
    address,
    ...(port === undefined ? {} : { port }),
    place: { file: 'weir.yaml', line: 1 },
    ...changed,
  };
}

export interface RelayBed {
  /** Where attackers connect. */
  readonly port: number;
  readonly sink: MemorySink;
  readonly relay: Relay;
  readonly dialer: Dialer;
  readonly poller: SocketPoller;
  /** Where the service listens, and the connections it got. */
  readonly servicePort: number;
  connect(): Promise<net.Socket>;
  /** The service's end of the next connection. */
  accepted(): Promise<net.Socket>;
  close(): Promise<void>;
}

export interface RelayBedOptions {
  readonly limits?: Partial<RelayOptions['limits']>;
  readonly lingerMs?: number;
  readonly dialTimeoutMs?: number;
  readonly service?: (port: number) => RelayedService;
  readonly pool?: DialPool;
  /** As connections of Node's, the way agents' flows come. */
  readonly asStreams?: boolean;
  readonly arrival?: (arrival: Arrival) => Arrival;
}

export async function openRelayBed(options: RelayBedOptions = {}): Promise<RelayBed> {
  const poller = new SocketPoller();
  const dialer = new Dialer({
    poller,
    pool: options.pool ?? noDialPool,
    ...(options.dialTimeoutMs ? { timeoutMs: options.dialTimeoutMs } : {}),
  });
  const sink = new MemorySink();
  const relay = new Relay({
    sink,
    limits: { ...bedLimits, ...options.limits },
    dialer,
    poller,
    log: silentLog,
    clock: systemClock,
    ...(options.lingerMs ? { lingerMs: options.lingerMs } : {}),
  });
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const arrived: net.Socket[] = [];
  const waiting: ((socket: net.Socket) => void)[] = [];
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    const next = waiting.shift();
    if (next) next(socket);
    else arrived.push(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const servicePort = (server.address() as net.AddressInfo).port;
  const service = options.service?.(servicePort) ?? relayedService(servicePort);
  const { fd, port } = openListener();
  const intake = new TcpIntake({
    networks: homeNetwork(ownDirectory),
    log: silentLog,
    onConnection: (connection) => {
      let arrival: Arrival = connection;
      if (options.asStreams) {
        const { takeDescriptor: _taken, ...rest } = connection;
        arrival = rest;
      }
      relay.visit(options.arrival?.(arrival) ?? arrival, service);
    },
  });
  intake.add({ fd });
  const clients: net.Socket[] = [];
  const got: net.Socket[] = [];
  return {
    port,
    sink,
    relay,
    dialer,
    poller,
    servicePort,
    connect: async () => {
      const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      socket.on('error', () => {});
      clients.push(socket);
      await once(socket, 'connect');
      return socket;
    },
    accepted: async () => {
      const socket = arrived.shift() ?? (await new Promise<net.Socket>((resolve) => waiting.push(resolve)));
      got.push(socket);
      return socket;
    },
    close: async () => {
      for (const one of [...clients, ...got, ...arrived]) one.destroy();
      intake.close();
      relay.close();
      dialer.close();
      poller.close();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Everything until the other side's end, which is not answered. */
export const heardFrom = (socket: net.Socket): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    socket.on('data', (bytes) => pieces.push(bytes));
    socket.once('end', () => resolve(Buffer.concat(pieces)));
    socket.once('error', reject);
    socket.resume();
  });

/** `ECONNRESET`, or `end` for a FIN. */
export const endOf = (socket: net.Socket): Promise<string> =>
  new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.once('end', () => resolve('end'));
    socket.resume();
  });
