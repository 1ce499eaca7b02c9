// FRR's text whole, what a running speaker is told, and what its answers become.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseForwardingEntries, parseNeighbourEntries, renderFarRemovals } from '../kernel/bridge-entries.ts';
import { frrFiles } from '../kernel/frr-daemon.ts';
import { daemonArguments, planSpeakerChange, renderSpeaker } from './fabric-speaker.ts';
import type { FabricSpeaker, FabricState } from './fabric-state.ts';
import { type FabricReport, renderFabricStatus } from './fabric-status.ts';

const speaker: FabricSpeaker = {
  asn: 4_200_000_001,
  routerId: '10.0.0.1',
  peers: [
    { address: '10.0.0.254', asn: 4_200_000_001, local: '10.0.0.1' },
    { address: 'fd00::9', asn: 65002, local: '10.0.0.1' },
  ],
  locals: ['10.0.0.1'],
};

test('the configuration of a speaker with an inner and an outer peer', () => {
  assert.equal(
    renderSpeaker(speaker),
    `router bgp 4200000001
 bgp router-id 10.0.0.1
 no bgp default ipv4-unicast
 no bgp ebgp-requires-policy
 neighbor 10.0.0.254 remote-as 4200000001
 neighbor 10.0.0.254 update-source 10.0.0.1
 neighbor 10.0.0.254 timers 10 30
 neighbor 10.0.0.254 timers connect 5
 neighbor 10.0.0.254 advertisement-interval 0
 neighbor fd00::9 remote-as 65002
 neighbor fd00::9 ebgp-multihop 255
 neighbor fd00::9 timers 10 30
 neighbor fd00::9 timers connect 5
 neighbor fd00::9 advertisement-interval 0
 address-family l2vpn evpn
  neighbor 10.0.0.254 activate
  neighbor fd00::9 activate
  advertise-all-vni
 exit-address-family
exit
`,
  );
});

test('peers come and go in a running speaker; what it is itself cannot change without new sessions', () => {
  assert.deepEqual(planSpeakerChange(speaker, speaker), []);
  const [inner, outer] = speaker.peers;
  const other = { ...outer, address: '10.0.0.253' };
  assert.deepEqual(planSpeakerChange(speaker, { ...speaker, peers: [inner, other] }), [
    'router bgp 4200000001',
    'no neighbor fd00::9',
    'neighbor 10.0.0.253 remote-as 65002',
    'neighbor 10.0.0.253 ebgp-multihop 255',
    'neighbor 10.0.0.253 update-source 10.0.0.1',
    'neighbor 10.0.0.253 timers 10 30',
    'neighbor 10.0.0.253 timers connect 5',
    'neighbor 10.0.0.253 advertisement-interval 0',
    'address-family l2vpn evpn',
    'neighbor 10.0.0.253 activate',
    'exit-address-family',
  ]);
  assert.equal(planSpeakerChange(speaker, { ...speaker, asn: 65001 }), 'restart');
  assert.equal(planSpeakerChange(speaker, { ...speaker, routerId: '10.0.0.2' }), 'restart');
  assert.equal(planSpeakerChange(speaker, { ...speaker, locals: ['10.0.0.1', '10.0.0.2'] }), 'restart');
});

test('bgpd hears only where it is told to, and nobody offers a terminal over TCP', () => {
  const files = frrFiles('/run/weir-ab12.fabric');
  assert.deepEqual(daemonArguments('bgpd', files, ['10.0.0.1']).slice(-4), ['-P', '0', '-l', '10.0.0.1']);
  assert.deepEqual(daemonArguments('bgpd', files, []).slice(-2), ['-p', '0']);
  assert.throws(() => frrFiles(`/run/${'x'.repeat(100)}`), { code: 'config-invalid' });
});

const state: FabricState = {
  tag: 'ab12',
  netns: 'weir-ab12.fabric',
  speaker,
  vnis: [
    {
      network: 'office',
      segmentNetns: 'weir-ab12-office',
      vni: 10,
      local: '10.0.0.1',
      port: 4789,
      mtu: 1450,
      single: false,
      lanMac: '02:00:00:00:00:01',
      entries: { macs: ['02:00:00:00:00:01'], addresses: [], complete: false },
    },
  ],
};
const quiet: FabricReport = {
  summary: {
    peers: {
      '10.0.0.254': { state: 'Established', peerUptimeMsec: 61_000, pfxRcd: 42, pfxSnt: 7 },
      'fd00::9': { state: 'Established', peerUptimeMsec: 7_300_000, pfxRcd: 1, pfxSnt: 7 },
    },
  },
  vnis: [{ vni: 10, numRemoteVteps: ['10.0.0.2', '10.0.0.3'] }],
  lastResets: new Map(),
  downForMs: new Map(),
  hears: true,
  taken: new Map(),
  portNetworks: new Map([['s10', 'office']]),
};

