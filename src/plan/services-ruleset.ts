// The rules of the services network: in the services namespace who may pass, under which conntrack zone, and what of it
// is captured; in each network with bound decoys, which frames go there. Pure; the network itself is services-network.ts.

import {
  accept,
  drop,
  jump,
  match,
  matchNot,
  type NftRule,
  type NftSet,
  type NftStatement,
  type NftTable,
  type NftVerdict,
  ownTableName,
  tcpFlags,
  tcpFlagsNot,
} from '../kernel/nft-ruleset.ts';
import type { Family } from '../model/address.ts';
import { populationModulus } from '../model/population.ts';
import { addressType, aliveShare, rangeElements } from './decoy-layout.ts';
import type { ServicePort, ServicesNetwork } from './services-network.ts';

/** NFLOG group of captured packets, in the services namespace. */
export const captureGroup = 88;
/** The table of a network with bound decoys that leads them away; beside the table of its decoys. */
export const boundTableName = 'weir-services';
/** Prefix of a captured packet: `in` from the attacker, `out` from the service, `odd` what no connection can be made of. */
export const capturePrefix = (direction: 'in' | 'out' | 'odd'): string => `weir:${direction}`;

/** Of one connection, both directions with headers; what comes after is counted by conntrack alone. */
const capturedFlowBytes = 16 << 20;
/** Handed over in batches of this many packets; see tproxy-socket.ts. */
const captureThreshold = 64;

const capture = (direction: 'in' | 'out' | 'odd'): NftStatement => ({
  do: 'log',
  prefix: capturePrefix(direction),
  group: captureGroup,
  snaplen: 65_535,
  queueThreshold: captureThreshold,
});

const neighbourDiscovery = match('icmpv6 type', [
  'nd-router-solicit',
  'nd-router-advert',
  'nd-neighbor-solicit',
  'nd-neighbor-advert',
]);
const families: readonly Family[] = [4, 6];

/** The table of the services namespace. */
export function planServicesTable({ ports, legs }: ServicesNetwork): NftTable {
  const byPort = ports.map(({ link, number }) => [link, String(number)] as const);
  const lead = (inward: string, outward: string): NftStatement => ({
    do: 'vmap',
    key: 'iifname',
    map: {
      entries: [
        ...ports.map(({ link }): [string, NftVerdict] => [link, { goto: inward }]),
        ...legs.map(({ link }): [string, NftVerdict] => [link, { goto: outward }]),
      ],
    },
  });
  return {
    family: 'inet',
    name: ownTableName,
    comment: 'Weir services; remove with: weir down',
    sets: [],
    chains: [
      {
        name: 'question',
        rules: [
          [{ do: 'set-by-map', field: 'meta mark', key: 'iifname', map: { entries: byPort } }],
          [
            match('ct state', 'new'),
            { do: 'set', field: 'ct mark', value: 'meta mark' },
            { do: 'set', field: 'ct event', value: 'destroy' },
          ],
          // The hop through here must not show.
          [match('ip ttl', 1), { do: 'set', field: 'ip ttl', value: '2' }],
          [match('ip6 hoplimit', 1), { do: 'set', field: 'ip6 hoplimit', value: '2' }],
        ],
      },
      {
        name: 'answer',
        rules: [
          [neighbourDiscovery, accept],
          // Containment: a service answers, it does not ask.
          [match('ct state', ['new', 'invalid', 'untracked']), { do: 'counter' }, drop],
          [{ do: 'set', field: 'meta mark', value: 'ct mark' }],
        ],
      },
      { name: 'bare', rules: bareRules },
      { name: 'record-in', rules: recordRules('in') },
      { name: 'record-out', rules: recordRules('out') },
      ...[32, 64, 128, 255].map((ttl) => ({
        name: `ttl-${ttl}`,
        rules: [[{ do: 'set', field: 'ip ttl', value: String(ttl) } as NftStatement]],
      })),
      ...[64, 128, 255].map((limit) => ({
        name: `hops-${limit}`,
        rules: [[{ do: 'set', field: 'ip6 hoplimit', value: String(limit) } as NftStatement]],
      })),
      {
        name: 'zones',
        hook: { type: 'filter', hook: 'prerouting', priority: -300 },
        // Only the attacker's side has a zone of its own: towards the services all share one, so equal five-tuples of two
        // networks are told apart there by another source port (net/netfilter/nf_nat_core.c, null binding).
        rules: [[{ do: 'set-by-map', field: 'ct original zone', key: 'iifname', map: { entries: byPort } }]],
      },
      { name: 'arrive', hook: { type: 'filter', hook: 'prerouting', priority: -150 }, rules: [[lead('question', 'answer')]] },
      { name: 'unclash-in', hook: { type: 'nat', hook: 'prerouting', priority: -100 }, rules: [] },
      {
        name: 'pass',
        hook: { type: 'filter', hook: 'forward', priority: 0 },
        rules: [[lead('record-in', 'record-out')], [drop]],
      },
      {
        name: 'leave',
        hook: { type: 'filter', hook: 'postrouting', priority: 50 },
        rules: [
          // The two wires may carry packets of different sizes, and nobody here may say so; only ever lowered.
          [tcpFlags(['syn'], ['syn']), { do: 'set', field: 'tcp option maxseg size', value: 'rt mtu' }],
          [{ do: 'vmap', key: 'ip ttl', map: { entries: [32, 64, 128, 255].map((ttl) => [ttl - 1, { jump: `ttl-${ttl}` }]) } }],
          [
            {
              do: 'vmap',
              key: 'ip6 hoplimit',
              map: { entries: [64, 128, 255].map((limit) => [limit - 1, { jump: `hops-${limit}` }]) },
            },
          ],
        ],
      },
      { name: 'unclash-out', hook: { type: 'nat', hook: 'postrouting', priority: 100 }, rules: [] },
      ...(['input', 'output'] as const).map((hook) => ({
        name: `self-${hook}`,
        hook: { type: 'filter' as const, hook, priority: 0 },
        rules: [[neighbourDiscovery, accept], [drop]],
      })),
    ],
  };
}

