// Follows the first packet of a connection from a link to the socket that takes it: every hook's rules, the kernel's own routing
// decisions, address translation, other namespaces of the machine. Decides nothing about what is good.

import { type Address, bitsOf, renderAddress } from '../../model/address.ts';
import type { Machine, MachineLink, MachineListener, MachineNamespace } from '../../model/machine.ts';
import type {
  FilterHook,
  FilterPacket,
  FilterStep,
  FilterVerdict,
  FilterWalk,
  PacketFilter,
  RulePlace,
  WalkContext,
} from '../../model/packet-filter.ts';
import type { Transport } from '../../model/session.ts';
import { walkFilter } from '../filter-walk.ts';
import type { DecidedBy } from './exposure-report.ts';

/** As kernel/machine/route-get.ts answers; `iif` makes it judge the source and forwarding too. */
export type RouteQuestioner = (
  namespace: MachineNamespace,
  question: { readonly to: Address; readonly from?: Address; readonly iif?: string; readonly mark?: number },
) =>
  | { readonly kind: 'route'; readonly type: string; readonly device?: string }
  | { readonly kind: 'none'; readonly errno: string };

export interface PathQuestion {
  readonly namespace: MachineNamespace;
  readonly device: string;
  readonly source: Address;
  readonly destination: Address;
  readonly port: number;
  readonly transport: Transport;
}

export type PathAnswer = {
  /** Rules that let it in or rewrote it, in order. */
  readonly allowedBy: readonly DecidedBy[];
  readonly translated: boolean;
  readonly forwarded: boolean;
  readonly tproxied: boolean;
  /** A rule that could not be decided stood in the way; `limited` when it is a rate. */
  readonly undecided?: DecidedBy & { readonly limited: boolean };
} & (
  | { readonly kind: 'reached'; readonly namespace: MachineNamespace; readonly listener: MachineListener }
  | { readonly kind: 'stopped'; readonly by: DecidedBy }
  | { readonly kind: 'unknown'; readonly by: DecidedBy }
);

/** A packet that goes round in circles ends here. */
const maxNamespaces = 6;
const noRules: PacketFilter = { chains: [], sets: [], unreadable: [] };

const routeErrors: Readonly<Record<string, string>> = {
  EINVAL: 'a blackhole route, or the source has no route back by that interface (rp_filter)',
  EXDEV: 'the source has no route back by that interface (rp_filter)',
  EACCES: 'a rule or route that prohibits it',
  EHOSTUNREACH: 'this namespace does not forward, or the way is unreachable',
  ENETUNREACH: 'no route',
};

/** Own addresses of namespaces, and a name for every answer of the kernel; one per report. */
export class PathWalker {
  readonly #machine: Machine;
  readonly #ask: RouteQuestioner;
  readonly #own = new Map<MachineNamespace, ReadonlySet<string>>();
  readonly #answers = new Map<string, ReturnType<RouteQuestioner>>();

  constructor(machine: Machine, ask: RouteQuestioner) {
    this.#machine = machine;
    this.#ask = ask;
  }

  ownAddresses(namespace: MachineNamespace): ReadonlySet<string> {
    let own = this.#own.get(namespace);
    if (!own) {
      own = new Set(namespace.links.flatMap(({ addresses }) => addresses.map(({ address }) => renderAddress(address))));
      this.#own.set(namespace, own);
    }
    return own;
  }

  walk(question: PathQuestion): PathAnswer {
    const packet: FilterPacket = {
      family: question.destination.family,
      protocol: question.transport,
      source: question.source,
      sourcePort: 40_111,
      destination: question.destination,
      destinationPort: question.port,
      inputDevice: question.device,
      mark: 0,
      state: 'new',
      ...(question.transport === 'tcp' ? { tcpFlags: 'syn' } : {}),
    };
    return new Journey(this, this.#machine).follow(question.namespace, packet, 0);
  }

  /** Where it would go from here, judged as it came in. */
  route(namespace: MachineNamespace, { destination, source, inputDevice, mark }: FilterPacket): ReturnType<RouteQuestioner> {
    return this.#once(namespace, {
      to: destination,
      from: source,
      ...(inputDevice === undefined ? {} : { iif: inputDevice }),
      ...(mark === 0 ? {} : { mark }),
    });
  }

  /** Whether what is sent back would leave by the device it came in by. */
  hasReversePath(namespace: MachineNamespace, { source, inputDevice }: FilterPacket): boolean {
    const answer = this.#once(namespace, { to: source });
    return answer.kind === 'route' && answer.device === inputDevice;
  }

  /** Each different question goes to the kernel once. */
  #once(namespace: MachineNamespace, question: Parameters<RouteQuestioner>[1]): ReturnType<RouteQuestioner> {
    const { to, from, iif, mark } = question;
    const key = `${namespace.inode} ${iif} ${from?.value} ${to.family} ${to.value} ${mark}`;
    let answer = this.#answers.get(key);
    if (!answer) {
      answer = this.#ask(namespace, question);
      if (this.#answers.size < 200_000) this.#answers.set(key, answer);
    }
    return answer;
  }
}

