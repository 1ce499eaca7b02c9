// The short way between attackers and services: TCP over IPv4 to decoys that belong to one network alone is handed from
// link to link at ingress, past routing and connection tracking. What the rules here do not know goes the long way
// (services-ruleset.ts). Pure.
//
// What lets an answer out is the five-tuple of a question, and with it the MAC the question came from. Nothing else does.

import {
  accept,
  drop,
  match,
  matchNot,
  type NftChain,
  type NftRule,
  type NftSet,
  type NftStatement,
  verdict,
} from '../kernel/nft-ruleset.ts';
import { type AddressRange, overlapRanges } from '../model/address.ts';
import { rangeElements } from './decoy-layout.ts';
import { captureOf } from './services-capture.ts';
import type { ServicePort, ServicesNetwork } from './services-network.ts';

/** The way between one port and one leg, without the long way's devices where both wires are in one namespace. */
export interface Shortcut {
  /** Of its port. */
  readonly number: number;
  /** `16001-0`, in names of chains and sets. */
  readonly label: string;
  /** Both wires are in the machine's own namespace; else it is taken between the devices of the services namespace. */
  readonly home: boolean;
  readonly decoys: readonly AddressRange[];
  /** Where questions come in and answers leave, and the other way round. */
  readonly from: string;
  readonly to: string;
  readonly portMac: string;
  readonly legMac: string;
  /** Of the service. */
  readonly serviceMac: string;
  /** Of what both links can carry; TCP only ever lowers it. */
  readonly segmentBytes: number;
}

/** Five-tuples known at a time, in all: about 100 bytes each. Beyond it nothing new begins. */
const mostTuples = 524_288;
const fewestTuples = 8192;
/** Seconds after which a connection is forgotten: one that only began, one that was spoken in, one whose end was seen. */
const times = { asked: 300, spoken: 7200, ending: 120 } as const;
/**
 * Captured of attackers' acknowledgements without payload, of which one ends each handshake. Beyond it a connection in which
 * nobody says a word and that is reset is told from a handshake given up no more.
 */
const bareCaptured = 2000;
/** Without options, IPv4 and TCP. */
const headerBytes = 40;

const fromAttacker = 'ip saddr . tcp sport . ip daddr . tcp dport';
const toAttacker = 'ip daddr . tcp dport . ip saddr . tcp sport';
/** All but URG, ECE and CWR: those change nothing here. */
const kindOfSegment = 'tcp flags & 0x1f';

/**
 * Those there can be. A port whose decoys are another network's as well has none: equal five-tuples are told apart by
 * connection tracking. `mtuOf` tells of the devices in the services namespace, `macOf` of services by their address; what is
 * unknown yet has no shortcut yet.
 */
export function planShortcuts(
  { ports, legs }: ServicesNetwork,
  mtuOf: (link: string) => number | undefined,
  macOf: (address: string) => string | undefined,
): Shortcut[] {
  const shared = (port: ServicePort): boolean =>
    ports.some((other) => other !== port && overlapRanges(decoysOf(port), decoysOf(other)).length > 0);
  return ports.flatMap((port): Shortcut[] => {
    if (shared(port) || port.tunnel !== undefined) return [];
    return port.ways.flatMap(({ ranges, leg: name, via }, index): Shortcut[] => {
      const decoys = ranges.filter(({ family }) => family === 4);
      const leg = legs.find(({ link }) => link === name);
      const mtus = [mtuOf(port.link), mtuOf(name)];
      const serviceMac = macOf(via);
      if (decoys.length === 0 || !leg || mtus.includes(undefined) || serviceMac === undefined) return [];
      const home = port.netns === undefined;
      return [
        {
          number: port.number,
          label: `${port.number}-${index}`,
          home,
          decoys,
          from: home ? port.lower : port.link,
          to: home ? leg.interface : leg.link,
          portMac: port.mac,
          legMac: leg.mac,
          serviceMac,
          segmentBytes: Math.max(64, Math.min(...(mtus as number[])) - headerBytes),
        },
      ];
    });
  });
}

