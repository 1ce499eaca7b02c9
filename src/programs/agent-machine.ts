// The unprivileged half of a privileged agent's machine: takes the sockets of its netd as a gateway does, hands what arrives to
// the agent's house, relays what a gateway before it hands on, and has rules applied by the root half. Linux alone.

import { lookup } from 'node:dns/promises';
import { join } from 'node:path';
import { ControlServer, callControl } from '../api/control.ts';
import { writeDurably } from '../base/durable-file.ts';
import { asWeirError } from '../base/errors.ts';
import { Lifetime } from '../base/lifetime.ts';
import type { Log } from '../base/log.ts';
import type { CertificateMint } from '../honeypot/certificate-mint.ts';
import { HandoverClient } from '../kernel/handover-client.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { type AddressRange, parseRange } from '../model/address.ts';
import type { EventSink } from '../model/event.ts';
import type { ProxyDiversion } from '../model/relayed-service.ts';
import { HandoverPool } from '../relay/handover-pool.ts';
import type { AgentMachine, MachineHooks } from './agent-life.ts';
import { ConflictReports } from './conflict-reports.ts';
import { GatewayHouse } from './gateway-house.ts';
import type { GatewayOffer } from './gateway-offer.ts';
import { answerProbe } from './probe-verb.ts';
import { RulesAttempts } from './rules-attempts.ts';
import type { RulesAnswer } from './rules-keeper.ts';

export interface NetdMachineOptions {
  /** The root half's data directory. */
  readonly data: string;
  /** Our own, where the text of rules is put for the root half. */
  readonly room: string;
  /** Where the link leads to; inner gateways let nobody else in unless their rules say whom. */
  readonly gatewayHost: string;
  readonly certificates: CertificateMint;
  readonly sink: EventSink;
  readonly log: Log;
  /** A link that lived so long after a change of the kernel survived it; longer than a dead one goes unnoticed. */
  readonly settleMs?: number;
}

/** netd plans, which may look for live hosts first. */
const applyMs = 600_000;
const lookEveryMs = 10_000;
const maxReasons = 16;

export class NetdMachine implements AgentMachine {
  readonly #options: NetdMachineOptions;
  readonly #lifetime: Lifetime;
  readonly #reports: ConflictReports;
  readonly #attempts: RulesAttempts;
  #hooks: MachineHooks | undefined;
  #house: GatewayHouse | undefined;
  #client: HandoverClient | undefined;
  #latest: { readonly offer: GatewayOffer; readonly sockets: readonly NamedSocket[] } | undefined;
  #before: readonly AddressRange[] = [];
  #refused: readonly string[] = [];
  #trouble: readonly string[] = [];
  #linkedSince: number | undefined;
  #settling: NodeJS.Timeout | undefined;
  #looking: NodeJS.Timeout | undefined;

