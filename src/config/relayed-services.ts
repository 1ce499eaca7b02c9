// Services that the gateway dials, and the inner gateways on the way to them. Pure; those on the kernel path and what is
// bound to either are services.ts and bindings.ts.

import { renderAddress, renderRange } from '../model/address.ts';
import type { InnerGateway, ProxyDiversion, RelayedService } from '../model/relayed-service.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { isMapping } from './personas.ts';
import { externalService, gatewayEntry } from './relay-schema.ts';

type Path = readonly PropertyKey[];

/** More hops add nothing but delay. */
const maxHops = 8;
const maxGateways = 256;

/** An inner gateway as it stands in the file, and the one before it. */
export interface ReadGateway extends InnerGateway {
  readonly via?: string;
  /** From where the one before comes, as written. */
  readonly from?: readonly string[];
  readonly at: Path;
}

/** Those that could be read, by name. */
export function readGateways(list: readonly unknown[], mistakes: Mistakes, file: string): ReadonlyMap<string, ReadGateway> {
  const gateways = new Map<string, ReadGateway>();
  if (list.length > maxGateways) {
    mistakes.add(['gateways'], `${list.length} gateways are more than ${maxGateways}`, 'leave out what no service needs');
    return gateways;
  }
  for (const [index, value] of list.entries()) {
    const at = ['gateways', index];
    const parsed = gatewayEntry.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, gatewayEntry, at);
      continue;
    }
    const { name, address, from, via } = parsed.data;
    const before = gateways.get(name);
    if (before)
      mistakes.add(
        [...at, 'name'],
        `the gateway \`${name}\` stands here and on line ${before.place.line}`,
        'give one of them another name',
      );
    else
      gateways.set(name, {
        name,
        ...address,
        place: { file, line: mistakes.lineOf(at) },
        at,
        ...(via ? { via } : {}),
        ...(from ? { from: from.map(renderRange) } : {}),
      });
  }
  for (const gateway of gateways.values()) {
    if (gateway.via === undefined) continue;
    if (!gateways.has(gateway.via)) addUnknownGateway(gateway.via, gateways, list, [...gateway.at, 'via'], mistakes);
    else if (hopsTo(gateway.name, gateways) === undefined)
      mistakes.add(
        [...gateway.at, 'via'],
        `the way to \`${gateway.name}\` never arrives: it goes round in a circle, or over more than ${maxHops} gateways`,
        'leave `via` out where this gateway is the one before',
      );
  }
  return gateways;
}

/** The gateways on the way, the first hop first; undefined for a way without an end. */
export function hopsTo(name: string, gateways: ReadonlyMap<string, ReadGateway>): string[] | undefined {
  const hops: string[] = [];
  for (let at: string | undefined = name; at !== undefined; at = gateways.get(at)?.via) {
    if (hops.length === maxHops) return undefined;
    hops.unshift(at);
  }
  return hops;
}

function addUnknownGateway(
  name: string,
  known: ReadonlyMap<string, unknown>,
  written: unknown,
  at: Path,
  mistakes: Mistakes,
): void {
  // What did not parse is known all the same.
  if (Array.isArray(written) && written.some((one) => isMapping(one) && one.name === name)) return;
  const guess = suggestion(name, known.keys());
  mistakes.add(
    at,
    `there is no gateway \`${name}\``,
    guess === undefined ? 'add it to `gateways:` with its name and address' : `did you mean \`${guess}\`?`,
  );
}

export interface RelayedServiceContext {
  readonly gateways: ReadonlyMap<string, ReadGateway>;
  /** The list of gateways as it stands in the file. */
  readonly written: unknown;
  readonly mistakes: Mistakes;
  readonly file: string;
}

/** `via` is the first hop, whatever comes after it; undefined when there is a mistake that leaves nothing to go on with. */
export function readRelayedService(value: unknown, at: Path, context: RelayedServiceContext): RelayedService | undefined {
  const { mistakes, file, gateways } = context;
  const parsed = externalService.safeParse(value);
  if (!parsed.success) {
    mistakes.addIssues(parsed.error, externalService, at);
    return undefined;
  }
  const { name, address, path, interface: link, from, via } = parsed.data;
  const proxy = parsed.data['proxy-protocol'];
  const place = { file, line: mistakes.lineOf(at) };
  if (via !== undefined && !gateways.has(via)) addUnknownGateway(via, gateways, context.written, [...at, 'via'], mistakes);
  const hop = via === undefined ? undefined : (hopsTo(via, gateways)?.[0] ?? via);
  const shared = {
    kind: 'external' as const,
    name,
    address: address.address,
    place,
    ...(hop === undefined ? {} : { via: hop }),
  };
  if (path === undefined) {
    for (const [key, present] of Object.entries({ interface: link, from }))
      if (present !== undefined)
        mistakes.add(
          [...at, key],
          `\`${key}\` says nothing about a service that is dialled from this machine's own address`,
          'add `path: transparent`, or leave it out',
        );
    const port = address.port === undefined ? {} : { port: address.port };
    return proxy === false ? { ...shared, ...port, path: 'direct' } : { ...shared, ...port, path: 'proxy', proxyVersion: proxy };
  }
  for (const key of ['interface', 'from'] as const)
    if (parsed.data[key] === undefined)
      mistakes.add(
        at,
        `\`${key}\` is missing`,
        `add \`${key}:\` with ${key === 'interface' ? "this machine's interface on whose wire the service is" : 'a free address on that wire'}`,
      );
  if (proxy !== false)
    mistakes.add(
      [...at, 'proxy-protocol'],
      '`proxy-protocol` does not go with `path: transparent`: the connection itself names attacker and decoy',
      'leave one of them out',
    );
  if (address.port !== undefined)
    mistakes.add(
      [...at, 'address'],
      `\`path: transparent\` leads to the decoy's port, not to ${address.port}`,
      `write ${renderAddress(address.address)} alone, or leave \`path\` out`,
    );
  if (link === undefined || from === undefined) return undefined;
  return { ...shared, path, wire: { interface: link, from } };
}

/** A service that leads back to where its connections come from would never end. */
export function checkNoCircle(
  services: readonly RelayedService[],
  doors: readonly ProxyDiversion[],
  pathOf: (service: RelayedService) => Path,
  mistakes: Mistakes,
): void {
  for (const service of services) {
    if (service.via !== undefined || service.port === undefined) continue;
    const { address, port } = service;
    const local = address.family === 4 ? address.value >> 24n === 127n : address.value === 1n;
    const door = doors.find(
      ({ listen }) =>
        listen.port === port &&
        ((listen.address.family === address.family && listen.address.value === address.value) ||
          (local && listen.address.value === 0n)),
    );
    if (door)
      mistakes.add(
        [...pathOf(service), 'address'],
        `\`${service.name}\` is the diversion \`${door.name}\` of line ${door.place.line} itself: its connections would come back for ever`,
        'write where the service listens',
      );
  }
}
