// Segments and services that this machine cannot carry are refused, each with its line and next step; those that take what
// carries the owner are lock-outs; what is harmless passes.

import assert from 'node:assert/strict';
import test from 'node:test';
import { acceptText, segment } from '../../test/support/configuration-text.ts';
import { WeirError } from '../base/errors.ts';
import type { Link } from '../kernel/link-state.ts';
import type { ObservedFacts } from '../kernel/observe.ts';
import { type Address, parseAddress } from '../model/address.ts';
import { checkLockOut, parseSshConnection } from './guard.ts';
import { neededFeatures } from './guard-network.ts';

const address = (text: string): Address => parseAddress(text) as Address;

function link(name: string, addresses: readonly string[], more: Partial<Link> = {}): Link {
  return {
    name,
    mac: '02:00:00:00:00:01',
    mtu: name === 'lo' ? 65536 : 1500,
    ethernet: name !== 'lo',
    loopback: name === 'lo',
    up: true,
    promiscuous: false,
    addresses: addresses.map((text) => {
      const [ip, length] = text.split('/');
      return {
        address: address(ip),
        prefixLength: Number(length),
        scope: ip.startsWith('fe80') ? 'link' : 'global',
        usable: true,
      };
    }),
    ...more,
  };
}

const vlanOf = (parent: string, vlan: number, name: string, ...addresses: string[]): Link =>
  link(name, addresses, { kind: 'vlan', parent, vlan });

const base: readonly Link[] = [
  link('lo', ['127.0.0.1/8', '::1/128', '10.255.0.1/32']),
  link('eth0', ['192.0.2.7/24', '2001:db8::7/64']),
  link('eth1', []),
  link('down0', [], { up: false }),
  link('tun0', ['10.99.0.1/24'], { ethernet: false }),
];

const facts = (links: readonly Link[] = [], more: Partial<ObservedFacts> = {}): ObservedFacts => ({
  // The first of a name counts, so that a case can replace a link.
  links: [...links, ...base.filter(({ name }) => !links.some((one) => one.name === name))],
  gateways: [{ address: address('192.0.2.1'), interface: 'eth0', isDefault: true }],
  neighbours: [{ address: address('10.1.0.3'), interface: 'eth1', mac: '02:00:00:00:00:33' }],
  resolvers: [],
  listeners: [],
  connections: [],
  sshPorts: [22],
  foreign: { tracking: false, closedInputs: [] },
  ownRoutes: [],
  ownTables: '',
  sysctls: {},
  ...more,
});

function refusal(text: string, observed = facts(), ssh?: string): string {
  try {
    checkLockOut(acceptText(text), observed, parseSshConnection(ssh));
    return '';
  } catch (error) {
    assert.ok(error instanceof WeirError);
    return `${error.code}: ${error.message}`;
  }
}

const decoys = ['address: 172.20.0.2/16', 'decoys: [{ addresses: 172.20.1.0/24, persona: nas }]'];
const vlan = (trunk: string, ...more: string[]): string => segment(`trunk: ${trunk}`, 'vlan: 110', ...more, ...decoys);
const vxlan = (local: string, remotes: string, ...more: string[]): string =>
  segment(`vxlan: { vni: 10, local: "${local}", remotes: "${remotes}" }`, ...more, ...decoys);
const six = ['address: "2001:db8:110::2/64"', 'decoys: [{ address: "2001:db8:110::9", persona: nas }]'];
const service = (wire: string, at = '10.1.0.9', from = '10.1.0.1/24'): string =>
  `version: 1\nservices:\n  - { name: win, kind: external, path: kernel, address: ${at}, interface: ${wire}, from: ${from} }\n`;