/** One packet on its way. */
class Journey {
  readonly #walker: PathWalker;
  readonly #machine: Machine;
  readonly #allowedBy: DecidedBy[] = [];
  #translated = false;
  #forwarded = false;
  #tproxied = false;
  #undecided: (DecidedBy & { readonly limited: boolean }) | undefined;

  constructor(walker: PathWalker, machine: Machine) {
    this.#walker = walker;
    this.#machine = machine;
  }

  #answer(
    end:
      | { kind: 'reached'; namespace: MachineNamespace; listener: MachineListener }
      | { kind: 'stopped' | 'unknown'; by: DecidedBy },
  ): PathAnswer {
    return {
      allowedBy: this.#allowedBy,
      translated: this.#translated,
      forwarded: this.#forwarded,
      tproxied: this.#tproxied,
      ...(this.#undecided ? { undecided: this.#undecided } : {}),
      ...end,
    };
  }

  follow(namespace: MachineNamespace, packet: FilterPacket, depth: number): PathAnswer {
    if (depth >= maxNamespaces)
      return this.#answer({ kind: 'unknown', by: { text: 'it goes through more namespaces than are followed' } });
    if (!namespace.filter)
      return this.#answer({
        kind: 'unknown',
        by: { text: `the rules of ${namespace.name || 'this namespace'} could not be read` },
      });
    // What stops it among the rules that were read does so all the same; that none does proves nothing.
    const unread = namespace.filter.unreadable.find((what) => /^(rules of nft|legacy tables|\d+ rules of nft)/.test(what));
    if (unread !== undefined) this.#doubt({ text: `rules that could not be read forbid it (${unread})`, limited: false });
    const early = this.#hook(namespace, 'ingress', packet);
    if ('end' in early) return early.end;
    const routed = this.#hook(namespace, 'prerouting', early.packet);
    if ('end' in routed) return routed.end;
    const { packet: arrived } = routed;
    if (routed.tproxy) return this.#tproxy(namespace, arrived, routed.tproxy);
    const answer = this.#walker.route(namespace, arrived);
    if (answer.kind === 'none')
      return this.#answer({
        kind: 'stopped',
        by: { text: `routing says ${answer.errno}: ${routeErrors[answer.errno] ?? 'no way there'}` },
      });
    if (answer.type === 'local') return this.#deliver(namespace, arrived);
    if (answer.type !== 'unicast' || answer.device === undefined)
      return this.#answer({ kind: 'stopped', by: { text: `its route is of type ${answer.type}` } });
    return this.#forward(namespace, { ...arrived, outputDevice: answer.device }, depth);
  }

  #context(namespace: MachineNamespace, hook: FilterHook): WalkContext {
    const own = this.#walker.ownAddresses(namespace);
    return {
      hook,
      isLocal: ({ source, destination }, which) => own.has(renderAddress(which === 'source' ? source : destination)),
      hasReversePath: (packet) => this.#walker.hasReversePath(namespace, packet),
      deviceAddress: (device, family) =>
        namespace.links.find(({ name }) => name === device)?.addresses.find(({ address }) => address.family === family)?.address,
      findSocket: (packet) => {
        const listener = findListener(namespace, packet);
        if (!listener) return packet.state === 'new' ? null : undefined;
        return listener.transparent === undefined
          ? undefined
          : { transparent: listener.transparent, wildcard: listener.address.value === 0n };
      },
      hasQueueConsumer: (queue) => namespace.queueConsumers?.some((consumer) => consumer.queue === queue),
    };
  }

  /** The packet as it goes on, or how it ended. */
  #hook(
    namespace: MachineNamespace,
    hook: FilterHook,
    packet: FilterPacket,
  ): { packet: FilterPacket; tproxy?: FilterVerdict & { kind: 'tproxy' } } | { end: PathAnswer } {
    const filter = namespace.filter ?? noRules;
    const walk = walkFilter(filter, packet, this.#context(namespace, hook));
    const { verdict } = walk;
    this.#note(namespace, hook, walk, filter);
    if (verdict.kind === 'accept') {
      if (walk.blurred.includes('destination') || walk.blurred.includes('destinationPort')) {
        const rewrote = walk.steps.find(({ action, outcome }) => outcome === 'rewrote' && action !== 'write')?.rule;
        const by = { ...(rewrote ? { rule: rewrote } : {}), text: 'where it is sent on to is one of several, or cannot be told' };
        return { end: this.#answer({ kind: 'unknown', by }) };
      }
      return { packet: walk.packet };
    }
    if (verdict.kind === 'tproxy') return { packet: walk.packet, tproxy: verdict };
    if (verdict.kind === 'queue') {
      const by = { rule: verdict.rule, text: `a program decides (NFQUEUE ${verdict.first})` };
      return { end: this.#answer({ kind: 'unknown', by }) };
    }
    if (verdict.kind !== 'unknown') return { end: this.#answer({ kind: 'stopped', by: stopText(namespace, verdict) }) };
    // However it is decided, nothing of it lets the packet through.
    const worst = walk.possible.find(({ kind }) => kind === 'drop' || kind === 'reject');
    if (worst && walk.possible.every(({ kind }) => kind === 'drop' || kind === 'reject'))
      return { end: this.#answer({ kind: 'stopped', by: stopText(namespace, worst) }) };
    const doubts = walk.steps.filter(({ outcome }) => outcome === 'undecided');
    const unsure = doubts.find((step) => step.limited !== true);
    // What cannot be told may forbid what the rate lets through.
    const limited = unsure === undefined && doubts.some(({ rule }) => isSamePlace(rule, verdict.rule));
    const by: DecidedBy = { ...(verdict.rule ? { rule: verdict.rule } : {}), text: verdict.why };
    if (!walk.possible.some(({ kind }) => kind === 'accept') || walk.blurred.includes('destination'))
      return { end: this.#answer({ kind: 'unknown', by }) };
    this.#doubt(unsure ? { rule: unsure.rule, text: unsure.why ?? verdict.why, limited } : { ...by, limited });
    return { packet: walk.packet };
  }

  /** The first one; but what cannot be told at all outweighs a rate. */
  #doubt(doubt: DecidedBy & { readonly limited: boolean }): void {
    if (!this.#undecided || (this.#undecided.limited && !doubt.limited)) this.#undecided = doubt;
  }

  /** Which rule let it through: the last that accepted, or that none stands in the way. */
  #note(namespace: MachineNamespace, hook: FilterHook, walk: FilterWalk, filter: PacketFilter): void {
    for (const { rule, outcome, action } of walk.steps)
      if (outcome === 'rewrote' && (action === 'dnat' || action === 'redirect')) {
        this.#translated = true;
        this.#allowedBy.push({ rule, text: `sent on by ${rule.text}` });
      }
    if (hook !== 'input' && hook !== 'forward') return;
    const accepted = walk.steps.filter(isAccept).at(-1)?.rule;
    if (accepted) this.#allowedBy.push({ rule: accepted, text: accepted.text });
    else if (walk.verdict.kind === 'accept') {
      const where = namespace.name === '' ? '' : ` in ${namespace.name}`;
      const hasChains = filter.chains.some(({ base }) => base?.hook === hook);
      this.#allowedBy.push({
        text: hasChains ? `no rule of ${hook} stops it, policy accept${where}` : `no rules for ${hook}${where}`,
      });
    }
  }

  #tproxy(namespace: MachineNamespace, packet: FilterPacket, verdict: FilterVerdict & { kind: 'tproxy' }): PathAnswer {
    this.#tproxied = true;
    this.#allowedBy.push({ rule: verdict.rule, text: verdict.rule.text });
    const port = verdict.port ?? packet.destinationPort;
    const listener = namespace.listeners.find(
      (one) => one.transport === packet.protocol && one.port === port && one.transparent !== false,
    );
    if (!listener)
      return this.#answer({
        kind: 'stopped',
        by: { rule: verdict.rule, text: `nothing listens at port ${port}, where it is diverted to` },
      });
    const input = this.#hook(namespace, 'input', packet);
    return 'end' in input ? input.end : this.#answer({ kind: 'reached', namespace, listener });
  }

  #deliver(namespace: MachineNamespace, packet: FilterPacket): PathAnswer {
    const input = this.#hook(namespace, 'input', packet);
    if ('end' in input) return input.end;
    const listener = findListener(namespace, input.packet);
    if (listener) return this.#answer({ kind: 'reached', namespace, listener });
    return this.#answer({
      kind: 'stopped',
      by: { text: `nothing listens at ${packet.protocol} ${renderAddress(packet.destination)} port ${packet.destinationPort}` },
    });
  }

  #forward(namespace: MachineNamespace, packet: FilterPacket, depth: number): PathAnswer {
    this.#forwarded = true;
    const passed = this.#hook(namespace, 'forward', packet);
    if ('end' in passed) return passed.end;
    const left = this.#hook(namespace, 'postrouting', passed.packet);
    if ('end' in left) return left.end;
    const next = this.#nextNamespace(namespace, left.packet);
    if (!next)
      return this.#answer({
        kind: 'stopped',
        by: { text: `it leaves this machine by ${packet.outputDevice} for ${renderAddress(packet.destination)}` },
      });
    const { originalDestination: _, connectionMark: __, outputDevice: ___, ...rest } = left.packet;
    return this.follow(next.namespace, { ...rest, mark: 0, state: 'new', inputDevice: next.link.name }, depth + 1);
  }

  /** Who has that address, and is joined to this namespace. */
  #nextNamespace(
    from: MachineNamespace,
    { destination }: FilterPacket,
  ): { namespace: MachineNamespace; link: MachineLink } | undefined {
    const text = renderAddress(destination);
    const found: { namespace: MachineNamespace; link: MachineLink; joined: boolean }[] = [];
    for (const namespace of this.#machine.namespaces) {
      if (namespace === from) continue;
      for (const link of namespace.links)
        if (link.name !== 'lo' && link.addresses.some(({ address }) => renderAddress(address) === text))
          found.push({ namespace, link, joined: link.peer?.netns === from.inode });
    }
    return found.find(({ joined }) => joined) ?? (found.length === 1 ? found[0] : undefined);
  }
}

