// The list of services: names, kinds, and those on the kernel path with their wires. Those that are dialled are
// relayed-services.ts. Pure; whether the wire to a service exists is plan/guard-network.ts.

import { type Address, rangeHolds, rangesOverlap, renderAddress, renderRange } from '../model/address.ts';
import type { InterfaceAddress, KernelPathService } from '../model/configuration.ts';
import type { RelayedService } from '../model/relayed-service.ts';
import { edgesOfSubnet, renderInterfaceAddress, subnetOf } from '../model/segment.ts';
import type { Mistakes } from './issues.ts';
import { kernelPathService } from './network-schema.ts';
import { isMapping } from './personas.ts';
import { type RelayedServiceContext, readRelayedService } from './relayed-services.ts';

type Path = readonly PropertyKey[];

/** What answers wherever nothing else is bound. */
export const builtIn = 'catch-all';
/** In the rules of an agent: whatever the gateway has there. */
export const handedOn = 'gateway';
const knownKinds = new Set(['container', 'vm', 'external']);

export interface ReadServices {
  readonly kernel: readonly KernelPathService[];
  readonly relayed: readonly RelayedService[];
}

/** A wire to a service that owns decoys' addresses. */
interface Wire {
  readonly name: string;
  readonly address: Address;
  readonly interface: string;
  readonly from: InterfaceAddress;
  /** Whose interface: an inner gateway's, an agent's; empty: this machine's. */
  readonly machine: string;
  readonly line: number;
}

export interface ServiceContext extends RelayedServiceContext {
  /** Agents whose own diversions a service answers; empty text: this machine's. See machinesOf. */
  readonly machines: ReadonlyMap<string, ReadonlySet<string>>;
}

/** On which machines the diversions are that a service is bound to: agents' names, empty for this one. As it stands in the file. */
export function machinesOf(bindings: readonly unknown[], diversions: readonly unknown[]): Map<string, Set<string>> {
  const agents = new Map<unknown, string>();
  // Whose packets come here are this machine's to answer.
  for (const one of diversions)
    if (isMapping(one) && one.kind !== 'agent' && one.transport !== 'packets' && typeof one.agent === 'string')
      agents.set(one.name, one.agent);
  const machines = new Map<string, Set<string>>();
  for (const one of bindings)
    if (isMapping(one) && typeof one.service === 'string')
      machines.set(one.service, (machines.get(one.service) ?? new Set()).add(agents.get(one.diversion) ?? ''));
  return machines;
}

export function readServices(list: readonly unknown[], context: ServiceContext): ReadServices {
  const { mistakes, file } = context;
  const kernel: KernelPathService[] = [];
  const relayed: RelayedService[] = [];
  const wires: Wire[] = [];
  const names = new Map<string, number>();
  for (const [index, value] of list.entries()) {
    const at = ['services', index];
    checkName(value, names, at, mistakes);
    if (isMapping(value) && typeof value.kind === 'string' && value.kind !== 'external') {
      const mistake = knownKinds.has(value.kind)
        ? `this version starts no services of kind \`${value.kind}\``
        : `there is no kind of service \`${value.kind}\``;
      const next = 'use `kind: external` with the address of a machine of yours; the rest goes to `catch-all`';
      mistakes.add([...at, 'kind'], mistake, next);
      continue;
    }
    if (isMapping(value) && value.path === 'kernel') {
      const service = readKernelPath(value, at, mistakes, file);
      if (!service) continue;
      const machines = [...(context.machines.get(service.name) ?? [''])];
      if (machines.length > 1)
        mistakes.add(
          at,
          `\`${service.name}\` is bound on ${machines.map((name) => (name === '' ? 'this machine' : `the machine of \`${name}\``)).join(' and ')}: its wire is on one of them`,
          'name it once for each machine, with the interface it is behind there',
        );
      checkWire({ ...service, machine: machines[0], line: service.place.line }, wires, at, mistakes);
      kernel.push(service);
      continue;
    }
    const service = readRelayedService(value, at, context);
    if (!service) continue;
    const { wire, name, address, place } = service;
    const machine = isMapping(value) && typeof value.via === 'string' ? value.via : '';
    if (wire) checkWire({ name, address, ...wire, machine, line: place.line }, wires, at, mistakes);
    relayed.push(Object.freeze(service));
  }
  return { kernel, relayed };
}

function checkName(value: unknown, names: Map<string, number>, at: Path, mistakes: Mistakes): void {
  if (!isMapping(value) || typeof value.name !== 'string') return;
  const before = names.get(value.name);
  if (value.name === builtIn || value.name === handedOn)
    mistakes.add([...at, 'name'], `\`${value.name}\` is the name of what is built in`, 'give the service another name');
  else if (before !== undefined)
    mistakes.add(
      [...at, 'name'],
      `the service \`${value.name}\` stands here and on line ${before}`,
      'give one of them another name',
    );
  else names.set(value.name, mistakes.lineOf([...at, 'name']));
}

function readKernelPath(
  value: Readonly<Record<string, unknown>>,
  at: Path,
  mistakes: Mistakes,
  file: string,
): KernelPathService | undefined {
  const parsed = kernelPathService.safeParse(value);
  if (!parsed.success) {
    mistakes.addIssues(parsed.error, kernelPathService, at);
    return undefined;
  }
  const { name, address, interface: link, from } = parsed.data;
  return Object.freeze({
    kind: 'external',
    path: 'kernel',
    name,
    address,
    interface: link,
    from,
    place: { file, line: mistakes.lineOf(at) },
  });
}

/** Adds it to those before. */
function checkWire(service: Wire, before: Wire[], at: Path, mistakes: Mistakes): void {
  const { address, from } = service;
  const wire = subnetOf(from);
  const text = renderAddress(address);
  if (address.family !== from.address.family)
    mistakes.add(
      [...at, 'from'],
      `${renderInterfaceAddress(from)} and the service ${text} are not of one family`,
      'write both in one',
    );
  else if (!rangeHolds(wire, address))
    mistakes.add(
      [...at, 'from'],
      `the service ${text} is not on the wire of ${renderInterfaceAddress(from)}, which is ${renderRange(wire)}`,
      "write a free address of the service's own subnet",
    );
  else if (address.value === from.address.value)
    mistakes.add([...at, 'from'], `${text} is the service itself`, 'write another, free address of its subnet');
  for (const edge of edgesOfSubnet(wire)) {
    if (edge.address.value === from.address.value)
      mistakes.add(
        [...at, 'from'],
        `${renderInterfaceAddress(from)} is ${edge.what} of its subnet`,
        'write a free address of it',
      );
    if (edge.address.value === address.value && address.family === wire.family)
      mistakes.add([...at, 'address'], `${text} is ${edge.what} of ${renderRange(wire)}`, "write the service's own address");
  }
  const other = before.find(
    (one) => one.interface !== service.interface && one.machine === service.machine && rangesOverlap(subnetOf(one.from), wire),
  );
  if (other)
    mistakes.add(
      [...at, 'from'],
      `${renderRange(wire)} is the wire of ${service.interface} here and of ${other.interface} on line ${other.line}`,
      'give the two wires different subnets',
    );
  before.push(service);
}
