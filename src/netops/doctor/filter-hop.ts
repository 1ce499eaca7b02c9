// What the rules of one hook in one namespace do to the packet, as hops: which rule ends it and what that is called. Goes on behind such
// a rule as if it were gone, so that a second fault behind a first is seen too.

import { renderAddress } from '../../model/address.ts';
import type { CauseId } from '../../model/diagnosis.ts';
import type { MachineNamespace } from '../../model/machine.ts';
import type {
  ChainPlace,
  FilterChain,
  FilterHook,
  FilterMatch,
  FilterPacket,
  FilterRule,
  FilterVerdict,
  FilterWalk,
  PacketFilter,
  RulePlace,
  WalkContext,
} from '../../model/packet-filter.ts';
import { walkFilter } from '../filter-walk.ts';
import { type Fault, type FaultParts, seen, type WalkHop } from './hop.ts';
import { findListener } from './listener.ts';
import { addressTypeOf, decideRoute, isLocalAddress } from './route-decision.ts';

export interface HookVisit {
  readonly namespace: MachineNamespace;
  readonly hook: FilterHook;
  readonly packet: FilterPacket;
  readonly way: 'there' | 'back';
  readonly bridged?: WalkContext['bridged'];
  /** Of a reply: this namespace never saw what it answers. */
  readonly oneWay?: boolean;
}

export interface HookOutcome {
  readonly hops: readonly WalkHop[];
  readonly packet: FilterPacket;
  readonly blurred: readonly string[];
  readonly tproxy?: Extract<FilterVerdict, { kind: 'tproxy' }>;
  readonly steps: FilterWalk['steps'];
}

/** Rules that are looked behind at one hook. */
const mostFaults = 8;

export function visitHook(visit: HookVisit): HookOutcome {
  const { namespace, hook, packet, way, bridged } = visit;
  const filter = namespace.filter;
  if (!filter) return { hops: [unread(visit, [])], packet, blurred: [], steps: [] };
  const hops: WalkHop[] = filter.unreadable.length > 0 ? [unread(visit, filter.unreadable)] : [];
  const judged = hops.length;
  let rest = filter;
  for (let round = 0; ; round += 1) {
    const walk = walkFilter(rest, packet, contextOf(visit));
    const { verdict } = walk;
    const done = { packet: walk.packet, blurred: walk.blurred, steps: walk.steps };
    const dev = hook === 'output' || hook === 'postrouting' ? packet.outputDevice : packet.inputDevice;
    const base = { layer: 'filter', namespace, way, ...(dev === undefined ? {} : { dev }) };
    const where = hook + (bridged ? ' of the bridge' : '');
    if (verdict.kind === 'accept' || verdict.kind === 'tproxy') {
      if (hops.length === judged && hasChains(filter, visit)) {
        const matched = walk.steps.filter(({ outcome }) => outcome !== 'undecided');
        hops.push({
          ...base,
          state: 'pass',
          detail: `${where}: ${verdict.kind === 'accept' ? 'accepted' : 'handed to a proxy'}`,
          evidence: matched.slice(-3).map(({ rule }) => seen(renderPlace(rule))),
        });
      }
      if (verdict.kind === 'tproxy') return { ...done, hops, tproxy: verdict };
      return { ...done, hops };
    }
    const fault = faultOf(visit, verdict, walk, rest);
    const place = 'rule' in verdict ? verdict.rule : undefined;
    hops.push({
      ...base,
      state: fault?.certain ? 'fail' : 'unknown',
      detail: fault?.detail ?? `${where}: ${verdict.kind === 'unknown' ? verdict.why : verdict.kind}`,
      evidence: place ? [seen(renderPlace(place))] : [],
      ...(fault && { fault }),
    });
    const policyOf = verdict.kind === 'drop' ? verdict.policyOf : undefined;
    if (round >= mostFaults || (!place && !policyOf)) return { ...done, hops };
    rest = place ? withoutRule(rest, place) : withoutPolicy(rest, policyOf as ChainPlace);
  }
}

