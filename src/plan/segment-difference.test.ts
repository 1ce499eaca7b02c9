// Segments against a model of their namespaces: whatever was there, the links, addresses and routes that are wanted come
// out, a second look finds nothing to do, and steps can be taken back. And the exact steps of a VLAN and a VXLAN segment.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { group } from '../../test/support/golden-states.ts';
import { addressOf, interfaceAddress, servers, vxlanSegment, withSegments } from '../../test/support/segment-bed.ts';
import { netnsPath } from '../kernel/netns.ts';
import type { SegmentLink } from '../kernel/segment-link.ts';
import type { PresentWire, WireChange } from '../kernel/segment-wire.ts';
import { type Address, renderAddress } from '../model/address.ts';
import type { NetworkDiversion } from '../model/configuration.ts';
import { renderInterfaceAddress } from '../model/segment.ts';
import { planSegment } from './desired-segment.ts';
import type { SegmentState } from './desired-state.ts';
import { planRuleset } from './ruleset.ts';
import { emptySegment, linkOf, planLinks, planSegmentDifference } from './segment-difference.ts';
import { invertStep, type Step } from './step.ts';

const tag = '0a1b';

const stateOf = (diversion: NetworkDiversion): SegmentState =>
  planSegment(diversion, {
    configuration: withSegments([diversion]),
    facts: { links: [], gateways: [] },
    ports: { tcp: 7, udp: 8, narrow: 9 },
    tag,
  }).segment;

const vlanSegment = (name: string, vlan: number, trunk = 'eth1'): NetworkDiversion => ({
  ...vxlanSegment(name, { vni: 1, gateways: ['192.168.50.1'] }),
  attachment: { kind: 'vlan', trunk, vlan },
});

/** What the kernel would show of a link that was just made. */
const wireOf = ({ alias, attachment, mtu }: SegmentLink): PresentWire => ({
  link: {
    index: 2,
    alias: '',
    mtu,
    mac: '02:00:00:00:00:01',
    up: false,
    promiscuous: false,
    kind: attachment.kind,
    ...(attachment.kind === 'vlan'
      ? { vlan: attachment.vlan }
      : { vni: attachment.vni, local: attachment.local, port: attachment.port }),
    remotes: [],
  },
  addresses: [],
  gateways: [],
  loopbackUp: alias === '',
});

function lessAndMore<T>(there: readonly T[], less: readonly T[], more: readonly T[], key: (item: T) => string): T[] {
  const gone = new Set(less.map(key));
  const kept = new Map(there.filter((item) => !gone.has(key(item))).map((item) => [key(item), item]));
  for (const item of more) kept.set(key(item), item);
  return [...kept.values()];
}

function carryOut(wire: PresentWire, change: WireChange): PresentWire {
  const { link } = wire;
  assert.ok(link, 'nothing can be put on a link that is not there');
  return {
    link: {
      ...link,
      mtu: change.mtu ?? link.mtu,
      alias: change.alias ?? link.alias,
      up: link.up || change.up,
      remotes: lessAndMore<Address>(link.remotes, change.removeRemotes, change.addRemotes, renderAddress),
    },
    addresses: lessAndMore(wire.addresses, change.removeAddresses, change.addAddresses, renderInterfaceAddress),
    gateways: lessAndMore(wire.gateways, change.removeGateways, change.addGateways, renderAddress),
    loopbackUp: wire.loopbackUp || change.up,
  };
}

const wireStep = (segment: SegmentState, wire: PresentWire): Extract<Step, { kind: 'wire' }> | undefined =>
  planSegmentDifference(segment, [], true, [], { ...emptySegment, wire }, tag).find((step) => step.kind === 'wire');

const segments = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    id: fc.integer({ min: 1, max: 4 }),
    vlan: fc.boolean(),
    trunk: fc.constantFrom('eth1', 'eth2'),
    own: fc.subarray(['192.168.50.2/24', '192.168.51.2/24', 'fd50::2/64'], { minLength: 1 }),
    gateways: fc.subarray(['192.168.50.1', 'fd50::1']),
    remotes: fc.subarray(['10.99.0.1', '10.99.0.3', '10.99.0.4']),
    mtu: fc.constantFrom(1280, 1500, 9000),
  })
  .map(({ name, id, vlan, trunk, own, gateways, remotes, mtu }) => {
    const segment = vxlanSegment(name, { vni: id, addresses: own, gateways, remotes, mtu });
    return stateOf(vlan ? { ...segment, attachment: { kind: 'vlan', trunk, vlan: id } } : segment);
  });
