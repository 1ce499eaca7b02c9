// The desired states whose rulesets are kept in test/golden, each for one way of using decoys. Data for tests.

import { join } from 'node:path';
import { type AddressRange, parseAddress, parseRange } from '../../src/model/address.ts';
import type { DecoyGroup } from '../../src/model/decoy.ts';
import type { Persona } from '../../src/model/persona.ts';
import type { PersonaShare } from '../../src/model/population.ts';
import { allPorts, noPorts, type PortSet, parsePorts } from '../../src/model/port-set.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { personaLibrary, projectRoot } from './diversion-bed.ts';

export const goldenPath = join(projectRoot, 'test', 'golden');

export const rangeOf = (text: string): AddressRange => parseRange(text) as AddressRange;
const portsOf = (text: string): PortSet => parsePorts(text) as PortSet;

function persona(name: string, more: Partial<Persona>): Persona {
  return {
    name,
    description: name,
    macPrefixes: ['00:0c:29'],
    tcp: { open: allPorts, otherwise: 'closed' },
    udp: { open: allPorts, otherwise: 'closed' },
    answersEcho: true,
    ttl: 64,
    services: {},
    banners: {},
    hostname: name,
    operatingSystem: name,
    ...more,
  };
}

export const goldenPersonas = {
  'all-open': persona('all-open', {}),
  web: persona('web', {
    tcp: { open: portsOf('80,443,8000-8010'), otherwise: 'closed' },
    udp: { open: noPorts, otherwise: 'closed' },
  }),
  desktop: persona('desktop', {
    macPrefixes: ['00:15:5d', '00:50:56'],
    tcp: { open: portsOf('135,445'), otherwise: 'filtered' },
    udp: { open: portsOf('137'), otherwise: 'filtered' },
    answersEcho: false,
    ttl: 128,
  }),
} as const;

interface GoldenState {
  readonly desired: DesiredState;
  readonly withheld: readonly AddressRange[];
  readonly notes: readonly string[];
}

export function group(
  diversion: string,
  kind: DecoyGroup['kind'],
  ranges: readonly string[],
  shares: readonly PersonaShare[],
  more: Partial<DecoyGroup> & { seed?: number } = {},
): DecoyGroup {
  const { seed = 7, ...rest } = more;
  return {
    diversion,
    kind,
    ranges: ranges.map(rangeOf),
    population: { seed, shares },
    macs: {},
    place: { file: 'weir.yaml', line: 7 },
    ...rest,
  };
}

export const everybody = (name: keyof typeof goldenPersonas): PersonaShare[] => [{ persona: name, share: 10_000 }];

export function state(groups: readonly DecoyGroup[], more: Partial<DesiredState> = {}): DesiredState {
  const names = new Set(groups.flatMap(({ population }) => population.shares.map((share) => share.persona)));
  const claimed = groups.some(({ kind }) => kind === 'claimed');
  return {
    groups,
    personas: Object.values(goldenPersonas).filter(({ name }) => names.has(name)),
    guards: { ports: portsOf('22,8443'), sources: [rangeOf('192.0.2.0/24'), rangeOf('2001:db8::/48')], resolvers: [] },
    ports: { tcp: 7007, udp: 7008 },
    tracking: false,
    manyLinks: false,
    interfaces: claimed ? { dmz: 'eth0' } : {},
    macLinks: claimed ? ['eth0'] : [],
    sysctls: [],
    live: [],
    segments: [],
    services: [],
    bindings: [],
    ...more,
  };
}

/** One of each stack that comes with Weir, in a range and alone. */
function stacksState(): DesiredState {
  const stacks = [...personaLibrary().stacks.values()];
  const personas = stacks.map((stack) => persona(`a-${stack.name}`, { stack, ttl: stack.ttl }));
  const share = Math.floor(10_000 / personas.length);
  const shares = personas.map(({ name }) => ({ persona: name, share }));
  return state(
    [
      group('dmz', 'claimed', ['10.67.0.0/24', '2001:db8:67::/64'], shares),
      group('dmz', 'claimed', ['10.66.0.1', '2001:db8:66::1'], [{ persona: 'a-windows-10', share: 10_000 }]),
    ],
    { personas, ports: { tcp: 7007, udp: 7008, narrow: 7009 } },
  );
}

