// What the fabric makes of a desired state: one speaker, bounded announcements, contradictions named.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parseRange } from '../model/address.ts';
import type { EvpnSettings, VxlanAttachment } from '../model/configuration.ts';
import type { DecoyGroup } from '../model/decoy.ts';
import { allPorts } from '../model/port-set.ts';
import type { DesiredState, NetworkState, SegmentState } from './desired-state.ts';
import { entryBounds, planEntryChanges, planSegmentEntries, type SegmentEntries, shareBounds } from './fabric-entries.ts';
import { planFabric } from './fabric-state.ts';

const address = (text: string) => parseAddress(text) ?? assert.fail(text);
const range = (text: string) => parseRange(text) ?? assert.fail(text);

const persona = {
  name: 'web',
  description: 'web',
  macPrefixes: ['00:0c:29'],
  tcp: { open: allPorts, otherwise: 'closed' as const },
  udp: { open: allPorts, otherwise: 'closed' as const },
  answersEcho: true,
  ttl: 64,
  services: {},
  banners: {},
  hostname: 'web',
  operatingSystem: 'web',
};

const group = (ranges: readonly string[], share = 10_000, more: Partial<DecoyGroup> = {}): DecoyGroup => ({
  diversion: 'office',
  kind: 'claimed',
  ranges: ranges.map(range),
  population: { seed: 7, shares: [{ persona: 'web', share }] },
  macs: {},
  place: { file: 'weir.yaml', line: 1 },
  ...more,
});

const network = (groups: readonly DecoyGroup[]): NetworkState => ({
  groups,
  personas: [persona],
  guards: { ports: [], sources: [], resolvers: [] },
  ports: { tcp: 1, udp: 2 },
  tracking: false,
  manyLinks: false,
  interfaces: {},
  macLinks: [],
  sysctls: [],
  live: [],
});

interface Wish {
  readonly name: string;
  readonly vni: number;
  readonly local?: string;
  readonly evpn?: Partial<EvpnSettings>;
  readonly groups?: readonly DecoyGroup[];
}

const segment = ({ name, vni, local = '10.0.0.1', evpn, groups = [] }: Wish): SegmentState => ({
  name,
  netns: `weir-ab12-${name}`,
  attachment: {
    kind: 'vxlan',
    vni,
    local: address(local),
    port: 4789,
    remotes: [],
    device: 'per-vni',
    evpn: { asn: 65001, peers: [{ address: address('10.0.0.254') }], ...evpn },
  } satisfies VxlanAttachment,
  addresses: [{ address: address('192.168.1.2'), prefixLength: 24 }],
  gateways: [],
  mtu: 1450,
  inside: network(groups),
});

const desired = (...wishes: readonly Wish[]): DesiredState => ({
  ...network([]),
  services: [],
  bindings: [],
  segments: wishes.map(segment),
});

test('a state without EVPN needs no fabric', () => {
  assert.equal(planFabric(undefined, 'ab12'), undefined);
  assert.equal(planFabric(desired(), 'ab12'), undefined);
  const plain = segment({ name: 'plain', vni: 5 });
  const { evpn: _evpn, ...attachment } = plain.attachment as VxlanAttachment;
  assert.equal(planFabric({ ...desired(), segments: [{ ...plain, attachment }] }, 'ab12'), undefined);
});

