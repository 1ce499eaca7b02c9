// What the gateway is made of once it knows its bounds: what arrives (relay/), who answers (honeypot/, services by relay/), what
// records (record/), joined. Everything is closed in the order in which nothing is lost: doors first, the journal last.

import { systemClock } from '../base/clock.ts';
import type { Lifetime } from '../base/lifetime.ts';
import type { Log } from '../base/log.ts';
import { CatchAll } from '../honeypot/catch-all.ts';
import type { CertificateMint } from '../honeypot/certificate-mint.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { SocketPoller } from '../kernel/socket-poller.ts';
import { DecoyDirectory } from '../model/decoy.ts';
import type { EventSink } from '../model/event.ts';
import { SessionRecorder } from '../record/session-recorder.ts';
import { Dialer } from '../relay/dialer.ts';
import type { HandoverPool } from '../relay/handover-pool.ts';
import { Intake } from '../relay/intake.ts';
import { KernelPathIntake } from '../relay/kernel-path-intake.ts';
import type { AddressConflict } from '../relay/neighbour-keeper.ts';
import type { IntakeNetwork } from '../relay/network.ts';
import { ProxyDoor } from '../relay/proxy-door.ts';
import { Relay } from '../relay/relay.ts';
import { Arrivals, type ArrivalsOptions } from './arrivals.ts';
import type { GatewayOffer } from './gateway-offer.ts';

export interface GatewayHouseOptions {
  readonly journal: EventSink;
  readonly certificates: CertificateMint;
  /** Instead of a catch-all of its own: an agent's, which hands over first. */
  readonly answering?: ArrivalsOptions['catchAll'];
  readonly lifetime: Lifetime;
  readonly log: Log;
  readonly onConflict: (conflict: AddressConflict) => void;
  /** Sockets for transparent dialling. */
  readonly pool: HandoverPool;
}

export class GatewayHouse {
  readonly recorder: SessionRecorder;
  readonly arrivals: Arrivals;
  readonly #pool: HandoverPool;
  readonly #catchAll: CatchAll | undefined;
  readonly #dialer: Dialer;
  readonly #relay: Relay;
  readonly #intake: Intake;
  readonly #kernelPath: KernelPathIntake;
  readonly #proxies: ProxyDoor;

  /** `offer` tells the bounds, which hold for good; what it says of networks and services is `take`. */
  constructor(offer: GatewayOffer, options: GatewayHouseOptions) {
    const { journal, certificates, lifetime, log, onConflict, pool } = options;
    this.#pool = pool;
    const { limits } = offer;
    const clock = systemClock;
    this.recorder = lifetime.own('sessions', new SessionRecorder({ journal, limits, clock }));
    const poller = lifetime.own('poller', new SocketPoller());
    this.#dialer = lifetime.own('dialer', new Dialer({ poller, pool }));
    this.#relay = lifetime.own('relay', new Relay({ sink: this.recorder, limits, dialer: this.#dialer, poller, log, clock }));
    if (!options.answering)
      this.#catchAll = lifetime.own('catch-all', new CatchAll({ sink: this.recorder, limits, certificates, log, clock }));
    const answering = (options.answering ?? this.#catchAll) as ArrivalsOptions['catchAll'];
    this.arrivals = new Arrivals({ catchAll: answering, relay: this.#relay, sessions: limits.sessions });
    const { connection, datagram, shed } = this.arrivals;
    const onProbe: ConstructorParameters<typeof Intake>[0]['onProbe'] = (probe) => journal.append({ kind: 'probe', probe });
    this.#proxies = lifetime.own(
      'proxies',
      new ProxyDoor({ poller, log, clock, onConnection: connection, onDatagram: datagram, onExhausted: shed }),
    );
    this.#intake = lifetime.own(
      'intake',
      new Intake({
        networks: [],
        log,
        onConnection: connection,
        onDatagram: datagram,
        onProbe,
        sweepRate: offer.claimRate,
        onConflict,
        onExhausted: shed,
      }),
    );
    this.#kernelPath = lifetime.own(
      'kernel path',
      new KernelPathIntake({ sink: this.recorder, networks: [], ports: offer.kernelPath, limits, log, onProbe }),
    );
  }

  /** From now on: who lives where, who answers what, by which sockets. */
  take(offer: GatewayOffer, sockets: readonly NamedSocket[]): void {
    const networks = networksOf(offer);
    const { relay } = offer;
    const personas = new Map(relay?.personas.map((persona) => [persona.name, persona]));
    this.#pool.setServices(offer.dials);
    this.#dialer.setInnerGateways(relay?.innerGateways ?? []);
    this.arrivals.setServices(relay?.services ?? [], relay?.bindings ?? []);
    this.#intake.setNetworks(networks, offer.claimRate);
    this.#kernelPath.setNetworks(networks, offer.kernelPath);
    this.#intake.setSockets(sockets.filter(({ role }) => role !== 'proxy' && role !== 'agents'));
    this.#kernelPath.setSockets(sockets);
    this.#proxies.setListening(
      sockets,
      (relay?.proxyDiversions ?? []).flatMap((diversion) => {
        const persona = personas.get(diversion.persona);
        return persona ? [{ diversion, persona }] : [];
      }),
    );
  }

  async report(): Promise<Record<string, unknown>> {
    return {
      intake: await this.#intake.report(),
      kernelPath: await this.#kernelPath.report(),
      catchAll: this.#catchAll?.counters(),
      relay: { ...this.#relay.counters(), ...this.arrivals.counters, pool: this.#pool.counters() },
      proxies: this.#proxies.counters(),
      sessions: this.recorder.counters(),
    };
  }
}

function networksOf(offer: GatewayOffer): IntakeNetwork[] {
  const personas = new Map(offer.personas.map((persona) => [persona.name, persona]));
  return offer.networks.map(({ name, groups, withheld, interfaces, subnets, agent }) => ({
    name,
    directory: new DecoyDirectory(groups, personas, withheld),
    interfaces,
    subnets,
    ...(agent === undefined ? {} : { agent }),
    nameless: offer.kernelPath
      .filter(({ network }) => network === name)
      .flatMap(({ bindings }) => bindings.flatMap(({ ranges }) => ranges)),
  }));
}
