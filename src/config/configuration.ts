// Text of weir.yaml -> Configuration or every mistake in it, with lines. Pure but for readConfiguration.
// Facts of the running machine (gateway, sessions, listeners) are checked by plan/guard.ts, not here.

import { readFileSync, statSync } from 'node:fs';
import { WeirError } from '../base/errors.ts';
import { type Address, parseAddress } from '../model/address.ts';
import type { Binding, Configuration } from '../model/configuration.ts';
import type { Place } from '../model/decoy.ts';
import type { Persona } from '../model/persona.ts';
import { type PortSet, unitePorts } from '../model/port-set.ts';
import type { RelayBinding, RelayedService } from '../model/relayed-service.ts';
import { renderAgentRules, ruledAgents } from './agent-rules.ts';
import { analysisSettings } from './analysis-schema.ts';
import { readBindings } from './bindings.ts';
import { ownDiversion, type ReadDiversions, readDiversions } from './diversions.ts';
import { Mistakes } from './issues.ts';
import { type Mistake, mistakesError, suggestion } from './mistake.ts';
import {
  addUnknownStack,
  checkShares,
  isMapping,
  mergePersona,
  type NamedPopulation,
  type PersonaLibrary,
  personaFrom,
} from './personas.ts';
import { checkNotDecoy } from './relay-bindings.ts';
import { checkDoors, type Door } from './relay-diversions.ts';
import { checkNoCircle, type ReadGateway, readGateways } from './relayed-services.ts';
import { type ConfigurationText, configurationFile, personaFile } from './schema.ts';
import { machinesOf, type ReadServices, readServices } from './services.ts';
import { type SuricataText, suricataMistakes, suricataSettings } from './suricata-schema.ts';
import { readYaml } from './yaml-source.ts';

/** Larger files are refused before they are read. */
const maxFileBytes = 64 * 2 ** 20;

export interface ParseContext {
  readonly personas: PersonaLibrary;
  /** The machine's interfaces, when they are known: a diversion on any other is a mistake. */
  readonly observed?: { readonly interfaces: readonly string[] };
}

export type ParseResult = { readonly configuration: Configuration } | { readonly mistakes: readonly Mistake[] };

/** Pure. All mistakes at once, up to a bound; a result without mistakes is complete, checked and frozen. */
export function parseConfiguration(text: string, file: string, context: ParseContext): ParseResult {
  const source = readYaml(text);
  if (source.faults.length > 0)
    return {
      mistakes: source.faults.map(({ line, message }) => ({
        file,
        line,
        mistake: `this is not YAML: ${message}`,
        next: 'check indentation, quotes and brackets on this line and the one before',
      })),
    };
  const mistakes = new Mistakes(file, source);
  if (!isMapping(source.value)) {
    mistakes.add(
      [],
      source.value === null ? 'the file is empty' : 'this is not a mapping',
      'begin with `version: 1`; docs/configuration.md has examples',
    );
    return { mistakes: mistakes.list() };
  }
  const parsed = configurationFile.safeParse(source.value);
  if (!parsed.success) mistakes.addIssues(parsed.error, configurationFile, []);
  // Diversions are looked at even when something else is wrong: all mistakes at once.
  const written = parsed.success ? parsed.data : undefined;
  const vocabulary = readVocabulary(source.value, context.personas, mistakes);
  if (!vocabulary) return { mistakes: mistakes.list() };
  const { value } = source;
  const own = typeof value.agent === 'string' ? value.agent : undefined;
  const diversions = Array.isArray(value.diversions)
    ? readDiversions(value.diversions, {
        vocabulary,
        mistakes,
        file,
        ...context.observed,
        ...(own === undefined ? {} : { agent: own }),
      })
    : { ...noDiversions, own: [ownDiversion(file, 0)] };
  const relayed = readRelayed(value, diversions, own, mistakes, file);
  checkOpenDoors(written, diversions, relayed.gateways, own !== undefined, mistakes);
  if (written?.suricata) checkSuricata(written.suricata, diversions, mistakes);
  if (mistakes.any || !written) return { mistakes: mistakes.list() };
  const place = { file, line: mistakes.lineOf(['agents', 'listen']) };
  return { configuration: assemble(written, diversions, { ...relayed, place }, vocabulary.personas, file) };
}

