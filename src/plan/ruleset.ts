// Which packets to decoys go where: desired state to the tables of nft, as data. Pure. The same decisions in user
// space are model/decoy.ts and model/population.ts. Frames and MACs are ruleset-link.ts.

import {
  accept,
  drop,
  goto,
  jump,
  match,
  matchNot,
  type NftChain,
  type NftRule,
  type NftSet,
  type NftStatement,
  type NftTable,
  type NftVerdict,
  ownTableName,
  tcpFlags,
  tcpFlagsNot,
} from '../kernel/nft-ruleset.ts';
import { type AddressRange, type Family, renderAddress, renderRange } from '../model/address.ts';
import type { Persona } from '../model/persona.ts';
import { populationModulus } from '../model/population.ts';
import { type PortSet, renderPorts } from '../model/port-set.ts';
import { type BoundMatch, isAllPorts, planBoundMatches } from './bound-ports.ts';
import {
  addressType,
  type DecoyLayout,
  layOutDecoys,
  leadRanges,
  onlyPersona,
  personaOf,
  type RangeGroup,
  rangeElements,
  shareIntervals,
  testRanges,
  withheldSet,
} from './decoy-layout.ts';
import type { Guards, NetworkState } from './desired-state.ts';
import { planLinkTables } from './ruleset-link.ts';
import {
  answersAsLinux,
  needsNarrow,
  planClosedDatagram,
  planClosedPort,
  planEcho,
  planOpenPort,
  playedStack,
} from './ruleset-stack.ts';

/** NFLOG group of probes; the reader binds it. */
export const probeLogGroup = 87;
/** Bytes of each probe that are copied: both headers with all options. */
export const probeSnaplen = 128;
const probeQueueThreshold = 64;

/** Agreed with the reader of the log: prefix `weir:<kind>:<diversion>`. */
export type ProbeLogKind = 'syn' | 'closed' | 'filtered' | 'dead' | 'null' | 'fin' | 'xmas' | 'ack' | 'echo';

export const probeLogPrefix = (kind: ProbeLogKind, diversion: string): string => `weir:${kind}:${diversion}`;

/** Values that have to be put back, kept in the kernel as comments so that `down` works without the state file. */
export type RestoreNotes = readonly string[];

const log = (kind: ProbeLogKind, diversion: string): NftStatement => ({
  do: 'log',
  prefix: probeLogPrefix(kind, diversion),
  group: probeLogGroup,
  snaplen: probeSnaplen,
  queueThreshold: probeQueueThreshold,
});

/** Leads to the listeners that scale windows by 0. */
const narrowChain = 'to-gateway-narrow';
const synMask = ['syn', 'ack', 'rst'];
const allFlags = ['fin', 'syn', 'rst', 'psh', 'ack', 'urg'];
const isSyn = tcpFlags(synMask, ['syn']);
const isTcp = match('meta l4proto', 'tcp');
const untrack: readonly NftStatement[] = [{ do: 'notrack' }, accept];
const portUnreachable: NftStatement = { do: 'reject', how: 'port-unreachable' };
const isUdp = match('meta l4proto', 'udp');
const families: readonly Family[] = [4, 6];
const destination = (family: Family): string => (family === 4 ? 'ip daddr' : 'ip6 daddr');
const source = (family: Family): string => (family === 4 ? 'ip saddr' : 'ip6 saddr');

/** Of each state the tables made last: many singles take long, and what is applied is looked at again and again. */
const planned = new WeakMap<NetworkState, { readonly from: string; readonly tables: readonly NftTable[] }>();

/** Every table of ours for this state; none when there are no decoys. `withheld` are addresses given back. */
export function planRuleset(desired: NetworkState, withheld: readonly AddressRange[], notes: RestoreNotes): readonly NftTable[] {
  if (desired.groups.length === 0) return [];
  const from = [...withheld.map(renderRange), ...notes].join('\n');
  const known = planned.get(desired);
  if (known?.from === from) return known.tables;
  const layout = layOutDecoys(desired);
  const tables = [planPacketTable(desired, layout, withheld, notes), ...planLinkTables(desired, layout, withheld)];
  planned.set(desired, { from, tables });
  return tables;
}

