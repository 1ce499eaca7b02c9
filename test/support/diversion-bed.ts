// A sensor in a namespace with a diversion controller and a listener behind TPROXY that tells each client both ends
// of its connection. For tests of the kernel's side of diversions; whole programs are lab.ts.

import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { parseConfiguration } from '../../src/config/configuration.ts';
import { type PersonaLibrary, readPersonas } from '../../src/config/personas.ts';
import { deleteNetns, listNetns, netnsPath } from '../../src/kernel/netns.ts';
import { deleteSegmentLink } from '../../src/kernel/segment-link.ts';
import { openTproxyListener, openUdpIntakeSocket } from '../../src/kernel/tproxy-socket.ts';
import type { Configuration } from '../../src/model/configuration.ts';
import { DiversionController, type DiversionControllerOptions, type DiversionEvent } from '../../src/plan/controller.ts';
import { netnsPrefix, segmentTag } from '../../src/plan/desired-segment.ts';
import { type GatewayPorts, segmentLink } from '../../src/plan/desired-state.ts';
import { type NamespaceLab, type TestNamespace, until } from './namespace.ts';

let library: PersonaLibrary | undefined;

/** The checkout's root, found from this file after the build: dist/test/support. */
export const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

export function personaLibrary(): PersonaLibrary {
  library ??= readPersonas(join(projectRoot, 'rules'));
  return library;
}

/** Parses a configuration that must be right. */
export function configurationOf(text: string): Configuration {
  const result = parseConfiguration(`version: 1\n${text}`, 'weir.yaml', { personas: personaLibrary() });
  if ('mistakes' in result) throw new Error(JSON.stringify(result.mistakes));
  return result.configuration;
}

export interface Bed {
  readonly sensor: TestNamespace;
  readonly controller: DiversionController;
  readonly events: DiversionEvent[];
  readonly ports: GatewayPorts;
  readonly stateDirectory: string;
  /** Another controller over the same state, as after a crash. */
  again(more?: Partial<DiversionControllerOptions>): DiversionController;
  close(): Promise<void>;
}

const tellBothEnds = (socket: net.Socket): void => {
  socket.end(`diverted ${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}\n`);
};

/** Listeners of both families share one port, as the rules want it. `serve` answers a connection in place of the usual words. */
export async function layBed(
  sensor: TestNamespace,
  more: Partial<DiversionControllerOptions> = {},
  serve: (socket: net.Socket) => void = tellBothEnds,
): Promise<Bed> {
  const four = openTproxyListener({ family: 4, port: 0, netns: sensor.path });
  const six = openTproxyListener({ family: 6, port: four.port, netns: sensor.path });
  const narrowFour = openTproxyListener({ family: 4, port: 0, netns: sensor.path, narrow: true });
  const narrowSix = openTproxyListener({ family: 6, port: narrowFour.port, netns: sensor.path, narrow: true });
  const udpFour = openUdpIntakeSocket({ family: 4, port: 0, netns: sensor.path });
  const udpSix = openUdpIntakeSocket({ family: 6, port: udpFour.port, netns: sensor.path });
  const servers = [four.fd, six.fd, narrowFour.fd, narrowSix.fd].map((fd) =>
    net
      .createServer((socket) => {
        socket.on('error', () => {});
        serve(socket);
      })
      .listen({ fd }),
  );
  const stateDirectory = mkdtempSync(join(tmpdir(), 'weirt-state-'));
  const ports = { tcp: four.port, udp: udpFour.port, narrow: narrowFour.port };
  const events: DiversionEvent[] = [];
  const controllers: DiversionController[] = [];
  const again = (changes: Partial<DiversionControllerOptions> = {}): DiversionController => {
    const controller = new DiversionController({
      stateDirectory,
      ports,
      tag: segmentTag(stateDirectory),
      log: silentLog,
      clock: systemClock,
      onEvent: (event) => events.push(event),
      netns: sensor.path,
      resolverFiles: [],
      ...more,
      ...changes,
    });
    controllers.push(controller);
    return controller;
  };
  const { closeDescriptor } = await import('../../src/kernel/libc.ts');
  return {
    sensor,
    controller: again(),
    events,
    ports,
    stateDirectory,
    again,
    async close() {
      for (const controller of controllers) controller.close();
      for (const server of servers) await new Promise((resolve) => server.close(resolve));
      closeDescriptor(udpFour.fd);
      closeDescriptor(udpSix.fd);
      const left = listNetns(netnsPrefix(segmentTag(stateDirectory)));
      for (const name of left) deleteSegmentLink(netnsPath(name), segmentLink);
      await deleteNetns(left);
      rmSync(stateDirectory, { recursive: true, force: true });
    },
  };
}

/** What a TCP client at `from` hears from an address, or how it was refused: `refused`, `silence`. */
export async function touch(from: TestNamespace, host: string, port: number, waitMs = 2000): Promise<string> {
  const script = `
const net = require('node:net');
const socket = net.connect({ host: ${JSON.stringify(host)}, port: ${port} });
const end = (text) => { process.stdout.write(text); process.exit(0); };
setTimeout(end, ${waitMs}, 'silence');
let heard = '';
socket.on('data', (data) => { heard += data; });
socket.on('end', () => end(heard));
socket.on('error', (error) => end(error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'EHOSTUNREACH' ? 'unreachable' : error.code));
`;
  return (await from.run(['node', '-e', script])).stdout.trim();
}

/** An ordinary server in a namespace that answers `real` on a port; returns once it listens. */
export async function serveReal(namespace: TestNamespace, host: string, port: number): Promise<void> {
  const script = `require('node:net').createServer((s) => { s.on('error', () => {}); s.end('real\\n'); }).listen(${port}, ${JSON.stringify(host)}, () => console.log('up'))`;
  const child = namespace.spawn(['node', '-e', script]);
  let heard = '';
  child.stdout?.on('data', (data) => {
    heard += String(data);
  });
  await until(`a server on ${host}:${port}`, () => heard.includes('up'));
}

/** A lab, its segment and a bed, all ended in order. */
export async function withBed(
  lab: NamespaceLab,
  sensor: TestNamespace,
  body: (bed: Bed) => Promise<void>,
  more: Partial<DiversionControllerOptions> = {},
  serve?: (socket: net.Socket) => void,
): Promise<void> {
  const bed = await layBed(sensor, more, serve);
  try {
    await body(bed);
  } finally {
    await bed.close();
  }
  void lab;
}