const listed = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const noDiversions: ReadDiversions = {
  own: [],
  remote: [],
  agents: [],
  proxies: [],
  tunnels: { services: [], bindings: [] },
};

/** Who answers instead of the catch-all, and what agents are told. */
interface Relayed {
  readonly services: ReadServices;
  readonly bindings: readonly Binding[];
  readonly relayBindings: readonly RelayBinding[];
  readonly gateways: ReadonlyMap<string, ReadGateway>;
  readonly rules: ReadonlyMap<string, string>;
  /** Where links arrive. */
  readonly place?: Place;
}

function readRelayed(
  value: Readonly<Record<string, unknown>>,
  diversions: ReadDiversions,
  own: string | undefined,
  mistakes: Mistakes,
  file: string,
): Relayed {
  const gateways = readGateways(listed(value.gateways), mistakes, file);
  const services = readServices(listed(value.services), {
    gateways,
    written: value.gateways,
    mistakes,
    file,
    machines: machinesOf(listed(value.bindings), listed(value.diversions)),
  });
  const remote = diversions.remote.map(({ diversion }) => diversion);
  const { bindings, relayed: relayBindings } = readBindings(listed(value.bindings), {
    diversions: [...diversions.own, ...remote],
    remote: new Set(remote.map(({ name }) => name)),
    agentDiversions: diversions.agents,
    proxyDiversions: diversions.proxies,
    services,
    ofAgent: own !== undefined,
    written: value.diversions,
    mistakes,
    file,
  });
  const pathOf = ({ name }: RelayedService): readonly PropertyKey[] => [
    'services',
    listed(value.services).findIndex((one) => isMapping(one) && one.name === name),
  ];
  checkNoCircle(services.relayed, diversions.proxies, pathOf, mistakes);
  checkNotDecoy(services.relayed, diversions.own, { mistakes, written: pathOf });
  const whole = { value, gateways, kernelServices: new Set(services.kernel.map(({ name }) => name)) };
  const rules = new Map(
    own !== undefined || mistakes.any ? [] : ruledAgents(whole).map((agent) => [agent, renderAgentRules(agent, whole)]),
  );
  const elsewhere = machinesOf(listed(value.bindings), listed(value.diversions));
  const kernel = services.kernel.filter(({ name }) => own !== undefined || (elsewhere.get(name)?.has('') ?? true));
  return { services: { ...services, kernel }, bindings, relayBindings, gateways, rules };
}

function checkSuricata(written: SuricataText, { own, agents, proxies, remote }: ReadDiversions, mistakes: Mistakes): void {
  const names = [...own, ...agents, ...proxies, ...remote.map(({ diversion }) => diversion)].map(({ name }) => name);
  for (const { hop, key, mistake, next } of suricataMistakes(written, names))
    mistakes.add(['suricata', 'hops', hop, key], mistake, next);
}