function planPacketTable(
  desired: NetworkState,
  layout: DecoyLayout,
  withheld: readonly AddressRange[],
  notes: RestoreNotes,
): NftTable {
  const sets: NftSet[] = [];
  const chains = new ChainBook(desired.ports.narrow, planBoundMatches(desired.bound ?? [], sets));
  const untrackIn: NftRule[] = [];
  const untrackOut: NftRule[] = [];
  // Datagrams to closed ports of decoys, whatever of this machine's own listens there: what the gateway gets is left alone,
  // what should have stayed silent never comes here. Refused at input because only a packet that was routed to us is
  // refused in the name of the address it was sent to.
  const refusal: NftRule[] = [
    [matchNot('meta l4proto', 'udp'), accept],
    [match('socket transparent', 1), accept],
  ];
  const divert: NftRule[] = [
    // A SYN may meet a socket in TIME_WAIT; only tproxy knows how to begin anew, so SYNs take the long way.
    [tcpFlagsNot(['syn', 'ack'], ['syn']), { do: 'match', left: 'socket transparent', not: false, right: 1 }, accept],
    [matchNot('meta l4proto', 'tcp'), { do: 'match', left: 'socket transparent', not: false, right: 1 }, accept],
  ];
  for (const family of families) {
    sets.push(withheldSet(withheld, family));
    divert.push([match(destination(family), { set: `withheld${family}` }), accept]);
    const singles = layout.singles.filter((single) => single.address.family === family);
    if (singles.length > 0) {
      const target = (single: (typeof singles)[number]): string =>
        `${single.text} : goto ${single.persona ? chains.visit(single.diversion, single.persona) : chains.dead(single.diversion)}`;
      sets.push({
        name: `single${family}`,
        type: addressType(family),
        data: 'verdict',
        interval: false,
        elements: singles.map(target),
      });
      sets.push({
        name: `single-set${family}`,
        type: addressType(family),
        interval: false,
        elements: singles.map(({ text }) => text),
      });
      untrackIn.push([match(destination(family), { set: `single-set${family}` }), ...untrack]);
      untrackOut.push([match(source(family), { set: `single-set${family}` }), ...untrack]);
      refusal.push([match(destination(family), { set: `single-set${family}` }), portUnreachable]);
      const held = family === 6 ? singles.filter(({ claim, persona }) => claim && persona).map(({ text }) => text) : [];
      if (held.length > 0) {
        // Addresses the kernel has on a link are its own to defend and to confirm (RFC 4861, 7.2).
        sets.push({ name: 'held6', type: addressType(6), interval: false, elements: held });
        const discovery = match('icmpv6 type', ['nd-neighbor-solicit', 'nd-neighbor-advert']);
        divert.push([match(destination(6), { set: 'held6' }), discovery, accept]);
      }
      divert.push([{ do: 'vmap', key: destination(family), map: { map: `single${family}` } }]);
    }
    const targets: [string, NftVerdict][] = [];
    layout.claimed.forEach((group, index) => {
      const elements = rangeElements(group.ranges, family);
      if (elements.length === 0) return;
      const entry = chains.claimedEntry(group, index, family, layout);
      targets.push(...elements.map((element): [string, NftVerdict] => [element, { goto: entry }]));
    });
    divert.push(...leadRanges(`claimed${family}`, family, destination(family), targets, sets));
    const ranges = targets.map(([range]) => range);
    const isClaimed = testRanges(`claimed-set${family}`, family, ranges, sets);
    for (const test of isClaimed(destination(family))) {
      untrackIn.push([test, ...untrack]);
      refusal.push([test, portUnreachable]);
    }
    for (const test of isClaimed(source(family))) untrackOut.push([test, ...untrack]);
    const owned: string[] = [];
    layout.own.forEach((group, index) => {
      const elements = rangeElements(group.ranges, family);
      if (elements.length > 0) {
        const entry = chains.ownEntry(group, index, family, layout);
        owned.push(...elements.map((element) => `${element} : goto ${entry}`));
      }
    });
    if (owned.length > 0) {
      sets.push({ name: `own${family}`, type: addressType(family), data: 'verdict', interval: true, elements: owned });
      divert.push([{ do: 'vmap', key: destination(family), map: { map: `own${family}` } }]);
    }
  }
  if (layout.own.length > 0) chains.add('own-guards', planOwnGuards(desired.guards, desired.tracking, sets));
  chains.addGateway(desired.ports);
  for (const [name, { ports }] of chains.portSets)
    sets.push({ name, type: 'inet_service', interval: true, elements: renderPorts(ports).split(',') });
  const base: NftChain[] = [];
  const hook = (name: string, at: 'prerouting' | 'output' | 'input', priority: number, rules: readonly NftRule[]): void => {
    if (rules.length > 0) base.push({ name, hook: { type: 'filter', hook: at, priority }, rules });
  };
  hook('untrack-in', 'prerouting', -300, untrackIn);
  hook('untrack-out', 'output', -300, untrackOut);
  hook('divert', 'prerouting', -90, divert);
  if (chains.refusesDatagrams) hook('refuse', 'input', -90, refusal);
  notes.forEach((comment, index) => {
    base.push({ name: `restore-${index}`, comment, rules: [] });
  });
  return {
    family: 'inet',
    name: ownTableName,
    comment: 'Weir decoys; remove with: weir down',
    sets,
    chains: [...chains.inOrder(), ...base],
  };
}

