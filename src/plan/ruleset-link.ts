// What decoys look like on the wire: which of them answer ARP, whose frames we take, and the MAC and TTL each wears.
// Desired state to nft data; pure. Packets are ruleset.ts; the arithmetic is model/population.ts.
// Offsets: Ethernet source is bytes 6-11 of the link header, its low half at bit 72; IPv4 source ends at bit 128,
// IPv6 source at bit 192, ARP sender MAC's low half starts at bit 88 and the sender address ends at bit 144.

import {
  accept,
  drop,
  goto,
  match,
  matchNot,
  type NftChain,
  type NftRule,
  type NftSet,
  type NftTable,
  type NftVerdict,
  ownTableName,
} from '../kernel/nft-ruleset.ts';
import type { AddressRange, Family } from '../model/address.ts';
import type { Persona } from '../model/persona.ts';
import { macKeyOf, populationModulus, prefixSeedOf } from '../model/population.ts';
import { claimDevice } from './claims.ts';
import {
  addressType,
  aliveShare,
  type DecoyLayout,
  leadRanges,
  onlyPersona,
  personaOf,
  type RangeGroup,
  rangeElements,
  shareIntervals,
  testRanges,
  withheldSet,
} from './decoy-layout.ts';
import type { NetworkState } from './desired-state.ts';
import { planRoutedTable } from './ruleset-routed.ts';
import { StackWear } from './ruleset-stack.ts';

const vendorMask = 'ff:ff:ff:00:00:00';
/** Whoever speaks for an IPv6 decoy has its MAC; with a hop limit other than 255 it would not be heard (RFC 4861, 7.1). */
const neighbourDiscovery: NftRule = [match('icmpv6 type', ['nd-neighbor-solicit', 'nd-neighbor-advert']), accept];
/**
 * IPv6 refuses in the name of an address of the link; the address that was asked stands in what is quoted, behind eight
 * bytes of ICMP. A refusal in the right name is not changed by this.
 */
const refusedInName: NftRule = [
  match('icmpv6 type', 'destination-unreachable'),
  match('icmpv6 code', 4),
  { do: 'copy', field: 'ip6 saddr', from: '@th,256,128' },
];

/** What a service answers by kernel path comes through with its connection's mark (services-ruleset.ts) and is left as it is. */
const notPassing = match('meta mark', 0);

/** The netdev table for links where decoys wear MACs, and the arp table that keeps them silent on other links. */
export function planLinkTables(desired: NetworkState, layout: DecoyLayout, withheld: readonly AddressRange[]): NftTable[] {
  const claimed = layout.claimed.length > 0 || layout.singles.length > 0;
  if (!claimed) return [];
  if (desired.routedLinks) return [planRoutedTable(desired, desired.routedLinks, layout, withheld)];
  const arp = planArpTable(layout, desired.manyLinks);
  return desired.macLinks.length > 0 ? [planFrameTable(desired, layout, withheld), ...arp] : arp;
}

