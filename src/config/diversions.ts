// The list of diversions: names, kinds, machines, host diversions. Those of kind `network` are network-diversions.ts, those
// of kind `agent` and `proxy` relay-diversions.ts, decoys decoy-groups.ts.

import type { Address } from '../model/address.ts';
import type { Binding, Diversion, HostDiversion, KernelPathService } from '../model/configuration.ts';
import type { Place } from '../model/decoy.ts';
import { populationModulus } from '../model/population.ts';
import type { AgentDiversion, ProxyDiversion, RemoteDiversion } from '../model/relayed-service.ts';
import { DecoyGathering, defaultSeed, type Vocabulary } from './decoy-groups.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { NetworkReading } from './network-diversions.ts';
import { agentEnd, checkTunnelled, gatewayEnd, readTunnel } from './packet-tunnels.ts';
import { isMapping } from './personas.ts';
import { FlowDiversionReading } from './relay-diversions.ts';
import { decoyEntry, hostDiversion } from './schema.ts';
import type { TunnelText } from './tunnel-schema.ts';

export interface DiversionContext {
  readonly vocabulary: Vocabulary;
  readonly mistakes: Mistakes;
  readonly file: string;
  /** The machine's interfaces, when they are known. */
  readonly interfaces?: readonly string[];
  /** Whose part this file is, when it is an agent's: what names it is here. */
  readonly agent?: string;
}

/** Those that could be read; the mistakes say why the others could not. */
export interface ReadDiversions {
  readonly own: readonly Diversion[];
  readonly remote: readonly RemoteDiversion[];
  readonly agents: readonly AgentDiversion[];
  readonly proxies: readonly ProxyDiversion[];
  /** Of an agent: what carries its packets to the gateway. */
  readonly tunnels: { readonly services: readonly KernelPathService[]; readonly bindings: readonly Binding[] };
}

/** One machine's decoys: the address spaces of two are strangers to each other. */
interface Machine {
  readonly gathering: DecoyGathering;
  readonly networks: NetworkReading;
}

const kinds = ['host', 'network', 'agent', 'proxy'];

export function readDiversions(list: readonly unknown[], context: DiversionContext): ReadDiversions {
  const { mistakes, file, vocabulary } = context;
  const machines = new Map<string, Machine>();
  const machineOf = (agent: string): Machine => {
    const gathering = new DecoyGathering(vocabulary, mistakes, file);
    const machine = machines.get(agent) ?? { gathering, networks: new NetworkReading(gathering, mistakes, file) };
    machines.set(agent, machine);
    return machine;
  };
  const flows = new FlowDiversionReading(context);
  const found: { readonly agent: string; readonly diversion: Diversion; readonly tunnel?: TunnelText | undefined }[] = [];
  const names = new Map<string, number>();
  for (const [index, value] of list.entries()) {
    const at = ['diversions', index];
    let space = `unnamed ${index}`;
    if (isMapping(value) && typeof value.name === 'string') {
      const before = names.get(value.name);
      if (before !== undefined)
        mistakes.add(
          [...at, 'name'],
          `the diversion \`${value.name}\` stands here and on line ${before}`,
          'give one of them another name',
        );
      else {
        names.set(value.name, mistakes.lineOf([...at, 'name']));
        space = value.name;
      }
    }
    const kind = isMapping(value) ? value.kind : undefined;
    if (kind === 'agent') flows.readAgent(value, at);
    else if (kind === 'proxy') flows.readProxy(value, at);
    else if (typeof kind === 'string' && kind !== 'host' && kind !== 'network') addUnknownKind(kind, at, mistakes);
    else {
      const agent = agentOf(value, at, context);
      const { gathering, networks } = machineOf(agent);
      const network = isMapping(value) && (kind === 'network' || (kind === undefined && ('vlan' in value || 'vxlan' in value)));
      const diversion = network ? networks.read(value, space, at) : readHostDiversion(value, context, gathering, agent, at);
      const tunnel = readTunnel(value, at, { mistakes, agent, ofAgent: context.agent !== undefined });
      if (tunnel) for (const machine of new Set(['', agent])) machineOf(machine).networks.noteTunnel(tunnel, [...at, 'tunnel']);
      if (diversion && tunnel) checkTunnelled(diversion, at, mistakes);
      if (diversion) found.push({ agent, diversion, tunnel });
    }
  }
  const lines = new Map([...machines].map(([agent, { gathering }]) => [agent, gathering.finish()]));
  const placed = found.map(({ agent, diversion, tunnel }) => {
    const network = diversion.kind === 'network' ? diversion.name : undefined;
    const placeOf = (address: Address): Place => ({
      file,
      line: lines.get(agent)?.(address, network) || diversion.place.line,
    });
    const whole = { ...diversion, placeOf };
    // The gateway's end of a tunnel is a segment of this machine.
    const here = agent !== '' && tunnel ? gatewayEnd(whole, tunnel, agent) : whole;
    const carried = agent === '' && tunnel ? agentEnd(whole, tunnel) : undefined;
    return { agent: here === whole ? agent : '', diversion: Object.freeze(here), carried };
  });
  return {
    own: placed.flatMap(({ agent, diversion }) => (agent === '' ? [diversion] : [])),
    remote: placed.flatMap(({ agent, diversion }) => (agent === '' ? [] : [{ agent, diversion }])),
    ...flows.finish(),
    tunnels: {
      services: placed.flatMap(({ carried }) => carried?.services ?? []),
      bindings: placed.flatMap(({ carried }) => carried?.bindings ?? []),
    },
  };
}