/** What must stay reachable on this machine's own addresses; comes before any diversion of them. */
function planOwnGuards(guards: Guards, tracking: boolean, sets: NftSet[]): NftRule[] {
  const rules: NftRule[] = [
    [match('iifname', 'lo'), accept],
    [match('socket transparent', 0), accept],
    [match('udp dport', [67, 68, 546, 547]), accept],
  ];
  if (guards.ports.length > 0) {
    sets.push({ name: 'management-ports', type: 'inet_service', interval: true, elements: renderPorts(guards.ports).split(',') });
    rules.push(
      [match('tcp dport', { set: 'management-ports' }), accept],
      [match('udp dport', { set: 'management-ports' }), accept],
    );
  }
  for (const family of families) {
    const sources = rangeElements(guards.sources, family);
    if (sources.length > 0) {
      sets.push({ name: `management-sources${family}`, type: addressType(family), interval: true, elements: sources });
      rules.push([match(source(family), { set: `management-sources${family}` }), accept]);
    }
    const resolvers = guards.resolvers.filter((address) => address.family === family).map(renderAddress);
    if (resolvers.length > 0) {
      sets.push({ name: `resolvers${family}`, type: addressType(family), interval: false, elements: [...new Set(resolvers)] });
      for (const transport of ['udp', 'tcp'])
        rules.push([match(source(family), { set: `resolvers${family}` }), match(`${transport} sport`, 53), accept]);
    }
  }
  if (tracking) rules.push([match('ct status', 'dnat'), accept], [match('ct direction', 'reply'), accept]);
  return rules;
}

/** Chains made on demand, each once; a chain is listed after those it names. */
class ChainBook {
  readonly #chains = new Map<string, NftChain>();
  readonly portSets = new Map<string, { ports: PortSet }>();
  readonly #narrow: number | undefined;
  readonly #bound: readonly BoundMatch[];

  constructor(narrow: number | undefined, bound: readonly BoundMatch[]) {
    this.#narrow = narrow;
    this.#bound = bound;
  }