const networks = fc.uniqueArray(segments, { maxLength: 3, selector: ({ name }) => name });

test('whatever segments were there, the wanted ones come out, once and for all', () => {
  fc.assert(
    fc.property(fc.array(networks, { minLength: 1, maxLength: 4 }), (states) => {
      const wires = new Map<string, PresentWire>();
      let last: readonly SegmentState[] = [];
      for (const wanted of states) {
        const were = new Map(last.map((segment) => [segment.netns, segment]));
        for (const { netns } of wanted) if (!wires.has(netns)) wires.set(netns, emptySegment.wire);
        const { remove, add } = planLinks(wanted, wires, were, tag);
        for (const [netns] of wires)
          if (remove.some((link) => link.netns === netnsPath(netns))) wires.set(netns, emptySegment.wire);
        const taken = (link: SegmentLink): string => JSON.stringify({ ...link.attachment, remotes: undefined }, replace);
        const kept = [...were.values()].filter(
          ({ netns, name }) => wires.get(netns)?.link && wanted.some((segment) => segment.name === name),
        );
        const held = kept.flatMap((segment) => linkOf(segment, tag) ?? []).map(taken);
        for (const link of add) {
          const [netns] = [...wires].find(([name]) => netnsPath(name) === link.netns) ?? [''];
          assert.equal(wires.get(netns)?.link, undefined, 'a link is made where there is none');
          // Two segments of one VLAN are the configuration's mistake; one that is left must have been set free before.
          if (new Set(wanted.map((segment) => taken(linkOf(segment, tag) as SegmentLink))).size === wanted.length)
            assert.ok(!held.includes(taken(link)), 'nobody has its VLAN or VNI any more');
          wires.set(netns, wireOf(link));
        }
        for (const segment of wanted) {
          const before = wires.get(segment.netns) as PresentWire;
          const step = wireStep(segment, before);
          const after = step ? carryOut(before, step.change) : before;
          assert.deepEqual(
            new Set(after.addresses.map(renderInterfaceAddress)),
            new Set(segment.addresses.map(renderInterfaceAddress)),
          );
          assert.deepEqual(new Set(after.gateways.map(renderAddress)), new Set(segment.gateways.map(renderAddress)));
          assert.equal(after.link?.mtu, segment.mtu);
          assert.ok(after.link?.up && after.loopbackUp);
          assert.equal(wireStep(segment, after), undefined, 'a second time there is nothing to do');
          if (step) {
            const inverse = invertStep(step);
            assert.ok(inverse.kind === 'wire');
            const back = carryOut(after, inverse.change);
            assert.deepEqual(
              new Set(back.addresses.map(renderInterfaceAddress)),
              new Set(before.addresses.map(renderInterfaceAddress)),
            );
            assert.deepEqual(new Set(back.gateways.map(renderAddress)), new Set(before.gateways.map(renderAddress)));
            assert.deepEqual(new Set(back.link?.remotes.map(renderAddress)), new Set(before.link?.remotes.map(renderAddress)));
          }
          wires.set(segment.netns, after);
        }
        assert.deepEqual(planLinks(wanted, wires, new Map(wanted.map((one) => [one.netns, one])), tag).add, []);
        for (const netns of [...wires.keys()]) if (!wanted.some((segment) => segment.netns === netns)) wires.delete(netns);
        last = wanted;
      }
    }),
    { numRuns: 300 },
  );
});

const replace = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

test('a VLAN segment, step by step', () => {
  const segment = stateOf(vlanSegment('floor-3', 110));
  assert.deepEqual(planLinks([segment], new Map(), new Map(), tag), {
    remove: [],
    add: [
      {
        netns: '/run/netns/weir-0a1b-floor-3',
        name: 'lan',
        alias: 'weir:0a1b:floor-3',
        attachment: { kind: 'vlan', trunk: 'eth1', vlan: 110 },
        mtu: 1500,
      },
    ],
  });
  assert.deepEqual(linesOf(segment), [
    'create nft tables inet weir, netdev weir: N rules, M elements in sets',
    'make lan promiscuous (decoys have MACs of their own)',
    'lan: add 192.168.50.2/24 default via 192.168.50.1, mtu 1500, mark weir:0a1b:floor-3, up',
    'add 11 local routes (192.168.50.10/31, …)',
  ]);
});

