// What the rules log about packets that become no connection, and what the sender gets back, packet by packet.

import assert from 'node:assert/strict';
import test from 'node:test';
import { closeDescriptor } from '../../src/kernel/libc.ts';
import { NflogReader } from '../../src/kernel/nflog-reader.ts';
import { openNflogSocket } from '../../src/kernel/tproxy-socket.ts';
import { probeLogGroup } from '../../src/plan/ruleset.ts';
import { type Bed, configurationOf, serveReal, touch, withBed } from '../support/diversion-bed.ts';
import { createSegment, lacksKernelTests, type TestNamespace, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests();

const text = `
personas:
  - name: web
    description: a web server
    hostname: web-{n}
    operating-system: Linux
    mac-prefixes: ["00:0c:29"]
    tcp: { open: [80], otherwise: closed }
    udp: { open: [53], otherwise: closed }
  - name: silent
    description: says little
    hostname: pc-{n}
    operating-system: Windows
    mac-prefixes: ["00:50:56"]
    tcp: { open: [445], otherwise: filtered }
    udp: { open: [], otherwise: filtered }
diversions:
  - name: dmz
    kind: host
    interface: sv
    decoys:
      - { addresses: [10.66.0.1, "fd99:0:0:1::1"], persona: web }
      - { addresses: [10.66.0.2], persona: silent }
      - { addresses: [10.66.1.0/24], population: { web: 0.01% }, seed: 3 }
  - name: self
    kind: host
    interface: sv
    decoys: [{ addresses: own, persona: all-open }]
`;

/** Prefixes of what was logged so far, counted. */
function watchLog(sensor: TestNamespace): { counts: () => Record<string, number>; close: () => void } {
  const fd = openNflogSocket(probeLogGroup, { netns: sensor.path });
  assert.throws(() => openNflogSocket(probeLogGroup, { netns: sensor.path }), { code: 'already-running' }, 'one to a namespace');
  const reader = new NflogReader(fd);
  const counts: Record<string, number> = {};
  return {
    counts: () => {
      while (
        reader.read((prefix) => {
          counts[prefix] = (counts[prefix] ?? 0) + 1;
        }) > 0
      );
      return counts;
    },
    close: () => closeDescriptor(fd),
  };
}

async function routed(body: (bed: Bed, attacker: TestNamespace, sensor: TestNamespace) => Promise<void>): Promise<void> {
  await withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await attacker.ip('route add 10.66.0.0/16 via 10.99.0.2\n');
    await attacker.run(['ip', '-6', 'route', 'add', 'fd99:0:0:1::/64', 'via', 'fd99::2']);
    await withBed(lab, sensor, async (bed) => {
      await bed.controller.apply(await bed.controller.plan(configurationOf(text)));
      await body(bed, attacker, sensor);
    });
  });
}

test('each kind of packet is logged as what it is and answered as the persona would', { skip }, () =>
  routed(async (_bed, attacker, sensor) => {
    // The way there is known before the first packet counts.
    await attacker.run(['ping', '-c1', '-W5', '10.99.0.2']);
    const log = watchLog(sensor);
    try {
      const cases: [args: string, kind: string, answer: RegExp | undefined][] = [
        ['-S -p 80 10.66.0.1', 'weir:syn:dmz', /flags=SA/],
        ['-S -p 81 10.66.0.1', 'weir:closed:dmz', /flags=RA/],
        ['-S -p 81 10.66.0.2', 'weir:filtered:dmz', undefined],
        ['-S -p 80 10.66.1.77', 'weir:dead:dmz', undefined],
        ['-p 81 10.66.0.1', 'weir:null:dmz', /flags=RA/],
        ['-F -p 81 10.66.0.1', 'weir:fin:dmz', /flags=RA/],
        ['-F -P -U -p 81 10.66.0.1', 'weir:xmas:dmz', /flags=RA/],
        ['-A -p 81 10.66.0.1', 'weir:ack:dmz', /flags=R /],
        ['-p 80 10.66.0.1', 'weir:null:dmz', undefined],
        ['-F -p 80 10.66.0.1', 'weir:fin:dmz', undefined],
        ['-F -P -U -p 80 10.66.0.1', 'weir:xmas:dmz', undefined],
        ['-A -p 80 10.66.0.1', 'weir:ack:dmz', /flags=R /],
        ['-F -p 445 10.66.0.2', 'weir:fin:dmz', undefined],
        ['-A -p 81 10.66.0.2', 'weir:ack:dmz', undefined],
        ['-2 -p 9 10.66.0.1', 'weir:closed:dmz', /ICMP Port Unreachable/],
        ['-2 -p 9 10.66.0.2', 'weir:filtered:dmz', undefined],
        ['-2 -p 9 10.66.1.77', 'weir:dead:dmz', undefined],
        ['-1 10.66.0.1', 'weir:echo:dmz', /icmp_seq=0/],
        ['-1 10.66.1.77', 'weir:dead:dmz', undefined],
        ['-S -p 80 10.99.0.2', 'weir:syn:self', /flags=SA/],
        ['-F -p 80 10.99.0.2', 'weir:fin:self', undefined],
        ['-1 10.99.0.2', 'weir:echo:self', /icmp_seq=0/],
      ];
      for (const [args, kind, answer] of cases) {
        const before = { ...log.counts() };
        const { stdout, stderr } = await attacker.run(['hping3', '-n', '-c', '1', ...args.split(' ')], { anyCode: true });
        const after = await until(`a record of hping3 ${args}`, () =>
          (log.counts()[kind] ?? 0) > (before[kind] ?? 0) ? log.counts() : undefined,
        );
        assert.equal(after[kind], (before[kind] ?? 0) + 1, args);
        for (const other of Object.keys(after))
          if (other !== kind) assert.equal(after[other], before[other] ?? 0, `${args}: also ${other}`);
        if (answer) assert.match(stdout + stderr, answer, args);
        else assert.match(stdout + stderr, /0 packets received|100% packet loss/, args);
      }
    } finally {
      log.close();
    }
  }),
);