const unread = ({ namespace, hook, way }: HookVisit, unreadable: readonly string[]): WalkHop => ({
  layer: 'filter',
  namespace,
  way,
  state: 'not-measured',
  detail: `${hook}: ${unreadable.length === 0 ? 'the rules' : 'some rules'} could not be read`,
  evidence: [],
});

const hasChains = (filter: PacketFilter, { hook, bridged, packet }: HookVisit): boolean =>
  filter.chains.some(
    ({ base, family, rules }) =>
      base?.hook === hook &&
      (rules.length > 0 || base.policy === 'drop') &&
      (bridged !== undefined || family === 'inet' || family === (packet.family === 4 ? 'ip' : 'ip6')),
  );

function contextOf({ namespace, hook, bridged }: HookVisit): WalkContext {
  const chosen = (packet: FilterPacket, which: 'source' | 'destination') => packet[which];
  return {
    hook,
    ...(bridged && { bridged }),
    isLocal: (packet, which) => isLocalAddress(namespace, chosen(packet, which)),
    addressType: (packet, which) =>
      addressTypeOf(namespace, chosen(packet, which)) as ReturnType<NonNullable<WalkContext['addressType']>>,
    hasReversePath: (packet) => {
      const back = decideRoute(namespace, { to: packet.source, from: packet.destination, mark: packet.mark });
      return back.kind === 'unknown' ? undefined : back.kind === 'route' && back.device === packet.inputDevice;
    },
    deviceAddress: (device, family) =>
      namespace.links
        .find(({ name }) => name === device)
        ?.addresses.find(({ address, usable }) => usable && address.family === family)?.address,
    listenerOf: (packet) => {
      const listener = findListener(namespace, packet, packet.destination, packet.destinationPort);
      return listener === undefined ? 'none' : listener.transparent ? 'transparent' : 'ordinary';
    },
    hasQueueConsumer: (queue) => namespace.queueConsumers?.some((consumer) => consumer.queue === queue),
  };
}

/** nft: `inet lab input handle 4: ip saddr ..`; legacy: `legacy filter INPUT 3: -s ..`. */
export const renderPlace = ({ backend, family, table, chain, handle, text, owner }: RulePlace): string =>
  `${backend === 'legacy' ? `legacy ${family} ${table} ${chain} rule ${handle}` : `nft ${family} ${table} ${chain} handle ${handle}`}: ${text}${owner ? ` [${owner}]` : ''}`;

const samePlace = (a: RulePlace, b: RulePlace): boolean =>
  a.backend === b.backend && a.family === b.family && a.table === b.table && a.chain === b.chain && a.handle === b.handle;

const withoutRule = (filter: PacketFilter, place: RulePlace): PacketFilter => ({
  ...filter,
  chains: filter.chains.map((chain) =>
    chain.table === place.table && chain.name === place.chain
      ? { ...chain, rules: chain.rules.filter((rule) => !samePlace(rule, place)) }
      : chain,
  ),
});

/** The same with the chain's policy being accept; a chain of that name of another family or backend keeps its own. */
export const withoutPolicy = (filter: PacketFilter, of: ChainPlace): PacketFilter => ({
  ...filter,
  chains: filter.chains.map(
    (chain): FilterChain =>
      chain.base &&
      chain.backend === of.backend &&
      chain.family === of.family &&
      chain.table === of.table &&
      chain.name === of.chain
        ? { ...chain, base: { ...chain.base, policy: 'accept' } }
        : chain,
  ),
});

export const ruleAt = (filter: PacketFilter, place: RulePlace): FilterRule | undefined =>
  filter.chains.flatMap(({ rules }) => rules).find((rule) => samePlace(rule, place));