/** The kernel answers ARP for a local address on every link; a decoy lives on one, which is its own device if it has one. */
function planArpTable(layout: DecoyLayout, manyLinks: boolean): NftTable[] {
  const listed = manyLinks ? [...layout.claimed, ...layout.singles.filter(({ claim }) => claim !== 'macvlan')] : [];
  const links = [...new Set(listed.map((item) => item.interface))].sort();
  const sets: NftSet[] = [];
  const rules: NftRule[] = [];
  const devices = ownDevices(layout);
  if (devices.length > 0) {
    const elements = devices.map(({ text, address }) => `${claimDevice(address)} . ${text}`);
    sets.push(
      { name: 'own-devices', type: 'ifname . ipv4_addr', interval: false, elements },
      { name: 'with-own-device', type: addressType(4), interval: false, elements: devices.map(({ text }) => text) },
    );
    const request = match('arp operation', 'request');
    rules.push(
      [request, match('iifname . arp daddr ip', { set: 'own-devices' }), accept],
      [request, match('arp daddr ip', { set: 'with-own-device' }), drop],
    );
  }
  links.forEach((link, index) => {
    const ranges = layout.claimed.filter((group) => group.interface === link).flatMap((group) => rangeElements(group.ranges, 4));
    const singles = layout.singles
      .filter(({ interface: own, address, claim }) => own === link && address.family === 4 && claim !== 'macvlan')
      .map(({ text }) => text);
    for (const [name, interval, elements] of [
      [`ranges-${index}`, true, ranges],
      [`singles-${index}`, false, singles],
    ] as const) {
      if (elements.length === 0) continue;
      sets.push({ name, type: addressType(4), interval, elements });
      rules.push([matchNot('iifname', link), match('arp operation', 'request'), match('arp daddr ip', { set: name }), drop]);
    }
  });
  if (rules.length === 0) return [];
  const hook = { type: 'filter', hook: 'input', priority: 0 } as const;
  return [
    {
      family: 'arp',
      name: ownTableName,
      comment: 'Weir decoys; remove with: weir down',
      sets,
      chains: [{ name: 'elsewhere', hook, rules }],
    },
  ];
}

const ownDevices = ({ singles }: DecoyLayout): DecoyLayout['singles'] =>
  singles.filter(({ claim, persona, address }) => claim === 'macvlan' && persona && address.family === 4);

/**
 * What a decoy with a macvlan device sends goes out by the interface below, which therefore asks for its neighbours; their
 * answers go to the decoy's MAC. As broadcasts they reach both.
 */
function planArpAnswers(layout: DecoyLayout, sets: NftSet[], rules: NftRule[]): void {
  const elements = ownDevices(layout).map(({ text }) => text);
  if (elements.length === 0) return;
  sets.push({ name: 'with-own-device', type: addressType(4), interval: false, elements });
  rules.push([
    match('arp operation', 'reply'),
    match('arp daddr ip', { set: 'with-own-device' }),
    { do: 'set', field: 'ether daddr', value: 'ff:ff:ff:ff:ff:ff' },
    { do: 'set', field: 'meta pkttype', value: 'host' },
    accept,
  ]);
}