test('a VXLAN segment, step by step', () => {
  const segment = stateOf(
    vxlanSegment('floor-4', {
      vni: 10,
      addresses: ['192.168.50.2/24', 'fd50::2/64'],
      remotes: ['10.99.0.1', '10.99.0.3'],
      groups: [group('floor-4', 'claimed', ['192.168.50.128/25', 'fd50:0:0:0:1::/80'], servers)],
    }),
  );
  const [link] = planLinks([segment], new Map(), new Map(), tag).add;
  assert.equal(link.mtu, 1450);
  assert.match(link.mac ?? '', /^02:/);
  assert.deepEqual(linesOf(segment), [
    'create nft tables inet weir, netdev weir: N rules, M elements in sets',
    'make lan promiscuous (decoys have MACs of their own)',
    'lan: add 192.168.50.2/24 fd50::2/64, add far VTEP 10.99.0.1 10.99.0.3, mtu 1450, mark weir:0a1b:floor-4, up',
    'add 8 local routes (192.168.50.128/26, …)',
  ]);
});

function linesOf(segment: SegmentState): string[] {
  const steps = planSegmentDifference(segment, planRuleset(segment.inside, [], []), false, [], emptySegment, tag);
  for (const step of steps) assert.deepEqual([step.network, step.netns], [segment.name, netnsPath(segment.netns)]);
  return steps.map(({ line }) => line.replace(/\d+ rules, \d+ elements/, 'N rules, M elements'));
}

test('a trunk that changes takes its VLAN along, and the fabric keeps its own link', () => {
  const before = stateOf(vlanSegment('floor-3', 110, 'eth1'));
  const wire = wireOf(linkOf(before, tag) as SegmentLink);
  const wires = new Map([[before.netns, wire]]);
  const were = new Map([[before.netns, before]]);
  assert.deepEqual(planLinks([before], wires, were, tag), { remove: [], add: [] });
  const moved = planLinks([stateOf(vlanSegment('floor-3', 110, 'eth2'))], wires, were, tag);
  assert.deepEqual([moved.remove.length, moved.add.length], [1, 1]);
  assert.equal(moved.remove[0].was?.attachment.kind === 'vlan' && moved.remove[0].was.attachment.trunk, 'eth1');

  const plain = vxlanSegment('floor-3', { vni: 10 });
  assert.ok(plain.attachment.kind === 'vxlan');
  const evpn = stateOf({
    ...plain,
    attachment: { ...plain.attachment, remotes: [], evpn: { asn: 65001, peers: [{ address: addressOf('10.99.0.254') }] } },
  });
  assert.deepEqual(planLinks([evpn], new Map([[evpn.netns, emptySegment.wire]]), new Map(), tag), { remove: [], add: [] });
  const veth: PresentWire = { ...wire, link: wire.link && { ...wire.link, kind: 'veth' } };
  assert.deepEqual(planLinks([evpn], new Map([[evpn.netns, veth]]), new Map(), tag), { remove: [], add: [] });
  assert.equal(planLinks([evpn], wires, were, tag).remove.length, 1, 'a link of another kind makes room for it');
});

test('an address that goes takes default routes with it: they are put back', () => {
  const segment = stateOf(vxlanSegment('floor-3', { vni: 10, gateways: ['192.168.50.1'], addresses: ['192.168.50.3/24'] }));
  const [made] = [wireOf(linkOf(segment, tag) as SegmentLink)];
  const wire: PresentWire = {
    ...made,
    link: made.link && { ...made.link, up: true, alias: 'weir:0a1b:floor-3', remotes: [addressOf('10.99.0.1')] },
    addresses: [interfaceAddress('192.168.50.2/24')],
    gateways: [addressOf('192.168.50.1')],
    loopbackUp: true,
  };
  assert.deepEqual(wireStep(segment, wire)?.change.addGateways.map(renderAddress), ['192.168.50.1']);
});
