// An agent at work: its link, the rules that come over it, its listeners, what waits in its spool, and what it tells of itself.
// Who it is, is relay/agents/agent-identity.ts; starting and ending is agent-run.ts.

import { hostname } from 'node:os';
import { systemClock } from '../base/clock.ts';
import type { CorrectedClock } from '../base/corrected-clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { PersonaLibrary } from '../config/personas.ts';
import type { CertificateMint } from '../honeypot/certificate-mint.ts';
import type { AgentCapability, RefusedListener } from '../model/agent.ts';
import type { Persona } from '../model/persona.ts';
import type { AgentDiversion } from '../model/relayed-service.ts';
import type { Endpoint } from '../model/session.ts';
import type { Health } from '../model/status.ts';
import type { Spool } from '../record/spool.ts';
import { SpoolReplay } from '../record/spool-replay.ts';
import type { AgentIdentity } from '../relay/agents/agent-identity.ts';
import { LinkClient } from '../relay/link/link-client.ts';
import type { LinkClientLimits, LinkState, UpgradeOffer, Welcome } from '../relay/link/link-client-options.ts';
import { PortListeners } from '../relay/port-listeners.ts';
import type { UdpMessage } from '../relay/port-sockets.ts';
import { renderApplied, renderReasons } from './agent-applied.ts';
import { AgentHouse } from './agent-house.ts';
import { type AgentRules, keepAgentRules, parseAgentRules } from './agent-rules.ts';
import type { AgentSettings } from './agent-settings.ts';
import { touchOwnDecoy } from './agent-touch.ts';
import type { WorkerState } from './agent-trial.ts';

/** What a machine's life gives to what stands beside its listeners. */
export interface MachineHooks {
  /** From the first rules on. */
  house(): AgentHouse | undefined;
  /** What is refused or wrong has changed. */
  onChange(): void;
}

/** Of a privileged agent: decoys at addresses of their own, run by its netd (agent-machine.ts). */
export interface AgentMachine {
  attach(hooks: MachineHooks): void;
  /** Never throws: what is not applied is in `refused`. */
  apply(rules: string, text: string): Promise<void>;
  /** Why the last rules, or a part of them, are not in force. */
  readonly refused: readonly string[];
  /** What is wrong though they are. */
  readonly reasons: readonly string[];
  linkTurned(linked: boolean): void;
  close(): Promise<void>;
}

export interface AgentLifeOptions {
  readonly settings: AgentSettings;
  readonly identity: AgentIdentity;
  readonly spool: Spool;
  readonly clock: CorrectedClock;
  readonly certificates: CertificateMint;
  readonly personas: PersonaLibrary;
  readonly version: string;
  readonly capabilities: readonly AgentCapability[];
  readonly sockets: { readonly listeners: number; readonly connections: number };
  readonly log: Log;
  /** What `status.json` shows has changed. */
  onChange?(): void;
  /** Another program is offered; absent: refused. */
  onOffer?(offer: UpgradeOffer): void;
  /** The gateway's clock was learned: by what ours is ahead, microseconds. */
  onSkew?(micros: number): void;
  readonly linkLimits?: Partial<LinkClientLimits>;
  readonly machine?: AgentMachine;
}

export interface AgentReport {
  readonly agent: string | undefined;
  readonly version: string;
  readonly health: Health;
  readonly reasons: readonly string[];
  readonly link: LinkState;
  readonly latencyMicros?: number;
  readonly rules?: string;
  readonly listeners: number;
  readonly refused: readonly RefusedListener[];
  readonly addresses: readonly string[];
  readonly openFlows: number;
  readonly flows: number;
  readonly answeredAlone: number;
  readonly shed: number;
  readonly spool: ReturnType<Spool['state']>;
  readonly replayed: SpoolReplay['counters'];
  readonly skewMicros: number;
  readonly memoryBytes: number;
  readonly certificateUntil?: number;
  readonly lastGoodbye?: string;
}

const healthEveryMs = 15_000;
const renewalEveryMs = 3_600_000;
/** In `status.json`. */
const maxRefusedShown = 300;
/** A clock that is off by more is told. */
const toldSkew = 5_000_000;

