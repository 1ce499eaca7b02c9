// The fabric's links as ip(8) commands: whole from nothing, nothing from whole, and the pieces in between.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BridgeLink } from '../kernel/bridge-links.ts';
import { parseBridgeVlans } from '../kernel/bridge-vlans.ts';
import { type PresentFabric, placesOf, planFabricLinks } from './fabric-links.ts';
import type { FabricState, FabricVni } from './fabric-state.ts';
import { planVlans } from './fabric-vlans.ts';

const vniOf = (network: string, vni: number, single = false): FabricVni => ({
  network,
  segmentNetns: `weir-ab12-${network}`,
  vni,
  local: '10.0.0.1',
  port: 4789,
  mtu: 1450,
  single,
  lanMac: '02:00:00:00:00:0a',
  entries: { macs: [], addresses: [], complete: true },
});

const stateOf = (...vnis: readonly FabricVni[]): FabricState => ({
  tag: 'ab12',
  netns: 'weir-ab12.fabric',
  speaker: { asn: 65001, routerId: '10.0.0.1', peers: [], locals: ['10.0.0.1'] },
  vnis,
});

const link = (name: string, kind: string, more: Partial<BridgeLink> = {}): BridgeLink => ({
  name,
  index: 9,
  kind,
  alias: 'weir:ab12:office',
  mtu: 1450,
  up: true,
  master: '',
  addresses: [],
  ...more,
});

const ground: readonly BridgeLink[] = [
  link('lo', '', { addresses: ['127.0.0.1', '::1', '10.0.0.1'], alias: '' }),
  link('reach', 'veth'),
  link('reach-peer', 'veth'),
];
const whole: readonly BridgeLink[] = [
  ...ground,
  link('b10', 'bridge', { bridge: { vlanFiltering: false, multicastSnooping: false } }),
  link('v10', 'vxlan', {
    master: 'b10',
    vxlan: { vni: 10, local: '10.0.0.1', port: 4789, learning: false, vniFilter: false },
    portOptions: { learning: false, neighbourSuppression: true },
  }),
  link('s10', 'veth', { master: 'b10', portOptions: { learning: false, neighbourSuppression: false } }),
];
const all = new Set(['weir-ab12-office', 'weir-ab12-plant']);
const present = (links: readonly BridgeLink[], joined: ReadonlySet<string> = new Set(['weir-ab12-office'])): PresentFabric => ({
  links,
  joined,
  segments: all,
});
const textOf = (steps: ReturnType<typeof planFabricLinks>): string[] => [
  ...steps.flatMap(({ first }) => first),
  ...steps.flatMap(({ born }) => born.map((line) => `(machine) ${line}`)),
  ...steps.flatMap(({ last }) => last),
];

test('from nothing: bridges, VXLAN devices born where the underlay is, then the ways to the segments', () => {
  assert.deepEqual(textOf(planFabricLinks(stateOf(vniOf('office', 10)), present([], new Set()), [])), [
    'link add reach type veth peer name reach-peer',
    'link set dev reach alias weir:ab12: group 87 up',
    'link set dev reach-peer alias weir:ab12: up',
    'route replace 0.0.0.0/0 dev reach',
    'link set dev lo up',
    'addr add 10.0.0.1/32 dev lo',
    'link add b10 type bridge stp_state 0 forward_delay 0 ageing_time 4294967294',
    'link set dev b10 type bridge mcast_snooping 0',
    'link set dev b10 alias weir:ab12:office group 87 mtu 1450 addrgenmode none up',
    '(machine) link add v10 netns weir-ab12.fabric type vxlan id 10 local 10.0.0.1 dstport 4789 ttl 64 nolearning',
    'link set dev v10 alias weir:ab12:office group 87 mtu 1450 addrgenmode none',
    'link set dev v10 master b10',
    'link set dev v10 type bridge_slave learning off neigh_suppress on',
    'link set dev v10 up',
    'link add s10 mtu 1450 type veth peer name lan address 02:00:00:00:00:0a mtu 1450 netns weir-ab12-office',
    'link set dev s10 alias weir:ab12:office group 87 mtu 1450 addrgenmode none',
    'link set dev s10 master b10',
    'link set dev s10 type bridge_slave learning off',
    'link set dev s10 up',
  ]);
});

test('what is as it should be is left alone', () => {
  assert.deepEqual(planFabricLinks(stateOf(vniOf('office', 10)), present(whole), []), []);
});

test('every difference is seen', () => {
  const change = (name: string, more: Partial<BridgeLink>): BridgeLink[] =>
    whole.map((item) => (item.name === name ? { ...item, ...more } : item));
  const vxlan = whole[4].vxlan ?? assert.fail();
  for (const links of [
    change('b10', { up: false }),
    change('b10', { bridge: { vlanFiltering: false, multicastSnooping: true } }),
    change('b10', { kind: 'veth' }),
    change('v10', { master: '' }),
    change('v10', { mtu: 1400 }),
    change('v10', { vxlan: { ...vxlan, local: '10.0.0.9' } }),
    change('v10', { vxlan: { ...vxlan, port: 8472 } }),
    change('v10', { vxlan: { ...vxlan, learning: true } }),
    change('v10', { portOptions: { learning: true, neighbourSuppression: true } }),
    change('v10', { portOptions: { learning: false, neighbourSuppression: false } }),
    change('s10', { master: 'b9' }),
    change('s10', { portOptions: { learning: true, neighbourSuppression: false } }),
    change('s10', { up: false }),
    change('reach', { up: false }),
    change('lo', { addresses: ['127.0.0.1'] }),
    change('lo', { addresses: ['127.0.0.1', '10.0.0.1', '10.0.0.2'] }),
    ...whole.map(({ name }) => whole.filter((item) => item.name !== name)),
  ])
    assert.notDeepEqual(planFabricLinks(stateOf(vniOf('office', 10)), present(links), []), []);
  const away = planFabricLinks(stateOf(vniOf('office', 10)), present(whole, new Set()), []);
  assert.deepEqual(away[0].first, ['link del dev s10']);
  assert.match(away[0].repair, /link lan of office was gone: made again/);
});