/** What listens here for others: each at a place of its own; and links arrive somewhere when there are agents. */
function checkOpenDoors(
  written: ConfigurationText | undefined,
  { own, agents, proxies, remote }: ReadDiversions,
  gateways: ReadonlyMap<string, ReadGateway>,
  ofAgent: boolean,
  mistakes: Mistakes,
): void {
  if (!written) return;
  const { console: page, agents: section } = written;
  const address = parseAddress(page.address);
  const placed = (list: readonly unknown[], name: string): number => list.findIndex((one) => isMapping(one) && one.name === name);
  const doors: Door[] = [
    ...(address ? [{ address, port: page.port, what: 'the console', at: ['console'] }] : []),
    ...(section.listen ? [{ ...section.listen, what: '`agents`', at: ['agents', 'listen'] }] : []),
    ...proxies.map(({ name, listen }) => ({
      ...listen,
      what: `\`${name}\``,
      at: ['diversions', placed(listed(mistakes.valueAt(['diversions'])), name), 'listen'],
    })),
  ];
  checkDoors(doors, mistakes);
  if (ofAgent || section.listen) return;
  const tunnelled = own.flatMap((one) =>
    one.kind === 'network' && one.agent !== undefined ? [{ ...one, agent: one.agent }] : [],
  );
  const [first] = [...agents, ...tunnelled, ...remote.map(({ diversion, agent }) => ({ ...diversion, agent }))].sort(
    (a, b) => a.place.line - b.place.line,
  );
  const [gateway] = gateways.values();
  const user = first
    ? { name: first.agent, at: ['diversions', placed(listed(mistakes.valueAt(['diversions'])), first.name)] }
    : gateway && { name: gateway.name, at: gateway.at };
  if (user)
    mistakes.add(
      user.at,
      `the agent \`${user.name}\` has nowhere to connect to`,
      'add `agents: { listen: 0.0.0.0:7443 }`, with the address and port where agents reach this machine',
    );
}

const nothingBound: Relayed = {
  services: { kernel: [], relayed: [] },
  bindings: [],
  relayBindings: [],
  gateways: new Map(),
  rules: new Map(),
};

/** What holds without a file: all free ports of this machine's own addresses. */
export function defaultConfiguration(personas: PersonaLibrary): Configuration {
  const written = configurationFile.parse({ version: 1 });
  const diversions = { ...noDiversions, own: [ownDiversion('(defaults)', 0)] };
  return assemble(written, diversions, nothingBound, personas.personas, undefined);
}

/**
 * With a path the configuration in that file, without one the defaults. Throws `config-unreadable`, or
 * `config-invalid` with all mistakes in `details.mistakes`.
 */
export function readConfiguration(path: string | undefined, context: ParseContext): Configuration {
  if (path === undefined) return defaultConfiguration(context.personas);
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > maxFileBytes) throw new Error(`${size} bytes are more than the limit of ${maxFileBytes}`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WeirError('config-unreadable', `cannot read ${path}: ${why}`, { file: path }, error);
  }
  const result = parseConfiguration(text, path, context);
  if ('mistakes' in result) throw mistakesError(result.mistakes);
  return result.configuration;
}

/** Undefined when personas or populations do not parse: what uses them cannot be judged then. */
function readVocabulary(
  value: Record<string, unknown>,
  library: PersonaLibrary,
  mistakes: Mistakes,
): { personas: ReadonlyMap<string, Persona>; populations: ReadonlyMap<string, NamedPopulation> } | undefined {
  const ownPersonas = configurationFile.shape.personas.safeParse(value.personas);
  const ownPopulations = configurationFile.shape.populations.safeParse(value.populations);
  if (!ownPersonas.success || !ownPopulations.success) return undefined;
  const personas = new Map(library.personas);
  const populations = new Map(library.populations);
  const texts = new Map(library.texts);
  const own = new Set<string>();
  for (const [index, item] of ownPersonas.data.entries()) {
    const at = ['personas', index];
    if (own.has(item.name))
      mistakes.add([...at, 'name'], `the persona \`${item.name}\` stands here twice`, 'give one of them another name');
    own.add(item.name);
    const model = item.like === undefined ? {} : texts.get(item.like);
    if (!model) {
      const guess = suggestion(item.like as string, texts.keys());
      mistakes.add(
        [...at, 'like'],
        `there is no persona \`${item.like}\``,
        guess ? `did you mean \`${guess}\`?` : 'name one that comes with Weir, or one above',
      );
      continue;
    }
    const merged = mergePersona(model, item);
    const parsed = personaFile.safeParse(merged);
    if (!parsed.success) mistakes.addIssues(parsed.error, personaFile, at);
    else if (!addUnknownStack(parsed.data, library.stacks, at, mistakes)) {
      personas.set(item.name, personaFrom(parsed.data, library.stacks));
      texts.set(item.name, merged);
    }
  }
  for (const [index, item] of ownPopulations.data.entries()) {
    checkShares(item.shares, personas, ['populations', index, 'shares'], mistakes);
    populations.set(item.name, item);
  }
  return { personas, populations };
}

