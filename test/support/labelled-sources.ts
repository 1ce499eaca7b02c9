// A day and a half of sources as a store tells them: ordinary noise, which shares tools, lists and networks as the Internet does,
// and campaigns, whose members share some rare things and lack others. Made up here; nothing is real.

import type { SourceFeatures } from '../../src/record/analysis-store.ts';
import { Chance } from './payload-parts.ts';

export interface LabelledSource {
  readonly features: SourceFeatures;
  /** Undefined: of no campaign. */
  readonly campaign?: string;
}

/** The first ones are much likelier. */
const common = (chance: Chance, count: number): number => Math.floor(count * (chance.number(1000) / 1000) ** 3);
/** Present in most members, as in life. */
const mostly = (chance: Chance): boolean => chance.number(100) < 85;

const firstHalfHour = 970_000;
const halfHours = 72;
/** Everybody's list, which bots share by the thousand. */
const list = [
  'root:xc3511',
  'root:vizxv',
  'root:admin',
  'admin:admin',
  'root:888888',
  'root:xmhdipc',
  'root:default',
  'root:juantech',
];

interface Parts {
  readonly source: string;
  readonly asn: number;
  readonly families?: readonly string[];
  readonly credentials?: readonly string[];
  readonly fingerprints?: readonly string[];
  readonly urls?: readonly string[];
  readonly times: readonly number[];
  readonly hits?: number;
}

function row({
  source,
  asn,
  families = [],
  credentials = [],
  fingerprints = [],
  urls = [],
  times,
  hits = 5,
}: Parts): SourceFeatures {
  const sorted = [...new Set(times)].sort((a, b) => a - b);
  return {
    source,
    firstSeen: sorted[0] * 1.8e9,
    lastSeen: ((sorted.at(-1) ?? sorted[0]) + 1) * 1.8e9 - 1,
    hits,
    place: { ip: source, asn },
    families,
    credentials,
    fingerprints,
    urls,
    halfHours: sorted,
  };
}

const someTimes = (chance: Chance, least: number, more: number): number[] =>
  Array.from({ length: least + chance.number(more) }, () => firstHalfHour + chance.number(halfHours));

/** Sixty tools, each with its payloads and fingerprint; some hundred networks; the popular list, whole or in part; an own URL at times. */
function noise(chance: Chance, source: string): SourceFeatures {
  const tool = common(chance, 60);
  const guesses = chance.number(100) < 40;
  return row({
    source,
    asn: 1000 + common(chance, 300),
    families: Array.from({ length: 1 + chance.number(3) }, () => `f${tool}-${common(chance, 6)}`),
    fingerprints: [`ja4:t${tool}`, ...(chance.number(3) === 0 ? [`syn:${common(chance, 20)}`] : [])],
    credentials: guesses ? list.slice(chance.number(3), 3 + chance.number(6)) : [],
    urls:
      chance.number(100) < 10
        ? [`http://dl${chance.number(4000)}.example/x`, ...(chance.number(2) ? ['http://pastebin.example/raw'] : [])]
        : [],
    times: someTimes(chance, 1, 12),
  });
}

/** What members of a campaign draw from. */
type Plan = (chance: Chance, name: string) => (chance: Chance, source: string) => SourceFeatures;

const ownList = (chance: Chance): string[] => Array.from({ length: 12 }, () => `${chance.token(4)}:${chance.token(6)}`);

const plans: readonly (readonly [size: number, plan: Plan])[] = [
  // One download host, many URLs, anybody's tool and network.
  ...([40, 12] as const).map((size): [number, Plan] => [
    size,
    (_, name) => (chance, source) =>
      row({
        source,
        asn: 1000 + common(chance, 300),
        families: mostly(chance) ? [`f3-${chance.number(3)}`, `drop-${name}`] : ['f3-0'],
        urls: [`http://${name}.example/${chance.pick(['a', 'b', 'c', 'd'])}`],
        times: someTimes(chance, 2, 6),
      }),
  ]),
  // One list of credentials in its order, begun and broken off anywhere; a common client.
  ...([60, 25, 8] as const).map((size): [number, Plan] => [
    size,
    (before) => {
      const own = ownList(before);
      return (chance, source) =>
        row({
          source,
          asn: 1000 + common(chance, 300),
          families: [`f1-${chance.number(2)}`],
          fingerprints: ['ja4:t1'],
          credentials: own.slice(chance.number(3), 8 + chance.number(5)),
          times: someTimes(chance, 1, 10),
        });
    },
  ]),
  // A payload nobody else has, out of one rented network.
  ...([30, 10] as const).map((size): [number, Plan] => [
    size,
    (before, name) => {
      const asn = 5000 + before.number(1000);
      return (chance, source) =>
        row({
          source,
          asn: mostly(chance) ? asn : 1000 + common(chance, 300),
          families: [`own-${name}`],
          fingerprints: mostly(chance) ? [`ja4:${name}`] : ['ja4:t2'],
          times: someTimes(chance, 1, 6),
        });
    },
  ]),
  // A rare client, in the same hours, from everywhere.
  ...([20, 9] as const).map((size): [number, Plan] => [
    size,
    (before, name) => {
      const times = someTimes(before, 6, 3);
      return (chance, source) =>
        row({
          source,
          asn: 1000 + common(chance, 300),
          families: [`probe-${name}`, `f5-${chance.number(3)}`],
          fingerprints: [`hassh:${name}`],
          times: times.filter(() => mostly(chance)).concat(times[0]),
        });
    },
  ]),
  // Everything a little: payload, host that changes, list, network.
  ...([80, 15, 6] as const).map((size): [number, Plan] => [
    size,
    (before, name) => {
      const own = ownList(before);
      const asn = 7000 + before.number(1000);
      return (chance, source) =>
        row({
          source,
          asn: chance.number(2) ? asn : 1000 + common(chance, 300),
          families: [`mix-${name}`],
          fingerprints: mostly(chance) ? [`client:${name}`] : [],
          credentials: mostly(chance) ? own.slice(0, 10) : list.slice(0, 4),
          urls: mostly(chance) ? [`http://${name}-${chance.number(3)}.example/bin`] : [],
          times: someTimes(chance, 2, 5),
        });
    },
  ]),
];

/** Twelve campaigns among the noise, in no order. */
export function labelledSources(noiseSources: number, seed = 20_260_101): LabelledSource[] {
  const chance = new Chance(seed);
  const used = new Set<string>();
  const address = (): string => {
    for (;;) {
      const made = chance.address();
      if (!used.has(made)) {
        used.add(made);
        return made;
      }
    }
  };
  const all: LabelledSource[] = Array.from({ length: noiseSources }, () => ({ features: noise(chance, address()) }));
  for (const [number, [size, plan]] of plans.entries()) {
    const make = plan(chance, `c${number}`);
    for (let member = 0; member < size; member += 1) all.push({ features: make(chance, address()), campaign: `c${number}` });
  }
  for (let at = all.length - 1; at > 0; at -= 1) {
    const other = chance.number(at + 1);
    [all[at], all[other]] = [all[other], all[at]];
  }
  return all;
}
