// Mistakes in a segment's VXLAN attachment: identifiers, far ends, and the one BGP speaker that all segments share.

import assert from 'node:assert/strict';
import test from 'node:test';
import {
  acceptText,
  address,
  checkMistake,
  decoys,
  type MistakeCase,
  second,
  segment,
  vxlan,
} from '../../test/support/configuration-text.ts';

const evpn = 'evpn: { asn: 65001, peers: [10.0.0.254] }';
const twoSpeakers = (keys: string, evpnKeys: string): string =>
  `${vxlan(`vni: 1, local: 10.0.0.1, ${evpn}`)}  - name: other
    kind: network
    vxlan:
      vni: 2
      local: 10.0.0.1${keys}
      evpn:
        peers: 10.0.0.254${evpnKeys}
    ${address}
    ${decoys}
`;

const cases: readonly MistakeCase[] = [
  ['VNI 0', vxlan('vni: 0, local: 10.0.0.1, remotes: 10.0.0.2'), 5, /`0` is not a VXLAN network identifier/, /1 to 16777215/],
  ['VNI beyond', vxlan('vni: 16777216, local: 10.0.0.1, remotes: 10.0.0.2'), 5, /`16777216` is not/, /1 to 16777215/],
  ['VNI missing', vxlan('local: 10.0.0.1, remotes: 10.0.0.2'), 5, /`vni` is missing/, /1 to 16777215/],
  ['vxlan no mapping', segment('vxlan: 10', address, decoys), 5, /this is not a mapping/, /vni, local/],
  ['unknown key', vxlan('vni: 1, local: 10.0.0.1, remote: 10.0.0.2, remotes: 10.0.0.3'), 5, /unknown key `remote`/, /`remotes`/],
  [
    'local',
    vxlan('vni: 1, local: 10.0.0.0/24, remotes: 10.0.0.2'),
    5,
    /`10\.0\.0\.0\/24` is not a VTEP's address/,
    /one address/,
  ],
  ['loopback VTEP', vxlan('vni: 1, local: 127.0.0.1, remotes: 10.0.0.2'), 5, /127\.0\.0\.0\/8 is loopback/, /a host may have/],
  ['multicast remote', vxlan('vni: 1, local: 10.0.0.1, remotes: [239.1.1.1]'), 5, /is multicast/, /a host may have/],
  ['no remotes', vxlan('vni: 1, local: 10.0.0.1, remotes: []'), 5, /list of remotes is empty/, /1 to 1024/],
  ['families', vxlan('vni: 1, local: 10.0.0.1, remotes: "2001:db8::2"'), 5, /not of one family/, /one family/],
  ['itself', vxlan('vni: 1, local: 10.0.0.1, remotes: [10.0.0.2, 10.0.0.1]'), 5, /10\.0\.0\.1 is the VTEP itself/, /others only/],
  ['twice', vxlan('vni: 1, local: 10.0.0.1, remotes: [10.0.0.2, 10.0.0.2]'), 5, /10\.0\.0\.2 stands here twice/, /once/],
  ['remotes and evpn', vxlan(`vni: 1, local: 10.0.0.1, remotes: 10.0.0.2, ${evpn}`), 5, /`remotes` and `evpn` both/, /keep one/],
  ['no far end', vxlan('vni: 1, local: 10.0.0.1'), 5, /neither `remotes` nor `evpn`/, /evpn: \{ asn/],
  ['port', vxlan('vni: 1, local: 10.0.0.1, remotes: 10.0.0.2, port: 0'), 5, /`port`: `0` is not/, /number/],
  ['device', vxlan(`vni: 1, local: 10.0.0.1, ${evpn}, device: one`), 5, /neither per-vni nor single/, /per-vni/],
  [
    'single device',
    vxlan('vni: 1, local: 10.0.0.1, remotes: 10.0.0.2, device: single'),
    5,
    /without `evpn`/,
    /leave `device` out/,
  ],
  ['IPv6 with EVPN', vxlan(`vni: 1, local: "2001:db8::1", ${evpn}`), 5, /IPv4 VTEPs only/, /`remotes:`/],
  ['AS 0', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 0, peers: 10.0.0.2 }'), 5, /`0` is not an AS number/, /private use/],
  ['AS_TRANS', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 23456, peers: 10.0.0.2 }'), 5, /AS 23456 is reserved/, /private/],
  ['peers', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1 }'), 5, /`peers` is missing/, /list/],
  ['no peers', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: [] }'), 5, /list of peers is empty/, /1 to 64/],
  [
    'peer',
    vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: [x] }'),
    5,
    /`x` is not the address of a BGP peer/,
    /one address/,
  ],
  [
    'peer key',
    vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: [{ address: 10.0.0.2, as: 7 }] }'),
    5,
    /unknown key `as`/,
    /address, asn/,
  ],
  [
    'peer AS',
    vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: [{ address: 10.0.0.2, asn: -7 }] }'),
    5,
    /`-7` is not/,
    /AS|auto/,
  ],
  ['peer itself', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: 10.0.0.1 }'), 5, /is the VTEP itself/, /other/],
  ['peer twice', vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: [10.0.0.2, 10.0.0.2] }'), 5, /stands here twice/, /once/],
  [
    'router id',
    vxlan('vni: 1, local: 10.0.0.1, evpn: { asn: 1, peers: 10.0.0.2, router-id: "::1" }'),
    5,
    /not a router id/,
    /IPv4/,
  ],
  [
    'two AS numbers',
    twoSpeakers('', '\n        asn: 65002'),
    15,
    /its AS number is 65002 here and 65001 on line 5/,
    /the same in both/,
  ],
  [
    'two router ids',
    twoSpeakers('', '\n        asn: 65001\n        router-id: 9.9.9.9').replace('254] }', '254], router-id: 8.8.8.8 }'),
    16,
    /its router id is 9\.9\.9\.9 here and 8\.8\.8\.8 on line 5/,
    /the same/,
  ],
  [
    'two sets of peers',
    twoSpeakers('', '\n        asn: 65001').replace('peers: 10.0.0.254\n', 'peers: [10.0.0.254, 10.0.0.253]\n'),
    14,
    /the list of peers of 10\.0\.0\.1 is 10\.0\.0\.253, 10\.0\.0\.254 here and 10\.0\.0\.254 on line 5/,
    /the same/,
  ],
  [
    'two AS numbers of a peer',
    twoSpeakers('', '\n        asn: 65001').replace('peers: 10.0.0.254\n', 'peers: [{ address: 10.0.0.254, asn: 7 }]\n'),
    14,
    /the AS number of the peer 10\.0\.0\.254 is 7 here and 65001 on line 5/,
    /the same/,
  ],
  [
    'two kinds of devices on a port',
    twoSpeakers('\n      device: single', '\n        asn: 65001'),
    13,
    /UDP port 4789 has `device: single` here and `device: per-vni` on line 5/,
    /another `port`/,
  ],
  [
    'a VNI of EVPN on two ports',
    twoSpeakers('\n      port: 4790', '\n        asn: 65001').replace('vni: 2\n', 'vni: 1\n'),
    11,
    /VNI 1 with `evpn` stands here and on line 5/,
    /knows no ports/,
  ],
  [
    'VNI twice, whatever the VTEP',
    `${vxlan('vni: 9, local: 10.0.0.1, remotes: 10.0.0.2')}${second('vxlan: { vni: 9, local: 10.0.0.7, remotes: 10.0.0.2 }', address, decoys)}`,
    10,
    /VNI 9 on port 4789 stands here and on line 5/,
    /another VNI or another `port`/,
  ],
];

for (const one of cases) test(`mistake in VXLAN: ${one[0]}`, () => checkMistake(one));

test('segments with different VTEPs and peers share a speaker, and single devices have a port of their own', () => {
  const text = twoSpeakers('\n      device: single\n      port: 4790', '\n        asn: 65001')
    .replace('local: 10.0.0.1\n', 'local: 10.0.0.9\n')
    .replace('peers: 10.0.0.254\n', 'peers: [10.0.0.253, { address: 10.0.0.254, asn: 65001 }]\n');
  assert.equal(acceptText(text).diversions.length, 2);
});
