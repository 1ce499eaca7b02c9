// What an agent is made of behind its sockets: what arrives is handed over while there is a link, and answered and recorded here
// while there is none. The link and the rules are agent-life.ts; who listens is relay/port-listeners.ts, or netd for a privileged one.

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { CatchAll } from '../honeypot/catch-all.ts';
import type { CertificateMint } from '../honeypot/certificate-mint.ts';
import { maxTakenBack } from '../model/agent.ts';
import type { Limits } from '../model/configuration.ts';
import type { ProbeRecord } from '../model/event.ts';
import { SessionRecorder } from '../record/session-recorder.ts';
import type { Spool } from '../record/spool.ts';
import type { Arrival, ArrivedDatagram } from '../relay/arrival.ts';
import { flowTlvs, HandedDatagrams, takeBackClaim } from '../relay/handed-datagrams.ts';
import { HandedFlow } from '../relay/handed-flow.ts';
import type { LinkClient } from '../relay/link/link-client.ts';

export interface AgentHouseOptions {
  readonly link: Pick<LinkClient, 'openFlow' | 'openDatagrams' | 'state'>;
  readonly spool: Spool;
  readonly certificates: CertificateMint;
  readonly limits: Limits;
  /** Connections of attackers at once, handed over and answered here together. */
  readonly maxOpen: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Since the start. */
export interface AgentHouseCounters {
  /** Handed over. */
  flows: number;
  /** Connections and sources of datagrams answered here. */
  answeredAlone: number;
  /** Of the connections among them: the gateway would not have them. */
  turnedAway: number;
  /** Reset at once: too many were open and none could make room. */
  shed: number;
  probes: number;
}

/** How many are asked to make room at a time. */
const shedBatch = 16;
/** Limits of before that sessions may still run under; past it those of the oldest end. */
const maxFormer = 8;

interface OwnAnswers {
  readonly limits: Limits;
  readonly recorder: SessionRecorder;
  readonly catchAll: CatchAll;
}

export class AgentHouse {
  readonly counters: AgentHouseCounters = { flows: 0, answeredAlone: 0, turnedAway: 0, shed: 0, probes: 0 };
  readonly #options: AgentHouseOptions;
  readonly #handed = new Set<HandedFlow>();
  readonly #datagrams: HandedDatagrams;
  #own: OwnAnswers;
  /** Of limits that hold no more; they end with their last session. */
  readonly #former = new Set<OwnAnswers>();
  /** Since the last link: the gateway may have taken the first of them when the link broke, and not those behind. */
  readonly #back = new Set<string>();
  #closed = false;

  constructor(options: AgentHouseOptions) {
    this.#options = options;
    this.#own = this.#furnish(options.limits);
    this.#datagrams = new HandedDatagrams({
      open: (request) => options.link.openDatagrams(request),
      onTurnedAway: (arrived) => this.#answerDatagram(arrived),
      onTakenBack: (id) => this.#takenBack(id),
      clock: options.clock,
    });
  }

  /** Connections of attackers now. */
  get open(): number {
    let open = this.#handed.size + this.#own.catchAll.sessionsOpen;
    for (const { catchAll } of this.#former) open += catchAll.sessionsOpen;
    return open;
  }

  /** Handed over and not over yet, datagrams' included. */
  get openFlows(): number {
    return this.#handed.size + this.#datagrams.size;
  }

  get datagramCounters(): HandedDatagrams['counters'] {
    return this.#datagrams.counters;
  }

  /** Sessions that run go on under the limits they began with; the oldest end when limits change again and again. */
  setLimits(limits: Limits): void {
    if (JSON.stringify(limits) === JSON.stringify(this.#own.limits)) return;
    this.#former.add(this.#own);
    this.#own = this.#furnish(limits);
    this.#tidy();
  }

  /** Flows that were handed over and are on record here, for the next hello. */
  get takenBack(): readonly string[] {
    return [...this.#back];
  }

  /** The gateway has heard of `takenBack`. */
  linked(): void {
    this.#back.clear();
  }

  /** An attacker's connection, from wherever. Never throws. */
  arrive(arrival: Arrival): void {
    const { socket, source, destination, network, sourceMac } = arrival;
    if (this.#closed || (this.open >= this.#options.maxOpen && !this.makeRoom(shedBatch))) {
      this.counters.shed += 1;
      socket.on('error', () => {});
      socket.resetAndDestroy();
      return;
    }
    const { syn } = arrival;
    const claim = takeBackClaim(arrival.acceptedAt, (id) => this.#takenBack(id));
    const flow = this.#options.link.openFlow({
      flow: { transport: 'tcp', source, destination },
      tlvs: flowTlvs(network, sourceMac),
      ...(syn ? { syn } : {}),
      session: claim.id,
    });
    if (!flow) {
      this.#answer(arrival);
      return;
    }
    this.counters.flows += 1;
    const handed = new HandedFlow({
      client: socket,
      flow,
      onTurnedAway: (client) => {
        this.#handed.delete(handed);
        this.counters.turnedAway += 1;
        this.#answer({ ...arrival, socket: client, claim });
      },
      onEnd: () => this.#handed.delete(handed),
    });
    this.#handed.add(handed);
  }

  /** A datagram to a decoy. Never throws. */
  datagram(arrived: ArrivedDatagram): void {
    if (!this.#closed && !this.#datagrams.receive(arrived)) this.#answerDatagram(arrived);
  }

  /** What never became a session: always by the spool, where nothing is lost. */
  probe(record: ProbeRecord): void {
    this.counters.probes += 1;
    this.#options.spool.append({ kind: 'probe', probe: record });
  }

  /** Ends up to `count` connections, those answered here first; false when there were none. For descriptors that run out. */
  makeRoom(count: number): boolean {
    if (this.#own.catchAll.shedOldestIdle(count) > 0) return true;
    const [oldest] = this.#handed;
    oldest?.reset();
    return oldest !== undefined;
  }

  /** Everything open ends and is on its way to the spool when it resolves. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const handed of [...this.#handed]) handed.reset();
    this.#datagrams.close();
    for (const { catchAll, recorder } of [...this.#former, this.#own]) {
      await catchAll.close();
      recorder.close();
    }
  }

  #takenBack(id: string): void {
    if (this.#back.size < maxTakenBack) this.#back.add(id);
  }

  #answer(arrival: Arrival): void {
    this.#tidy();
    this.counters.answeredAlone += 1;
    this.#own.catchAll.visit(arrival);
  }

  #answerDatagram(arrived: ArrivedDatagram): void {
    this.counters.answeredAlone += 1;
    this.#own.catchAll.datagram(arrived);
  }

  #tidy(): void {
    for (const former of this.#former)
      if (former.catchAll.sessionsOpen === 0 || this.#former.size > maxFormer) this.#retire(former);
  }

  #retire(former: OwnAnswers): void {
    this.#former.delete(former);
    void former.catchAll.close().then(() => former.recorder.close());
  }

  #furnish(limits: Limits): OwnAnswers {
    const { spool, clock, log, certificates, maxOpen } = this.#options;
    const recorder = new SessionRecorder({ journal: spool, limits, clock });
    const bounded = { ...limits, sessions: Math.min(limits.sessions, maxOpen) };
    return { limits, recorder, catchAll: new CatchAll({ sink: recorder, limits: bounded, certificates, log, clock }) };
  }
}