const cases: readonly [name: string, text: string, expected: RegExp, observed?: ObservedFacts, ssh?: string][] = [
  [
    'no trunk',
    vlan('eth9'),
    /^config-invalid: weir\.yaml:3: there is no interface eth9 here\. Next: use one of: eth0, eth1, down0$/,
  ],
  ['trunk down', vlan('down0'), /^config-invalid: weir\.yaml:3: interface down0 is down\. Next: `ip link set down0 up`/],
  ['trunk is no Ethernet', vlan('tun0'), /tun0 is not Ethernet: it carries no VLANs\. Next: use an Ethernet interface/],
  ['loopback', vlan('lo'), /lo is not Ethernet/],
  [
    'trunk in a bridge',
    vlan('eth1'),
    /eth1 is a port of the bridge br0, which takes its frames\. Next: `ip link set eth1 nomaster`/,
    facts([link('eth1', [], { master: 'br0' }), link('br0', [], { kind: 'bridge' })]),
  ],
  [
    'trunk in a bond',
    vlan('eth1'),
    /eth1 is a port of the bond bond0.*Next: use bond0 itself/,
    facts([link('eth1', [], { master: 'bond0' }), link('bond0', [], { kind: 'bond' })]),
  ],
  [
    'VLAN in use',
    vlan('eth1'),
    /^config-invalid: .*VLAN 110 of eth1 is in use: office\. Next: choose another VLAN, or `ip link del office`/,
    facts([vlanOf('eth1', 110, 'office')]),
  ],
  [
    'VLAN with an address of the machine',
    vlan('eth1'),
    /^lock-out: weir\.yaml:3: VLAN 110 of eth1 \(office\) carries this machine's own address 10\.5\.0\.1\. Next: choose another VLAN/,
    facts([vlanOf('eth1', 110, 'office', '10.5.0.1/24')]),
  ],
  [
    "VLAN of the operator's session",
    vlan('eth1'),
    /^lock-out: .*carries your own SSH session/,
    facts([vlanOf('eth1', 110, 'office', '10.5.0.1/24')]),
    '203.0.113.9 5 10.5.0.1 22',
  ],
  [
    "VLAN below the bridge of the operator's session",
    vlan('eth1'),
    /^lock-out: .*carries your own SSH session/,
    facts([
      link('eth1', []),
      { ...vlanOf('eth1', 110, 'office'), master: 'br0' },
      link('br0', ['10.5.0.1/24'], { kind: 'bridge' }),
    ]),
    '10.5.0.77 5 10.5.0.1 22',
  ],
  [
    'VLAN of the default gateway',
    vlan('eth1'),
    /^lock-out: .*carries the way to the default gateway 10\.5\.0\.254/,
    facts([vlanOf('eth1', 110, 'office')], {
      gateways: [{ address: address('10.5.0.254'), interface: 'office', isDefault: true }],
    }),
  ],
  [
    'MTU beyond the trunk',
    vlan('eth1', 'mtu: 1600'),
    /an MTU of 1600 is more than the trunk eth1 carries \(1500\)\. Next: write `mtu: 1500`/,
  ],
  [
    'trunk too narrow for IPv6',
    segment('trunk: eth1', 'vlan: 110', ...six),
    /the trunk eth1 carries 1200 bytes, and IPv6 needs 1280\. Next: raise/,
    facts([link('eth1', [], { mtu: 1200 })]),
  ],
  [
    'no VTEP',
    vxlan('192.0.2.8', '192.0.2.9'),
    /the VTEP 192\.0\.2\.8 is not an address of this machine\. Next: write one of its own as `local`: 192\.0\.2\.7/,
  ],
  [
    'no address at all',
    vxlan('192.0.2.8', '192.0.2.9'),
    /Next: give this machine 192\.0\.2\.8 first/,
    facts([link('eth0', []), link('tun0', [])]),
  ],
  [
    'remote is ours',
    vxlan('192.0.2.7', '10.99.0.1'),
    /remote VTEP 10\.99\.0\.1 is an address of this machine\. Next: write the addresses of the others/,
  ],
  [
    'VNI in use',
    vxlan('192.0.2.7', '192.0.2.9'),
    /VNI 10 on port 4789 is in use: vx10\. Next: choose another VNI or `port`/,
    facts([link('vx10', [], { kind: 'vxlan', vxlan: { vni: 10, port: 4789 } })]),
  ],
  [
    'every VNI in use',
    vxlan('192.0.2.7', '192.0.2.9'),
    /ovs0 takes every VNI of port 4789\. Next: choose another `port`/,
    facts([link('ovs0', [], { kind: 'vxlan', vxlan: { port: 4789 } })]),
  ],
  [
    'MTU that VXLAN cannot carry',
    vxlan('192.0.2.7', '192.0.2.9', 'mtu: 1500'),
    /an MTU of 1500 does not fit: eth0 carries 1500, of which VXLAN takes 50\. Next: write `mtu: 1450` or less, or `ip link set eth0 mtu 1550`/,
  ],
  [
    'MTU that VXLAN over IPv6 cannot carry',
    vxlan('2001:db8::7', '2001:db8::9', 'mtu: 1431'),
    /an MTU of 1431 does not fit: eth0 carries 1500, of which VXLAN takes 70\. Next: write `mtu: 1430`/,
  ],
  [
    'MTU of the way, where the VTEP is on the loopback',
    vxlan('10.255.0.1', '10.7.0.1', 'mtu: 1400'),
    /does not fit: eth0 carries 1400, .* Next: write `mtu: 1350`/,
    facts([link('eth0', ['192.0.2.7/24'], { mtu: 1400 })]),
  ],
  [
    'MTU of the way to the peers',
    segment('vxlan: { vni: 10, local: 192.0.2.7, evpn: { asn: 1, peers: [10.99.0.2, "2001:db8::1"] } }', 'mtu: 1450', ...decoys),
    /does not fit: tun0 carries 1420, .* Next: write `mtu: 1370`/,
    facts([link('tun0', ['10.99.0.1/24'], { mtu: 1420, ethernet: false })]),
  ],
  [
    'underlay too narrow for IPv6',
    segment('vxlan: { vni: 10, local: 192.0.2.7, remotes: 192.0.2.9 }', ...six),
    /eth0 carries 1320, of which VXLAN takes 50: that leaves 1270 bytes, and IPv6 needs 1280/,
    facts([link('eth0', ['192.0.2.7/24'], { mtu: 1320 })]),
  ],
  ['no wire', service('eth9'), /^config-invalid: weir\.yaml:3: there is no interface eth9 here/],
  ['wire down', service('down0'), /interface down0 is down/],
  ['wire is no Ethernet', service('tun0'), /it carries no leg to the service win/],
  [
    'wire in a bridge',
    service('eth1'),
    /eth1 is a port of the bridge br0/,
    facts([link('eth1', [], { master: 'br0' }), link('br0', [], { kind: 'bridge' })]),
  ],
  [
    'from is ours',
    service('eth1', '192.0.2.9', '192.0.2.7/24'),
    /`from`: 192\.0\.2\.7 is this machine's own address already \(eth0\)\. Next: write a free/,
  ],
  [
    'from is taken',
    service('eth1', '10.1.0.9', '10.1.0.3/24'),
    /`from`: 10\.1\.0\.3 belongs to 02:00:00:00:00:33 on eth1\. Next: write a free/,
  ],
  [
    'service is ours',
    service('eth1', '192.0.2.7', '192.0.2.9/24'),
    /win has 192\.0\.2\.7, an address of this machine \(eth0\)\. Next: .*another machine/,
  ],
  [
    'no 802.1Q',
    vlan('eth1'),
    /^config-invalid: weir\.yaml:3: this kernel has no 802\.1Q VLANs/,
    facts([], { missingFeatures: ['vlan'] }),
  ],
  [
    'decoys bound to a service in a bridge',
    `version: 1\ndiversions:\n  - { name: a, kind: host, interface: eth1, decoys: [{ address: 10.66.0.9, persona: nas }] }\n${service('eth0', '192.0.2.8', '192.0.2.9/24').replace('version: 1\n', '')}bindings:\n  - { diversion: a, service: win }\n`,
    /weir\.yaml:7: interface eth1 is a port of the bridge br0/,
    facts([link('eth1', [], { master: 'br0' }), link('br0', [], { kind: 'bridge' })]),
  ],
  [
    'macvlan in a bridge',
    'version: 1\ndiversions:\n  - { name: a, kind: host, interface: eth1, decoys: [{ address: 10.66.0.9, persona: nas, claim: macvlan }] }\n',
    /eth1 is a port of the bridge br0/,
    facts([link('eth1', [], { master: 'br0' }), link('br0', [], { kind: 'bridge' })]),
  ],
];