const decoysOf = ({ bound }: ServicePort): AddressRange[] => bound.flatMap(({ ranges }) => ranges);

/** The chain that takes a port's frames the short way and comes back with those that cannot. */
export const shortcutChain = (number: number): string => `short-${number}`;

/** Sets and chains of shortcuts of one namespace. `shortcutChain` is the way in, hooks lead the answers back. */
export function planShortcutRules(shortcuts: readonly Shortcut[]): { sets: NftSet[]; chains: NftChain[] } {
  const numbers = [...new Set(shortcuts.map(({ number }) => number))];
  const wires = [...new Set(shortcuts.map(({ to }) => to))];
  const size = Math.max(fewestTuples, Math.floor(mostTuples / Math.max(1, numbers.length)));
  const ofPort = (number: number): Shortcut[] => shortcuts.filter((one) => one.number === number);
  const onWire = (to: string): Shortcut[] => shortcuts.filter((one) => one.to === to);
  return {
    sets: [
      ...numbers.flatMap((number): NftSet[] => [
        {
          name: `asked-${number}`,
          type: 'ipv4_addr . inet_service . ipv4_addr . inet_service',
          data: 'ether_addr',
          interval: false,
          elements: [],
          dynamic: { size },
        },
        ...(isPlain(ofPort(number)) ? [] : [verdictsByDecoy(`ways-${number}`, ofPort(number), 'question')]),
      ]),
      ...wires.flatMap((to, index) =>
        onWire(to).length === 1 ? [] : [verdictsByDecoy(`answers-${index}`, onWire(to), 'answer')],
      ),
    ],
    chains: [
      ...shortcuts.flatMap((one) => [...questionChains(one), ...answerChains(one)]),
      ...numbers.map((number) => ({
        name: shortcutChain(number),
        rules: [
          // Fragments go the long way: only there they are put together.
          [{ do: 'flags', field: '@nh,48,16', mask: ['0x3fff'], not: true, value: [] }, verdict('return')] as const,
          isPlain(ofPort(number))
            ? bySegment('question', ofPort(number)[0].label)
            : ([{ do: 'vmap', key: 'ip daddr', map: { map: `ways-${number}` } }] as const),
        ],
      })),
      ...wires.map(
        (to, index): NftChain => ({
          name: `answers-${index}`,
          hook: { type: 'filter', hook: 'ingress', device: to, priority: -50 },
          rules: [
            [matchNot('ether daddr', onWire(to)[0].legMac), accept],
            [matchNot('meta protocol', 'ip'), accept],
            onWire(to).length === 1
              ? bySegment('answer', onWire(to)[0].label)
              : [match('meta l4proto', 'tcp'), { do: 'vmap', key: 'ip saddr', map: { map: `answers-${index}` } }],
          ],
        }),
      ),
    ],
  };
}

/** The way is clear when the link was already asked whether the address is bound. */
const isPlain = (ofPort: readonly Shortcut[]): boolean => ofPort.length === 1 && ofPort[0].home;

const verdictsByDecoy = (name: string, shortcuts: readonly Shortcut[], chain: 'question' | 'answer'): NftSet => ({
  name,
  type: 'ipv4_addr',
  data: 'verdict',
  interval: true,
  elements: shortcuts.flatMap(({ decoys, label }) =>
    rangeElements(decoys, 4).map((element) => `${element} : goto ${chain}-${label}`),
  ),
});

/** What is not named here, a service's SYN above all, goes the long way. */
const kinds = {
  question: {
    ack: 'say',
    'psh | ack': 'speak',
    syn: 'ask',
    'fin | ack': 'end',
    'fin | psh | ack': 'end',
    'rst | ack': 'quit',
    rst: 'quit',
  },
  answer: {
    ack: 'more',
    'psh | ack': 'tell',
    'syn | ack': 'take',
    'fin | ack': 'close',
    'fin | psh | ack': 'close',
    'rst | ack': 'refuse',
    rst: 'refuse',
  },
} as const;