/** RFC 4271, section 8. */
const bgpPort = 179;

const isLoopback = ({ family, value }: Address): boolean => (family === 4 ? value >> 24n === 127n : value === 1n);

/** Ports at which the network itself speaks to this machine: a console, agents, proxies, VTEPs, BGP. They must stay reachable. */
function neededPorts({ console: page, agents }: ConfigurationText, { own, proxies, tunnels }: ReadDiversions): PortSet {
  const address = parseAddress(page.address);
  const doors = [
    ...(address ? [{ address, port: page.port }] : []),
    ...(agents.listen ? [agents.listen] : []),
    ...proxies.map(({ listen }) => listen),
  ];
  const ports = doors.flatMap((door) => (isLoopback(door.address) ? [] : [door.port]));
  for (const diversion of own)
    if (diversion.kind === 'network' && diversion.attachment.kind === 'vxlan')
      ports.push(diversion.attachment.port, ...(diversion.attachment.evpn ? [bgpPort] : []));
  for (const { tunnel } of tunnels.services) if (tunnel) ports.push(tunnel.attachment.port);
  return ports.map((port) => ({ first: port, last: port }));
}

function assemble(
  written: ConfigurationText,
  diversions: ReadDiversions,
  { services, bindings, relayBindings, gateways, rules, place }: Relayed,
  personas: Configuration['personas'],
  file: string | undefined,
): Configuration {
  return Object.freeze({
    version: 1,
    data: written.data,
    ...(file === undefined ? {} : { file }),
    retention: Object.freeze({ days: written.retention.days, sizeBytes: written.retention.size }),
    management: Object.freeze({
      ports: unitePorts([...written.management.ports, ...neededPorts(written, diversions)]),
      sources: written.management.sources,
    }),
    console: Object.freeze(written.console),
    limits: Object.freeze({
      sessions: written.limits.sessions,
      sessionsPerSource: written.limits['sessions-per-source'],
      sessionBytes: written.limits['session-bytes'],
      idleTimeoutMs: written.limits['idle-timeout'],
      totalTimeoutMs: written.limits['total-timeout'],
      bannerDelayMs: written.limits['banner-delay'],
    }),
    probing: Object.freeze({ claimRate: written.probing['claim-rate'] }),
    analysis: analysisSettings(written.analysis),
    ...(written.baseline.every === undefined ? {} : { baseline: Object.freeze({ everyMs: written.baseline.every }) }),
    ...(written.suricata ? { suricata: suricataSettings(written.suricata) } : {}),
    diversions: Object.freeze(diversions.own),
    services: Object.freeze([...services.kernel, ...diversions.tunnels.services]),
    bindings: Object.freeze([...bindings, ...diversions.tunnels.bindings]),
    agentDiversions: Object.freeze(diversions.agents),
    proxyDiversions: Object.freeze(diversions.proxies),
    remoteDiversions: Object.freeze(diversions.remote),
    relayedServices: Object.freeze(services.relayed),
    relayBindings: Object.freeze(relayBindings),
    innerGateways: Object.freeze(
      [...gateways.values()].map(({ name, address, port, place }) => Object.freeze({ name, address, port, place })),
    ),
    agents: Object.freeze({
      ...(written.agents.listen ? { listen: written.agents.listen, ...(place ? { place } : {}) } : {}),
      publicNames: written.agents.names ?? [],
      rules,
    }),
    ...(written.agent === undefined ? {} : { agent: written.agent }),
    personas,
  });
}
