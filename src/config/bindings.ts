// Bindings: which decoys are routed to a service on the kernel path, after the most specific binding has won, and who else
// answers which ports. What only concerns services that are dialled is relay-bindings.ts. Pure.

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
import type { AgentDiversion, ProxyDiversion, RelayBinding } from '../model/relayed-service.ts';
import { reservedInSegment } from '../model/segment.ts';
import type { Mistakes } from './issues.ts';
import { suggestion } from './mistake.ts';
import { type BindingText, bindingEntry } from './network-schema.ts';
import { isMapping } from './personas.ts';
import { RelayBindingReading } from './relay-bindings.ts';
import { builtIn, handedOn, type ReadServices } from './services.ts';

type Path = readonly PropertyKey[];

const maxBindings = 512;

export interface BindingContext {
  /** Those of agents too: `remote` has their names. */
  readonly diversions: readonly Diversion[];
  readonly remote: ReadonlySet<string>;
  readonly agentDiversions: readonly AgentDiversion[];
  readonly proxyDiversions: readonly ProxyDiversion[];
  readonly services: ReadServices;
  /** The file is an agent's part: `gateway` answers there too. */
  readonly ofAgent: boolean;
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
  /** Absent: something answers that is asked port by port. */
  readonly kernel?: KernelPathService;
}

const sizeOf = (ranges: readonly AddressRange[]): bigint => ranges.reduce((sum, range) => sum + rangeSize(range), 0n);
const list = (ranges: readonly AddressRange[]): string =>
  `${ranges.slice(0, 3).map(renderRange).join(', ')}${ranges.length > 3 ? ', ...' : ''}`;