export class AgentLife {
  readonly #options: AgentLifeOptions;
  readonly link: LinkClient;
  readonly listeners: PortListeners;
  readonly #replay: SpoolReplay;
  readonly #network = '';
  #house: AgentHouse | undefined;
  #rules: AgentRules | undefined;
  /** Why the newest rules are not in force. */
  #rulesFault: string | undefined;
  /** Why they are in force and not on disk. */
  #keepFault: string | undefined;
  /** Not looked at yet: the newest alone, they may be long. */
  #pushed: { readonly rules: string; readonly text: string } | undefined;
  /** Rules are on their way into force: they are told when they are. */
  #following = false;
  #applying: Promise<void> = Promise.resolve();
  #timers: NodeJS.Timeout[] = [];
  #lastGoodbye: string | undefined;
  #skew = 0;
  #closed = false;

  constructor(options: AgentLifeOptions) {
    this.#options = options;
    const { settings, identity, log, spool } = options;
    this.listeners = new PortListeners({
      maxSockets: options.sockets.listeners,
      log,
      onConnection: (socket, source, destination, diversion) =>
        this.house?.arrive({
          socket,
          source,
          destination,
          network: this.#network,
          diversion: diversion.name,
          persona: this.#personaOf(diversion),
          acceptedAt: options.clock.now(),
          ...this.#own,
        }),
      onDatagram: (message, destination, diversion) => this.#datagram(message, destination, diversion),
      onChange: () => this.#tellApplied(),
    });
    this.link = new LinkClient({
      gateway: settings.gateway,
      ...(settings.proxy === undefined ? {} : { proxy: settings.proxy }),
      serverName: identity.serverName,
      credentials: () => identity.credentials(),
      hello: () => ({
        version: options.version,
        platform: process.platform,
        arch: process.arch,
        node: process.version,
        hostname: hostname().slice(0, 253),
        capabilities: options.capabilities,
        clock: systemClock(),
        ...(this.#rules === undefined || this.#following ? {} : { rules: this.#rules.rules }),
        spool: spool.state(),
        takenBack: this.#house?.takenBack ?? [],
      }),
      onWelcome: (welcome) => this.#welcomed(welcome),
      onRules: (rules, text) => this.#take(rules, text),
      onTouch: (request) => {
        void touchOwnDecoy(request, (transport, destination) => this.#isOwn(transport, destination)).then((answer) =>
          this.link.send(answer),
        );
      },
      onUpgrade: (offer) => {
        if (options.onOffer) options.onOffer(offer);
        else {
          const reason = 'it has no keeper that could exchange its program: upgrade it where it is installed';
          this.link.send({ kind: 'upgrade', version: offer.version, state: 'failed', reason });
        }
      },
      onCertificate: (certificate) => {
        identity.accept(certificate).then(
          () => log.info('the certificate was renewed', { until: identity.certificateUntil }),
          (error: unknown) => log.error('the new certificate was not taken', { error: asWeirError(error).message }),
        );
      },
      onGoodbye: (reason) => {
        this.#lastGoodbye = reason;
        log.warn('the gateway said goodbye', { reason });
      },
      onStateChange: (state) => this.#linkTurned(state),
      log,
      clock: systemClock,
      ...(options.linkLimits === undefined ? {} : { limits: options.linkLimits }),
    });
    this.#replay = new SpoolReplay({
      spool,
      send: (batch) => this.link.sendSpool(batch),
      ready: () => this.link.state.state === 'linked',
      busy: () => (this.#house?.openFlows ?? 0) > 0,
      log,
    });
  }

  /** Where everything that arrives goes; from the first rules on. */
  get house(): AgentHouse | undefined {
    return this.#house;
  }