test('segments share one speaker: peers are united, the router id falls back on the first VTEP', () => {
  const fabric = planFabric(
    desired(
      { name: 'a', vni: 10 },
      { name: 'b', vni: 11, local: '10.0.0.2', evpn: { peers: [{ address: address('fd00::9'), asn: 65002 }] } },
    ),
    'ab12',
  );
  assert.deepEqual(fabric?.speaker, {
    asn: 65001,
    routerId: '10.0.0.1',
    peers: [
      { address: '10.0.0.254', asn: 65001, local: '10.0.0.1' },
      { address: 'fd00::9', asn: 65002, local: '10.0.0.2' },
    ],
    locals: ['10.0.0.1', '10.0.0.2'],
  });
  assert.equal(fabric?.netns, 'weir-ab12.fabric');
  assert.match(fabric?.vnis[0].lanMac ?? '', /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  assert.notEqual(fabric?.vnis[0].lanMac, fabric?.vnis[1].lanMac);
});

for (const [what, wishes, message] of [
  [
    'two autonomous systems',
    [
      { name: 'a', vni: 1 },
      { name: 'b', vni: 2, evpn: { asn: 65009 } },
    ],
    /a is of AS 65001 and b of AS 65009/,
  ],
  [
    'one VNI twice',
    [
      { name: 'a', vni: 1 },
      { name: 'b', vni: 1 },
    ],
    /a and b both have VNI 1/,
  ],
  [
    'two router ids',
    [
      { name: 'a', vni: 1, evpn: { routerId: address('1.1.1.1') } },
      { name: 'b', vni: 2, evpn: { routerId: address('2.2.2.2') } },
    ],
    /router id 1\.1\.1\.1 and b 2\.2\.2\.2/,
  ],
  [
    'a peer of two systems',
    [
      { name: 'a', vni: 1 },
      { name: 'b', vni: 2, evpn: { peers: [{ address: address('10.0.0.254'), asn: 65002 }] } },
    ],
    /peer 10\.0\.0\.254 is of AS 65001 in a and of AS 65002 in b/,
  ],
  ['an IPv6 VTEP', [{ name: 'a', vni: 1, local: 'fd00::1' }], /VTEP of a is an IPv6 address/],
] as const)
  test(`${what} cannot be`, () => {
    assert.throws(() => planFabric(desired(...wishes), 'ab12'), message);
  });

test('living decoys and the segment itself are announced, what was given back is not', () => {
  const groups = [
    group(['192.168.1.16-192.168.1.19', '2001:db8::10/128']),
    group(['192.168.1.9'], 10_000, { macs: { '192.168.1.9': '00:11:22:33:44:55' } }),
  ];
  const fabric = planFabric(desired({ name: 'a', vni: 1, groups }), 'ab12', () => [range('192.168.1.17')]);
  const [{ entries, lanMac }] = fabric?.vnis ?? assert.fail();
  assert.equal(entries.complete, true);
  assert.deepEqual(entries.addresses.slice(0, 2), [
    { address: '192.168.1.2', mac: lanMac },
    { address: '192.168.1.9', mac: '00:11:22:33:44:55' },
  ]);
  assert.deepEqual(
    entries.addresses.slice(2).map((entry) => entry.address),
    ['192.168.1.16', '192.168.1.18', '192.168.1.19', '2001:db8::10'],
  );
  assert.equal(entries.macs.length, 6);
});

test('a population larger than the bounds is announced in part, single decoys whole', () => {
  const source = {
    groups: [group(['10.0.0.0/12'], 5000), group(['192.168.1.9'])],
    personas: [persona],
    withheld: [],
    ownMac: '02:00:00:00:00:01',
    ownAddresses: [address('192.168.1.2')],
  };
  const entries = planSegmentEntries(source, { macs: 300, addresses: 100, lookedAt: 5000 });
  assert.equal(entries.complete, false);
  assert.equal(entries.macs.length, 300);
  assert.equal(entries.addresses.length, 100);
  assert.equal(entries.addresses[1].address, '192.168.1.9');
  // Nobody living is found forever: the search ends.
  const dead = planSegmentEntries(
    { ...source, groups: [group(['2001:db8::/64'], 0)] },
    { macs: 300, addresses: 100, lookedAt: 5000 },
  );
  assert.deepEqual(dead, {
    macs: ['02:00:00:00:00:01'],
    addresses: [{ address: '192.168.1.2', mac: '02:00:00:00:00:01' }],
    complete: false,
  });
});

test('the ceilings of the whole fabric are shared', () => {
  assert.deepEqual(shareBounds(1), {
    macs: entryBounds.macsPerSegment,
    addresses: entryBounds.addressesPerSegment,
    lookedAt: entryBounds.lookedAt,
  });
  assert.deepEqual(shareBounds(100), { macs: 655, addresses: 163, lookedAt: 2621 });
});

test('entries: what lacks is added, what is not ours to have is left, what is no longer wanted goes', () => {
  const entries: SegmentEntries = {
    macs: ['00:00:00:00:00:01', '00:00:00:00:00:02', '00:00:00:00:00:03'],
    addresses: [
      { address: '192.168.1.1', mac: '00:00:00:00:00:01' },
      { address: '192.168.1.2', mac: '00:00:00:00:00:02' },
      { address: '192.168.1.3', mac: '00:00:00:00:00:03' },
    ],
    complete: true,
  };
  const changes = planEntryChanges(
    [{ port: 's10', neighbourLink: 'b10', entries }],
    {
      macs: [
        { mac: '00:00:00:00:00:01', port: 's10', far: false },
        { mac: '00:00:00:00:00:02', port: 'v10', far: true },
        { mac: '00:00:00:00:00:09', port: 's10', far: false },
        { mac: '00:00:00:00:00:0a', port: 'v10', far: true },
      ],
      neighbours: [
        { address: '192.168.1.1', mac: '00:00:00:00:00:07', link: 'b10', far: false },
        { address: '192.168.1.2', mac: '00:00:00:00:00:02', link: 'b10', far: true },
        { address: '192.168.1.9', mac: '00:00:00:00:00:09', link: 'b10', far: false },
        { address: '192.168.1.10', mac: '00:00:00:00:00:0a', link: 'b10', far: true },
      ],
    },
    (port) => port.replace(/^[sv]/, 'b'),
  );
  assert.deepEqual(
    changes.addMacs.map(({ mac }) => mac),
    ['00:00:00:00:00:03'],
  );
  assert.deepEqual(
    changes.removeMacs.map(({ mac }) => mac),
    ['00:00:00:00:00:09'],
  );
  assert.deepEqual(
    changes.addNeighbours.map((entry) => `${entry.address} ${entry.mac}`),
    ['192.168.1.1 00:00:00:00:00:01', '192.168.1.3 00:00:00:00:00:03'],
  );
  assert.deepEqual(
    changes.removeNeighbours.map((entry) => entry.address),
    ['192.168.1.9'],
  );
  assert.deepEqual(changes.taken.get('s10'), { macs: ['00:00:00:00:00:02'], addresses: ['192.168.1.2'] });
});