function planFrameTable(desired: NetworkState, layout: DecoyLayout, withheld: readonly AddressRange[]): NftTable {
  const sets: NftSet[] = [];
  const chains: NftChain[] = [];
  const take: NftRule[] = [];
  const takeArp: NftRule[] = [];
  const arriveArp: NftRule[] = [];
  const leave: Record<'ip' | 'ip6' | 'arp', NftRule[]> = { ip: [], ip6: [neighbourDiscovery, refusedInName], arp: [] };
  const stacks = new StackWear(desired.ports.narrow, desired.announcedSize);
  const takeHost = { do: 'set', field: 'meta pkttype', value: 'host' } as const;
  for (const family of [4, 6] as const) {
    sets.push(withheldSet(withheld, family));
    const field = family === 4 ? 'ip' : 'ip6';
    const ranges = layout.claimed.flatMap((group) => rangeElements(group.ranges, family));
    if (ranges.length > 0) {
      const isRange = testRanges(`ranges${family}`, family, ranges, sets);
      take.push(...isRange(`${field} daddr`).map((test) => [test, takeHost]));
      if (family === 4) takeArp.push(...isRange('arp daddr ip').map((test) => [test, takeHost]));
      planRangeWear(layout, family, stacks, sets, chains, leave);
    }
    const singles = layout.singles.filter((single) => single.address.family === family);
    const exact = [
      ...singles.filter((single) => single.mac !== undefined).map(({ text, mac }) => `${text} : ${mac}`),
      ...layout.macs.filter(({ address }) => address.family === family).map(({ text, mac }) => `${text} : ${mac}`),
    ];
    if (exact.length > 0) {
      const map = { map: `mac${family}` };
      // The look-up ends the rule for addresses the map does not have; the write changes nothing in an honest frame.
      take.push([{ do: 'set-by-map', field: 'ether daddr', key: `${field} daddr`, map }, takeHost]);
      sets.push({ name: map.map, type: addressType(family), data: 'ether_addr', interval: false, elements: exact });
      leave[field].push([{ do: 'set-by-map', field: 'ether saddr', key: `${field} saddr`, map }]);
      if (family === 4)
        leave.arp.push(
          [{ do: 'set-by-map', field: 'arp saddr ether', key: 'arp saddr ip', map }],
          [{ do: 'set-by-map', field: 'ether saddr', key: 'arp saddr ip', map }],
        );
    }
    const looks = singles.flatMap(({ text, persona }) => {
      const chain = persona && stacks.chainFor(persona, family);
      return chain === undefined ? [] : [`${text} : jump ${chain}`];
    });
    if (looks.length > 0) {
      sets.push({ name: `stack${family}`, type: addressType(family), data: 'verdict', interval: false, elements: looks });
      leave[field].push([notPassing, { do: 'vmap', key: `${field} saddr`, map: { map: `stack${family}` } }]);
    }
  }
  chains.unshift(...stacks.chains);
  planArpAnswers(layout, sets, arriveArp);
  planArpArrival(layout, sets, chains, arriveArp);
  const vendors = new Set<string>();
  for (const persona of desired.personas)
    for (const prefix of persona.macPrefixes) vendors.add(`${prefix.toLowerCase()}:00:00:00`);
  for (const group of desired.groups)
    for (const mac of Object.values(group.macs)) vendors.add(`${mac.toLowerCase().slice(0, 8)}:00:00:00`);
  const isOurs = match(`ether daddr & ${vendorMask}`, [...vendors].sort());
  arriveArp.push([match('meta pkttype', 'other'), isOurs, goto('take-arp')]);
  if (sets.some(({ name }) => name === 'mac4'))
    takeArp.push([{ do: 'set-by-map', field: 'ether daddr', key: 'arp daddr ip', map: { map: 'mac4' } }, takeHost]);
  chains.push({ name: 'take', rules: take }, { name: 'take-arp', rules: takeArp });
  chains.push({ name: 'arrive-arp', rules: [[match('arp daddr ip', { set: 'withheld4' }), accept], ...arriveArp] });
  // Frames to a decoy's MAC come as somebody else's; only those of a vendor we play are taken.
  chains.push({
    name: 'arrive',
    rules: [
      [match('meta protocol', 'arp'), goto('arrive-arp')],
      [match('meta pkttype', 'other'), isOurs, goto('take')],
    ],
  });
  for (const name of ['ip', 'ip6', 'arp'] as const) chains.push({ name: `leave-${name}`, rules: leave[name] });
  const byProtocol = (['ip', 'ip6', 'arp'] as const).map((name) => [match('meta protocol', name), goto(`leave-${name}`)]);
  chains.push({ name: 'leave', rules: byProtocol });
  desired.macLinks.forEach((device, index) => {
    chains.push({
      name: `ingress-${index}`,
      hook: { type: 'filter', hook: 'ingress', device, priority: -100 },
      rules: [[goto('arrive')]],
    });
    chains.push({
      name: `egress-${index}`,
      hook: { type: 'filter', hook: 'egress', device, priority: 0 },
      rules: [[goto('leave')]],
    });
  });
  return { family: 'netdev', name: ownTableName, comment: 'Weir decoys; remove with: weir down', sets, chains };
}