  constructor(options: NetdMachineOptions) {
    this.#options = options;
    this.#lifetime = new Lifetime(options.log);
    this.#reports = new ConflictReports({
      log: options.log,
      send: ({ network, ip, mac, interface: link }) =>
        callControl(this.#run('report.sock'), 'conflict', { network, address: ip, mac, interface: link }, 30_000),
    });
    this.#attempts = new RulesAttempts({
      log: options.log,
      ask: async (rules, text) => {
        await writeDurably(join(options.room, offeredRules), text);
        return (await callControl(this.#run('rules.sock'), 'rules', { rules }, applyMs)) as RulesAnswer;
      },
      onAnswer: ({ refused, pending }, later) => {
        const before = this.#refused;
        this.#refused = refused;
        if (pending) this.#settle(Date.now());
        if (!later) return;
        if (refused.join('\n') !== before.join('\n')) this.#hooks?.onChange();
        void this.#look();
      },
    });
  }

  get refused(): readonly string[] {
    return this.#refused;
  }

  get reasons(): readonly string[] {
    return this.#trouble;
  }

  /** Answers netd from here on; attackers reach the house as soon as netd has sockets. */
  async open(): Promise<void> {
    const { log } = this.#options;
    const ready = new Promise<void>((resolve) => this.#connect(resolve));
    const control = new ControlServer({
      path: this.#run('gateway.sock'),
      mode: 0o600,
      log,
      verbs: {
        ready: async () => {
          await ready;
          return true;
        },
        status: async () => ({ ...(await this.#house?.report()), conflicts: this.#reports.counters }),
        probe: answerProbe,
      },
    });
    await control.listen();
    this.#lifetime.own('control', control);
    await ready;
  }

  attach(hooks: MachineHooks): void {
    this.#hooks = hooks;
    this.#looking = setInterval(() => void this.#look(), lookEveryMs).unref();
  }

  async apply(rules: string, text: string): Promise<void> {
    clearTimeout(this.#settling);
    await this.#attempts.take(rules, text);
    void this.#look();
  }

  linkTurned(linked: boolean): void {
    this.#linkedSince = linked ? (this.#linkedSince ?? Date.now()) : undefined;
    if (linked) void this.#findGateway();
  }

  async close(): Promise<void> {
    this.#attempts.close();
    clearTimeout(this.#settling);
    clearInterval(this.#looking);
    await this.#lifetime.end();
  }

  #run(name: string): string {
    return join(this.#options.data, 'run', name);
  }

  #connect(ready: () => void): void {
    const { log, certificates, sink } = this.#options;
    const lifetime = this.#lifetime;
    const pool = lifetime.own('dial pool', new HandoverPool({ want: (wanted) => this.#client?.want(wanted) ?? false }));
    this.#client = new HandoverClient({
      path: this.#run('handover.sock'),
      log,
      onSockets: (made, fds) => pool.receive(made, fds),
      onConnected: (connected) => pool.connected(connected),
      onOffer: ({ sockets, description }) => {
        const offer = description as GatewayOffer;
        this.#house ??= new GatewayHouse(offer, {
          journal: sink,
          certificates,
          lifetime,
          log,
          pool,
          onConflict: (conflict) => this.#reports.add(conflict),
          answering: {
            visit: (arrival) => {
              const house = this.#hooks?.house();
              // Before the first rules nobody says under which limits it could be answered.
              if (house) house.arrive(arrival);
              else arrival.socket.on('error', () => {}).resetAndDestroy();
            },
            datagram: (arrived) => this.#hooks?.house()?.datagram(arrived),
            shedOldestIdle: (wanted) => (this.#hooks?.house()?.makeRoom(wanted) ? wanted : 0),
            get sessionsOpen() {
              return 0;
            },
          },
        });
        this.#latest = { offer, sockets };
        this.#take();
        ready();
        this.#attempts.wake();
      },
    });
    lifetime.own('handover', this.#client);
  }

  #take(): void {
    if (!this.#latest || !this.#house) return;
    const { offer, sockets } = this.#latest;
    const { relay } = offer;
    const opened = (one: ProxyDiversion): ProxyDiversion =>
      one.inner && one.allow.length === 0 ? { ...one, allow: this.#before } : one;
    this.#house.take(
      relay ? { ...offer, relay: { ...relay, proxyDiversions: relay.proxyDiversions.map(opened) } } : offer,
      sockets,
    );
  }

  /** From where the gateway before this one comes: where our own link leads to. */
  async #findGateway(): Promise<void> {
    const { gatewayHost, log } = this.#options;
    try {
      const found = await lookup(gatewayHost, { all: true });
      this.#before = found.flatMap(({ address }) => parseRange(address) ?? []);
      this.#take();
    } catch (error) {
      log.warn('where the gateway is cannot be told', { host: gatewayHost, error: asWeirError(error).message });
    }
  }

  /** The change stays when the link lives on after it; otherwise netd takes it back by itself. */
  #settle(since: number): void {
    const { settleMs = 12_000, log } = this.#options;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(async () => {
      const began = this.#linkedSince === undefined ? undefined : Math.max(this.#linkedSince, since);
      try {
        const { state } = (await callControl(this.#run('rules.sock'), 'pending', null, 10_000)) as { state?: unknown };
        if (state === 'rolled-back') {
          this.#refused = ['the change was taken back: the link did not come back after it'];
          log.error('the rules were taken back, because the link did not survive them');
          this.#hooks?.onChange();
          return;
        }
        if (began !== undefined && Date.now() - began >= settleMs) {
          await callControl(this.#run('rules.sock'), 'confirm', null, 60_000);
          return;
        }
      } catch (error) {
        log.warn('a change of the kernel cannot be confirmed', { error: asWeirError(error).message });
      }
      this.#settle(since);
    }, 500).unref();
  }

  async #look(): Promise<void> {
    try {
      const status = (await callControl(this.#run('rules.sock'), 'status', null, 5000)) as { reasons?: unknown };
      const reasons = Array.isArray(status.reasons) ? status.reasons.map(String).slice(0, maxReasons) : [];
      if (reasons.join('\n') === this.#trouble.join('\n')) return;
      this.#trouble = reasons;
      this.#hooks?.onChange();
    } catch {
      // It is restarted, or about to be; the sockets in hand go on.
    }
  }
}

/** Below the agent's own room. */
export const offeredRules = 'offered-rules.json';