for (const [name, text, expected, observed, ssh] of cases)
  test(`refused: ${name}`, () => {
    const found = refusal(text, observed, ssh);
    assert.match(found, expected);
    assert.equal(found.split('\n').length, 1, 'one mistake is one message');
  });

test('what is harmless passes', () => {
  const passing: [text: string, observed?: ObservedFacts, ssh?: string][] = [
    [vlan('eth1')],
    [vlan('eth1', 'mtu: 1500'), facts([vlanOf('eth1', 111, 'eth1.111', '10.5.0.1/24')]), '10.5.0.9 5 10.5.0.1 22'],
    [vlan('eth1'), facts([vlanOf('eth0', 110, 'eth0.110', '10.5.0.1/24')])],
    // Left by ourselves in mid-apply: put right by the next one.
    [vlan('eth1'), facts([{ ...vlanOf('eth1', 110, 'lan'), alias: 'weir:ab12:floor' }])],
    [vlan('eth1'), facts([link('eth1', [], { master: 'blue' }), link('blue', [], { kind: 'vrf' })])],
    // The operator, the gateway and the name server have other addresses in this machine's own network.
    [vlan('eth1'), facts([], { resolvers: [address('172.20.1.9')] }), '172.20.1.7 5 192.0.2.7 22'],
    [vxlan('192.0.2.7', '192.0.2.9', 'mtu: 1450')],
    [vxlan('2001:db8::7', '2001:db8::9', 'mtu: 1430')],
    [vxlan('10.255.0.1', '10.7.0.1')],
    [vxlan('192.0.2.7', '192.0.2.9'), facts([link('vx11', [], { kind: 'vxlan', vxlan: { vni: 11, port: 4789 } })])],
    [service('eth1')],
  ];
  for (const [text, observed, ssh] of passing) assert.equal(refusal(text, observed, ssh), '', text);
});