/** The dead do not answer ARP: by hash inside ranges, by list for single addresses. */
function planArpArrival(layout: DecoyLayout, sets: NftSet[], chains: NftChain[], rules: NftRule[]): void {
  const dead = layout.singles.filter((single) => !single.persona && single.address.family === 4).map(({ text }) => text);
  if (dead.length > 0) {
    sets.push({ name: 'dead4', type: addressType(4), interval: false, elements: dead });
    rules.push([match('arp operation', 'request'), match('arp daddr ip', { set: 'dead4' }), drop]);
  }
  const elements: string[] = [];
  layout.claimed.forEach((group, index) => {
    const alive = aliveShare(group.population);
    const ranges = rangeElements(group.ranges, 4);
    if (alive >= populationModulus || ranges.length === 0) return;
    const name = `dead-${index}.arp`;
    const left = { hash: 'arp daddr ip', modulus: populationModulus, seed: group.population.seed };
    chains.push({ name, rules: [alive === 0 ? [drop] : [{ do: 'at-least', left, value: alive }, drop]] });
    elements.push(...ranges.map((range) => `${range} : jump ${name}`));
  });
  if (elements.length > 0) {
    sets.push({ name: 'residents4', type: addressType(4), data: 'verdict', interval: true, elements });
    rules.push([match('arp operation', 'request'), { do: 'vmap', key: 'arp daddr ip', map: { map: 'residents4' } }]);
  }
}

/** Chains that give each resident of a range its MAC and TTL, and the maps that lead to them. */
function planRangeWear(
  layout: DecoyLayout,
  family: Family,
  stacks: StackWear,
  sets: NftSet[],
  chains: NftChain[],
  leave: Record<'ip' | 'ip6' | 'arp', NftRule[]>,
): void {
  const kinds = family === 4 ? (['ip', 'arp'] as const) : (['ip6'] as const);
  for (const kind of kinds) {
    const source = kind === 'arp' ? 'arp saddr ip' : `${kind} saddr`;
    const targets: [string, NftVerdict][] = [];
    layout.claimed.forEach((group, index) => {
      const ranges = rangeElements(group.ranges, family);
      if (ranges.length === 0) return;
      const wear = (persona: string): string => {
        const name = `wear-${index}.${kind}.${persona}`;
        const resident = personaOf(layout.personas, persona);
        const look = kind === 'arp' ? undefined : stacks.chainFor(resident, family);
        const rules = wearRules(kind, source, resident, group);
        chains.push({ name, rules: look === undefined ? rules : [...rules, [notPassing, goto(look)]] });
        return name;
      };
      const only = onlyPersona(group.population);
      let entry: string;
      if (only !== undefined) entry = wear(only);
      else {
        entry = `wear-${index}.${kind}`;
        const byPersona = new Map<string, string>();
        const entries: [string, NftVerdict][] = shareIntervals(group.population).map(({ first, last, persona }) => {
          const chain = byPersona.get(persona) ?? wear(persona);
          byPersona.set(persona, chain);
          return [`${first}-${last}`, { goto: chain }];
        });
        const key = { hash: source, modulus: populationModulus, seed: group.population.seed };
        chains.push({ name: entry, rules: entries.length > 0 ? [[{ do: 'vmap', key, map: { entries } }]] : [] });
      }
      targets.push(...ranges.map((range): [string, NftVerdict] => [range, { jump: entry }]));
    });
    leave[kind].push(...leadRanges(`wear-${kind}`, family, source, targets, sets));
  }
}

function wearRules(kind: 'ip' | 'ip6' | 'arp', source: string, persona: Persona, group: RangeGroup): NftRule[] {
  const { seed } = group.population;
  const key = macKeyOf(seed);
  const low = { ip: '@nh,104,24', ip6: '@nh,168,24', arp: '@nh,120,24' }[kind];
  const vendor = (field: string): NftRule => {
    const macs = persona.macPrefixes.map((prefix) => `${prefix.toLowerCase()}:00:00:00`);
    if (macs.length === 1) return [{ do: 'set', field, value: macs[0] }];
    const hash = { hash: source, modulus: macs.length, seed: prefixSeedOf(seed) };
    return [{ do: 'set-by-map', field, key: hash, map: { entries: macs.map((mac, index) => [index, mac] as const) } }];
  };
  const rules: NftRule[] = [vendor('ether saddr'), [{ do: 'set-xor', field: '@ll,72,24', source: low, key }]];
  if (kind === 'arp') rules.push(vendor('arp saddr ether'), [{ do: 'set-xor', field: '@nh,88,24', source: low, key }]);
  return rules;
}
