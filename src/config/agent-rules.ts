// The part of a weir.yaml that concerns one agent, as the text its gateway pushes to it: the same keys, read by the same
// parser, with what is another machine's left out. Pure; the parser has checked the whole before.

import { renderAddress } from '../model/address.ts';
import { isMapping } from './personas.ts';
import { renderListen } from './relay-diversions.ts';
import { hopsTo, type ReadGateway } from './relayed-services.ts';
import { builtIn, handedOn } from './services.ts';

type Mapping = Readonly<Record<string, unknown>>;

export interface WholeConfiguration {
  /** The file as it was read. */
  readonly value: Mapping;
  readonly gateways: ReadonlyMap<string, ReadGateway>;
  /** Names of those on the kernel path. */
  readonly kernelServices: ReadonlySet<string>;
}

const mappings = (value: unknown): Mapping[] => (Array.isArray(value) ? value.filter(isMapping) : []);

const without = (value: Mapping, ...keys: readonly string[]): Mapping =>
  Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));

/** Everybody who gets rules, in order of name: whose machine is named, and who is an inner gateway. */
export function ruledAgents({ value, gateways }: Pick<WholeConfiguration, 'value' | 'gateways'>): string[] {
  const named = mappings(value.diversions).flatMap(({ agent }) => (typeof agent === 'string' ? [agent] : []));
  return [...new Set([...named, ...gateways.keys()])].sort();
}

/** JSON text, the same for the same file. */
export function renderAgentRules(agent: string, whole: WholeConfiguration): string {
  const { value, gateways } = whole;
  const written = mappings(value.diversions).filter((one) => one.agent === agent);
  const names = new Set(written.map(({ name }) => name));
  const runs = written.some(({ kind }) => kind !== 'agent');
  const doors = gateways.has(agent) ? [innerDoor(agent, gateways, names)] : [];
  const bindings = mappings(value.bindings).filter(({ diversion }) =>
    written.some(({ name, kind, transport }) => name === diversion && kind !== 'agent' && transport !== 'packets'),
  );
  const kernel = mappings(value.services).filter(
    ({ name }) => whole.kernelServices.has(String(name)) && bindings.some(({ service }) => service === name),
  );
  const inner = innerServices(agent, whole);
  const shared = [
    ...(written.length > 0 ? ['personas', 'populations'] : []),
    'limits',
    ...(runs ? ['management', 'probing'] : []),
  ].flatMap((key) => (value[key] === undefined ? [] : [[key, value[key]]]));
  return JSON.stringify({
    version: 1,
    agent,
    ...Object.fromEntries(shared),
    diversions: [...written.map((one) => without(one, 'agent')), ...doors],
    services: [...kernel, ...inner.services],
    bindings: bindings.map((one) => {
      const stays = one.service === builtIn || whole.kernelServices.has(String(one.service));
      return stays ? one : { ...one, service: handedOn };
    }),
    gateways: inner.gateways,
  });
}

/** Where an inner gateway takes what the one before hands on. */
function innerDoor(agent: string, gateways: ReadonlyMap<string, ReadGateway>, names: ReadonlySet<unknown>): Mapping {
  let name = 'inner';
  for (let count = 2; names.has(name); count += 1) name = `inner-${count}`;
  const gateway = gateways.get(agent) as ReadGateway;
  const before = gateway.via === undefined ? undefined : gateways.get(gateway.via);
  const allow = gateway.from ?? (before ? [renderAddress(before.address)] : []);
  return { name, kind: 'proxy', inner: true, listen: renderListen(gateway), allow };
}

/** Services at the end of a way over this gateway, as seen from it. */
function innerServices(
  agent: string,
  { value, gateways }: WholeConfiguration,
): { readonly services: readonly Mapping[]; readonly gateways: readonly Mapping[] } {
  const next = new Set<string>();
  const services = mappings(value.services).flatMap((service) => {
    const hops = typeof service.via === 'string' ? (hopsTo(service.via, gateways) ?? []) : [];
    const at = hops.indexOf(agent);
    if (at < 0) return [];
    const rest = hops.slice(at + 1);
    for (const hop of rest) next.add(hop);
    return [rest.length === 0 ? without(service, 'via') : service];
  });
  const entries = mappings(value.gateways).filter(({ name }) => next.has(String(name)));
  return { services, gateways: entries.map((one) => (one.via === agent ? without(one, 'via', 'from') : without(one, 'from'))) };
}
