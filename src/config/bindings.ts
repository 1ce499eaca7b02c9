// Services and bindings: which decoys are routed to a machine of the user's, after the most specific binding has won.
// Pure; whether the wire to a service exists is plan/guard-network.ts.

import {
  type Address,
  type AddressRange,
  overlapRanges,
  rangeHolds,
  rangeSize,
  rangesOverlap,
  renderAddress,
  renderRange,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import type { Binding, Diversion, KernelPathService } from '../model/configuration.ts';
import { edgesOfSubnet, renderInterfaceAddress, reservedInSegment, subnetOf } from '../model/segment.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { type BindingText, bindingEntry, kernelPathService } from './network-schema.ts';
import { isMapping } from './personas.ts';

type Path = readonly PropertyKey[];

/** What answers wherever nothing else is bound. */
const builtIn = 'catch-all';
const maxBindings = 512;
const knownKinds = new Set(['container', 'vm', 'external']);

/** A mapping of `services` that is none of ours: what this version lacks, or undefined. */
function lacking(value: Readonly<Record<string, unknown>>): { key: string; mistake: string } | undefined {
  const { kind, path } = value;
  if (typeof kind === 'string' && kind !== 'external')
    return {
      key: 'kind',
      mistake: knownKinds.has(kind)
        ? `this version starts no services of kind \`${kind}\``
        : `there is no kind of service \`${kind}\``,
    };
  if (kind === 'external' && (path === undefined || typeof path === 'string') && path !== 'kernel')
    return {
      key: path === undefined ? 'kind' : 'path',
      mistake:
        path === undefined
          ? 'this version reaches external services by `path: kernel` only'
          : `there is no path \`${path}\` to a service in this version`,
    };
  return undefined;
}

export function readServices(list: readonly unknown[], mistakes: Mistakes, file: string): KernelPathService[] {
  const services: KernelPathService[] = [];
  const names = new Map<string, number>();
  for (const [index, value] of list.entries()) {
    const at = ['services', index];
    if (isMapping(value) && typeof value.name === 'string') {
      const before = names.get(value.name);
      if (value.name === builtIn)
        mistakes.add([...at, 'name'], `\`${builtIn}\` is the name of what is built in`, 'give the service another name');
      else if (before !== undefined)
        mistakes.add(
          [...at, 'name'],
          `the service \`${value.name}\` stands here and on line ${before}`,
          'give one of them another name',
        );
      else names.set(value.name, mistakes.lineOf([...at, 'name']));
    }
    const missing = isMapping(value) ? lacking(value) : undefined;
    if (missing) {
      mistakes.add(
        [...at, missing.key],
        missing.mistake,
        'use `kind: external` with `path: kernel`: a machine of yours that answers with its own TCP stack; the rest goes to `catch-all`',
      );
      continue;
    }
    const parsed = kernelPathService.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, kernelPathService, at);
      continue;
    }
    const { name, address, interface: link, from } = parsed.data;
    const service = { kind: 'external', path: 'kernel', name, address, interface: link, from } as const;
    checkWire(service, services, at, mistakes);
    services.push(Object.freeze({ ...service, place: { file, line: mistakes.lineOf(at) } }));
  }
  return services;
}

function checkWire(
  service: Omit<KernelPathService, 'place'>,
  before: readonly KernelPathService[],
  at: Path,
  mistakes: Mistakes,
): void {
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
  const other = before.find((one) => one.interface !== service.interface && rangesOverlap(subnetOf(one.from), wire));
  if (other)
    mistakes.add(
      [...at, 'from'],
      `${renderRange(wire)} is the wire of ${service.interface} here and of ${other.interface} on line ${other.place.line}`,
      'give the two wires different subnets',
    );
}

interface BindingContext {
  readonly diversions: readonly Diversion[];
  readonly services: readonly KernelPathService[];
  /** The list of diversions as it stands in the file. */
  readonly written: unknown;
  readonly mistakes: Mistakes;
  readonly file: string;
}

/** A binding with the decoys it asks for, before the more specific ones have taken theirs. */
interface Claim {
  readonly written: BindingText;
  readonly at: Path;
  readonly diversion: Diversion;
  readonly ranges: readonly AddressRange[];
  readonly size: bigint;
}

