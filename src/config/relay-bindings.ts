// Bindings of services that are dialled, of diversions of every kind: what is bound, and where two of them leave open who
// answers. The look-up that follows them is BindingTable in model/relayed-service.ts. Pure.

import {
  type AddressRange,
  overlapRanges,
  rangeHolds,
  rangeSize,
  renderAddress,
  renderRange,
  subtractRanges,
  uniteRanges,
} from '../model/address.ts';
import type { Diversion } from '../model/configuration.ts';
import { allPorts, type PortSet, renderPorts, subtractPorts, unitePorts } from '../model/port-set.ts';
import type { AgentDiversion, ProxyDiversion, RelayBinding, RelayedService } from '../model/relayed-service.ts';
import type { Transport } from '../model/session.ts';
import type { BindingContext } from './bindings.ts';
import type { BindingText } from './network-schema.ts';
import { builtIn } from './services.ts';

type Path = readonly PropertyKey[];

/** A binding that parsed, of a service not on the kernel path. */
interface Claim {
  readonly written: BindingText;
  readonly at: Path;
  readonly flow?: AgentDiversion | ProxyDiversion;
  readonly diversion?: Diversion;
  /** Claimed decoys among those it asks for. */
  readonly ranges?: readonly AddressRange[];
}

interface Entry extends Claim {
  readonly binding: RelayBinding;
}

type Relation = 'apart' | 'equal' | 'within' | 'around' | 'across';

export class RelayBindingReading {
  readonly #context: BindingContext;
  readonly #entries: Entry[] = [];

  constructor(context: BindingContext) {
    this.#context = context;
  }

  add(claim: Claim): void {
    const { mistakes, services, file } = this.#context;
    const { written, at } = claim;
    const service = services.relayed.find(({ name }) => name === written.service);
    if (service) this.#checkService(claim, service);
    if (claim.flow?.kind === 'agent') this.#checkListened(claim, claim.flow);
    const onlyStreams = service?.path === 'proxy' && service.proxyVersion === 1;
    const transport = written.protocol ?? (onlyStreams ? 'tcp' : undefined);
    const { ports } = written;
    const addresses = written.addresses && Object.freeze(uniteRanges(written.addresses));
    this.#entries.push({
      ...claim,
      binding: Object.freeze({
        diversion: written.diversion ?? '',
        ...(addresses ? { addresses } : {}),
        ...(ports ? { ports } : {}),
        ...(transport ? { transport } : {}),
        service: written.service,
        place: { file, line: mistakes.lineOf(at) },
      }),
    });
  }

  /** Where nothing but the catch-all is bound, nothing has to be looked up. */
  finish(): RelayBinding[] {
    for (const [index, entry] of this.#entries.entries())
      for (const before of this.#entries.slice(0, index)) this.#checkPair(before, entry);
    const used = new Set(this.#entries.flatMap(({ binding }) => (binding.service === builtIn ? [] : [binding.diversion])));
    return this.#entries.flatMap(({ binding }) => (used.has(binding.diversion) ? [binding] : []));
  }

  #checkService({ written, at, ranges }: Claim, service: RelayedService): void {
    const { mistakes } = this.#context;
    if (service.proxyVersion === 1 && written.protocol === 'udp')
      mistakes.add(
        [...at, 'protocol'],
        `\`${service.name}\` expects \`proxy-protocol: v1\`, which cannot say UDP`,
        'write `proxy-protocol: v2` there, or bind `protocol: tcp`',
      );
    if (!service.wire) return;
    const { family } = service.address;
    const other = (ranges ?? written.addresses ?? []).find((range) => range.family !== family);
    if (other)
      mistakes.add(
        written.addresses ? [...at, 'addresses'] : at,
        `${renderRange(other)} cannot be dialled at \`${service.name}\`, which has an IPv${family} address`,
        `bind the IPv${family} decoys by \`addresses:\`, and the others to a service with an IPv${other.family} address`,
      );
  }

  /** What is bound on an agent's machine is also listened on there. */
  #checkListened({ written, at }: Claim, { name, tcp, udp, addresses }: AgentDiversion): void {
    const { mistakes } = this.#context;
    const { ports, protocol } = written;
    const listened = protocol === 'tcp' ? tcp : protocol === 'udp' ? udp : unitePorts([...tcp, ...udp]);
    const missing = subtractPorts(ports ?? [], listened);
    if (missing.length > 0)
      mistakes.add(
        [...at, 'ports'],
        `the agent of \`${name}\` does not listen on ${protocol ?? 'port'} ${renderPorts(missing)}`,
        "add it to the diversion's `listen`, or leave it out here",
      );
    if (addresses.length === 0) return;
    const stranger = subtractRanges(
      written.addresses ?? [],
      addresses.map(({ family, value }) => ({ family, first: value, last: value })),
    )[0];
    if (stranger)
      mistakes.add(
        [...at, 'addresses'],
        `the agent of \`${name}\` does not listen at ${renderRange(stranger)}`,
        `bind some of ${addresses.slice(0, 8).map(renderAddress).join(', ')}`,
      );
  }

  #checkPair(a: Entry, b: Entry): void {
    const { mistakes } = this.#context;
    const [one, other] = [a.binding, b.binding];
    if (one.diversion !== other.diversion || one.service === other.service) return;
    const transports = compareTransports(one.transport, other.transport);
    const ports = comparePorts(one.ports ?? allPorts, other.ports ?? allPorts);
    const addresses = compareAddresses(one.addresses, other.addresses);
    if ([transports, ports, addresses].includes('apart') || addresses === 'within' || addresses === 'around') return;
    if (addresses === 'equal' && (ports === 'within' || ports === 'around')) return;
    if (addresses === 'equal' && ports === 'equal' && transports !== 'equal') return;
    const shared = subtractPorts(one.ports ?? allPorts, subtractPorts(allPorts, other.ports ?? allPorts));
    const where = one.addresses && other.addresses ? overlapRanges(one.addresses, other.addresses).slice(0, 3) : [];
    const what = ports === 'equal' && one.ports === undefined ? 'the same decoys' : `port ${renderPorts(shared)}`;
    mistakes.add(
      b.at,
      `${what}${where.length > 0 ? ` at ${where.map(renderRange).join(', ')}` : ''} would have two services, here and on line ${one.place.line}, and neither binding is the more specific`,
      'take it out of one of them',
    );
  }
}

