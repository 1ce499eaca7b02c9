// The gateway's end of all agents' links: who is linked, what each should work with, what each hands in. Doors and handshakes
// are tls-door.ts, one link is agent-link.ts; flows go to whoever answers them, records to whoever keeps them.

import { randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { asWeirError, WeirError } from '../../base/errors.ts';
import type { AgentMessage, AgentStatus } from '../../model/agent.ts';
import type { LinkPeer } from '../agents/agent-gate.ts';
import { AgentLink, type AgentLinkOwner } from './agent-link.ts';
import { type AgentRecord, describeAgent } from './agent-record.ts';
import { serveEnrolment } from './enrolment-session.ts';
import { FlowClaims } from './flow-claims.ts';
import {
  type LinkServerCounters,
  type LinkServerLimits,
  type LinkServerOptions,
  linkServerLimits,
} from './link-server-options.ts';
import { SpoolDesk } from './spool-desk.ts';
import { TlsDoor } from './tls-door.ts';

export interface TouchOrder {
  readonly transport: 'tcp' | 'udp';
  readonly ip: string;
  readonly port: number;
  readonly payload: string;
}

interface PendingTouch {
  readonly agent: string;
  settle(result: { readonly from: string } | WeirError): void;
}

const touchesAtOnce = 256;
const enrolmentsAtOnce = 64;
/** Links of one agent that have not said hello. */
const ungreetedPerAgent = 3;
const changeEveryMs = 250;

export class LinkServer implements AgentLinkOwner {
  readonly options: LinkServerOptions;
  readonly limits: LinkServerLimits;
  readonly counters: LinkServerCounters = {
    accepted: 0,
    handshakesShed: 0,
    handshakesFailed: 0,
    handshakesTimedOut: 0,
    notAdmitted: 0,
    links: 0,
    foreign: 0,
    replaced: 0,
    dead: 0,
    misbehaved: 0,
    requestsRefused: 0,
    enrolled: 0,
    enrolmentsRefused: 0,
    flows: 0,
    headersRefused: 0,
    placesRefused: 0,
    flowsShed: 0,
    flowsOverBudget: 0,
    datagrams: 0,
    repliesDropped: 0,
    claimsGivenUp: 0,
    spoolBatches: 0,
    spoolRefused: 0,
  };
  readonly spoolDesk: SpoolDesk;
  readonly claims: FlowClaims;
  readonly #door: TlsDoor;
  /** Of agents the gate knows. */
  readonly #records = new Map<string, AgentRecord>();
  readonly #links = new Set<AgentLink>();
  readonly #enrolments = new Set<TLSSocket>();
  readonly #touches = new Map<string, PendingTouch>();
  /** Agents whose certificate is being renewed. */
  readonly #renewing = new Set<string>();
  #changeTimer: NodeJS.Timeout | undefined;
  #complaintAt = 0;
  #closed = false;

  constructor(options: LinkServerOptions) {
    this.options = options;
    this.limits = { ...linkServerLimits, ...options.limits };
    this.claims = new FlowClaims({
      nameOf: (agent, id) => options.sessionIdOf(agent, id),
      clock: options.clock,
      onGivenUp: () => {
        this.counters.claimsGivenUp += 1;
      },
    });
    this.spoolDesk = new SpoolDesk({
      maxBytes: this.limits.spoolBatchBytes,
      take: (agent, batch) => options.onSpool(agent, batch),
      counters: this.counters,
      onRefused: (agent, why) => this.complain("an agent's records were not taken", { agent, why: String(why) }),
    });
    this.#door = new TlsDoor({
      gate: options.gate,
      limits: this.limits,
      counters: this.counters,
      clock: options.clock,
      log: options.log,
      onPeer: (socket, peer) => this.#welcomePeer(socket, peer),
    });
    options.gate.onChange((gone) => this.#gateChanged(gone));
  }

  /** A listening TCP socket of netd's; ours from here on. */
  addListener(fd: number): void {
    this.#door.addListener(fd);
  }

  /** Stops listening there; links that came in by it go on. */
  removeListener(fd: number): void {
    this.#door.removeListener(fd);
  }

  /** Handshakes under way, links, flows of all. */
  get open(): { readonly handshakes: number; readonly links: number; readonly flows: number } {
    let flows = 0;
    for (const link of this.#links) flows += link.flows.open;
    return { handshakes: this.#door.pending, links: this.#links.size, flows };
  }

  /** All agents the gate knows, linked or not. */
  statuses(): AgentStatus[] {
    const gateway = { version: this.options.version, nowMicros: this.options.clock() };
    const entries = this.options.gate.agents();
    const known = new Set(entries.map(({ name }) => name));
    for (const [name, record] of this.#records) if (!known.has(name) && !record.link) this.#records.delete(name);
    return entries.map((entry) =>
      describeAgent(entry, this.#records.get(entry.name) ?? {}, this.options.rulesOf(entry.name)?.rules, gateway),
    );
  }

  /** Sends rules to whom has others; to one agent or all. */
  pushRules(agent?: string): void {
    for (const link of this.#links) if (link.greeted && (agent === undefined || link.agent === agent)) this.#push(link);
  }

  /** The agent connects to the address and says where from. Rejects with WeirError `not-found` (not linked), `timeout`, `bad-request` (it could not). */
  touch(agent: string, order: TouchOrder, timeoutMs: number): Promise<{ readonly from: string }> {
    const link = this.#records.get(agent)?.link;
    const id = randomBytes(9).toString('base64url');
    if (!link || this.#touches.size >= touchesAtOnce || !link.send({ kind: 'touch', id, ...order }))
      return Promise.reject(new WeirError('not-found', `the agent ${agent} is not linked`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#touches.get(id)?.settle(new WeirError('timeout', `the agent ${agent} did not answer in ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#touches.set(id, {
        agent,
        settle: (result) => {
          clearTimeout(timer);
          this.#touches.delete(id);
          if (result instanceof WeirError) reject(result);
          else resolve(result);
        },
      });
    });
  }

  /** False: not linked. What becomes of it is in the agent's status. */
  offerUpgrade(agent: string, offer: { readonly version: string; readonly sha256: string; readonly bytes: number }): boolean {
    const record = this.#records.get(agent);
    if (!record?.link?.send({ kind: 'upgrade', ...offer })) return false;
    record.upgrade = { version: offer.version, state: 'offered' };
    this.#changed();
    return true;
  }

  /** Ends its link with a goodbye; it may come again if the gate lets it. */
  disconnect(agent: string, reason: string): void {
    for (const link of [...this.#links]) if (link.agent === agent) link.end(reason);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#door.close();
    for (const socket of this.#enrolments) socket.destroy();
    for (const touch of [...this.#touches.values()]) touch.settle(new WeirError('not-running', 'the gateway stops'));
    const ended = [...this.#links].map((link) => link.whenClosed);
    for (const link of [...this.#links]) link.end('shutdown');
    await Promise.all(ended);
    this.claims.close();
    clearTimeout(this.#changeTimer);
  }

  onHello(link: AgentLink, hello: Extract<AgentMessage, { kind: 'hello' }>): void {
    const record = this.#record(link.agent);
    if (record.link) {
      this.counters.replaced += 1;
      record.link.end('replaced');
      // It may take seconds to close: what the agent says of its flows, and hands in of them, comes on the new one.
      this.claims.ended(link.agent, record.link.flows.takeClaims(), false);
    }
    const { upgrade } = record;
    // It is on trial, and says itself when it stays. One that comes back with another version says why: see agent-record.ts.
    if (upgrade?.version === hello.version && upgrade.state === 'offered') record.upgrade = { ...upgrade, state: 'staged' };
    record.foreign = undefined;
    const now = this.options.clock();
    Object.assign(record, { link, hello, since: now, skewMicros: hello.clock - now, health: undefined, applied: undefined });
    this.claims.linked(link.agent, hello.takenBack ?? []);
    this.counters.links += 1;
    link.rulesSent = hello.rules;
    this.#push(link);
    this.#changed();
  }

  onForeign(link: AgentLink, hello: { readonly protocol: number; readonly version?: string }): void {
    this.counters.foreign += 1;
    this.#record(link.agent).foreign = hello;
    this.complain('an agent speaks another link protocol', { agent: link.agent, ...hello });
    this.#changed();
  }

  onMessage(link: AgentLink, message: AgentMessage): void {
    const record = this.#record(link.agent);
    if (message.kind === 'touched') {
      const touch = this.#touches.get(message.id);
      if (touch?.agent !== link.agent) return;
      const { from, error } = message;
      touch.settle(from === undefined ? new WeirError('bad-request', error ?? 'the agent could not connect') : { from });
      return;
    }
    if (message.kind === 'renew') {
      void this.#renew(link, message.request);
      return;
    }
    if (message.kind === 'applied') record.applied = message;
    else if (message.kind === 'health') record.health = message;
    else if (message.kind === 'upgrade' && record.upgrade?.version === message.version) {
      const { version, state, reason } = message;
      if (state === 'staged') record.stagedAt = this.options.clock();
      record.upgrade = {
        version,
        state: state === 'committed' ? 'done' : state,
        ...(reason === undefined ? {} : { reason }),
      };
    }
    this.#changed();
  }

  onBeat(): void {
    this.#changed();
  }

  onClosed(link: AgentLink, reason: string): void {
    this.#links.delete(link);
    const record = this.#records.get(link.agent);
    this.claims.ended(link.agent, link.flows.takeClaims(), record?.link !== undefined && record.link !== link);
    if (record?.link !== link) return;
    record.link = undefined;
    record.since = this.options.clock();
    record.lastEnd = reason;
    if (link.flows.lastAt !== undefined) record.lastTouch = link.flows.lastAt;
    for (const touch of [...this.#touches.values()])
      if (touch.agent === link.agent) touch.settle(new WeirError('not-found', `the agent ${link.agent} went away`));
    this.#changed();
  }

  complain(message: string, fields: Record<string, unknown>): void {
    const now = performance.now();
    if (this.#complaintAt !== 0 && now - this.#complaintAt < 1000) return;
    this.#complaintAt = now;
    this.options.log.warn(message, fields);
  }

  #welcomePeer(socket: TLSSocket, peer: LinkPeer): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    if ('agent' in peer) {
      let ungreeted = 0;
      for (const link of this.#links) if (link.agent === peer.agent && !link.greeted) ungreeted += 1;
      if (ungreeted < ungreetedPerAgent) this.#links.add(new AgentLink(socket, peer, this));
      else this.#turnAway(socket);
    } else if (this.#enrolments.size < enrolmentsAtOnce) {
      this.#enrolments.add(socket);
      void serveEnrolment(socket, peer.enrolment, this).then(() => this.#enrolments.delete(socket));
    } else this.#turnAway(socket);
  }

  #turnAway(socket: TLSSocket): void {
    this.counters.notAdmitted += 1;
    socket.destroy();
  }

  #record(agent: string): AgentRecord {
    const record = this.#records.get(agent) ?? {};
    this.#records.set(agent, record);
    return record;
  }

  #push(link: AgentLink): void {
    const wanted = this.options.rulesOf(link.agent);
    if (!wanted || wanted.rules === link.rulesSent) return;
    if (wanted.configuration.length > this.limits.rulesBytes) {
      this.options.log.error("an agent's rules are too long to send", {
        agent: link.agent,
        characters: wanted.configuration.length,
      });
      return;
    }
    if (link.send({ kind: 'rules', ...wanted })) link.rulesSent = wanted.rules;
  }

  async #renew(link: AgentLink, request: string): Promise<void> {
    if (this.#renewing.has(link.agent)) return;
    this.#renewing.add(link.agent);
    try {
      link.send({ kind: 'certificate', certificate: await this.options.gate.renew(link.agent, request) });
    } catch (error) {
      this.complain("an agent's certificate was not renewed", { agent: link.agent, error: asWeirError(error).message });
    } finally {
      this.#renewing.delete(link.agent);
    }
  }

  #gateChanged(gone: readonly string[]): void {
    if (this.#closed) return;
    this.#door.renew();
    for (const agent of gone) this.disconnect(agent, 'revoked');
    this.#changed();
  }

  #changed(): void {
    if (!this.options.onChange || this.#changeTimer || this.#closed) return;
    this.#changeTimer = setTimeout(() => {
      this.#changeTimer = undefined;
      this.options.onChange?.();
    }, changeEveryMs).unref();
  }
}
