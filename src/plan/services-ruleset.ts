// The rules of the services network: in the services namespace who may pass, under which conntrack zone, and what of it
// is captured; in each network with bound decoys, which frames go there. Pure; the network itself is services-network.ts.

import {
  accept,
  drop,
  goto,
  jump,
  match,
  matchNot,
  type NftChain,
  type NftHook,
  type NftRule,
  type NftStatement,
  type NftTable,
  type NftVerdict,
  ownTableName,
  tcpFlags,
} from '../kernel/nft-ruleset.ts';
import { type AddressRange, type Family, rangeSize, uniteRanges } from '../model/address.ts';
import { populationModulus } from '../model/population.ts';
import { addressType, aliveShare, rangeElements } from './decoy-layout.ts';
import { planDialAnswers, planDialChains, planDialSelf } from './dial-network.ts';
import { captureOf } from './services-capture.ts';
import { type ServicePort, type ServicesNetwork, tunnelPaths } from './services-network.ts';
import { planShortcutRules, type Shortcut, shortcutChain } from './services-shortcut.ts';
import { planTunnelChains } from './tunnel-network.ts';

/** The table of a network with bound decoys that leads them away; beside the table of its decoys. */
export const boundTableName = 'weir-services';
/** Of one connection, both directions with headers; what comes after is counted by conntrack alone. */
const capturedFlowBytes = 16 << 20;
const neighbourDiscovery = match('icmpv6 type', [
  'nd-router-solicit',
  'nd-router-advert',
  'nd-neighbor-solicit',
  'nd-neighbor-advert',
]);
const families: readonly Family[] = [4, 6];

/** The table of the services namespace. Every packet passes here: rules are few, and those that decide most come first. */
export function planServicesTable(network: ServicesNetwork): NftTable {
  const { ports, legs, dials } = network;
  const paths = tunnelPaths(network);
  const pathOf = new Map(paths.map((path) => [path.leg, path]));
  const lead = (inward: (port: ServicePort) => string, outward: (leg: string) => string): NftStatement => ({
    do: 'vmap',
    key: 'iifname',
    map: {
      entries: [
        ...ports.map((port): [string, NftVerdict] => [port.link, { goto: inward(port) }]),
        ...legs.map(({ link }): [string, NftVerdict] => [link, { goto: outward(link) }]),
      ],
    },
  });
  const tracked = ports.filter(({ tunnel }) => tunnel === undefined);
  const unclash = haveCommonDecoys(tracked)
    ? {
        // Only the attacker's side has a zone of its own: towards the services all share one, so equal five-tuples of two
        // networks are told apart there by another source port (net/netfilter/nf_nat_core.c, null binding).
        zones: chainAt('zones', 'filter', 'prerouting', -300, [[zoneOfPort(tracked)]]),
        in: chainAt('unclash-in', 'nat', 'prerouting', -100, []),
        out: chainAt('unclash-out', 'nat', 'postrouting', 100, []),
      }
    : {};
  return {
    family: 'inet',
    name: ownTableName,
    comment: 'Weir services; remove with: weir down',
    sets: [],
    chains: [
      { name: 'odd', rules: [[captureOf('odd'), drop]] },
      {
        name: 'fresh',
        rules: [
          [
            { do: 'set', field: 'ct mark', value: 'meta mark' },
            { do: 'set', field: 'ct event', value: 'destroy' },
          ],
          // The hop through here must not show.
          [match('ip ttl', 1), { do: 'set', field: 'ip ttl', value: '2' }],
          [match('ip6 hoplimit', 1), { do: 'set', field: 'ip6 hoplimit', value: '2' }],
        ],
      },
      ...tracked.map(({ number }) => ({
        name: `question-${number}`,
        rules: [
          [
            { do: 'set', field: 'meta mark', value: String(number) } as const,
            {
              do: 'vmap',
              key: 'ct state',
              map: {
                entries: [
                  ['new', { goto: 'fresh' }],
                  ['invalid', { goto: 'odd' }],
                ],
              },
            } as const,
          ],
        ],
      })),
      {
        name: 'answer',
        rules: [
          ...planDialAnswers(dials),
          [match('ct state', ['established', 'related']), { do: 'set', field: 'meta mark', value: 'ct mark' }, accept],
          [neighbourDiscovery, accept],
          // Containment: a service answers, it does not ask.
          [{ do: 'counter' }, drop],
        ],
      },
      { name: 'bare', rules: bareRules },
      ...hopChains,
      ...recordChains('in'),
      ...recordChains('out'),
      ...planDialChains(dials),
      ...(unclash.zones ? [unclash.zones] : []),
      ...planTunnelChains(paths),
      chainAt('arrive', 'filter', 'prerouting', -150, [
        [
          lead(
            ({ number, tunnel }) => (tunnel === undefined ? `question-${number}` : 'tunnel-in'),
            (leg) => (pathOf.has(leg) ? `tunnel-out-${pathOf.get(leg)?.number}` : 'answer'),
          ),
        ],
      ]),
      ...(unclash.in ? [unclash.in] : []),
      chainAt('pass', 'filter', 'forward', 0, [
        [
          lead(
            ({ tunnel }) => (tunnel === undefined ? 'record-in' : 'carry'),
            (leg) => (pathOf.has(leg) ? 'carry' : 'record-out'),
          ),
        ],
        [drop],
      ]),
      ...(unclash.out ? [unclash.out] : []),
      ...(['input', 'output'] as const).map((hook) =>
        chainAt(`self-${hook}`, 'filter', hook, 0, [...planDialSelf(dials, hook), [neighbourDiscovery, accept], [drop]]),
      ),
    ],
  };
}