const isMatch = (statement: FilterRule['statements'][number]): statement is FilterMatch =>
  ['compare', 'bits', 'set', 'any', 'undecided'].includes(statement.kind);

function looksAtState(match: FilterMatch): boolean {
  if (match.kind === 'any') return match.of.some(looksAtState);
  return (match.kind === 'compare' || match.kind === 'bits') && match.left.kind === 'field' && match.left.field === 'ct.state';
}

function faultOf(visit: HookVisit, verdict: FilterVerdict, walk: FilterWalk, filter: PacketFilter): Fault | undefined {
  const { hook, packet, way, bridged, namespace } = visit;
  const parts: FaultParts = { hook, packet: walk.packet };
  const back = way === 'back';
  if (verdict.kind === 'drop' && !verdict.rule && verdict.policyOf) {
    const { policyOf } = verdict;
    const id: CauseId = bridged
      ? 'bridge-nf-drop'
      : back
        ? 'fw-reply-drop'
        : policyOf.backend === 'legacy'
          ? 'fw-legacy-drop'
          : 'fw-rule-drop';
    const detail = `${back ? 'the answer is' : 'it is'} dropped by the policy of ${policyOf.backend === 'legacy' ? 'legacy ' : ''}${policyOf.family} ${policyOf.table} ${policyOf.chain}${bridged ? ', which sees bridged frames because br_netfilter hands them to iptables' : ''}`;
    return { id, certain: true, effect: 'silence', detail, parts: { ...parts, policyOf } };
  }
  const place = 'rule' in verdict ? verdict.rule : undefined;
  if (!place) return undefined;
  const rule = ruleAt(filter, place);
  const withRule: FaultParts = { ...parts, rule: place };
  const original = packet.originalDestination ?? walk.packet.originalDestination;
  const published =
    original && original.port !== packet.destinationPort
      ? ` (for port ${original.port} of ${renderAddress(original.address)}, before it was rewritten)`
      : '';
  const shown = `${renderPlace(place)}${published}`;
  if (verdict.kind === 'reject') {
    const id: CauseId = bridged
      ? 'bridge-nf-drop'
      : back
        ? 'fw-reply-drop'
        : verdict.answer === 'tcp-reset'
          ? 'fw-reject-rst'
          : 'fw-reject-icmp';
    const banned = bannedBy(place, rule, packet, filter);
    if (banned)
      return { id: 'banned', certain: true, effect: 'refused', detail: banned.detail, parts: { ...withRule, ...banned.parts } };
    return { id, certain: true, effect: 'refused', detail: `refused by ${shown}`, parts: withRule };
  }
  const queueing = rule?.statements.find((statement) => statement.kind === 'queue');
  const queued =
    verdict.kind === 'queue' ? verdict : verdict.kind === 'drop' && queueing?.kind === 'queue' ? queueing : undefined;
  if (queued) {
    const queues = queued.first === queued.last ? `queue ${queued.first}` : `queues ${queued.first} to ${queued.last}`;
    const { queueConsumers: consumers } = namespace;
    const lacking =
      consumers !== undefined && !queued.bypass && !consumers.some(({ queue }) => queue >= queued.first && queue <= queued.last);
    if (!lacking) return undefined;
    return {
      id: 'nfqueue-no-consumer',
      certain: true,
      effect: 'silence',
      detail: `sent to NFQUEUE ${queues}, which no program reads: dropped; ${shown}`,
      parts: withRule,
    };
  }
  if (verdict.kind === 'drop') {
    const banned = bannedBy(place, rule, packet, filter);
    if (banned)
      return { id: 'banned', certain: true, effect: 'silence', detail: banned.detail, parts: { ...withRule, ...banned.parts } };
    const invalid =
      packet.state === 'invalid' && rule?.statements.some((statement) => isMatch(statement) && looksAtState(statement));
    const id: CauseId = bridged
      ? 'bridge-nf-drop'
      : invalid
        ? 'ct-invalid-asymmetric'
        : isDockerRaw(place, packet)
          ? 'docker-raw-isolation'
          : back
            ? 'fw-reply-drop'
            : place.backend === 'legacy'
              ? 'fw-legacy-drop'
              : 'fw-rule-drop';
    const detail =
      {
        'bridge-nf-drop': `bridged frames are handed to iptables by br_netfilter, and dropped by ${shown}`,
        'ct-invalid-asymmetric': `the answer comes this way, what it answers did not: connection tracking calls it invalid, and it is dropped by ${shown}`,
        'docker-raw-isolation': `Docker drops what is addressed to a container directly, before every other chain: ${shown}`,
        'fw-reply-drop': `the answer is dropped by ${shown}`,
      }[id as string] ?? `dropped by ${shown}`;
    return { id, certain: true, effect: 'silence', detail, parts: withRule };
  }
  if (verdict.kind === 'unknown') {
    const limited = rule?.statements.some((statement) => statement.kind === 'undecided' && statement.limited);
    const drops = walk.possible.some(({ kind }) => kind === 'drop' || kind === 'reject');
    if (limited && drops)
      return { id: 'fw-rate-limit', certain: false, effect: 'silence', detail: `limited by ${shown}`, parts: withRule };
  }
  return undefined;
}

