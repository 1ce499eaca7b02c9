// A centre for agents in tests, on loopback or in a namespace: real identities and the real link, the real catch-all behind it, the
// spool taken as a gateway takes it, everything in a store in memory. The gateway itself is tested with its own programs.

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { parseConfiguration } from '../../src/config/configuration.ts';
import { type PersonaLibrary, readPersonas } from '../../src/config/personas.ts';
import { CatchAll } from '../../src/honeypot/catch-all.ts';
import { openCertificateMint } from '../../src/honeypot/certificate-mint.ts';
import { hasPort } from '../../src/model/port-set.ts';
import type { AgentDiversion } from '../../src/model/relayed-service.ts';
import { takenBackSequence } from '../../src/model/session.ts';
import { MemoryStore } from '../../src/record/memory-store.ts';
import { SessionRecorder } from '../../src/record/session-recorder.ts';
import { decodeSpoolBatch } from '../../src/record/spool-batch.ts';
import { type AgentRegistry, openAgentRegistry } from '../../src/relay/agents/agent-registry.ts';
import type { Arrival, ArrivedDatagram } from '../../src/relay/arrival.ts';
import { LinkServer } from '../../src/relay/link/link-server.ts';
import type { AgentRules } from '../../src/relay/link/link-server-options.ts';
import { openListener } from './loopback-listener.ts';

const home = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
export const personas: PersonaLibrary = readPersonas(path.join(home, 'rules'));

export class AgentCentre {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'weir-centre-'));
  readonly store = new MemoryStore();
  registry!: AgentRegistry;
  server!: LinkServer;
  port = 0;
  #catchAll!: CatchAll;
  #recorder!: SessionRecorder;
  readonly #rules = new Map<string, { readonly rules: AgentRules; readonly diversions: readonly AgentDiversion[] }>();
  /** What arrives goes to the catch-all unless a test says otherwise. */
  onConnection: ((arrival: Arrival) => void) | undefined;
  beforeConnection: (() => void) | undefined;
  /** Before a batch is taken, after it was taken and before that is said. */
  beforeSpool: (() => Promise<void>) | undefined;
  afterSpool: (() => Promise<void>) | undefined;
  onDatagram: ((datagram: ArrivedDatagram) => void) | undefined;
  /** What agents fetch. */
  program: ((version: string) => Readable | undefined) | undefined;
  refusePlaces = false;
  /** By what this clock is ahead of the machine's. */
  aheadMicros = 0;
  spoolBatches = 0;
  /** Where it listens: loopback unless told. */
  readonly listen: () => { fd: number; port: number } = () => openListener(this.port);

  readonly clock = (): number => systemClock() + this.aheadMicros;

  static async open(set: Partial<Pick<AgentCentre, 'aheadMicros' | 'listen'>> = {}): Promise<AgentCentre> {
    const centre = new AgentCentre();
    Object.assign(centre, set);
    centre.registry = await openAgentRegistry({
      directory: path.join(centre.directory, 'agents'),
      names: ['gateway.example.org'],
      // The machine's: TLS itself judges certificates by no other.
      clock: systemClock,
      log: silentLog,
    });
    const configuration = parseConfiguration('version: 1\n', 'test', { personas });
    if ('mistakes' in configuration) throw new Error('no defaults');
    const { limits } = configuration.configuration;
    centre.#recorder = new SessionRecorder({
      journal: { append: (event) => void centre.store.apply([event], {}) },
      limits,
      flushMs: 2,
      clock: centre.clock,
    });
    centre.#catchAll = new CatchAll({
      sink: centre.#recorder,
      limits: { ...limits, bannerDelayMs: 20 },
      certificates: await openCertificateMint(path.join(centre.directory, 'tls'), silentLog),
      log: silentLog,
      clock: centre.clock,
    });
    centre.startServer();
    return centre;
  }

  startServer(): void {
    this.server = new LinkServer({
      gate: this.registry,
      version: '0.1.0',
      rulesOf: (agent) => this.#rules.get(agent)?.rules,
      placeOf: (agent, transport, { port }) => {
        const found = this.#rules.get(agent)?.diversions.find((one) => hasPort(transport === 'tcp' ? one.tcp : one.udp, port));
        const persona = found && personas.personas.get(found.persona);
        return found && persona && !this.refusePlaces ? { diversion: found.name, persona } : undefined;
      },
      onConnection: (arrival) => {
        this.beforeConnection?.();
        if (this.onConnection) this.onConnection(arrival);
        else this.#catchAll.visit(arrival);
      },
      onDatagram: (datagram) => (this.onDatagram ? this.onDatagram(datagram) : this.#catchAll.datagram(datagram)),
      sessionIdOf: (_agent, id) => id,
      onSpool: async (agent, batch) => {
        await this.beforeSpool?.();
        const records = decodeSpoolBatch(batch);
        if (!records) throw new Error('no batch');
        this.spoolBatches += 1;
        await this.store.apply(
          records.map(({ event }) =>
            event.kind === 'session' ? { kind: 'session', session: { ...event.session, agent } } : event,
          ),
          {},
        );
        for (const { event } of records)
          if (event.kind === 'session' && event.session.sequence >= takenBackSequence)
            this.server.claims.handedIn(agent, event.session.id);
        await this.afterSpool?.();
      },
      program: (version) => this.program?.(version),
      log: silentLog,
      clock: this.clock,
    });
    const { fd, port } = this.listen();
    this.port = port;
    this.server.addListener(fd);
  }

  async stopServer(): Promise<void> {
    await this.server.close();
  }

  /** Sessions that are over and not recorded as over. */
  get unsettled(): number {
    return this.#recorder.counters().unsettled;
  }

  /** `listen` is the text of a diversion's `listen`, such as `{ ports: [8000] }`. */
  setRules(agent: string, listen: string, more = ''): void {
    const configuration = `{"version":1,"agent":"${agent}","diversions":[{"name":"of-${agent}","kind":"agent","listen":${listen},"persona":"all-open"}]${more}}`;
    const parsed = parseConfiguration(configuration, 'rules', { personas });
    if ('mistakes' in parsed) throw new Error(JSON.stringify(parsed.mistakes));
    this.#rules.set(agent, {
      rules: { rules: createHash('sha256').update(configuration).digest('hex').slice(0, 12), configuration },
      diversions: parsed.configuration.agentDiversions,
    });
    this.server.pushRules(agent);
  }

  async close(): Promise<void> {
    await this.server.close();
    await this.#catchAll.close();
    this.#recorder.close();
    await this.registry.close();
    rmSync(this.directory, { recursive: true });
  }
}
