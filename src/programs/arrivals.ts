// Who answers what arrives, whatever way it came: the service that is bound to the decoy, else the catch-all. As applied;
// changes with the next offer.

import type { CatchAll } from '../honeypot/catch-all.ts';
import { BindingTable, type RelayBinding, type RelayedService } from '../model/relayed-service.ts';
import type { Transport } from '../model/session.ts';
import type { Arrival, ArrivedDatagram } from '../relay/arrival.ts';
import type { Relay } from '../relay/relay.ts';

export interface ArrivalsOptions {
  readonly catchAll: Pick<CatchAll, 'visit' | 'datagram' | 'shedOldestIdle' | 'sessionsOpen'>;
  readonly relay: Pick<Relay, 'visit' | 'datagram' | 'shedOldestIdle' | 'sessionsOpen'>;
  /** Limits.sessions: of both together. */
  readonly sessions: number;
}

export class Arrivals {
  readonly #options: ArrivalsOptions;
  #table = new BindingTable([]);
  #services: ReadonlyMap<string, RelayedService> = new Map();
  /** Of the hop before: asked for a service that is not (or no longer) here. */
  #unknownServices = 0;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  get counters(): { readonly unknownServices: number } {
    return { unknownServices: this.#unknownServices };
  }

  setServices(services: readonly RelayedService[], bindings: readonly RelayBinding[]): void {
    this.#table = new BindingTable(bindings);
    this.#services = new Map(services.map((service) => [service.name, service]));
  }

  readonly connection = (arrival: Arrival): void => {
    const { catchAll, relay } = this.#options;
    const service = this.#serviceOf(arrival, 'tcp');
    if (service === 'unknown') {
      arrival.socket.on('error', () => {}).resetAndDestroy();
      return;
    }
    this.#makeRoom();
    if (service) relay.visit(arrival, service);
    else catchAll.visit(arrival);
  };

  readonly datagram = (arrived: ArrivedDatagram): void => {
    const { catchAll, relay } = this.#options;
    // What goes to a whole link asks for names, which only the catch-all has.
    const service = arrived.group === undefined ? this.#serviceOf(arrived, 'udp') : undefined;
    if (service === 'unknown') return;
    if (service) relay.datagram(arrived, service);
    else catchAll.datagram(arrived);
  };

  /** Descriptors run out: the oldest idle ones of both go, of each as its share is. */
  readonly shed = (wanted: number): void => {
    const { catchAll, relay } = this.#options;
    const open = catchAll.sessionsOpen;
    // A relayed flow has two descriptors.
    const relayed = 2 * relay.sessionsOpen;
    const share = open + relayed === 0 ? 0 : Math.round((wanted * relayed) / (open + relayed));
    const freed = 2 * relay.shedOldestIdle(Math.ceil(share / 2));
    const left = wanted - freed;
    if (left > 0) catchAll.shedOldestIdle(left);
  };

  /** Whoever has more gives: a flood of one kind does not take what the other has. */
  #makeRoom(): void {
    const { catchAll, relay, sessions } = this.#options;
    if (catchAll.sessionsOpen + relay.sessionsOpen < sessions) return;
    const share = Math.ceil(sessions / 256);
    if (relay.sessionsOpen > catchAll.sessionsOpen) relay.shedOldestIdle(share);
    else catchAll.shedOldestIdle(share);
  }

  #serviceOf(arrived: Arrival | ArrivedDatagram, transport: Transport): RelayedService | 'unknown' | undefined {
    if (arrived.service !== undefined) {
      const asked = this.#services.get(arrived.service);
      if (!asked) this.#unknownServices += 1;
      return asked ?? 'unknown';
    }
    const { ip, port } = arrived.destination;
    const name = this.#table.find(arrived.diversion, ip, port, transport);
    return name === undefined ? undefined : this.#services.get(name);
  }
}