const bySegment = (way: keyof typeof kinds, label: string): NftRule => [
  {
    do: 'vmap',
    key: kindOfSegment,
    map: { entries: Object.entries(kinds[way]).map(([flags, chain]) => [flags, { goto: `${chain}-${label}` }] as const) },
  },
];

/** Acknowledgements alone: no options, or timestamps. */
const bareSegments: readonly (readonly NftStatement[])[] = [12, 0].map((options) => [
  match('ip length', headerBytes + options),
  match('ip hdrlength', 5),
  match('tcp doff', 5 + options / 4),
]);

const set = (field: string, value: string): NftStatement => ({ do: 'set', field, value });

/** A rule more or less is felt here: each chain does all in one where it can. */
function questionChains({ number, label, legMac, serviceMac, to, segmentBytes }: Shortcut): NftChain[] {
  const asked = (seconds: number): NftStatement => ({
    do: 'remember',
    how: 'update',
    set: `asked-${number}`,
    key: fromAttacker,
    data: 'ether saddr',
    seconds,
  });
  const forget: NftStatement = {
    do: 'remember',
    how: 'delete',
    set: `asked-${number}`,
    key: fromAttacker,
    data: 'ether saddr',
  };
  const give: NftRule = [set('ether daddr', serviceMac), set('ether saddr', legMac), { do: 'forward', device: to }];
  const hand: NftRule = [captureOf('in', number), ...give];
  const beyond: NftStatement = { do: 'beyond', perSecond: bareCaptured };
  const name = (step: string): string => `${step}-${label}`;
  // Ends here when so many are known that no more can be.
  const full: NftRule = [{ do: 'counter' }, drop];
  return [
    { name: name('question'), rules: [bySegment('question', label)] },
    {
      name: name('ask'),
      rules: [[set('tcp option maxseg size', String(segmentBytes))], [asked(times.asked), ...hand], full],
    },
    // Leaves the time as it is: so the last acknowledgement of a connection does not keep it.
    { name: name('say'), rules: [...bareSegments.map((bare): NftRule => [...bare, beyond, ...give]), hand] },
    { name: name('speak'), rules: [[asked(times.spoken), ...hand], full] },
    { name: name('end'), rules: [[asked(times.ending), ...hand], full] },
    { name: name('quit'), rules: [[forget, ...hand]] },
  ];
}

function answerChains({ number, label, portMac, from, segmentBytes }: Shortcut): NftChain[] {
  const asked = `asked-${number}`;
  // Ends the rule where nobody asked.
  const back: NftStatement = { do: 'set-by-map', field: 'ether daddr', key: toAttacker, map: { map: asked } };
  const known = (how: 'update' | 'delete'): NftStatement => ({
    do: 'remember',
    how,
    set: asked,
    key: toAttacker,
    data: 'ether daddr',
    ...(how === 'update' ? { seconds: times.ending } : {}),
  });
  const go: NftRule = [set('ether saddr', portMac), { do: 'forward', device: from }];
  const leave: NftRule = [captureOf('out', number), ...go];
  const name = (step: string): string => `${step}-${label}`;
  return [
    { name: name('answer'), rules: [bySegment('answer', label)] },
    { name: name('take'), rules: [[set('tcp option maxseg size', String(segmentBytes))], [back, ...leave]] },
    { name: name('more'), rules: [...bareSegments.map((bare): NftRule => [...bare, back, ...go]), [back, ...leave]] },
    { name: name('tell'), rules: [[back, ...leave]] },
    { name: name('close'), rules: [[back, known('update'), ...leave]] },
    { name: name('refuse'), rules: [[back, known('delete'), ...leave]] },
  ];
}