/** The agent that runs a diversion; empty: this machine does. */
function agentOf(value: unknown, at: readonly PropertyKey[], { agent: own, mistakes }: DiversionContext): string {
  const agent = isMapping(value) && typeof value.agent === 'string' ? value.agent : '';
  if (own === undefined || agent === '') return agent;
  if (agent !== own) mistakes.add([...at, 'agent'], `this file is the part of \`${own}\``, 'leave this diversion out');
  return '';
}

function addUnknownKind(kind: string, at: readonly PropertyKey[], mistakes: Mistakes): void {
  const guess = suggestion(kind, kinds);
  mistakes.add(
    [...at, 'kind'],
    `there is no kind of diversion \`${kind}\``,
    guess === undefined ? `use one of ${kinds.join(', ')}` : `did you mean \`${guess}\`?`,
  );
}

function readHostDiversion(
  value: unknown,
  { mistakes, file, interfaces }: DiversionContext,
  gathering: DecoyGathering,
  agent: string,
  at: readonly PropertyKey[],
): HostDiversion | undefined {
  const parsed = hostDiversion.safeParse(value);
  if (!parsed.success) {
    mistakes.addIssues(parsed.error, hostDiversion, at);
    // What parses is still checked against the rest.
    const decoys =
      isMapping(value) && Array.isArray(value.decoys) ? value.decoys.map((entry) => decoyEntry.safeParse(entry).data) : [];
    const link = isMapping(value) && typeof value.interface === 'string' ? value.interface : 'unknown';
    gathering.groupsOf({ name: 'unknown', interface: link, decoys }, at);
    return undefined;
  }
  const { name, interface: link, decoys } = parsed.data;
  if (agent === '' && link !== undefined && interfaces && !interfaces.includes(link)) {
    const guess = suggestion(link, interfaces);
    mistakes.add(
      [...at, 'interface'],
      `this machine has no interface \`${link}\``,
      guess ? `did you mean \`${guess}\`?` : `it has ${interfaces.join(', ')}`,
    );
  }
  if (decoys.length === 0)
    mistakes.add(
      [...at, 'decoys'],
      'this diversion has no decoys',
      'add an entry with `addresses:` and `persona:`, or remove it',
    );
  const groups = gathering.groupsOf({ name, ...(link === undefined ? {} : { interface: link }), decoys }, at);
  return {
    kind: 'host',
    name,
    ...(link === undefined ? {} : { interface: link }),
    groups: Object.freeze(groups),
    place: { file, line: mistakes.lineOf(at) },
  };
}

/** All free ports of this machine's own addresses: what holds where no diversions are written. */
export function ownDiversion(file: string, line: number): HostDiversion {
  const name = 'own';
  const place = { file, line };
  const population = Object.freeze({
    seed: defaultSeed(name),
    shares: Object.freeze([{ persona: 'all-open', share: populationModulus }]),
  });
  return Object.freeze({
    kind: 'host',
    name,
    groups: Object.freeze([Object.freeze({ diversion: name, kind: 'own' as const, ranges: [], population, macs: {}, place })]),
    place,
  });
}
