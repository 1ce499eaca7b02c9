// Segments: what is accepted, as a golden of the whole; each mistake with its line and next step; address spaces apart.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  acceptText,
  address,
  checkMistake,
  decoys,
  type MistakeCase,
  refuseText,
  second,
  segment,
  vlan,
  vxlan,
} from '../../test/support/configuration-text.ts';
import { type Address, type AddressRange, parseAddress, parseRange, renderAddress, renderRange } from '../model/address.ts';
import type { NetworkDiversion } from '../model/configuration.ts';
import { describeAttachment, renderInterfaceAddress } from '../model/segment.ts';
import { renderMistake } from './mistake.ts';

const networks = (text: string): NetworkDiversion[] => acceptText(text).diversions.filter((one) => one.kind === 'network');

/** As text, for goldens: bigints and places out of the way. */
const shown = (diversion: NetworkDiversion): object => ({
  name: diversion.name,
  attachment: describeAttachment(diversion.attachment),
  addresses: diversion.addresses.map(renderInterfaceAddress),
  gateways: diversion.gateways.map(renderAddress),
  mtu: diversion.mtu,
  groups: diversion.groups.map(({ diversion: name, kind, ranges, claim, population: { shares } }) =>
    [name, kind, claim ?? 'anyip', ranges.map(renderRange).join(' '), shares.map(({ persona }) => persona).join(' ')].join(' | '),
  ),
  line: diversion.place.line,
});

test('a file with every kind of segment', () => {
  const text = `version: 1
diversions:
  - name: floor-3
    kind: network
    trunk: eth1
    vlan: 110
    address: [192.168.110.2/24, "2001:db8:110::2/64"]
    gateway: [192.168.110.1, "fe80::1"]
    mtu: 1400
    decoys:
      - { addresses: [192.168.110.0/24, "2001:db8:110::/64"], persona: nas }
  - name: far
    kind: network
    vxlan: { vni: 16777215, local: 10.0.0.1, remotes: [10.0.0.2, 10.0.0.3], port: 8472 }
    address: 10.9.0.2/16
    decoys:
      - { address: 10.9.0.7, persona: nas }
      - { address: 10.9.0.8, persona: nas, claim: macvlan }
      - { addresses: 10.9.1.0/28, persona: nas, claim: address }
      - { address: 10.9.0.9, persona: nas, claim: anyip }
  - name: far-6
    kind: network
    vxlan: { vni: 16777215, local: "2001:db8::1", remotes: "2001:db8::2" }
    address: 10.9.0.2/16
    decoys: [{ address: 10.9.0.7, persona: nas }]
  - name: rack
    kind: network
    vxlan:
      vni: 10
      local: 10.0.0.1
      evpn: { asn: 4200000001, peers: [10.0.0.254, { address: "2001:db8::254", asn: 65000 }], router-id: 1.1.1.1 }
      device: single
    address: 10.9.0.2/16
    decoys: [{ address: 10.9.0.7, persona: nas }]
`;
  const found = networks(text);
  assert.deepEqual(found.map(shown), [
    {
      name: 'floor-3',
      attachment: 'vlan 110 on eth1',
      addresses: ['192.168.110.2/24', '2001:db8:110::2/64'],
      gateways: ['192.168.110.1', 'fe80::1'],
      mtu: 1400,
      groups: ['floor-3 | claimed | anyip | 192.168.110.0/24 2001:db8:110::/64 | nas'],
      line: 3,
    },
    {
      name: 'far',
      attachment: 'vni 16777215, vtep 10.0.0.1 port 8472, 2 remotes',
      addresses: ['10.9.0.2/16'],
      gateways: [],
      mtu: undefined,
      groups: [
        'far | claimed | address | 10.9.1.0/28 | nas',
        'far | claimed | anyip | 10.9.0.7 10.9.0.9 | nas',
        'far | claimed | macvlan | 10.9.0.8 | nas',
      ],
      line: 12,
    },
    {
      name: 'far-6',
      attachment: 'vni 16777215, vtep 2001:db8::1, 1 remote',
      addresses: ['10.9.0.2/16'],
      gateways: [],
      mtu: undefined,
      groups: ['far-6 | claimed | anyip | 10.9.0.7 | nas'],
      line: 21,
    },
    {
      name: 'rack',
      attachment: 'vni 10, vtep 10.0.0.1, evpn as 4200000001, single device',
      addresses: ['10.9.0.2/16'],
      gateways: [],
      mtu: undefined,
      groups: ['rack | claimed | anyip | 10.9.0.7 | nas'],
      line: 26,
    },
  ]);
  const { attachment } = found[3];
  assert.ok(attachment.kind === 'vxlan' && attachment.evpn);
  assert.deepEqual(
    attachment.evpn.peers.map((peer) => [renderAddress(peer.address), peer.asn]),
    [
      ['10.0.0.254', undefined],
      ['2001:db8::254', 65000],
    ],
  );
  assert.equal(renderAddress(attachment.evpn.routerId as Address), '1.1.1.1');
  assert.deepEqual(attachment.remotes, []);
  assert.ok(Object.isFrozen(found[0]) && Object.isFrozen(attachment) && Object.isFrozen(found[0].groups[0]));
});

