// A gateway's end of agents' links on loopback, with the real registry of identities, and agents that enrolled over it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { systemClock } from '../../src/base/clock.ts';
import { type Log, silentLog } from '../../src/base/log.ts';
import type { Persona } from '../../src/model/persona.ts';
import type { ProxyFlow } from '../../src/model/proxy-protocol.ts';
import type { Transport } from '../../src/model/session.ts';
import { AgentIdentity } from '../../src/relay/agents/agent-identity.ts';
import { type AgentRegistry, openAgentRegistry } from '../../src/relay/agents/agent-registry.ts';
import { parseToken } from '../../src/relay/agents/enrolment-token.ts';
import type { Arrival, ArrivedDatagram } from '../../src/relay/arrival.ts';
import { enrolOverLink } from '../../src/relay/link/enrol.ts';
import { LinkClient } from '../../src/relay/link/link-client.ts';
import type { LinkClientOptions, LinkState } from '../../src/relay/link/link-client-options.ts';
import { LinkServer } from '../../src/relay/link/link-server.ts';
import type { AgentRules, LinkServerLimits, LinkServerOptions } from '../../src/relay/link/link-server-options.ts';
import { openListener } from './loopback-listener.ts';

export const bedPersona: Persona = {
  name: 'all-open',
  description: 'for tests',
  macPrefixes: ['00:0c:29'],
  tcp: { open: [{ first: 1, last: 65535 }], otherwise: 'closed' },
  udp: { open: [{ first: 1, last: 65535 }], otherwise: 'closed' },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'host-{n}',
  operatingSystem: 'Linux',
};

/** From 203.0.113.7 to 10.1.1.1, a port of the agent's own diversion unless told. */
export const flowTo = (port = 445, transport: Transport = 'tcp', sourcePort = 40_000): ProxyFlow => ({
  transport,
  source: { ip: '203.0.113.7', port: sourcePort },
  destination: { ip: '10.1.1.1', port },
});

/** What a promise gives within so many milliseconds; it is told when it does not. */
export function within<T>(promise: Promise<T>, what: string, ms = 10_000): Promise<T> {
  let timer: NodeJS.Timeout;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

export class LinkBed {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'weir-link-'));
  registry!: AgentRegistry;
  server!: LinkServer;
  port = 0;
  readonly rules = new Map<string, AgentRules>();
  readonly programs = new Map<string, () => Readable>();
  /** What arrives goes here; tests put their own. */
  onConnection: (arrival: Arrival) => void = ({ socket }) => void socket.on('error', () => {}).pipe(socket);
  onDatagram: (datagram: ArrivedDatagram) => void = ({ payload, reply }) => void reply(payload);
  onSpool: (agent: string, batch: Uint8Array) => Promise<void> = async () => {};
  limits: Partial<LinkServerLimits> = {};
  version = '1.2.3';
  log: Log = silentLog;
  readonly #clients: LinkClient[] = [];

  static async open(set: Partial<Pick<LinkBed, 'limits' | 'log' | 'onConnection'>> = {}): Promise<LinkBed> {
    const bed = new LinkBed();
    Object.assign(bed, set);
    bed.registry = await openAgentRegistry({
      directory: path.join(bed.directory, 'agents'),
      names: ['gateway.example.org', '127.0.0.1'],
      clock: systemClock,
      log: silentLog,
    });
    await bed.startServer();
    return bed;
  }

  async startServer(): Promise<void> {
    const options: LinkServerOptions = {
      gate: this.registry,
      version: this.version,
      rulesOf: (agent) => this.rules.get(agent),
      placeOf: (agent, _transport, destination, network) =>
        destination.port < 60_000 && destination.ip === '10.1.1.1' && (network === '' || network === 'floor-3')
          ? { diversion: `of-${agent}`, persona: bedPersona }
          : undefined,
      onConnection: (arrival) => this.onConnection(arrival),
      onDatagram: (datagram) => this.onDatagram(datagram),
      sessionIdOf: (agent, id) => `${id.slice(0, 11)}-${agent}`,
      onSpool: (agent, batch) => this.onSpool(agent, batch),
      program: (version) => this.programs.get(version)?.(),
      log: this.log,
      clock: systemClock,
      limits: this.limits,
    };
    this.server = new LinkServer(options);
    await this.listen();
  }

  /** On the port it had, after the first time. */
  async listen(): Promise<void> {
    const { fd, port } = openListener(this.port);
    this.port = port;
    this.server.addListener(fd);
  }

  /** Adds the agent and lets it enrol over the link. */
  async enrolled(name: string): Promise<AgentIdentity> {
    const identity = await AgentIdentity.open(path.join(this.directory, `${name}.json`));
    const { token } = await this.registry.add(name);
    const { credentials, serverName, request } = await identity.beginEnrolment(parseToken(token));
    const target = { gateway: { host: '127.0.0.1', port: this.port }, serverName };
    const { certificate } = await enrolOverLink({ ...target, credentials, request });
    await identity.accept(certificate);
    return identity;
  }

  /** Not started. */
  client(identity: AgentIdentity, set: Partial<LinkClientOptions> = {}): LinkClient {
    const client = new LinkClient({
      gateway: { host: '127.0.0.1', port: this.port },
      serverName: identity.serverName,
      credentials: () => identity.credentials(),
      hello: () => ({
        version: '1.2.3',
        platform: 'linux',
        arch: 'x64',
        node: process.version,
        hostname: 'far',
        capabilities: ['tcp', 'udp'],
        clock: systemClock(),
        spool: { records: 0, bytes: 0, droppedRecords: 0, diskFull: false },
      }),
      onRules: () => {},
      onTouch: () => {},
      onUpgrade: () => {},
      onCertificate: () => {},
      log: silentLog,
      clock: systemClock,
      ...set,
      limits: { backOffMs: 20, backOffMaxMs: 200, ...set.limits },
    });
    this.#clients.push(client);
    return client;
  }

  /** Enrolled, started and linked. */
  async linked(name: string, set: Partial<LinkClientOptions> = {}): Promise<LinkClient> {
    const identity = await this.enrolled(name);
    const client = new Watched((onStateChange) =>
      this.client(identity, {
        ...set,
        onStateChange: (state) => {
          onStateChange(state);
          set.onStateChange?.(state);
        },
      }),
    );
    await client.reach('linked');
    return client.client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
    await this.server.close();
    await this.registry.close();
    rmSync(this.directory, { recursive: true });
  }
}

/** A client that can be waited for. */
export class Watched {
  readonly client: LinkClient;
  #listeners: ((state: LinkState) => void)[] = [];

  constructor(make: (onStateChange: (state: LinkState) => void) => LinkClient) {
    this.client = make((state) => {
      for (const listener of [...this.#listeners]) listener(state);
    });
  }

  /** Starts it where it was not. */
  reach(wanted: LinkState['state'], ms = 10_000): Promise<LinkState> {
    return within(
      new Promise((resolve) => {
        const listener = (state: LinkState): void => {
          if (state.state !== wanted) return;
          this.#listeners = this.#listeners.filter((one) => one !== listener);
          resolve(state);
        };
        this.#listeners.push(listener);
        this.client.start();
        if (this.client.state.state === wanted) listener(this.client.state);
      }),
      `the link is ${wanted}`,
      ms,
    );
  }
}