const isDockerRaw = ({ table, chain, text, owner }: RulePlace, { destination }: FilterPacket): boolean =>
  (table === 'raw' && chain === 'PREROUTING' && (owner === 'docker' || text.includes(renderAddress(destination)))) ||
  (owner === 'docker' && /^raw-PREROUTING$/.test(chain));

interface Ban {
  readonly detail: string;
  readonly parts: FaultParts;
}

function bannedBy(
  place: RulePlace,
  rule: FilterRule | undefined,
  { source }: FilterPacket,
  filter: PacketFilter,
): Ban | undefined {
  const match = rule?.statements.find((statement) => statement.kind === 'set' && !statement.inverted);
  const named = match?.kind === 'set' ? match.set : undefined;
  const ofIpset = named?.startsWith('ipset:') ?? false;
  const setName = named?.replace(/^ipset:/, '');
  const words = [place.owner, setName, place.chain, place.table].find((text) => text !== undefined && /f2b|fail2ban/.test(text));
  if (words === undefined) return undefined;
  const jail =
    /^fail2ban (.+)$/.exec(place.owner ?? '')?.[1] ??
    /^(?:addr6?-set|f2b)-(.+)$/.exec(setName ?? '')?.[1] ??
    /^f2b-(.+)$/.exec(place.chain)?.[1] ??
    words;
  const set =
    setName === undefined
      ? undefined
      : filter.sets.find(({ name, backend, table, family }) =>
          name === setName && ofIpset
            ? backend === 'legacy'
            : name === setName && backend === place.backend && table === place.table && family === place.family,
        );
  const element = set?.elements.find(({ key, excluded }) => {
    const [part] = key;
    return !excluded && part && 'first' in part && part.first <= source.value && source.value <= part.last;
  });
  // One that holds others too is not taken away for one of them; one that says more than an address is not written again from here.
  const [only, ...more] = element?.key ?? [];
  const alone = only && more.length === 0 && 'first' in only && only.first === only.last && element?.comment === undefined;
  const until = element?.expires === undefined ? 'no end of it is written there' : `for ${element.expires} s more`;
  return {
    detail: `banned by fail2ban, jail ${jail}, ${until}: ${renderPlace(place)}${setName ? `; ${renderAddress(source)} is in set ${setName}` : ''}`,
    parts: {
      ...(set && alone && { set: { backend: set.backend, family: set.family, table: set.table, name: set.name } }),
      jail,
      ...(element?.expires === undefined ? {} : { expires: element.expires }),
      ...(element?.timeout === undefined ? {} : { timeout: element.timeout }),
    },
  };
}
