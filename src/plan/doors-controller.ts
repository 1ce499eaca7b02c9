// Owns the sockets at which this machine listens for others: agents' links and proxies. Opens what a state needs, keeps what
// still serves, closes the rest; what is relayed beside them changes with it. Who connects there is the gateway's.

import { asWeirError, WeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { openAgentListener } from '../kernel/agent-listener.ts';
import { closeDescriptor } from '../kernel/libc.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { openProxySockets } from '../kernel/proxy-socket.ts';
import type { Annex, AnnexStatus, Repair } from './annex.ts';
import type { DesiredState, RelayState } from './desired-state.ts';
import { compareRelay, renderEndpoint } from './relay-state.ts';

export interface DoorsControllerOptions {
  readonly log: Log;
  /** Sockets a running gateway gave back; those of doors are ours now, the others are left alone. */
  readonly existing?: readonly NamedSocket[];
  /** Path of the machine's own namespace; absent: the one this process is in. */
  readonly netns?: string;
}

const isDoor = ({ role }: NamedSocket): boolean => role === 'proxy' || role === 'agents';

export class DoorsController implements Annex {
  readonly name = 'doors';
  readonly #options: DoorsControllerOptions;
  #sockets: readonly NamedSocket[];
  #applied: RelayState | undefined;

  constructor(options: DoorsControllerOptions) {
    this.#options = options;
    this.#sockets = (options.existing ?? []).filter(isDoor);
  }

  /** Sockets and what is relayed, as applied, for the gateway. A descriptor is good until the next `apply`. */
  get sockets(): readonly NamedSocket[] {
    return this.#sockets;
  }

  get relay(): RelayState | undefined {
    return this.#applied;
  }

  async difference(desired: DesiredState | undefined): Promise<readonly string[]> {
    return compareRelay(desired?.relay, this.#applied);
  }

  async apply(desired: DesiredState | undefined): Promise<void> {
    const relay = desired?.relay;
    const kept = this.#open(relay, this.#sockets);
    for (const { fd } of this.#sockets) if (!kept.some((one) => one.fd === fd)) closeDescriptor(fd);
    this.#sockets = kept;
    this.#applied = relay;
  }

  async repair(): Promise<readonly Repair[]> {
    return [];
  }

  status(): AnnexStatus {
    const lines = this.#sockets.flatMap(({ role, name, transport }) =>
      transport === 'udp'
        ? []
        : [
            role === 'agents'
              ? `listening for agents at ${name.slice('agents:'.length)}`
              : `listening for ${name.replace(/^proxy-tcp-/, '').replace(':', ' at ')}`,
          ],
    );
    return { reasons: [], lines };
  }

  async close(): Promise<void> {
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