  inOrder(): NftChain[] {
    return [...this.#chains.values()];
  }

  add(name: string, rules: readonly NftRule[]): string {
    if (!this.#chains.has(name)) this.#chains.set(name, { name, rules });
    return name;
  }

  addGateway(ports: NetworkState['ports']): void {
    const used = (name: string): boolean =>
      [...this.#chains.values()].some(({ rules }) => rules.some((rule) => rule.some((s) => leadsTo(s, name))));
    const lead = (transport: 'tcp' | 'udp', family: Family, port: number): NftRule => [
      match('meta nfproto', family === 4 ? 'ipv4' : 'ipv6'),
      match('meta l4proto', transport),
      { do: 'tproxy', family, port },
      accept,
    ];
    const to = families.flatMap((family) => [lead('tcp', family, ports.tcp), lead('udp', family, ports.udp)]);
    // Nobody waits at the port: a decoy must not fall through to this machine's own services.
    if (used('to-gateway')) this.add('to-gateway', [...to, [drop]]);
    const { narrow } = ports;
    if (narrow !== undefined && used(narrowChain))
      this.add(narrowChain, [...families.map((family) => lead('tcp', family, narrow)), [drop]]);
    if (used('to-gateway-own')) this.add('to-gateway-own', to);
  }

  get refusesDatagrams(): boolean {
    return [...this.#chains.keys()].some((name) => name.startsWith('closed-udp.'));
  }

  dead(diversion: string): string {
    return this.add(`dead.${diversion}`, [[log('dead', diversion)], [drop]]);
  }

  /** TCP that is not an opening SYN and belongs to no connection; a RST is nobody's probe. */
  #stray(diversion: string): string {
    return this.add(`stray.${diversion}`, [
      [tcpFlags(['rst'], ['rst']), { do: 'verdict', verdict: 'return' }],
      [tcpFlags(allFlags, []), log('null', diversion), { do: 'verdict', verdict: 'return' }],
      [tcpFlags(allFlags, ['fin']), log('fin', diversion), { do: 'verdict', verdict: 'return' }],
      [tcpFlags(allFlags, ['fin', 'psh', 'urg']), log('xmas', diversion), { do: 'verdict', verdict: 'return' }],
      [log('ack', diversion)],
    ]);
  }

  #tcp(name: string, kind: ProbeLogKind, diversion: string, end: readonly NftRule[], look = ''): string {
    const stray = this.#stray(diversion);
    return this.add(`${name}.${diversion}${look}`, [
      [tcpFlagsNot(synMask, ['syn']), jump(stray)],
      [isSyn, log(kind, diversion)],
      ...end,
    ]);
  }

  /** What leads to the gateway, each by itself: what the persona has open, and what a service has. Each ends before its verdict. */
  #open(transport: 'tcp' | 'udp', diversion: string, persona: Persona): NftStatement[][] {
    const { open } = persona[transport];
    const to = (name: string, ports: PortSet): NftStatement[] => {
      if (isAllPorts(ports)) return [];
      this.portSets.set(name, { ports });
      return [match(`${transport} dport`, { set: name })];
    };
    const bound = isAllPorts(open)
      ? []
      : this.#bound
          .filter((one) => one.diversion === diversion && one[transport].length > 0)
          .flatMap(({ name, addresses, [transport]: ports }) =>
            addresses.map((where) => [...where, ...to(`${transport}.${name}`, ports)]),
          );
    return [...bound, ...(open.length === 0 ? [] : [to(`${transport}.${persona.name}`, open)])];
  }

  /** A living decoy of an address that was claimed: nothing of this machine's own may answer. */
  visit(diversion: string, persona: Persona): string {
    const name = `visit.${diversion}.${persona.name}`;
    if (this.#chains.has(name)) return name;
    const rules: NftRule[] = [];
    const stack = playedStack(persona, this.#narrow);
    const look = answersAsLinux(stack) ? '' : `.${stack.name}`;
    const toGateway = goto(needsNarrow(stack) ? narrowChain : 'to-gateway');
    for (const where of this.#open('tcp', diversion, persona))
      rules.push([isTcp, ...where, goto(this.#tcp('open-tcp', 'syn', diversion, [...planOpenPort(stack), [toGateway]], look))]);
    const tcpShut =
      persona.tcp.otherwise === 'closed'
        ? this.#tcp('closed-tcp', 'closed', diversion, planClosedPort(stack), look)
        : this.#tcp('filtered-tcp', 'filtered', diversion, [[drop]]);
    rules.push([isTcp, goto(tcpShut)]);
    for (const where of this.#open('udp', diversion, persona)) rules.push([isUdp, ...where, goto('to-gateway')]);
    const udpShut =
      persona.udp.otherwise === 'closed'
        ? this.add(`closed-udp.${diversion}${look}`, [[log('closed', diversion)], ...planClosedDatagram(stack), [accept]])
        : this.add(`filtered-udp.${diversion}`, [[log('filtered', diversion)], [drop]]);
    rules.push([isUdp, goto(udpShut)], ...(persona.answersEcho ? planEcho(stack) : []));
    for (const type of ['icmp type', 'icmpv6 type'])
      rules.push([match(type, 'echo-request'), log('echo', diversion), persona.answersEcho ? accept : drop]);
    rules.push([drop]);
    return this.add(name, rules);
  }

  /** An address of this machine: what is not taken goes on to the kernel, which answers as it always did. */
  #ownVisit(diversion: string, persona: Persona): string {
    const name = `own.${diversion}.${persona.name}`;
    if (this.#chains.has(name)) return name;
    const rules: NftRule[] = [];
    for (const where of this.#open('tcp', diversion, persona))
      rules.push([isTcp, ...where, goto(this.#tcp('own-open-tcp', 'syn', diversion, [[goto('to-gateway-own')]]))]);
    rules.push([
      isTcp,
      goto(
        persona.tcp.otherwise === 'closed'
          ? this.#tcp('own-closed-tcp', 'closed', diversion, [])
          : this.#tcp('own-filtered-tcp', 'filtered', diversion, [[drop]]),
      ),
    ]);
    for (const where of this.#open('udp', diversion, persona)) rules.push([isUdp, ...where, goto('to-gateway-own')]);
    rules.push(
      persona.udp.otherwise === 'closed' ? [isUdp, log('closed', diversion)] : [isUdp, log('filtered', diversion), drop],
    );
    for (const type of ['icmp type', 'icmpv6 type']) rules.push([match(type, 'echo-request'), log('echo', diversion)]);
    return this.add(name, rules);
  }

  claimedEntry(group: RangeGroup, index: number, family: Family, layout: DecoyLayout): string {
    const visit = (persona: string): string => this.visit(group.diversion, personaOf(layout.personas, persona));
    const only = onlyPersona(group.population);
    if (only !== undefined) return visit(only);
    const residents = hashEntries(group, visit);
    return this.add(`residents-${index}.v${family}`, [
      ...residentRule(group, family, residents),
      [goto(this.dead(group.diversion))],
    ]);
  }

  ownEntry(group: RangeGroup, index: number, family: Family, layout: DecoyLayout): string {
    const visit = (persona: string): string => this.#ownVisit(group.diversion, personaOf(layout.personas, persona));
    const only = onlyPersona(group.population);
    const rest = only === undefined ? residentRule(group, family, hashEntries(group, visit)) : [[goto(visit(only))]];
    return this.add(`own-${index}.v${family}`, [[jump('own-guards')], ...rest]);
  }
}

const hashEntries = (group: RangeGroup, chainOf: (persona: string) => string): [string, NftVerdict][] =>
  shareIntervals(group.population).map(({ first, last, persona }) => [`${first}-${last}`, { goto: chainOf(persona) }]);

function residentRule(group: RangeGroup, family: Family, entries: readonly [string, NftVerdict][]): NftRule[] {
  if (entries.length === 0) return [];
  const key = { hash: destination(family), modulus: populationModulus, seed: group.population.seed };
  return [[{ do: 'vmap', key, map: { entries } }]];
}

function leadsTo(statement: NftStatement, chain: string): boolean {
  return (
    statement.do === 'verdict' &&
    typeof statement.verdict === 'object' &&
    'goto' in statement.verdict &&
    statement.verdict.goto === chain
  );
}