test('what the underlay needs is never diverted: VTEP ports and BGP', () => {
  const ports = (text: string): number[] => acceptText(text).management.ports.map(({ first }) => first);
  assert.deepEqual(ports(vxlan('vni: 1, local: 10.0.0.1, remotes: 10.0.0.2, port: 8472')), [8472]);
  assert.deepEqual(ports(vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 65001, peers: 10.0.0.2 }')), [179, 4789]);
  assert.deepEqual(ports(segment(...vlan, address, decoys)), []);
});

test('the same addresses live in two segments and on the machine; each keeps its own lines', () => {
  const { diversions } =
    acceptText(`${segment(...vlan, address, decoys)}${second('trunk: eth1', 'vlan: 111', address, decoys)}  - name: home
    kind: host
    interface: eth0
    ${decoys}
`);
  const at = parseAddress('192.168.110.20') as Address;
  assert.deepEqual(
    diversions.map((diversion) => diversion.placeOf?.(at).line),
    [8, 14, 18],
  );
});

test('a link-local IPv6 gateway needs an IPv6 subnet, a small IPv4 subnet has no edges', () => {
  const v6 = segment(
    ...vlan,
    'address: "2001:db8::2/64"',
    'gateway: "fe80::1"',
    'decoys: [{ address: "2001:db8::9", persona: nas }]',
  );
  assert.equal(renderAddress(networks(v6)[0].gateways[0]), 'fe80::1');
  const pair = segment(...vlan, 'address: 10.0.0.0/31', 'decoys: [{ address: 10.0.0.1, persona: nas }]');
  assert.equal(networks(pair).length, 1);
});

const cases: readonly MistakeCase[] = [
  ['VLAN 0', segment('trunk: eth1', 'vlan: 0', address, decoys), 6, /VLAN 0 is no VLAN/, /1 to 4094/],
  ['VLAN 4095', segment('trunk: eth1', 'vlan: 4095', address, decoys), 6, /VLAN 4095 is reserved/, /1 to 4094/],
  ['VLAN 4096', segment('trunk: eth1', 'vlan: 4096', address, decoys), 6, /`4096` is not a VLAN/, /1 to 4094/],
  ['VLAN in words', segment('trunk: eth1', 'vlan: office', address, decoys), 6, /`vlan`: `office` is not a VLAN/, /1 to 4094/],
  ['VLAN as text', segment('trunk: eth1', 'vlan: "110"', address, decoys), 6, /`110` is not a VLAN/, /a number/],
  ['VLAN a fraction', segment('trunk: eth1', 'vlan: 1.5', address, decoys), 6, /`1\.5` is not a VLAN/, /a number/],
  ['trunk', segment('trunk: a/b', 'vlan: 1', address, decoys), 5, /is not an interface/, /ip link/],
  ['trunk missing', segment('vlan: 7', address, decoys), 3, /`trunk` is missing/, /VLAN frames arrive/],
  ['vlan missing', segment('trunk: eth1', address, decoys), 3, /`vlan` is missing/, /1 to 4094/],
  ['neither', segment(address, decoys), 3, /neither `vlan` nor `vxlan`/, /trunk: eth1.*vxlan: \{/],
  [
    'both',
    segment(...vlan, 'vxlan: { vni: 1, local: 10.0.0.1, remotes: 10.0.0.2 }', address, decoys),
    7,
    /`vlan` and `vxlan` both/,
    /keep one/,
  ],
  [
    'trunk with vxlan',
    segment('trunk: eth1', 'vxlan: { vni: 1, local: 10.0.0.1, remotes: 10.0.0.2 }', address, decoys),
    5,
    /`trunk` does not go with `vxlan`/,
    /leave it out/,
  ],
  ['no kind', segment(...vlan, address, decoys).replace('    kind: network\n', ''), 3, /`kind` is missing/, /`network`/],
  ['address missing', segment(...vlan, decoys), 3, /`address` is missing/, /add `address:`/],
  ['no prefix', segment(...vlan, 'address: 192.168.110.2', decoys), 7, /has no prefix length/, /192\.168\.110\.2\/24/],
  ['prefix', segment(...vlan, 'address: 192.168.110.2/33', decoys), 7, /no such prefix length/, /0 to 32/],
  ['no address', segment(...vlan, 'address: office/24', decoys), 7, /is not an address with a prefix/, /2001:db8/],
  ['all the world', segment(...vlan, 'address: 10.0.0.1/0', decoys), 7, /cannot be a subnet of hosts/, /longer prefix/],
  ['network address', segment(...vlan, 'address: 192.168.110.0/24', decoys), 7, /is the network address/, /a host may have/],
  ['broadcast', segment(...vlan, 'address: 192.168.110.255/24', decoys), 7, /is the broadcast address/, /a host may have/],
  [
    'overlapping subnets',
    segment(...vlan, 'address:', '  - 192.168.110.2/24', '  - 10.0.0.2/8', '  - 192.168.110.130/25', decoys),
    10,
    /subnets of 192\.168\.110\.2\/24 and 192\.168\.110\.130\/25 overlap/,
    /one address for each subnet/,
  ],
  [
    'gateway outside',
    segment(...vlan, address, 'gateway: 192.168.111.1', decoys),
    8,
    /192\.168\.111\.1 lies outside/,
    /`address:`/,
  ],
  ['gateway family', segment(...vlan, address, 'gateway: "fe80::1"', decoys), 8, /fe80::1 lies outside/, /`address:`/],
  ['gateway itself', segment(...vlan, address, 'gateway: 192.168.110.2', decoys), 8, /Weir's own address/, /router's address/],
  [
    'gateway at the edge',
    segment(...vlan, address, 'gateway: 192.168.110.255', decoys),
    8,
    /at the edge of its subnet/,
    /router/,
  ],
  ['gateway', segment(...vlan, address, 'gateway: 192.168.110.1/24', decoys), 8, /is not a gateway/, /one address/],
  [
    'two gateways',
    segment(...vlan, address, 'gateway: [192.168.110.1, 192.168.110.3]', decoys),
    8,
    /both gateways of IPv4/,
    /keep one/,
  ],
  ['mtu small', segment(...vlan, address, 'mtu: 575', decoys), 8, /from 576 to 9216/, /number/],
  ['mtu large', segment(...vlan, address, 'mtu: 9217', decoys), 8, /from 576 to 9216/, /number/],
  [
    'mtu of IPv6',
    segment(...vlan, 'address: "2001:db8::2/64"', 'mtu: 1279', 'decoys: [{ address: "2001:db8::9", persona: nas }]'),
    8,
    /IPv6 does not work with an MTU of 1279/,
    /1280/,
  ],
  ['no decoys', segment(...vlan, address, 'decoys: []'), 8, /no decoys/, /add an entry/],
  ['decoys missing', segment(...vlan, address), 3, /`decoys` is missing/, /add `decoys:`/],
  [
    'decoys outside',
    segment(
      ...vlan,
      address,
      'decoys:',
      '  - { address: 192.168.110.9, persona: nas }',
      '  - { addresses: 192.168.110.128-192.168.111.5, persona: nas }',
    ),
    10,
    /192\.168\.111\.0-192\.168\.111\.5 lie outside the segment, which is 192\.168\.110\.0\/24/,
    /`address:` in its subnet/,
  ],
  [
    'a decoy outside',
    segment(...vlan, address, 'decoys: [{ address: 10.0.0.1, persona: nas }]'),
    8,
    /10\.0\.0\.1 lies outside/,
    /correct it/,
  ],
  [
    'own address only',
    segment(...vlan, address, 'decoys: [{ address: 192.168.110.2, persona: nas }]'),
    8,
    /192\.168\.110\.2 is Weir's own address/,
    /other addresses/,
  ],
  [
    'own address and gateway only',
    segment(
      ...vlan,
      address,
      'gateway: 192.168.110.1',
      'decoys: [{ addresses: 192.168.110.0/30, exclude: [192.168.110.3], persona: nas }]',
    ),
    9,
    /no decoy is left here: .*own address.*gateway.*network address/,
    /other addresses/,
  ],
  [
    'own',
    segment(...vlan, address, 'decoys: [{ addresses: own, persona: nas }]'),
    8,
    /`own` does not go with/,
    /addresses of the decoys/,
  ],
  [
    'decoys twice',
    segment(
      ...vlan,
      address,
      'decoys:',
      '  - { address: 192.168.110.9, persona: nas }',
      '  - { addresses: 192.168.110.8/30, persona: nas }',
    ),
    10,
    /192\.168\.110\.9 is a decoy twice: on line 10 and on line 9/,
    /exclude/,
  ],
  [
    'claim',
    segment(...vlan, address, 'decoys: [{ address: 192.168.110.9, persona: nas, claim: bridge }]'),
    8,
    /neither anyip/,
    /one of/,
  ],
  [
    'claims beyond the bound',
    segment(
      ...vlan,
      'address: 10.0.0.2/16',
      'decoys:',
      '  - { addresses: 10.0.1.0/25, persona: nas, claim: address }',
      '  - { addresses: 10.0.2.0/24, persona: nas, claim: macvlan }',
      '  - { addresses: 10.0.3.0/24, persona: nas, claim: macvlan }',
    ),
    10,
    /makes a link for each address, and 384 are more than 256/,
    /leave `claim` out/,
  ],
  [
    'VLAN twice',
    segment(...vlan, address, decoys) + second('trunk: eth1', 'vlan: 110', address, decoys),
    12,
    /VLAN 110 of eth1 stands here and on line 6/,
    /one segment/,
  ],
  [
    'name twice',
    segment(...vlan, address, decoys) + second('trunk: eth1', 'vlan: 111', address, decoys).replace('other', 'floor'),
    9,
    /`floor` stands here and on line 3/,
    /another name/,
  ],
];

for (const one of cases) test(`mistake in a segment: ${one[0]}`, () => checkMistake(one));

test('the same VLAN on another trunk, the same VNI on another port or family: no mistake', () => {
  acceptText(segment(...vlan, address, decoys) + second('trunk: eth2', 'vlan: 110', address, decoys));
  const far = (local: string, remote: string, port: number): string =>
    second(`vxlan: { vni: 9, local: "${local}", remotes: "${remote}", port: ${port} }`, address, decoys);
  acceptText(vxlan('vni: 9, local: 10.0.0.1, remotes: 10.0.0.2') + far('10.0.0.1', '10.0.0.2', 8472));
  acceptText(vxlan('vni: 9, local: 10.0.0.1, remotes: 10.0.0.2') + far('2001:db8::1', '2001:db8::2', 4789));
});

test('all mistakes of all segments come at once', () => {
  const found = refuseText(
    segment('trunk: eth1', 'vlan: 0', 'address: [192.168.110.2/24, 10.0.0.1/40]', 'gateway: 10.9.9.9', 'mtu: 1', decoys) +
      second(
        'vxlan: { vni: 0, local: 10.0.0.1 }',
        'address: 10.0.0.2/24',
        'gateway: 10.0.1.1',
        'decoys: [{ address: 10.0.9.9, persona: nass }]',
      ),
  );
  assert.deepEqual(
    found.map(({ line }) => line),
    [6, 7, 9, 13, 13, 15, 16, 16],
    found.map(renderMistake).join('\n'),
  );
});

test('decoys are accepted exactly when they lie in a subnet and not all of them are taken', () => {
  const base = 0xc0a86e00n;
  const text = (value: bigint): string => renderAddress({ family: 4, value });
  fc.assert(
    fc.property(
      fc.integer({ min: 20, max: 30 }),
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: -40, max: 1100 }),
      fc.integer({ min: 0, max: 300 }),
      fc.boolean(),
      (prefix, own, from, more, withGateway) => {
        const size = 1 << (32 - prefix);
        const first = base - (base % BigInt(size));
        const ownOffset = 1 + (own % (size - 2));
        const gatewayOffset = ownOffset === 1 ? 2 : 1;
        const gateway = withGateway && gatewayOffset < size - 1 ? [`gateway: ${text(first + BigInt(gatewayOffset))}`] : [];
        const range = `${text(first + BigInt(from))}-${text(first + BigInt(from + more))}`;
        const inside = from >= 0 && from + more < size;
        const taken = new Set([0, size - 1, ownOffset, ...(gateway.length > 0 ? [gatewayOffset] : [])]);
        let free = 0;
        for (let offset = from; offset <= from + more; offset += 1) if (!taken.has(offset)) free += 1;
        const whole = segment(
          ...vlan,
          `address: ${text(first + BigInt(ownOffset))}/${prefix}`,
          ...gateway,
          `decoys: [{ addresses: ${range}, persona: nas }]`,
        );
        if (inside && free > 0) assert.deepEqual(networks(whole)[0].groups[0].ranges, [parseRange(range) as AddressRange]);
        else assert.match(refuseText(whole)[0].mistake, inside ? /no decoy is left/ : /outside the segment/);
      },
    ),
    { numRuns: 200 },
  );
});
