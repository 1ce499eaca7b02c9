// What of a configuration is relayed, as it is applied: doors for agents and proxies, services, bindings, agents' rules; and
// what changes between two such states, in words. Pure; the doors are opened by doors-controller.ts.

import { type AddressRange, renderAddress, renderRange } from '../model/address.ts';
import type { Configuration } from '../model/configuration.ts';
import type { Persona } from '../model/persona.ts';
import { renderPorts } from '../model/port-set.ts';
import type { AgentDiversion, ProxyDiversion, RelayBinding, RelayedService } from '../model/relayed-service.ts';
import { type RelayState, usedPersonas } from './desired-state.ts';

/** Undefined where nothing is relayed. Throws `fault` for a persona the configuration does not have. */
export function planRelay(configuration: Configuration): RelayState | undefined {
  const { agentDiversions, proxyDiversions, remoteDiversions, relayedServices, relayBindings, innerGateways, agents } =
    configuration;
  const flows = [...agentDiversions, ...proxyDiversions];
  const remote = remoteDiversions.map(({ agent, diversion: { kind, name, groups } }) => ({
    agent,
    network: kind === 'network' ? name : '',
    groups,
  }));
  const named = [...flows, ...relayedServices, ...relayBindings, ...innerGateways];
  if (named.length === 0 && !agents.listen && agents.rules.size === 0) return undefined;
  const lived = usedPersonas(
    remote.flatMap(({ groups }) => groups),
    configuration.personas,
  );
  const personas = [...new Set([...flows.map(({ persona }) => persona), ...lived.map(({ name }) => name)])].sort();
  return {
    agentDiversions,
    proxyDiversions,
    remote,
    services: relayedServices,
    bindings: relayBindings,
    innerGateways,
    personas: personas.flatMap((name) => configuration.personas.get(name) ?? ([] as Persona[])),
    agents: { ...agents, rules: Object.fromEntries(agents.rules) },
  };
}

interface Listening {
  readonly address: RelayedService['address'];
  readonly port: number;
}

export const renderEndpoint = ({ address, port }: Listening): string =>
  address.family === 6 ? `[${renderAddress(address)}]:${port}` : `${renderAddress(address)}:${port}`;

const some = (words: readonly string[], most = 3): string =>
  `${words.slice(0, most).join(', ')}${words.length > most ? ` and ${words.length - most} more` : ''}`;

const ranges = (list: readonly AddressRange[]): string => some(list.map(renderRange));

export const describeAgentDiversion = ({ agent, tcp, udp, addresses, persona }: AgentDiversion): string => {
  const ports = [
    ...(tcp.length > 0 ? [`tcp ${shorten(renderPorts(tcp))}`] : []),
    ...(udp.length > 0 ? [`udp ${shorten(renderPorts(udp))}`] : []),
  ];
  const where = addresses.length > 0 ? ` at ${some(addresses.map(renderAddress))}` : '';
  return `${ports.join(', ')}${where} on the machine of ${agent} (${persona})`;
};

const shorten = (ports: string): string => some(ports.split(','), 8);

export const describeProxyDiversion = ({ listen, allow, persona, inner }: ProxyDiversion): string =>
  `${inner ? 'the gateway before this one' : 'proxies'} at ${renderEndpoint(listen)}, from ${ranges(allow) || 'where the link leads to'} (${persona})`;

export function describeService({ path, address, port, proxyVersion, wire, via }: RelayedService): string {
  const at = port === undefined ? `${renderAddress(address)}, the decoy's port` : renderEndpoint({ address, port });
  const how =
    path === 'transparent'
      ? `as the attacker, behind ${wire?.interface ?? 'its wire'}`
      : path === 'proxy'
        ? `with a PROXY v${proxyVersion ?? 2} header`
        : 'directly';
  return `${at}, dialled ${how}${via ? `, by way of ${via}` : ''}`;
}

export function describeBinding({ diversion, addresses, ports, transport, service }: RelayBinding): string {
  const where = addresses ? ` ${ranges(addresses)}` : '';
  const which = ports ? ` ${transport ?? 'port'} ${shorten(renderPorts(ports))}` : transport ? ` ${transport}` : '';
  return `${diversion}${where}${which} to ${service}`;
}

/** Everything of a state that can differ by itself: a key, what it means to people, and all it says. */
function facts(state: RelayState | undefined): Map<string, { readonly line: string; readonly all: string }> {
  const found = new Map<string, { readonly line: string; readonly all: string }>();
  const add = (key: string, line: string, value: unknown): void => {
    // Two bindings may begin alike, and only so much of each is said.
    let unique = key;
    for (let count = 2; found.has(unique); count += 1) unique = `${key} ${count}`;
    found.set(unique, { line, all: encode(value) });
  };
  if (!state) return found;
  const { listen, publicNames, rules } = state.agents;
  if (listen) add('agents', `links of agents at ${renderEndpoint(listen)}`, { listen, publicNames });
  for (const one of state.agentDiversions) add(`diversion ${one.name}`, `${one.name}: ${describeAgentDiversion(one)}`, one);
  for (const one of state.proxyDiversions) add(`diversion ${one.name}`, `${one.name}: ${describeProxyDiversion(one)}`, one);
  for (const one of state.services) add(`service ${one.name}`, `service ${one.name}: ${describeService(one)}`, one);
  for (const one of state.innerGateways) add(`gateway ${one.name}`, `gateway ${one.name}: ${renderEndpoint(one)}`, one);
  for (const one of state.bindings) add(`binding ${describeBinding(one)}`, `bind ${describeBinding(one)}`, one);
  for (const [agent, text] of Object.entries(rules)) add(`rules ${agent}`, `rules of the agent ${agent}`, text);
  for (const one of state.personas) add(`persona ${one.name}`, `persona ${one.name}`, one);
  return found;
}

/** Lines of the file move without anything changing. */
const encode = (value: unknown): string =>
  JSON.stringify(value, (key, item: unknown) => (key === 'place' ? undefined : typeof item === 'bigint' ? String(item) : item));

/** What changes from one to the other, one line each; empty: nothing. Personas alone are no line of their own. */
export function compareRelay(wanted: RelayState | undefined, there: RelayState | undefined): string[] {
  const [after, before] = [facts(wanted), facts(there)];
  const lines: string[] = [];
  for (const [key, { line, all }] of after) {
    const old = before.get(key);
    if (old === undefined) {
      if (!key.startsWith('persona ')) lines.push(`add ${line}`);
    } else if (old.all !== all) lines.push(`change ${line}`);
  }
  for (const [key, { line }] of before) if (!after.has(key) && !key.startsWith('persona ')) lines.push(`remove ${line}`);
  return lines;
}
