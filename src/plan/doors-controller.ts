// Owns the sockets at which this machine listens for others: agents' links and proxies. Opens what a state needs, keeps what
// still serves, closes the rest; what is relayed beside them changes with it. Who connects there is the gateway's.

import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { openAgentListener } from '../kernel/agent-listener.ts';
import { closeDescriptor, listenSocket } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { openProxySockets } from '../kernel/proxy-socket.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import type { Annex, AnnexStatus, Repair } from './annex.ts';
import type { DesiredState, RelayState } from './desired-state.ts';
import { compareRelay, describeService, renderEndpoint } from './relay-state.ts';

export interface DoorsControllerOptions {
  readonly log: Log;
  /** Sockets a running gateway gave back; those of doors are ours now, the others are left alone. */
  readonly existing?: readonly NamedSocket[];
  /** Path of the machine's own namespace; absent: the one this process is in. */
  readonly netns?: string;
}

/** As much as net.core.somaxconn lets it be. */
const acceptQueue = 65_535;

/** Services told in a status. */
const maxTold = 32;

const tellService = (service: RelayedService): string => `service ${service.name}: ${describeService(service)}`;

/** Sockets of doors among those a gateway holds. */
export const isDoorSocket = ({ role }: NamedSocket): boolean => role === 'proxy' || role === 'agents';

export class DoorsController implements Annex {
  readonly name = 'doors';
  readonly #options: DoorsControllerOptions;
  #sockets: readonly NamedSocket[];
  #left: NamedSocket[] = [];
  #applied: RelayState | undefined;
  /** What should be, where opening it failed. */
  #missing: { readonly relay: RelayState | undefined; readonly why: string } | undefined;

  constructor(options: DoorsControllerOptions) {
    this.#options = options;
    this.#sockets = (options.existing ?? []).filter(isDoorSocket);
  }

  /** As applied, for the gateway. */
  get sockets(): readonly NamedSocket[] {
    return this.#sockets;
  }

  /** What is relayed, as applied. */
  get relay(): RelayState | undefined {
    return this.#applied;
  }

  async difference(desired: DesiredState | undefined): Promise<readonly string[]> {
    return compareRelay(desired?.relay, this.#applied);
  }

  /** What is no longer used stays open until `closeLeft`: an offer may still be on its way. */
  async apply(desired: DesiredState | undefined): Promise<void> {
    const relay = desired?.relay;
    try {
      const kept = this.#open(relay, this.#sockets);
      this.#left.push(...this.#sockets.filter(({ fd }) => !kept.some((one) => one.fd === fd)));
      this.#sockets = kept;
      this.#applied = relay;
      this.#missing = undefined;
    } catch (error) {
      this.#missing = { relay, why: asWeirError(error).message };
      throw error;
    }
  }

  /** After net.core.somaxconn was raised, as IntakeDoor.listenAgain. */
  listenAgain(): void {
    for (const { fd, transport } of this.#sockets) if (transport !== 'udp') listenSocket(fd, acceptQueue);
  }

  closeLeft(): void {
    for (const { fd } of this.#left) closeDescriptor(fd);
    this.#left = [];
  }

  /** Nobody can close a socket of ours; but at a start somebody else may have been in the way. */
  async repair(): Promise<readonly Repair[]> {
    if (!this.#missing) return [];
    await this.apply({ relay: this.#missing.relay } as DesiredState);
    return [{ network: '', object: 'process', subject: 'doors', message: 'listening for agents and proxies again' }];
  }

  status(): AnnexStatus {
    const listening = this.#sockets.flatMap(({ role, name, transport }) => {
      if (transport === 'udp') return [];
      const [, address, port] = /^[^:]*:(.*):(\d+)$/.exec(name) ?? [];
      const where = address?.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
      return [
        role === 'agents'
          ? `listening for agents at ${where}`
          : `listening for ${name.slice('proxy-tcp-'.length, name.indexOf(':'))} at ${where}`,
      ];
    });
    return {
      reasons: this.#missing ? [`nobody is let in for agents or proxies: ${this.#missing.why}; it is tried again`] : [],
      lines: [...listening, ...(this.#applied?.services ?? []).slice(0, maxTold).map(tellService)],
    };
  }

  async close(): Promise<void> {
    this.closeLeft();
    for (const { fd } of this.#sockets) closeDescriptor(fd);
    this.#sockets = [];
  }

  /** Where one moved from a specific address to all, or back, its old socket is in its own way. */
  #open(relay: RelayState | undefined, existing: readonly NamedSocket[]): readonly NamedSocket[] {
    if (!relay) return [];
    const { netns } = this.#options;
    const place = netns === undefined ? {} : { netns };
    const doors = relay.proxyDiversions.map(({ name, listen }) => ({ name, ...listen, ...place }));
    const { listen } = relay.agents;
    try {
      const sockets = openProxySockets(doors, existing);
      try {
        return listen ? [...sockets, openAgentListener({ ...listen, ...place }, existing)] : sockets;
      } catch (error) {
        for (const one of sockets) if (!existing.includes(one)) closeDescriptor(one.fd);
        throw error;
      }
    } catch (error) {
      const { message, details } = asWeirError(error);
      if (details.errno !== 'EADDRINUSE') throw error;
      const places = [...doors, ...(listen ? [listen] : [])].map(renderEndpoint).join(', ');
      throw new WeirError('kernel-refused', `one of ${places} is taken by another program: ${message}`, details, error);
    }
  }
}