test('a segment that is gone itself is somebody else’s to make first', () => {
  const without = { links: whole.slice(0, 5), joined: new Set<string>(), segments: new Set<string>() };
  assert.deepEqual(planFabricLinks(stateOf(vniOf('office', 10)), without, []), []);
});

test('links of segments that are no more are removed, foreign ones never', () => {
  const links = [...whole, link('b20', 'bridge', { alias: 'weir:ab12:plant' }), link('b30', 'bridge', { alias: 'mine' })];
  assert.deepEqual(textOf(planFabricLinks(stateOf(vniOf('office', 10)), present(links), [])), ['link del dev b20']);
});

test('an address spoken from to an IPv6 peer is there too, with a way to resolve next hops', () => {
  assert.deepEqual(textOf(planFabricLinks(stateOf(vniOf('office', 10)), present(whole), ['fd00::1'])), [
    'link set dev lo up',
    'route replace ::/0 dev reach',
    'addr add fd00::1/128 dev lo nodad',
  ]);
});

test('a single device carries all VNIs, each in a VLAN of its own', () => {
  const state = stateOf(vniOf('office', 10, true), vniOf('plant', 4010, true));
  const places = placesOf(state);
  assert.deepEqual([places.get(10)?.vlan, places.get(4010)?.vlan], [12, 13]);
  const text = textOf(planFabricLinks(state, present(ground, new Set()), []));
  assert.equal(text.filter((line) => line.includes('type vxlan')).length, 1);
  assert.ok(
    text.includes(
      '(machine) link add vxlan0 netns weir-ab12.fabric type vxlan external vnifilter local 10.0.0.1 dstport 4789 ttl 64 nolearning',
    ),
  );
  assert.ok(text.includes('link set dev vxlan0 type bridge_slave learning off neigh_suppress on vlan_tunnel on'));
  assert.ok(text.includes('link add link bridge0 name bridge0.12 type vlan id 12'));
});

test('VLANs stand for VNIs, and change their partners when they must', () => {
  const state = stateOf(vniOf('office', 10, true), vniOf('plant', 4010, true));
  const nothing = parseBridgeVlans('', '[]', '[{}]');
  assert.deepEqual(planVlans(state, nothing).slice(0, 3), [
    'vlan add dev bridge0 vid 12 self',
    'vlan add dev vxlan0 vid 12',
    'vlan add dev s10 vid 12 pvid untagged',
  ]);
  const present = parseBridgeVlans(
    '[{"ifname":"bridge0","vlans":[{"vlan":12,"vlanEnd":13}]},{"ifname":"vxlan0","vlans":[{"vlan":12},{"vlan":13}]},{"ifname":"s10","vlans":[{"vlan":12,"flags":["PVID","Egress Untagged"]}]},{"ifname":"s4010","vlans":[{"vlan":13,"flags":["PVID","Egress Untagged"]}]},{"ifname":"mine","vlans":[{"vlan":1}]}]',
    '[{"ifname":"vxlan0","tunnels":[{"vlan":12,"tunid":10},{"vlan":13,"tunid":4010}]}]',
    '[{"ifname":"vxlan0","vnis":[{"vni":10},{"vni":4010}]}]',
  );
  assert.deepEqual(planVlans(state, present), []);
  // Without the first the second has the first choice of VLANs.
  assert.deepEqual(planVlans(stateOf(vniOf('plant', 4010, true)), present), [
    'vlan del dev vxlan0 vid 12 tunnel_info id 10',
    'vlan del dev vxlan0 vid 13 tunnel_info id 4010',
    'vni delete dev vxlan0 vni 10',
    'vlan del dev bridge0 vid 13 self',
    'vlan del dev vxlan0 vid 13',
    'vlan del dev s4010 vid 13',
    'vlan add dev s4010 vid 12 pvid untagged',
    'vlan add dev vxlan0 vid 12 tunnel_info id 4010',
  ]);
  assert.deepEqual(planVlans(stateOf(vniOf('office', 10)), present), []);
});

test('names of links fit the kernel, whatever the VNI', () => {
  const vnis = [1, 16_777_215].flatMap((vni) => [vniOf(`n${vni}`, vni), vniOf(`s${vni}`, vni - 1 || 7, true)]);
  for (const place of placesOf(stateOf(...vnis)).values())
    for (const name of [place.bridge, place.vxlan, place.port, place.neighbourLink]) assert.ok(name.length <= 15, name);
});