/**
 * What a session is made of is captured: the ends of a connection, its first packets, everything with payload.
 * Acknowledgements alone (no options but timestamps) tell nothing new. A packet of a connection beyond the bound passes.
 */
function recordRules(direction: 'in' | 'out'): NftRule[] {
  const odd: NftRule[] = [[match('ct state', ['invalid', 'untracked']), capture('odd'), drop]];
  // The handshake's third packet is the one acknowledgement that tells something.
  const established: NftStatement = { do: 'at-least', left: 'ct original packets', value: 4 };
  return [
    ...(direction === 'in' ? odd : []),
    [tcpFlagsNot(['fin', 'syn', 'rst'], []), capture(direction), accept],
    [match('meta l4proto', 'tcp'), ...(direction === 'in' ? [established] : []), jump('bare')],
    [{ do: 'at-least', left: 'ct bytes', value: capturedFlowBytes }, accept],
    [capture(direction), accept],
  ];
}

/** Lets acknowledgements without payload pass: no options, or timestamps alone. */
const bareRules: readonly NftRule[] = [0, 12].flatMap((options): NftRule[] => [
  [match('ip hdrlength', 5), match('tcp doff', 5 + options / 4), match('ip length', 40 + options), accept],
  [match('ip6 nexthdr', 'tcp'), match('tcp doff', 5 + options / 4), match('ip6 length', 20 + options), accept],
]);

/** The table of a namespace in which these ports' links are. */
export function planBoundTable(ports: readonly ServicePort[]): NftTable {
  const sets: NftSet[] = [];
  const chains: NftTable['chains'][number][] = [];
  for (const port of ports) {
    const { number, lower, mac, bound } = port;
    const toPort: NftStatement = { do: 'set', field: 'ether daddr', value: mac };
    const rules: NftRule[] = [
      [matchNot('meta pkttype', 'host'), accept],
      [neighbourDiscovery, accept],
    ];
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
        chains.push({ name, rules: [...dead, [toPort]] });
        elements.push(...mine.map((element) => `${element} : goto ${name}`));
        all.push(...mine);
      });
      if (elements.length === 0) continue;
      const map = `bound-${number}.v${family}`;
      sets.push({ name: map, type: addressType(family), data: 'verdict', interval: true, elements });
      if (family === 4) {
        sets.push({ name: `bound-arp-${number}`, type: addressType(4), interval: true, elements: all });
        rules.push([match('arp operation', 'reply'), match('arp daddr ip', { set: `bound-arp-${number}` }), toPort]);
      }
      rules.push([{ do: 'vmap', key: field, map: { map } }]);
    }
    chains.push({ name: `bound-${number}`, hook: { type: 'filter', hook: 'ingress', device: lower, priority: -50 }, rules });
  }
  return { family: 'netdev', name: boundTableName, comment: 'Weir services; remove with: weir down', sets, chains };
}
