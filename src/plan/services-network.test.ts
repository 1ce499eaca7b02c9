import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Address, type AddressRange, parseAddress, parseRange, renderRange } from '../model/address.ts';
import type { DesiredState, SegmentState } from './desired-state.ts';
import { answersTable, planBoundDecoys, planKernelPathPorts, planServicesNetwork, type WayBack } from './services-network.ts';

const rangeOf = (text: string): AddressRange => parseRange(text) as AddressRange;
const addressOf = (text: string): Address => parseAddress(text) as Address;
const place = { file: 'weir.yaml', line: 1 };

const group = (diversion: string, ranges: string[], more = {}) => ({
  diversion,
  kind: 'claimed' as const,
  ranges: ranges.map(rangeOf),
  population: { seed: 7, shares: [{ persona: 'web', share: 10_000 }] },
  macs: {},
  place,
  ...more,
});

const inside = (diversion: string, ranges: string[]) => ({
  groups: [group(diversion, ranges)],
  personas: [],
  guards: { ports: [], sources: [], resolvers: [] },
  ports: { tcp: 1, udp: 2 },
  tracking: false,
  manyLinks: false,
  interfaces: { [diversion]: 'lan' },
  macLinks: ['lan'],
  sysctls: [],
  live: [],
});

const segment = (name: string, ranges: string[]): SegmentState => ({
  name,
  netns: `weir-0000-${name}`,
  attachment: { kind: 'vlan', trunk: 'eth1', vlan: 5 },
  addresses: [{ address: addressOf('10.50.0.2'), prefixLength: 24 }],
  gateways: [addressOf('10.50.0.1')],
  mtu: 1500,
  inside: inside(name, ranges),
});

const service = (name: string, address: string, link = 'wire0') => ({
  kind: 'external' as const,
  path: 'kernel' as const,
  name,
  address: addressOf(address),
  interface: link,
  from: { address: addressOf('10.60.0.1'), prefixLength: 24 },
  place,
});

const bind = (diversion: string, to: string, ...addresses: string[]) => ({
  diversion,
  service: to,
  addresses: addresses.map(rangeOf),
  place,
});

const desired = (more: Partial<DesiredState>): DesiredState => ({
  ...inside('dmz', ['10.70.0.0/16']),
  interfaces: { dmz: 'eth0' },
  segments: [segment('floor-1', ['10.50.0.16-10.50.0.255']), segment('floor-2', ['10.50.0.16-10.50.0.255'])],
  services: [service('big', '10.60.0.8'), service('small', '10.60.0.9')],
  bindings: [],
  ...more,
});

const shown = (state: DesiredState): string[] =>
  planBoundDecoys(state).map((one) => `${one.diversion} ${one.service} ${one.ranges.map(renderRange).join(' ')}`);

const ways = new Map<string, WayBack[]>([
  ['eth0', [{ destination: rangeOf('10.0.0.0/8') }, { destination: rangeOf('0.0.0.0/0'), via: addressOf('10.0.0.254') }]],
]);

test('of overlapping bindings the one with the fewest addresses wins, and only decoys are bound', () => {
  const state = desired({
    bindings: [
      bind('dmz', 'big', '10.70.0.0/15'),
      bind('dmz', 'small', '10.70.3.0/24'),
      bind('dmz', 'catch-all', '10.70.3.7'),
      bind('floor-1', 'big', '10.50.0.0/24'),
    ],
  });
  assert.deepEqual(shown(state), [
    'dmz big 10.70.0.0-10.70.2.255 10.70.4.0-10.70.255.255',
    'dmz small 10.70.3.0-10.70.3.6 10.70.3.8-10.70.3.255',
    'floor-1 big 10.50.0.16-10.50.0.255',
  ]);
});

test('nothing bound, no network', () => {
  assert.equal(planServicesNetwork(undefined, 'aaaa', ways), undefined);
  assert.equal(planServicesNetwork(desired({}), 'aaaa', ways), undefined);
  assert.equal(planServicesNetwork(desired({ bindings: [bind('dmz', 'catch-all', '10.70.0.0/24')] }), 'aaaa', ways), undefined);
});

test('each network has a number, its ways to services and its ways back; the rest leads nowhere', () => {
  const state = desired({
    bindings: [
      bind('dmz', 'big', '10.70.0.0/24'),
      bind('floor-1', 'small', '10.50.0.64/26'),
      bind('floor-2', 'small', '10.50.0.64/26'),
    ],
  });
  const network = planServicesNetwork(state, 'aaaa', ways);
  assert.ok(network);
  assert.deepEqual(
    network.ports.map(({ network: name, lower, netns }) => [name, lower, netns]),
    [
      ['', 'eth0', undefined],
      ['floor-1', 'lan', '/run/netns/weir-0000-floor-1'],
      ['floor-2', 'lan', '/run/netns/weir-0000-floor-2'],
    ],
  );
  assert.equal(new Set(network.ports.map(({ number }) => number)).size, 3);
  assert.equal(network.legs.length, 1);
  const [home, floor] = network.ports;
  const table = (number: number): string[] =>
    network.routes
      .filter((route) => route.table === number)
      .map(({ type, destination, via, device }) => [type, destination, via, device].filter(Boolean).join(' '));
  const [{ link: leg }] = network.legs;
  assert.deepEqual(table(home.number), [`unicast 10.70.0.0/24 10.60.0.8 ${leg}`, 'blackhole 0.0.0.0/0', 'blackhole ::/0']);
  assert.deepEqual(table(answersTable(home.number)), [
    `unicast 10.0.0.0/8 ${home.link}`,
    `unicast 0.0.0.0/0 10.0.0.254 ${home.link}`,
    'blackhole ::/0',
  ]);
  assert.deepEqual(table(answersTable(floor.number)), [
    `unicast 10.50.0.0/24 ${floor.link}`,
    `unicast 0.0.0.0/0 10.50.0.1 ${floor.link}`,
    'blackhole ::/0',
  ]);
  assert.deepEqual(table(255), ['local 10.50.0.64/26 lo', 'local 10.70.0.0/24 lo']);
  assert.deepEqual(
    planKernelPathPorts(network, state).map(({ mark, network: name, bindings }) => [
      mark,
      name,
      bindings.map((one) => `${one.service} ${one.ranges.map(renderRange)}`),
    ]),
    network.ports.map(({ number, network: name }) => [number, name, [name === '' ? 'big 10.70.0.0/24' : 'small 10.50.0.64/26']]),
  );
});

test('a network more leaves the numbers and addresses of the others alone', () => {
  const one = planServicesNetwork(desired({ bindings: [bind('floor-2', 'small', '10.50.0.64/26')] }), 'aaaa', ways);
  const two = planServicesNetwork(
    desired({ bindings: [bind('floor-1', 'small', '10.50.0.64/26'), bind('floor-2', 'small', '10.50.0.64/26')] }),
    'aaaa',
    ways,
  );
  const of = (network: typeof one): unknown => network?.ports.find((port) => port.network === 'floor-2');
  assert.deepEqual(of(two), of(one));
});

test('decoys with a link or an address of their own are not led away', () => {
  const state = desired({
    groups: [group('dmz', ['10.70.0.0/24']), group('dmz', ['10.71.0.7'], { claim: 'macvlan' })],
    bindings: [bind('dmz', 'big', '10.70.0.0/15')],
  });
  assert.deepEqual(shown(state), ['dmz big 10.70.0.0/24']);
});