const chainAt = (
  name: string,
  type: NftHook['type'],
  hook: NftHook['hook'],
  priority: number,
  rules: readonly NftRule[],
): NftChain => ({ name, hook: { type, hook, priority }, rules });

const zoneOfPort = (ports: readonly ServicePort[]): NftStatement => ({
  do: 'set-by-map',
  field: 'ct original zone',
  key: 'iifname',
  map: { entries: ports.map(({ link, number }) => [link, String(number)] as const) },
});

/** Whether two ports lead to the same address: only then can five-tuples clash. */
function haveCommonDecoys(ports: readonly ServicePort[]): boolean {
  const own = ports.map(({ bound }) => uniteRanges(bound.flatMap(({ ranges }) => ranges)));
  const sum = (ranges: readonly AddressRange[]): bigint => ranges.reduce((all, range) => all + rangeSize(range), 0n);
  return sum(uniteRanges(own.flat())) < own.reduce((all, ranges) => all + sum(ranges), 0n);
}

/** One hop less than a system begins with is one too few: it was taken here. */
const beginnings = { 4: [32, 64, 128, 255], 6: [64, 128, 255] } as const;
const hopField = { 4: 'ip ttl', 6: 'ip6 hoplimit' } as const;
const hopChains: readonly NftChain[] = families.flatMap((family): NftChain[] => [
  ...beginnings[family].map((hops) => ({
    name: `hops-${hops}.v${family}`,
    rules: [[{ do: 'set', field: hopField[family], value: String(hops) } as const]],
  })),
  {
    name: `hops${family}`,
    rules: [
      [
        {
          do: 'vmap',
          key: hopField[family],
          map: { entries: beginnings[family].map((hops) => [hops - 1, { jump: `hops-${hops}.v${family}` }]) },
        },
      ],
    ],
  },
]);

/** The hop was counted before the forward hook (net/ipv4/ip_forward.c). */
const putBackHop: NftRule = [
  {
    do: 'vmap',
    key: 'meta nfproto',
    map: {
      entries: [
        ['ipv4', { jump: 'hops4' }],
        ['ipv6', { jump: 'hops6' }],
      ],
    },
  },
];

/**
 * What a session is made of is captured: the ends of a connection, its first packets, everything with payload.
 * Acknowledgements alone (no options but timestamps) tell nothing new once the handshake is through. A packet of a
 * connection beyond the bound passes.
 */
function recordChains(direction: 'in' | 'out'): NftChain[] {
  const name = `record-${direction}`;
  const established: NftRule = [{ do: 'at-least', left: 'ct original packets', value: 4 }, jump('bare')];
  const bounded: NftRule[] = [
    [{ do: 'at-least', left: 'ct bytes', value: capturedFlowBytes }, accept],
    [captureOf(direction), accept],
  ];
  return [
    { name: `payload-${direction}`, rules: bounded },
    { name: `plain-${direction}`, rules: [direction === 'in' ? established : [jump('bare')], ...bounded] },
    {
      name: `flags-${direction}`,
      rules: [
        [
          {
            do: 'vmap',
            key: 'tcp flags',
            map: {
              entries: [
                ['ack', { goto: `plain-${direction}` }],
                ['psh | ack', { goto: `payload-${direction}` }],
              ],
            },
          },
        ],
        // The two wires may carry packets of different sizes, and nobody here may say so; only ever lowered.
        [tcpFlags(['syn'], ['syn']), { do: 'set', field: 'tcp option maxseg size', value: 'rt mtu' }],
        [captureOf(direction), accept],
      ],
    },
    {
      name,
      rules: [
        ...(direction === 'out' ? [putBackHop] : []),
        [match('meta l4proto', 'tcp'), goto(`flags-${direction}`)],
        ...bounded,
      ],
    },
  ];
}