/** Handles are numbered by table, positions by chain. */
const isSamePlace = (a: RulePlace, b: RulePlace | undefined): boolean =>
  b !== undefined &&
  a.backend === b.backend &&
  a.family === b.family &&
  a.table === b.table &&
  a.chain === b.chain &&
  a.handle === b.handle;

const isAccept = ({ outcome, action }: FilterStep): boolean => outcome === 'matched' && action === 'accept';

function stopText(namespace: MachineNamespace, verdict: FilterVerdict): DecidedBy {
  const where = namespace.name === '' ? '' : ` in ${namespace.name}`;
  if (verdict.kind === 'drop' && verdict.rule) return { rule: verdict.rule, text: `${verdict.rule.text}${where}` };
  if (verdict.kind === 'reject') return { rule: verdict.rule, text: `${verdict.rule.text}${where}` };
  if (verdict.kind === 'drop' && verdict.policyOf)
    return { text: `policy drop of ${verdict.policyOf.table} ${verdict.policyOf.chain}${where}` };
  return { text: verdict.kind };
}

/** The socket a packet for this machine goes to: one of that very address before one of any; RFC 3493 section 3.7 for `::`. */
export function findListener(namespace: MachineNamespace, packet: FilterPacket): MachineListener | undefined {
  const { destination, destinationPort, protocol, inputDevice } = packet;
  const score = (listener: MachineListener): number => {
    if (listener.transport !== protocol || listener.port !== destinationPort) return -1;
    if (listener.device !== undefined && listener.device !== inputDevice) return -1;
    const bound = listener.device === undefined ? 0 : 1;
    const isAny = listener.address.value === 0n;
    if (listener.address.family === destination.family) {
      if (isAny) return 4 + bound;
      return listener.address.value === destination.value ? 8 + bound : -1;
    }
    return isAny && listener.address.family === 6 && !listener.v6only ? 2 + bound : -1;
  };
  const best = namespace.listeners.reduce<{ listener?: MachineListener; score: number }>(
    (so, listener) => (score(listener) > so.score ? { listener, score: score(listener) } : so),
    { score: -1 },
  );
  return best.listener;
}

export const isLoopback = ({ family, value }: Address): boolean =>
  family === 4 ? value >> BigInt(bitsOf(4) - 8) === 127n : value === 1n;