test('a fabric that is well has facts and no reasons', () => {
  assert.deepEqual(renderFabricStatus(state, quiet), {
    reasons: [],
    lines: [
      'BGP EVPN: AS 4200000001, router id 10.0.0.1, hears and calls from 10.0.0.1',
      'peer 10.0.0.254 (AS 4200000001) established for 61 s, 42 routes received, 7 sent',
      'peer fd00::9 (AS 65002) established for 2 h, 1 routes received, 7 sent',
      'VNI 10 (office): 2 far VTEPs, 0 addresses and 1 MACs announced (there are more decoys: those are found by flooding)',
    ],
  });
});

test('each thing that is not well is a reason with the next step', () => {
  const down = renderFabricStatus(state, {
    ...quiet,
    summary: { peers: { '10.0.0.254': { state: 'Active' } } },
    vnis: [],
    lastResets: new Map([['10.0.0.254', 'Hold Timer\u001b[2J Expired']]),
    downForMs: new Map([['10.0.0.254', 40_000]]),
    hears: false,
    failure: 'ip: no',
    taken: new Map([['s10', { macs: [], addresses: ['192.168.1.5'] }]]),
  });
  assert.equal(down.reasons.length, 5);
  assert.ok(down.reasons.every((reason) => !reason.includes('\u001b')));
  assert.match(down.reasons[0], /EVPN fabric: ip: no/);
  assert.match(down.reasons[1], /TCP port 179 of 10\.0\.0\.1/);
  assert.match(down.reasons[2], /peer 10\.0\.0\.254 not established for 40 s \(last: Hold Timer.*decoys stay/);
  assert.match(down.reasons[3], /peer fd00::9 not established/);
  assert.match(down.reasons[4], /zebra does not know VNI 10 of office/);
  assert.ok(down.lines.some((line) => line.includes('192.168.1.5') && line.includes('left to it')));
  const silent = renderFabricStatus(state, { ...quiet, summary: undefined, vnis: undefined });
  assert.equal(silent.reasons.length, 2);
});

test('far VTEPs are counted in the words of every FRR', () => {
  for (const words of [{ numRemoteVteps: ['10.0.0.2', '10.0.0.3'] }, { numRemoteVteps: 2 }, { remoteVteps: [{}, {}] }])
    assert.match(renderFabricStatus(state, { ...quiet, vnis: [{ vni: 10, ...words }] }).lines[3], /: 2 far VTEPs/);
});

test('answers of any shape become a status', () => {
  for (const strange of [null, 7, 'x', [], { peers: null }, { peers: { '10.0.0.254': 5 } }, { peers: [] }])
    assert.ok(renderFabricStatus(state, { ...quiet, summary: strange, vnis: strange }).lines.length > 0);
});

test('entries are read from the tools’ words', () => {
  assert.deepEqual(
    parseForwardingEntries(
      [
        '00:0c:29:00:00:01 dev s10 master b10 static',
        '00:0c:29:00:00:02 dev v10 vlan 12 extern_learn master b10 ',
        '00:0c:29:00:00:02 dev v10 dst 10.0.0.2 self extern_learn ',
        '8e:8b:fa:7e:de:52 dev s10 master b10 permanent',
        '33:33:00:00:00:01 dev b10 self permanent',
        '',
      ].join('\n'),
    ),
    [
      { mac: '00:0c:29:00:00:01', port: 's10', far: false },
      { mac: '00:0c:29:00:00:02', port: 'v10', vlan: 12, far: true },
    ],
  );
  assert.deepEqual(
    parseNeighbourEntries(
      [
        '192.168.1.5 dev b10 lladdr 00:0c:29:00:00:01 PERMANENT ',
        'fe80::1 dev b10 lladdr 00:0c:29:00:00:02 extern_learn NOARP proto zebra ',
        '10.0.0.2 dev eth0 lladdr 00:0c:29:00:00:03 REACHABLE ',
        '10.0.0.3 dev eth0  FAILED ',
      ].join('\n'),
    ),
    [
      { address: '192.168.1.5', mac: '00:0c:29:00:00:01', link: 'b10', far: false },
      { address: 'fe80::1', mac: '00:0c:29:00:00:02', link: 'b10', far: true },
    ],
  );
});

test('what a daemon that is gone had learned is taken away, the lists of VTEPs stay', () => {
  assert.deepEqual(
    renderFarRemovals(
      [
        '00:0c:29:00:00:02 dev v10 extern_learn master b10 ',
        '00:0c:29:00:00:02 dev v10 dst 10.0.0.2 link-netnsid 0 self extern_learn ',
        '00:0c:29:00:00:03 dev vxlan0 vlan 12 extern_learn master bridge0 ',
        '00:0c:29:00:00:03 dev vxlan0 dst 10.0.0.2 src_vni 10 self extern_learn ',
        '00:00:00:00:00:00 dev v10 dst 10.0.0.2 link-netnsid 0 self permanent',
        '00:0c:29:00:00:01 dev s10 master b10 static',
      ].join('\n'),
    ),
    [
      'fdb del 00:0c:29:00:00:02 dev v10 master',
      'fdb del 00:0c:29:00:00:02 dev v10 dst 10.0.0.2 self',
      'fdb del 00:0c:29:00:00:03 dev vxlan0 vlan 12 master',
      'fdb del 00:0c:29:00:00:03 dev vxlan0 dst 10.0.0.2 src_vni 10 self',
    ],
  );
});
