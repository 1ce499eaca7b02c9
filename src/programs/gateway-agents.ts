// The gateway's agents: who they are, their links, what they hand in, and what is answered about them on the control socket.
// Identities are relay/agents/, links relay/link/, records of theirs spool-intake.ts.

import { networkInterfaces } from 'node:os';
import type { ControlVerb } from '../api/control.ts';
import type { Clock } from '../base/clock.ts';
import { asWeirError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { NamedSocket } from '../kernel/named-socket.ts';
import { type AgentReport, rulesDigest } from '../model/agent.ts';
import { nothingRelayed } from '../model/relayed-service.ts';
import type { RelayState } from '../plan/desired-state.ts';
import { type AgentRegistry, openAgentRegistry } from '../relay/agents/agent-registry.ts';
import type { ProgramShelf } from '../relay/agents/program-shelf.ts';
import type { Arrival, ArrivedDatagram } from '../relay/arrival.ts';
import { LinkServer } from '../relay/link/link-server.ts';
import { AgentPlaces } from './agent-places.ts';
import { AgentUpgrades, openProgramShelf } from './agent-upgrades.ts';
import { agentReport, agentVerbs } from './agent-verbs.ts';
import type { GatewayOffer } from './gateway-offer.ts';
import { openSpoolKey, remapIdentifier, SpoolIntake, type SpoolIntakeCounters, type SpoolJournal } from './spool-intake.ts';

export interface GatewayAgentsOptions {
  /** The data directory's `agents`. */
  readonly directory: string;
  readonly version: string;
  readonly journal: SpoolJournal;
  readonly onConnection: (arrival: Arrival) => void;
  readonly onDatagram: (arrived: ArrivedDatagram) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface GatewayAgentsCounters {
  readonly links: LinkServer['counters'];
  readonly spool: SpoolIntakeCounters;
}

/** Throws what openAgentRegistry throws: without identities nobody is let in. */
export async function openGatewayAgents(options: GatewayAgentsOptions): Promise<GatewayAgents> {
  const { directory, clock, log } = options;
  const registry = await openAgentRegistry({ directory, names: ownNames(), clock, log });
  return new GatewayAgents(options, registry, await openSpoolKey(directory), await openProgramShelf(directory));
}

export class GatewayAgents {
  readonly verbs: Readonly<Record<string, ControlVerb>>;
  readonly #options: GatewayAgentsOptions;
  readonly #registry: AgentRegistry;
  readonly #links: LinkServer;
  readonly #spool: SpoolIntake;
  readonly #upgrades: AgentUpgrades;
  readonly #listeners = new Set<number>();
  #relay: RelayState | undefined;
  #places = new AgentPlaces(undefined);
  #rules: ReadonlyMap<string, { readonly rules: string; readonly configuration: string }> = new Map();

  constructor(options: GatewayAgentsOptions, registry: AgentRegistry, key: Uint8Array, shelf: ProgramShelf) {
    const { journal, clock, log, version } = options;
    this.#options = options;
    this.#registry = registry;
    this.#spool = new SpoolIntake({
      journal,
      key,
      places: () => this.#places,
      onTakenBack: (agent, id) => this.#links.claims.handedIn(agent, id),
      clock,
      log,
    });
    this.#links = new LinkServer({
      gate: registry,
      version,
      rulesOf: (agent) => this.#rules.get(agent) ?? emptyRules(agent),
      placeOf: (agent, transport, destination, network) => this.#places.placeOf(agent, transport, destination, network),
      onConnection: options.onConnection,
      onDatagram: options.onDatagram,
      sessionIdOf: (agent, id) => remapIdentifier(key, agent, 'session', id),
      onSpool: (agent, batch) => this.#spool.take(agent, batch),
      program: (version) => this.#upgrades.program(version),
      log,
      clock,
    });
    this.#upgrades = new AgentUpgrades({ shelf, links: this.#links, log });
    this.verbs = agentVerbs({ ...this.#parts, upgrades: this.#upgrades });
  }

  /** As applied now: listens where it says, and tells agents whose rules have changed. The sockets' descriptors are ours. */
  take({ relay, networks }: Pick<GatewayOffer, 'relay' | 'networks'>, sockets: readonly NamedSocket[]): void {
    const before = this.#rules;
    this.#relay = relay;
    this.#places = new AgentPlaces(relay, networks);
    this.#rules = new Map(
      Object.entries(relay?.agents.rules ?? {}).map(([agent, configuration]) => [
        agent,
        { rules: rulesDigest(configuration), configuration },
      ]),
    );
    const wanted = new Set(sockets.flatMap(({ role, fd }) => (role === 'agents' ? [fd] : [])));
    for (const fd of this.#listeners) if (!wanted.has(fd)) this.#links.removeListener(fd);
    for (const fd of wanted) if (!this.#listeners.has(fd)) this.#links.addListener(fd);
    this.#listeners.clear();
    for (const fd of wanted) this.#listeners.add(fd);
    for (const agent of new Set([...before.keys(), ...this.#rules.keys()]))
      if (before.get(agent)?.rules !== this.#rules.get(agent)?.rules) this.#links.pushRules(agent);
    const names = [...(relay?.agents.publicNames ?? []), ...ownNames()];
    this.#registry
      .setNames(names)
      .catch((error) =>
        this.#options.log.error('the certificate for agents could not be made', { error: asWeirError(error).message }),
      );
  }

  report(): AgentReport {
    return agentReport(this.#parts);
  }

  counters(): GatewayAgentsCounters {
    return { links: this.#links.counters, spool: this.#spool.counters };
  }

  /** Links end with a goodbye; what an agent handed in goes on with whoever answers it. */
  async close(): Promise<void> {
    await this.#upgrades.close();
    await this.#links.close();
    await this.#registry.close();
  }

  get #parts(): Pick<Parameters<typeof agentVerbs>[0], 'registry' | 'links' | 'settings'> {
    return {
      registry: this.#registry,
      links: this.#links,
      settings: () => {
        const { agents = { ...nothingRelayed.agents, rules: {} }, agentDiversions = [] } = this.#relay ?? {};
        return { agents: { ...agents, rules: new Map(Object.entries(agents.rules)) }, diversions: agentDiversions };
      },
    };
  }
}

/** Whom nothing is meant for works with nothing. */
function emptyRules(agent: string): { readonly rules: string; readonly configuration: string } {
  const configuration = JSON.stringify({ version: 1, agent, diversions: [] });
  return { rules: rulesDigest(configuration), configuration };
}

/** Under which a machine nearby reaches this one. */
function ownNames(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [...new Set(all.flatMap(({ address }) => (address.startsWith('fe80') ? [] : [address])))].sort().slice(0, 64);
}