test('a configuration needs what it uses, and nothing else is looked for', () => {
  const needs = (text: string): string[] => neededFeatures(acceptText(text));
  assert.deepEqual(needs('version: 1\n'), []);
  assert.deepEqual(needs(vlan('eth1')), ['vlan']);
  assert.deepEqual(needs(vxlan('192.0.2.7', '192.0.2.9')), ['vxlan']);
  const evpn = (more: string): string =>
    segment(`vxlan: { vni: 10, local: 192.0.2.7, evpn: { asn: 1, peers: 192.0.2.9 }${more} }`, ...decoys);
  assert.deepEqual(needs(evpn('')), ['vxlan', 'bridge']);
  assert.deepEqual(needs(evpn(', device: single')), ['vxlan', 'single-vxlan']);
  assert.deepEqual(needs(service('eth1')), [], 'a service that nothing is bound to');
  const bindings = 'bindings: [{ diversion: floor, service: win }]\n';
  const bound = `${vlan('eth1')}${service('eth1').replace('version: 1\n', '')}${bindings}`;
  assert.deepEqual(needs(bound), ['vlan', 'macvlan']);
  assert.deepEqual(needs(vlan('eth1').replace('persona: nas', 'persona: nas, claim: macvlan').replace('1.0/24', '1.0/25')), [
    'vlan',
    'macvlan',
  ]);
});
