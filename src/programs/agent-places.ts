// What each agent's certificate entitles it to hand in: ports of its own diversions, and decoys it runs on its machine. By
// the rules that were pushed to it, never by its word. Pure.

import { parseAddress } from '../model/address.ts';
import { type Decoy, DecoyDirectory, type DecoyGroup } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { resident } from '../model/population.ts';
import { hasPort } from '../model/port-set.ts';
import type { AgentDiversion } from '../model/relayed-service.ts';
import type { Endpoint, Transport } from '../model/session.ts';
import type { RelayState, RemoteDecoys } from '../plan/desired-state.ts';
import type { AgentPlace } from '../relay/link/link-server-options.ts';

interface Ports {
  readonly diversion: AgentDiversion;
  readonly persona: Persona;
}

interface OwnNetwork {
  readonly groups: readonly Pick<DecoyGroup, 'diversion'>[];
  /** Whose machine the decoys are on, where its packets are carried here. */
  readonly agent?: string;
}

interface Decoys {
  readonly network: string;
  readonly directory: DecoyDirectory;
}

export class AgentPlaces {
  readonly #ports = new Map<string, Ports[]>();
  readonly #decoys = new Map<string, Decoys[]>();
  /** Whose a diversion is; empty: this machine's. */
  readonly #owners = new Map<string, string>();

  /** `own`: what this machine answers itself. */
  constructor(relay: RelayState | undefined, own: readonly OwnNetwork[] = []) {
    for (const { groups, agent = '' } of own) for (const { diversion } of groups) this.#owners.set(diversion, agent);
    if (!relay) return;
    for (const { name } of relay.proxyDiversions) this.#owners.set(name, '');
    for (const { name, agent } of relay.agentDiversions) this.#owners.set(name, agent);
    for (const { groups, agent } of relay.remote) for (const { diversion } of groups) this.#owners.set(diversion, agent);
    const personas = new Map(relay.personas.map((persona) => [persona.name, persona]));
    for (const diversion of relay.agentDiversions) {
      const persona = personas.get(diversion.persona);
      if (persona) push(this.#ports, diversion.agent, { diversion, persona });
    }
    const networks = new Map<string, RemoteDecoys[]>();
    for (const one of relay.remote) push(networks, `${one.agent} ${one.network}`, one);
    for (const all of networks.values()) {
      const [{ agent, network }] = all;
      const groups = all.flatMap((one) => one.groups);
      push(this.#decoys, agent, { network, directory: new DecoyDirectory(groups, personas) });
    }
  }

  /** Whose flow to this destination would be; `network` is what the agent says of where it came in. Undefined: not this agent's. */
  placeOf(agent: string, transport: Transport, { ip, port }: Endpoint, network: string): AgentPlace | undefined {
    const address = parseAddress(ip);
    if (!address) return undefined;
    for (const { directory } of (this.#decoys.get(agent) ?? []).filter((one) => one.network === network)) {
      const found = directory.find(address) ?? ownDecoy(directory, address);
      if (found) return { diversion: found.diversion, persona: found.persona };
    }
    if (network !== '') return undefined;
    const mine = this.#ports
      .get(agent)
      ?.find(
        ({ diversion: { tcp, udp, addresses } }) =>
          hasPort(transport === 'tcp' ? tcp : udp, port) &&
          (addresses.length === 0 || addresses.some(({ family, value }) => family === address.family && value === address.value)),
      );
    return mine && { diversion: mine.diversion.name, persona: mine.persona };
  }

  /** Where a record of this diversion may say it happened; undefined: not this agent's diversion, or not there. */
  placeIn(agent: string, diversion: string, transport: Transport, destination: Endpoint): AgentPlace | undefined {
    const networks = new Set(['', ...(this.#decoys.get(agent) ?? []).map(({ network }) => network)]);
    for (const network of networks) {
      const place = this.placeOf(agent, transport, destination, network);
      if (place?.diversion === diversion) return place;
    }
    return undefined;
  }

  /** Whether a diversion of this name is there, and another's. */
  isOfAnother(agent: string, diversion: string): boolean {
    const owner = this.#owners.get(diversion);
    return owner !== undefined && owner !== agent;
  }

  /** Whether a probe of this diversion may have met this address: dead ones are probed as well. */
  holds(agent: string, diversion: string, ip: string): boolean {
    const address = parseAddress(ip);
    if (!address) return false;
    if (this.#ports.get(agent)?.some((one) => one.diversion.name === diversion)) return true;
    return (this.#decoys.get(agent) ?? []).some(({ directory }) => {
      const own = directory.groups.some((group) => group.diversion === diversion && group.kind === 'own');
      return own || directory.groupOf(address)?.diversion === diversion;
    });
  }
}

/** That machine's own addresses are known there alone: whichever is not one of the ranges may be one. */
function ownDecoy(
  directory: DecoyDirectory,
  address: Parameters<typeof resident>[1],
): Pick<Decoy, 'diversion' | 'persona'> | undefined {
  if (directory.groupOf(address)) return undefined;
  for (const { kind, diversion, population } of directory.groups) {
    const index = kind === 'own' ? resident(population, address) : -1;
    const persona = index < 0 ? undefined : directory.personas.get(population.shares[index].persona);
    if (persona) return { diversion, persona };
  }
  return undefined;
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