test('connections are logged by their SYN alone, and one client port can come back at once', { skip }, () =>
  routed(async (_bed, attacker, sensor) => {
    const log = watchLog(sensor);
    try {
      const script = `
const net = require('node:net');
const hosts = ['10.66.0.1', 'fd99:0:0:1::1', '10.99.0.2'];
let round = 0;
const next = () => {
  if (round === 9) return;
  const host = hosts[round % 3];
  round += 1;
  const socket = net.connect({ host, port: 80, localPort: 41000 });
  socket.on('error', (error) => { console.error(error.message); process.exit(1); });
  socket.resume().on('close', next);
};
next();`;
      await attacker.run(['node', '-e', script]);
      const counts = await until('all SYNs are logged', () => {
        const now = log.counts();
        return (now['weir:syn:dmz'] ?? 0) >= 6 && (now['weir:syn:self'] ?? 0) >= 3 ? now : undefined;
      });
      assert.deepEqual(counts, { 'weir:syn:dmz': 6, 'weir:syn:self': 3 });
      const extended = (await attacker.run(['cat', '/proc/net/netstat'])).stdout
        .split('\n')
        .filter((line) => line.startsWith('TcpExt:'));
      const [names, values] = extended.map((line) => line.split(' '));
      assert.equal(values[names.indexOf('TCPSynRetrans')], '0', 'no SYN had to be sent twice');
    } finally {
      log.close();
    }
  }),
);

test('address translation and a closed firewall of somebody else keep working, and are told', { skip }, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    const inner = await lab.namespace('i');
    await lab.join(
      { namespace: sensor, link: 'nv', addresses: ['172.30.0.1/24'] },
      { namespace: inner, link: 'iv', addresses: ['172.30.0.2/24'] },
    );
    await inner.ip('route add default via 172.30.0.1\n');
    await sensor.setSysctl('net/ipv4/ip_forward', '1');
    await sensor.nft(`table ip theirs {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local tcp dport 8081 dnat to 172.30.0.2:8080
  }
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "sv" masquerade
  }
}
table inet shut {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    tcp dport { 80, 8080, 8081 } accept
    meta l4proto { icmp, ipv6-icmp } accept
    iifname "lo" accept
  }
}
`);
    await serveReal(inner, '172.30.0.2', 8080);
    await serveReal(attacker, '10.99.0.1', 7777);
    await attacker.ip('route add 10.66.0.0/16 via 10.99.0.2\n');
    await withBed(lab, sensor, async ({ controller }) => {
      assert.equal(await touch(attacker, '10.99.0.2', 8081), 'real');
      const plan = await controller.plan(configurationOf(text));
      assert.ok(plan.desired.tracking);
      assert.ok(
        plan.warnings.some((warning) => warning.includes('inet shut input')),
        plan.warnings.join(),
      );
      await controller.apply(plan);
      assert.equal(await touch(attacker, '10.99.0.2', 8081), 'real', 'a published port stays published');
      assert.match(await touch(attacker, '10.66.0.1', 80), /^diverted/);
      assert.equal(await touch(attacker, '10.66.0.1', 8081), 'refused', 'but it is not published at decoys');
      assert.match(await touch(attacker, '10.99.0.2', 80), /^diverted/);
      assert.equal(await touch(inner, '10.99.0.1', 7777), 'real', 'what is translated on its way out gets its answers');
      assert.equal(await touch(sensor, '10.99.0.1', 7777), 'real', 'and so does the machine itself');
    });
  }),
);