/** Lets acknowledgements without payload pass: no options, or timestamps alone. */
const bareRules: readonly NftRule[] = [0, 12].flatMap((options): NftRule[] => [
  [match('ip hdrlength', 5), match('tcp doff', 5 + options / 4), match('ip length', 40 + options), accept],
  [match('ip6 nexthdr', 'tcp'), match('tcp doff', 5 + options / 4), match('ip6 length', 20 + options), accept],
]);

/** The table of the services namespace by which frames are handed from device to device; undefined when none can be. */
export function planShortcutTable(network: ServicesNetwork, shortcuts: readonly Shortcut[]): NftTable | undefined {
  const mine = shortcuts.filter(({ home }) => !home);
  if (mine.length === 0) return undefined;
  const { sets, chains } = planShortcutRules(mine);
  const entries = network.ports.filter(({ number }) => mine.some((one) => one.number === number));
  const hooks = entries.map(
    ({ number, link }): NftChain => ({
      name: `arrive-${number}`,
      hook: { type: 'filter', hook: 'ingress', device: link, priority: -50 },
      rules: [[match('meta protocol', 'ip'), match('meta l4proto', 'tcp'), goto(shortcutChain(number))]],
    }),
  );
  return {
    family: 'netdev',
    name: boundTableName,
    comment: 'Weir services; remove with: weir down',
    sets,
    chains: [...chains, ...hooks],
  };
}

/** The table of a namespace in which these ports' links are. */
export function planBoundTable(ports: readonly ServicePort[], shortcuts: readonly Shortcut[] = []): NftTable {
  const short = shortcuts.filter(({ home, number }) => home && ports.some((port) => port.number === number));
  const { sets, chains } = planShortcutRules(short);
  for (const port of ports) {
    const { number, lower, mac, bound } = port;
    const toPort: NftStatement = { do: 'set', field: 'ether daddr', value: mac };
    const byProtocol: [string, NftVerdict][] = [];
    for (const family of families) {
      const field = family === 4 ? 'ip daddr' : 'ip6 daddr';
      const elements: string[] = [];
      const all: string[] = [];
      bound.forEach(({ ranges, population }, index) => {
        const mine = rangeElements(ranges, family);
        if (mine.length === 0) return;
        const alive = aliveShare(population);
        const name = `bound-${number}-${index}.v${family}`;
        const left = { hash: field, modulus: populationModulus, seed: population.seed };
        // Where nobody lives the decoys' own rules decide.
        const dead: NftRule[] = alive >= populationModulus ? [] : [[{ do: 'at-least', left, value: alive }, accept]];
        const first: NftRule[] =
          family === 4 && short.some((one) => one.number === number)
            ? [[match('meta l4proto', 'tcp'), jump(shortcutChain(number))]]
            : [];
        chains.push({ name, rules: [...dead, ...first, [toPort]] });
        elements.push(...mine.map((element) => `${element} : goto ${name}`));
        all.push(...mine);
      });
      if (elements.length === 0) continue;
      const map = `bound-${number}.v${family}`;
      sets.push({ name: map, type: addressType(family), data: 'verdict', interval: true, elements });
      const discovery: NftRule[] = family === 6 ? [[neighbourDiscovery, accept]] : [];
      const entry = `lead-${number}.v${family}`;
      chains.push({ name: entry, rules: [...discovery, [{ do: 'vmap', key: field, map: { map } }]] });
      byProtocol.push([family === 4 ? 'ip' : 'ip6', { goto: entry }]);
      if (family === 6) continue;
      sets.push({ name: `bound-arp-${number}`, type: addressType(4), interval: true, elements: all });
      chains.push({
        name: `lead-${number}.arp`,
        rules: [[match('arp operation', 'reply'), match('arp daddr ip', { set: `bound-arp-${number}` }), toPort]],
      });
      byProtocol.push(['arp', { goto: `lead-${number}.arp` }]);
    }
    chains.push({
      name: `bound-${number}`,
      hook: { type: 'filter', hook: 'ingress', device: lower, priority: -50 },
      rules: [[matchNot('meta pkttype', 'host'), accept], [{ do: 'vmap', key: 'meta protocol', map: { entries: byProtocol } }]],
    });
  }
  return { family: 'netdev', name: boundTableName, comment: 'Weir services; remove with: weir down', sets, chains };
}