/** `bindings` are disjoint within a diversion, and of this machine's own diversions; `relayed` of all. */
export function readBindings(
  entries: readonly unknown[],
  context: BindingContext,
): { bindings: readonly Binding[]; relayed: readonly RelayBinding[] } {
  const { mistakes, services, diversions, file } = context;
  if (entries.length > maxBindings) {
    mistakes.add(['bindings'], `${entries.length} bindings are more than ${maxBindings}`, 'list more addresses in fewer of them');
    return { bindings: [], relayed: [] };
  }
  // Names of what did not parse are known all the same: one mistake is one message.
  const serviceNames = new Set([builtIn, ...(context.ofAgent ? [handedOn] : []), ...namesIn(mistakes.valueAt(['services']))]);
  const flows = [...context.agentDiversions, ...context.proxyDiversions];
  const diversionNames = new Set([...namesIn(diversions), ...namesIn(flows), ...namesIn(context.written)]);
  const claims: Claim[] = [];
  const relay = new RelayBindingReading(context);
  for (const [index, value] of entries.entries()) {
    const at = ['bindings', index];
    const parsed = bindingEntry.safeParse(value);
    if (!parsed.success) {
      mistakes.addIssues(parsed.error, bindingEntry, at);
      continue;
    }
    const written = parsed.data;
    const known = addUnknown('service', written.service, serviceNames, at, mistakes);
    const kernel = services.kernel.find(({ name }) => name === written.service);
    for (const key of ['ports', 'protocol'] as const)
      if (kernel && written[key] !== undefined)
        mistakes.add(
          [...at, key],
          `\`${key}\` does not go with a service on the kernel path: the whole address is routed to it`,
          `leave \`${key}\` out, or bind other addresses`,
        );
    if (written.diversion === undefined) {
      if (written.service !== builtIn) mistakes.add(at, '`diversion` is missing', 'add `diversion:` with the name of one above');
      continue;
    }
    if (!addUnknown('diversion', written.diversion, diversionNames, at, mistakes) || !known) continue;
    const diversion = diversions.find(({ name }) => name === written.diversion);
    const flow = flows.find(({ name }) => name === written.diversion);
    if (flow && kernel)
      mistakes.add(
        [...at, 'service'],
        `\`${kernel.name}\` takes packets, and \`${flow.name}\` hands over connections`,
        'bind a service without `path: kernel`',
      );
    else if (flow) relay.add({ written, at, flow });
    else if (diversion) {
      const owned = !kernel && diversion.groups.some(({ kind }) => kind === 'own');
      const ranges = boundRanges(written, diversion, owned, at, mistakes);
      if (!ranges) continue;
      claims.push({ written, at, diversion, ranges, size: sizeOf(ranges), ...(kernel ? { kernel } : {}) });
      if (!kernel) relay.add({ written, at, diversion, ranges });
    }
  }
  const left = mostSpecific(claims, mistakes);
  const bindings: Binding[] = [];
  for (const claim of claims) {
    const addresses = left.get(claim) ?? [];
    if (!claim.kernel || addresses.length === 0) continue;
    checkRouted(claim, addresses, claim.kernel, mistakes);
    const place = { file, line: mistakes.lineOf(claim.at) };
    if (!context.remote.has(claim.diversion.name))
      bindings.push(Object.freeze({ diversion: claim.diversion.name, addresses, service: claim.kernel.name, place }));
  }
  return { bindings, relayed: relay.finish() };
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

/** The decoys that a binding asks for, but for own addresses (`owned`: it may mean those as well); undefined after a mistake. */
function boundRanges(
  written: BindingText,
  diversion: Diversion,
  owned: boolean,
  at: Path,
  mistakes: Mistakes,
): AddressRange[] | undefined {
  const claimed = uniteRanges(diversion.groups.filter(({ kind }) => kind === 'claimed').flatMap(({ ranges }) => ranges));
  // Addresses that the segment itself needs are decoys of nobody.
  const reserved = diversion.kind === 'network' ? reservedInSegment(diversion) : [];
  const holes = reserved.map(({ address }) => ({ family: address.family, first: address.value, last: address.value }));
  const decoys = subtractRanges(claimed, holes);
  const wanted = written.addresses;
  const strangers = wanted && !owned ? subtractRanges(wanted, claimed) : [];
  if (strangers.length > 0) {
    mistakes.add(
      [...at, 'addresses'],
      `${list(strangers)} ${strangers.length === 1 && strangers[0].first === strangers[0].last ? 'is no decoy' : 'are no decoys'} of \`${diversion.name}\``,
      'bind addresses from its `decoys`, or add them there',
    );
    return undefined;
  }
  const ranges = wanted ? overlapRanges(wanted, decoys) : decoys;
  if (ranges.length > 0 || owned) return ranges;
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
      // Between those that are asked port by port: relay-bindings.ts.
      if (!claim.kernel && !other.kernel) continue;
      const shared = overlapRanges(claim.ranges, other.ranges);
      const within = sizeOf(shared) === other.size && other.size < claim.size;
      const narrowed = isNarrowed(other);
      const around = sizeOf(shared) === claim.size && (claim.size < other.size || isNarrowed(claim));
      if (claim.kernel && narrowed && sizeOf(shared) === other.size) {
        // Ports of one address cannot go two ways: the narrower promise would be broken.
        addPortsWithin(other, claim, mistakes);
        taken.push(...other.ranges);
      } else if (within) taken.push(...other.ranges);
      else if (!around && claims.indexOf(claim) > claims.indexOf(other))
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

const isNarrowed = ({ written: { ports, protocol } }: Claim): boolean => ports !== undefined || protocol !== undefined;

function addPortsWithin(narrow: Claim, wide: Claim, mistakes: Mistakes): void {
  const key = narrow.written.ports === undefined ? 'protocol' : 'ports';
  mistakes.add(
    [...narrow.at, key],
    `line ${mistakes.lineOf(wide.at)} routes these addresses to \`${wide.written.service}\`, and routes them whole`,
    `leave \`${key}\` out: \`${narrow.written.service}\` then answers every port of these addresses`,
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