  /** With the rules of before, the listeners are open when it resolves, linked or not. */
  async start(rules: AgentRules | undefined): Promise<void> {
    this.#options.machine?.attach({
      house: () => this.#house,
      onChange: () => {
        this.#tellApplied();
        this.#tellHealth();
      },
    });
    if (rules) await this.#apply(rules);
    this.#replay.start();
    this.link.start();
    this.#timers.push(
      setInterval(() => {
        if (this.#keepFault !== undefined) this.#applying = this.#applying.then(() => this.#keep());
        this.#tellHealth();
      }, healthEveryMs).unref(),
      setInterval(() => this.#renew(), renewalEveryMs).unref(),
    );
  }

  /** For a keeper that tries this program. */
  proof(): WorkerState {
    const { health, reasons } = this.#judge();
    return {
      linked: this.link.state.state === 'linked',
      health,
      reasons: reasons.slice(0, 8),
      refused: this.listeners.refused.length,
      ruled: this.#rulesFault === undefined,
    };
  }

  report(): AgentReport {
    const { identity, spool, version } = this.#options;
    const { latencyMicros } = this.link;
    const { health, reasons } = this.#judge();
    return {
      agent: identity.agent,
      version,
      health,
      reasons,
      link: this.link.state,
      ...(latencyMicros === undefined ? {} : { latencyMicros }),
      ...(this.#rules === undefined ? {} : { rules: this.#rules.rules }),
      listeners: this.listeners.size,
      refused: this.#refused().slice(0, maxRefusedShown),
      addresses: this.listeners.addresses,
      openFlows: this.#house?.openFlows ?? 0,
      flows: this.#house?.counters.flows ?? 0,
      answeredAlone: this.#house?.counters.answeredAlone ?? 0,
      shed: this.#house?.counters.shed ?? 0,
      spool: spool.state(),
      replayed: this.#replay.counters,
      skewMicros: this.#skew,
      memoryBytes: process.memoryUsage.rss(),
      ...(identity.certificateUntil === undefined ? {} : { certificateUntil: identity.certificateUntil }),
      ...(this.#lastGoodbye === undefined ? {} : { lastGoodbye: this.#lastGoodbye }),
    };
  }

  /** Nobody new comes in, what is open ends on record, and what the link can take in a moment is sent. The spool stays open. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#applying;
    // What takes a round trip first: until the listeners close, whoever comes is answered here.
    const replayed = this.#replay.close();
    await this.link.close();
    await replayed;
    await this.#options.machine?.close();
    await this.listeners.close();
    await this.#house?.close();
    await this.#options.spool.flush();
  }

  get #own(): { readonly agent?: string } {
    const { agent } = this.#options.identity;
    return agent === undefined ? {} : { agent };
  }

  #personaOf({ persona }: AgentDiversion): Persona {
    const { personas } = this.#rules?.configuration ?? this.#options.personas;
    // The parser lets no diversion name a persona there is not.
    return personas.get(persona) as Persona;
  }

  #datagram({ payload, source, reply }: UdpMessage, destination: Endpoint, diversion: AgentDiversion): void {
    this.#house?.datagram({
      source,
      destination,
      network: this.#network,
      diversion: diversion.name,
      persona: this.#personaOf(diversion),
      at: this.#options.clock.now(),
      payload,
      onLink: false,
      reply,
      replyOnLink: () => false,
      ...this.#own,
    });
  }

  #isOwn(transport: 'tcp' | 'udp', destination: Endpoint): boolean {
    return this.listeners.addresses.includes(destination.ip) && this.listeners.diversionOf(transport, destination) !== undefined;
  }

  #welcomed({ clock, version, agent }: Welcome): void {
    const { log, onSkew } = this.#options;
    this.#skew = Math.round(systemClock() - clock);
    this.#options.clock.set(clock);
    onSkew?.(this.#skew);
    if (Math.abs(this.#skew) > toldSkew)
      log.warn("this machine's clock is off; records carry the gateway's time", { aheadSeconds: Math.round(this.#skew / 1e6) });
    log.info('linked', {
      agent,
      gatewayVersion: version,
      ...(version === this.#options.version ? {} : { ownVersion: this.#options.version }),
    });
    this.#renew();
  }

  #linkTurned(state: LinkState): void {
    const { log, machine } = this.#options;
    machine?.linkTurned(state.state === 'linked');
    if (state.state === 'linked') {
      this.#house?.linked();
      this.#replay.wake();
      this.#tellApplied();
      this.#tellHealth();
    } else if (state.state === 'away')
      log.warn('no link', { reason: state.reason, nextTryInMs: Math.max(0, state.nextTryAt - Date.now()) });
    this.#options.onChange?.();
  }

  /** One after the other: rules that follow each other quickly end with the last. */
  #take(rules: string, text: string): void {
    const waits = this.#pushed !== undefined;
    this.#pushed = { rules, text };
    if (!waits) this.#applying = this.#applying.then(() => this.#follow());
  }

  async #follow(): Promise<void> {
    const pushed = this.#pushed;
    this.#pushed = undefined;
    if (this.#closed || !pushed) return;
    const { rules, text } = pushed;
    const { log, personas } = this.#options;
    try {
      const parsed = parseAgentRules(text, personas);
      if (parsed.rules !== rules) throw new Error(`they are ${parsed.rules}, not ${rules}`);
      this.#rulesFault = undefined;
      await this.#apply(parsed);
      log.info('rules applied', { rules, listeners: this.listeners.size, refused: this.listeners.refused.length });
      await this.#keep();
    } catch (error) {
      this.#rulesFault = `rules ${rules} are not in force: ${asWeirError(error).message}`;
      log.error('the rules could not be followed; those before stay', { rules, error: asWeirError(error).message });
    }
    this.#tellApplied();
    this.#tellHealth();
    this.#options.onChange?.();
  }

  /** Never throws: the rules hold, on disk or not. */
  async #keep(): Promise<void> {
    const { log, settings } = this.#options;
    if (!this.#rules) return;
    const { rules, text } = this.#rules;
    try {
      await keepAgentRules(settings.data, text);
      this.#keepFault = undefined;
    } catch (error) {
      const { message } = asWeirError(error);
      this.#keepFault = `rules ${rules} are in force but not on disk, so a restart without a link begins with older ones: ${message}`;
      log.error('the rules could not be kept', { rules, error: message });
    }
  }

  async #apply(rules: AgentRules): Promise<void> {
    const { configuration } = rules;
    const { clock, log, certificates, sockets, spool } = this.#options;
    this.#rules = rules;
    if (this.#house) this.#house.setLimits(configuration.limits);
    else
      this.#house = new AgentHouse({
        link: this.link,
        spool,
        certificates,
        limits: configuration.limits,
        maxOpen: sockets.connections,
        clock: clock.now,
        log,
      });
    this.#following = true;
    try {
      await this.listeners.apply(configuration.agentDiversions);
      await this.#options.machine?.apply(rules.rules, rules.text);
    } finally {
      this.#following = false;
    }
  }

  #tellApplied(): void {
    if (!this.#rules || this.#following) return;
    this.link.send(renderApplied(this.#rules.rules, this.#refused(), this.listeners.addresses));
    this.#options.onChange?.();
  }

  /** What a whole machine refuses has no port. */
  #refused(): readonly RefusedListener[] {
    const whole = (this.#options.machine?.refused ?? []).map((why) => ({ transport: 'tcp', port: 0, why }) as const);
    return [...whole, ...this.listeners.refused];
  }

  #tellHealth(): void {
    if (this.link.state.state !== 'linked') return;
    const { health, reasons, memoryBytes, openFlows, flows, answeredAlone, spool, skewMicros } = this.report();
    const told = renderReasons(reasons);
    this.link.send({ kind: 'health', health, reasons: told, memoryBytes, openFlows, flows, answeredAlone, spool, skewMicros });
  }

  #judge(): { readonly health: Health; readonly reasons: string[] } {
    const reasons: string[] = [];
    const { spool, settings } = this.#options;
    const { diskFull, bytes, droppedRecords } = spool.state();
    const { refused } = this.listeners;
    if (diskFull) reasons.push(`the disk of ${settings.data} is full: records wait in memory`);
    if (bytes > settings.spoolBytes - settings.spoolBytes / 8)
      reasons.push(`the spool is full: records are kept without their bytes, then dropped (${droppedRecords} so far)`);
    if (this.#rulesFault) reasons.push(this.#rulesFault);
    if (this.#keepFault) reasons.push(this.#keepFault);
    const { machine } = this.#options;
    if (machine) reasons.push(...machine.refused.map((why) => `decoys on this machine: ${why}`), ...machine.reasons);
    if (this.#rules && this.listeners.size === 0 && refused.length > 0)
      reasons.push(`no port could be opened: ${refused[0].why}`);
    else if (refused.length > 0)
      reasons.push(
        `${refused.length} ports could not be opened, the first: ${refused[0].transport} ${refused[0].port} ${refused[0].why}`,
      );
    if (Math.abs(this.#skew) > toldSkew)
      reasons.push(
        `the clock of this machine is ${Math.abs(Math.round(this.#skew / 1e6))} s ${this.#skew > 0 ? 'ahead' : 'behind'}`,
      );
    const bad = diskFull || (this.#rules !== undefined && this.listeners.size === 0 && refused.length > 0);
    return { health: bad ? 'bad' : reasons.length > 0 ? 'degraded' : 'good', reasons };
  }

  #renew(): void {
    const { identity, clock, log } = this.#options;
    if (this.link.state.state !== 'linked' || !identity.renewalDue(clock.now())) return;
    identity.beginRenewal().then(
      (request) => this.link.send({ kind: 'renew', request }),
      (error: unknown) => log.error('no new certificate could be asked for', { error: asWeirError(error).message }),
    );
  }
}