const states: Record<string, () => GoldenState> = {
  tunnel: () => ({
    desired: state([group('dmz', 'claimed', ['10.68.0.0/24', '2001:db8:68::/64'], everybody('web'))], { announcedSize: 1460 }),
    withheld: [],
    notes: [],
  }),
  stacks: () => ({ desired: stacksState(), withheld: [], notes: [] }),
  own: () => ({
    desired: state([group('own', 'own', ['192.0.2.7', '2001:db8::7'], everybody('all-open'))], {
      guards: {
        ports: portsOf('22,8443'),
        sources: [rangeOf('192.0.2.0/28'), rangeOf('2001:db8::/64')],
        resolvers: ['192.0.2.53', '2001:db8::53'].map((text) => parseAddress(text)).filter((address) => address !== undefined),
      },
    }),
    withheld: [],
    notes: [],
  }),
  bound: () => ({
    desired: state(
      [
        group(
          'dmz',
          'claimed',
          ['10.66.0.0/24', '2001:db8:66::/64'],
          [
            { persona: 'web', share: 5000 },
            { persona: 'desktop', share: 4000 },
          ],
        ),
        group('dmz', 'claimed', ['10.66.1.1'], everybody('all-open')),
        group('own', 'own', ['192.0.2.7'], everybody('web')),
      ],
      {
        bound: [
          {
            diversion: 'dmz',
            ranges: [rangeOf('10.66.0.16/28'), rangeOf('2001:db8:66::5')],
            tcp: portsOf('22,2222-2230'),
            udp: allPorts,
          },
          { diversion: 'dmz', ranges: [rangeOf('10.66.0.0/28')], tcp: allPorts, udp: noPorts },
          { diversion: 'own', tcp: portsOf('22'), udp: portsOf('53') },
        ],
      },
    ),
    withheld: [],
    notes: [],
  }),
  'own-tracked': () => ({
    desired: state([group('own', 'own', ['192.0.2.7'], everybody('web'))], { tracking: true }),
    withheld: [],
    notes: [],
  }),
  ipv4: () => ({
    desired: state([group('dmz', 'claimed', ['10.66.0.0/17', '10.66.200.5-10.66.200.9'], everybody('web'))]),
    withheld: [rangeOf('10.66.0.9')],
    notes: ['promiscuous eth0=0', 'sysctl net/ipv4/conf/eth0/arp_ignore=1'],
  }),
  ipv6: () => ({
    desired: state([group('dmz', 'claimed', ['2001:db8:66::/64', '2001:db8:67::1'], everybody('desktop'))]),
    withheld: [rangeOf('2001:db8:66::9')],
    notes: [],
  }),
  population: () => ({
    desired: state(
      [
        group(
          'dmz',
          'claimed',
          ['10.64.0.0/12', '2001:db8:66::/64'],
          [
            { persona: 'web', share: 1500 },
            { persona: 'desktop', share: 2500 },
          ],
          { macs: { '10.64.0.77': '02:00:5e:00:53:01' } },
        ),
        group('lab', 'claimed', ['10.80.0.0/24'], everybody('all-open')),
      ],
      { interfaces: { dmz: 'eth0', lab: 'eth1' }, macLinks: ['eth0', 'eth1'], manyLinks: true },
    ),
    withheld: [],
    notes: [],
  }),
  singles: () => ({
    desired: state(
      [
        group('dmz', 'claimed', ['10.66.0.1', '10.66.0.3', '2001:db8:66::5'], everybody('web')),
        group('dmz', 'claimed', ['10.66.0.5'], everybody('desktop'), { macs: { '10.66.0.5': '02:00:5e:00:53:05' } }),
        group('dmz', 'claimed', ['10.66.0.7', '10.66.0.9', '10.66.0.11'], [{ persona: 'web', share: 3000 }], { seed: 1 }),
      ],
      { tracking: true, manyLinks: true },
    ),
    withheld: [],
    notes: [],
  }),
  claims: () => ({
    desired: state(
      [
        group('dmz', 'claimed', ['10.66.0.5', '2001:db8:66::5'], everybody('web'), { claim: 'macvlan' }),
        group('dmz', 'claimed', ['10.66.0.16/30', '2001:db8:66::10'], everybody('desktop'), { claim: 'address' }),
        group('dmz', 'claimed', ['10.66.0.6', '10.66.64.0/24'], everybody('web')),
      ],
      { manyLinks: true },
    ),
    withheld: [],
    notes: [],
  }),
};

export const goldenNames = Object.keys(states);

export const goldenState = (name: string): GoldenState => states[name]();
