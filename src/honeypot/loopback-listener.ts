// A plain listener that feeds a catch-all, without diversions or privileges: for tests, benchmarks and trying things out.
// Decoys in earnest get their connections from relay/.

import { createServer, type Server } from 'node:net';
import { systemClock } from '../base/clock.ts';
import { type AddressRange, parseRange } from '../model/address.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import { NameBook } from '../model/name-book.ts';
import type { Persona } from '../model/persona.ts';
import { allPorts } from '../model/port-set.ts';
import type { CatchAll } from './catch-all.ts';

export const plainPersona: Persona = {
  name: 'all-open',
  description: 'every port open',
  macPrefixes: ['00:0c:29'],
  tcp: { open: allPorts, otherwise: 'closed' },
  udp: { open: allPorts, otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'srv-{n}',
  operatingSystem: 'Linux 5.10',
};

/** A network whose only decoys are at the addresses tests pretend to have dialled. */
export const plainNames = new NameBook(
  new DecoyDirectory(
    [
      {
        diversion: 'loopback',
        kind: 'claimed',
        ranges: [parseRange('198.51.100.0/24') as AddressRange],
        population: { seed: 7, shares: [{ persona: plainPersona.name, share: 10_000 }] },
        macs: {},
        place: { file: 'lab.yaml', line: 1 },
      },
    ],
    new Map([[plainPersona.name, plainPersona]]),
  ),
);

export interface LoopbackListener {
  readonly port: number;
  readonly server: Server;
  close(): Promise<void>;
}

/**
 * Listens on 127.0.0.1 (port 0: any free one). `destinationPort` is the port the decoy pretends was dialled.
 * Rejects with the listener's error.
 */
export async function listenOnLoopback(
  catchAll: Pick<CatchAll, 'visit'>,
  options: {
    readonly port?: number;
    readonly destinationPort?: number;
    readonly persona?: Persona;
    /** The machine's own unless named. */
    readonly network?: string;
    readonly backlog?: number;
  } = {},
): Promise<LoopbackListener> {
  const persona = options.persona ?? plainPersona;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, (socket) => {
    catchAll.visit({
      socket,
      source: { ip: socket.remoteAddress ?? '0.0.0.0', port: socket.remotePort ?? 0 },
      destination: { ip: socket.localAddress ?? '127.0.0.1', port: options.destinationPort ?? socket.localPort ?? 0 },
      network: options.network ?? '',
      diversion: 'loopback',
      persona,
      acceptedAt: systemClock(),
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: options.port ?? 0, host: '127.0.0.1', backlog: options.backlog ?? 4096 }, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    server,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