const sizeOf = (ranges: readonly AddressRange[]): bigint => ranges.reduce((sum, range) => sum + rangeSize(range), 0n);
const list = (ranges: readonly AddressRange[]): string =>
  `${ranges.slice(0, 3).map(renderRange).join(', ')}${ranges.length > 3 ? ', ...' : ''}`;

/** Disjoint within a diversion, never of `catch-all`: that answers what is left. */
export function readBindings(entries: readonly unknown[], context: BindingContext): Binding[] {
  const { mistakes, services, diversions, file } = context;
  if (entries.length > maxBindings) {
    mistakes.add(['bindings'], `${entries.length} bindings are more than ${maxBindings}`, 'list more addresses in fewer of them');
    return [];
  }
  // Names of what did not parse are known all the same: one mistake is one message.
  const serviceNames = new Set([builtIn, ...namesIn(services), ...namesIn(mistakes.valueAt(['services']))]);
  const diversionNames = new Set([...namesIn(diversions), ...namesIn(context.written)]);
  const claims: Claim[] = [];
  for (const [index, value] of entries.entries()) {
    const at = ['bindings', index];
    const parsed = bindingEntry.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, bindingEntry, at);
      continue;
    }
    const written = parsed.data;
    const known = addUnknown('service', written.service, serviceNames, at, mistakes);
    if (written.service !== builtIn && written.ports !== undefined)
      mistakes.add(
        [...at, 'ports'],
        '`ports` does not go with a service on the kernel path: the whole address is routed to it',
        'leave `ports` out, or bind other addresses',
      );
    if (written.diversion === undefined) {
      if (written.service !== builtIn) mistakes.add(at, '`diversion` is missing', 'add `diversion:` with the name of one above');
      continue;
    }
    if (!addUnknown('diversion', written.diversion, diversionNames, at, mistakes) || !known) continue;
    const diversion = diversions.find(({ name }) => name === written.diversion);
    if (!diversion) continue;
    const ranges = boundRanges(written, diversion, at, mistakes);
    if (ranges) claims.push({ written, at, diversion, ranges, size: sizeOf(ranges) });
  }
  const left = mostSpecific(claims, mistakes);
  const bindings: Binding[] = [];
  for (const claim of claims) {
    const service = services.find(({ name }) => name === claim.written.service);
    const addresses = left.get(claim) ?? [];
    if (!service || addresses.length === 0) continue;
    checkRouted(claim, addresses, service, mistakes);
    const place = { file, line: mistakes.lineOf(claim.at) };
    bindings.push(Object.freeze({ diversion: claim.diversion.name, addresses, service: service.name, place }));
  }
  return bindings;
}

function namesIn(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item) => (isMapping(item) && typeof item.name === 'string' ? [item.name] : []));
}

/** Whether the name is known. */
function addUnknown(
  what: 'service' | 'diversion',
  name: string,
  known: ReadonlySet<string>,
  at: Path,
  mistakes: Mistakes,
): boolean {
  if (known.has(name)) return true;
  const guess = suggestion(name, known);
  mistakes.add(
    [...at, what],
    `there is no ${what} \`${name}\``,
    guess === undefined ? `use one of ${[...known].slice(0, 20).join(', ')}` : `did you mean \`${guess}\`?`,
  );
  return false;
}

/** The decoys that a binding asks for; undefined after a mistake. */
function boundRanges(written: BindingText, diversion: Diversion, at: Path, mistakes: Mistakes): AddressRange[] | undefined {
  const claimed = uniteRanges(diversion.groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges));
  // Addresses that the segment itself needs are decoys of nobody.
  const reserved = diversion.kind === 'network' ? reservedInSegment(diversion) : [];
  const holes = reserved.map(({ address }) => ({ family: address.family, first: address.value, last: address.value }));
  const decoys = subtractRanges(claimed, holes);
  const wanted = written.addresses;
  const strangers = wanted ? subtractRanges(wanted, claimed) : [];
  if (strangers.length > 0) {
    mistakes.add(
      [...at, 'addresses'],
      `${list(strangers)} ${strangers.length === 1 && strangers[0].first === strangers[0].last ? 'is no decoy' : 'are no decoys'} of \`${diversion.name}\``,
      'bind addresses from its `decoys`, or add them there',
    );
    return undefined;
  }
  const ranges = wanted ? overlapRanges(wanted, decoys) : decoys;
  if (ranges.length > 0) return ranges;
  if (diversion.groups.length > 0)
    mistakes.add(
      wanted ? [...at, 'addresses'] : at,
      wanted
        ? 'no decoy is left here: these addresses are taken by the segment itself'
        : `\`${diversion.name}\` has no decoys that can be bound: own addresses stay with this machine`,
      'bind decoys at addresses of their own',
    );
  return undefined;
}