function compareTransports(a: Transport | undefined, b: Transport | undefined): Relation {
  if (a === b) return 'equal';
  return a === undefined ? 'around' : b === undefined ? 'within' : 'apart';
}

const countPorts = (ports: PortSet): number => ports.reduce((sum, { first, last }) => sum + last - first + 1, 0);

function comparePorts(a: PortSet, b: PortSet): Relation {
  const [sizeA, sizeB] = [countPorts(a), countPorts(b)];
  const shared = sizeA - countPorts(subtractPorts(a, b));
  return relationOf(BigInt(shared), BigInt(sizeA), BigInt(sizeB));
}

const countAddresses = (ranges: readonly AddressRange[]): bigint => ranges.reduce((sum, range) => sum + rangeSize(range), 0n);

function compareAddresses(a: readonly AddressRange[] | undefined, b: readonly AddressRange[] | undefined): Relation {
  if (!a || !b) return a ? 'within' : b ? 'around' : 'equal';
  return relationOf(countAddresses(overlapRanges(a, b)), countAddresses(a), countAddresses(b));
}

function relationOf(shared: bigint, sizeA: bigint, sizeB: bigint): Relation {
  if (shared === 0n) return 'apart';
  if (shared === sizeA) return sizeA === sizeB ? 'equal' : 'within';
  return shared === sizeB ? 'around' : 'across';
}

/** A service at the address of a decoy of this machine would answer itself. */
export function checkNotDecoy(
  services: readonly RelayedService[],
  diversions: readonly Diversion[],
  { mistakes, written }: { readonly mistakes: BindingContext['mistakes']; readonly written: (service: RelayedService) => Path },
): void {
  for (const service of services) {
    if (service.via !== undefined || service.wire) continue;
    const diversion = diversions.find(
      ({ kind, groups }) =>
        kind === 'host' &&
        groups.some((group) => group.kind === 'claimed' && group.ranges.some((range) => rangeHolds(range, service.address))),
    );
    if (diversion)
      mistakes.add(
        [...written(service), 'address'],
        `${renderAddress(service.address)} is a decoy of \`${diversion.name}\`: connections to the service would come back for ever`,
        `write the service's own address, or \`exclude\` it from the decoys`,
      );
  }
}