/** Claims of one diversion that share an address with each claim; found in one pass over their ranges in order. */
function rivalsOf(claims: readonly Claim[]): Map<Claim, Set<Claim>> {
  const rivals = new Map<Claim, Set<Claim>>();
  const pieces = claims.flatMap((claim) => claim.ranges.map((range) => ({ claim, range })));
  pieces.sort(
    (a, b) => a.range.family - b.range.family || (a.range.first < b.range.first ? -1 : a.range.first > b.range.first ? 1 : 0),
  );
  let open: typeof pieces = [];
  for (const piece of pieces) {
    open = open.filter(({ range }) => rangesOverlap(range, piece.range));
    for (const { claim } of open)
      if (claim !== piece.claim && claim.diversion === piece.claim.diversion)
        for (const [one, other] of [
          [claim, piece.claim],
          [piece.claim, claim],
        ])
          rivals.set(one, (rivals.get(one) ?? new Set()).add(other));
    open.push(piece);
  }
  return rivals;
}

/** What is left to each after smaller ones within it took theirs; overlaps of which neither is within the other are mistakes. */
function mostSpecific(claims: readonly Claim[], mistakes: Mistakes): Map<Claim, AddressRange[]> {
  const left = new Map<Claim, AddressRange[]>();
  const rivals = rivalsOf(claims);
  for (const claim of claims) {
    const taken: AddressRange[] = [];
    for (const other of rivals.get(claim) ?? []) {
      const shared = overlapRanges(claim.ranges, other.ranges);
      const within = sizeOf(shared) === other.size && other.size < claim.size;
      const around = sizeOf(shared) === claim.size && claim.size < other.size;
      if (within) {
        // Ports of one address cannot go two ways: the narrower promise would be broken.
        if (other.written.ports !== undefined && claim.written.service !== builtIn) addPortsWithin(other, claim, mistakes);
        taken.push(...other.ranges);
      } else if (!around && claims.indexOf(claim) > claims.indexOf(other))
        mistakes.add(
          claim.at,
          `${list(shared)} ${shared.length === 1 && shared[0].first === shared[0].last ? 'is' : 'are'} bound here and on line ${mistakes.lineOf(other.at)}, and neither binding is the more specific`,
          'take these addresses out of one of them',
        );
    }
    left.set(claim, taken.length > 0 ? subtractRanges(claim.ranges, taken) : [...claim.ranges]);
  }
  return left;
}

function addPortsWithin(narrow: Claim, wide: Claim, mistakes: Mistakes): void {
  mistakes.add(
    [...narrow.at, 'ports'],
    `line ${mistakes.lineOf(wide.at)} routes these addresses to \`${wide.written.service}\`, and routes them whole`,
    'leave `ports` out: `catch-all` then answers every port of these addresses',
  );
}

function checkRouted(claim: Claim, addresses: readonly AddressRange[], service: KernelPathService, mistakes: Mistakes): void {
  const path = claim.written.addresses ? [...claim.at, 'addresses'] : claim.at;
  const { family } = service.address;
  const other = addresses.find((range) => range.family !== family);
  if (other)
    mistakes.add(
      path,
      `${renderRange(other)} cannot be routed to \`${service.name}\`, which has an IPv${family} address`,
      `bind the IPv${family} decoys by \`addresses:\`, and the others to a service with an IPv${other.family} address`,
    );
  const holds = (address: Address): boolean => addresses.some((range) => rangeHolds(range, address));
  if (holds(service.address) || holds(service.from.address))
    mistakes.add(
      path,
      `${renderAddress(holds(service.address) ? service.address : service.from.address)} leads to \`${service.name}\` and cannot be routed to it as well`,
      'leave it out of the addresses, or give the wire to the service another subnet',
    );
  const own = claim.diversion.groups.find(
    (group) => group.claim !== undefined && overlapRanges(group.ranges, addresses).length > 0,
  );
  if (own)
    mistakes.add(
      path,
      `the decoys on line ${own.place.line} have \`claim: ${own.claim}\`: what sits on an interface here cannot be routed on`,
      'leave `claim` out there, or bind other addresses',
    );
}
