// The EVPN fabric with real FRR on both ends: what the far side knows before the first packet, what it reaches, and what
// becomes of both when daemons, links, names or peers go.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FabricController } from '../../src/plan/fabric-controller.ts';
import { type BedSegment, FabricBed } from '../support/fabric-bed.ts';
import { lacksFrr } from '../support/far-vtep.ts';
import { lacksKernelTests, runCommand, until, withLab } from '../support/namespace.ts';

const skip = lacksKernelTests() || lacksFrr();
const office: BedSegment = {
  name: 'office',
  vni: 100,
  address: '192.168.1.2/24',
  decoys: ['192.168.1.96/28', '2001:db8:1::10/126'],
};
const plant: BedSegment = { name: 'plant', vni: 200, address: '192.168.1.2/24', decoys: ['192.168.1.96/30'] };

const withBed = (body: (bed: FabricBed) => Promise<void>): Promise<void> =>
  withLab(async (lab) => {
    const bed = await FabricBed.open(lab);
    try {
      await body(bed);
    } finally {
      await bed.end();
    }
  });

/** Both speakers are in session and the far side has as much as is announced. */
async function settled(bed: FabricBed, controller: FabricController, vni: number, macs: number): Promise<void> {
  await until('the session stands', () => controller.status().lines.some((line) => line.includes('established for')), 30_000);
  await until(
    `the far side knows ${macs} MACs in VNI ${vni}`,
    async () => (await bed.farKnows(vni)).macs.length === macs,
    15_000,
  );
}

test('the far side knows decoys before the first packet, reaches them, and forgets what goes', { skip }, () =>
  withBed(async (bed) => {
    const before = await bed.machine.snapshot();
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    const desired = bed.desired([office]);
    assert.ok((await controller.difference(desired)).length > 4);
    await controller.apply(desired);
    assert.deepEqual(await controller.difference(desired), []);
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);

    const known = await bed.farKnows(100);
    assert.equal(known.addresses.length, 21);
    assert.ok(known.addresses.includes('192.168.1.100') && known.addresses.includes('2001:db8:1::11'));
    await bed.furnish(office);
    assert.ok(await bed.ping('192.168.1.100'), 'a decoy answers');
    assert.ok(await bed.ping('192.168.1.2'), 'the segment itself answers');
    const closed = await bed.host.run(['socat', '-u', 'OPEN:/dev/null', 'TCP:192.168.1.101:4444,connect-timeout=3'], {
      anyCode: true,
    });
    assert.match(closed.stderr, /Connection refused/);

    // A second segment with the same addresses, and no session is reset for it.
    await bed.makeSegments(['plant']);
    await controller.apply(bed.desired([office, plant]));
    await bed.openFar(200, '192.168.1.9/24');
    await settled(bed, controller, 200, 5);
    const { stdout } = await bed.machine.run([
      'vtysh',
      '--vty_socket',
      `/run/weir-${bed.tag}.fabric/frr`,
      '-d',
      'bgpd',
      '-c',
      'show bgp l2vpn evpn summary json',
    ]);
    assert.equal(JSON.parse(stdout).peers['10.50.0.2'].connectionsEstablished, 1);

    // One decoy less, one segment less.
    await controller.apply(bed.desired([{ ...office, decoys: ['192.168.1.96/28'] }]));
    await until(
      'the far side forgets',
      async () => (await bed.farKnows(100)).addresses.length === 17 && (await bed.farKnows(200)).macs.length === 0,
    );
    const { stdout: lan } = await runCommand(['ip', '-n', bed.segmentNetns('plant'), '-o', 'link']);
    assert.doesNotMatch(lan, /lan/);

    await controller.apply(undefined);
    assert.deepEqual(await controller.difference(undefined), []);
    await until('the far side has forgotten all', async () => (await bed.farKnows(100)).macs.length === 0);
    assert.equal(await bed.machine.snapshot(), before);
  }),
);

test('daemons that are killed are back, also under another controller, and decoys are reached meanwhile', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    await bed.furnish(office);
    assert.deepEqual(await controller.repair(), []);

    for (const program of ['zebra', 'bgpd'] as const) {
      const daemon = bed.daemonsOfOurs().find((running) => running.program === program);
      assert.ok(daemon);
      const told = bed.changes;
      process.kill(daemon.pid, 'SIGKILL');
      await until('the controller is told', () => bed.changes > told, 2000);
      // Without a speaker the far side forgets us: that is BGP's to decide, not ours.
      if (program === 'zebra') assert.ok(await bed.ping('192.168.1.100', 1), 'a decoy answers without zebra');
      const repairs = await controller.repair();
      assert.deepEqual(
        repairs.map(({ object, subject }) => `${object} ${subject}`),
        [`process ${program}`],
      );
      assert.equal(bed.daemonsOfOurs().length, 2);
      assert.deepEqual(await controller.repair(), []);
      await until('a decoy answers', () => bed.ping('192.168.1.100', 1), 15_000);
    }
    await settled(bed, controller, 100, 21);

    const [zebra] = bed.daemonsOfOurs();
    process.kill(zebra.pid, 'SIGKILL');
    await controller.apply(bed.desired([office]));
    assert.equal((await controller.repair()).length, 1, 'what applying again had to do is told as a repair');
    const running = bed.daemonsOfOurs().map(({ pid }) => pid);
    await controller.close();
    const successor = bed.controller();
    await successor.apply(bed.desired([office]));
    assert.deepEqual(
      bed.daemonsOfOurs().map(({ pid }) => pid),
      running,
      'running daemons are adopted',
    );
    const told = bed.changes;
    process.kill(running[1], 'SIGKILL');
    await until('the end of an adopted daemon is told', () => bed.changes > told, 2000);
    assert.equal((await successor.repair()).length, 1);
    await settled(bed, successor, 100, 21);
  }),
);

test('what the far side took back while zebra was away is forgotten with its successor', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    const farMacs = async (): Promise<string> =>
      (await runCommand(['bridge', '-n', `weir-${bed.tag}.fabric`, 'fdb', 'show', 'dev', 'v100'])).stdout;
    const wear = async (mac: string): Promise<void> => {
      await bed.host.ip(`link set e100 down\nlink set e100 address ${mac}\nlink set e100 up\n`);
      await bed.host.run(['arping', '-c', '1', '-w', '1', '-A', '-I', 'e100', '192.168.1.9'], { anyCode: true });
    };
    await wear('02:00:00:00:00:91');
    await until('the host is known', async () => (await farMacs()).includes('02:00:00:00:00:91'));
    const zebra = bed.daemonsOfOurs().find(({ program }) => program === 'zebra') ?? assert.fail();
    process.kill(zebra.pid, 'SIGKILL');
    await wear('02:00:00:00:00:92');
    await bed.far.run(['bridge', 'fdb', 'del', '02:00:00:00:00:91', 'dev', 'h100', 'master'], { anyCode: true });
    assert.match(await farMacs(), /02:00:00:00:00:91/);
    await until('the daemon is repaired', async () => (await controller.repair()).length === 1);
    await until('the new one is known', async () => (await farMacs()).includes('02:00:00:00:00:92'), 20_000);
    await until('the old one is forgotten', async () => !(await farMacs()).includes('02:00:00:00:00:91'), 5000);
  }),
);

test('a lost peer is said and decoys stay; it comes back by itself', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    assert.deepEqual(controller.status().reasons, []);
    await bed.stopFar();
    const [reason] = await until('the loss is said', () => {
      const { reasons } = controller.status();
      return reasons.length > 0 ? reasons : undefined;
    });
    assert.match(reason, /peer 10\.50\.0\.2 not established for \d+ s.*decoys stay.*TCP port 179.*AS 65001/);
    assert.deepEqual(await controller.repair(), []);
    await bed.startFar();
    await settled(bed, controller, 100, 21);
    await until('all is well again', () => controller.status().reasons.length === 0);
  }),
);

test('links, the namespace and its name are put back; each repair is told once', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    const fabric = `weir-${bed.tag}.fabric`;
    const lan = (await runCommand(['ip', '-n', bed.segmentNetns('office'), '-o', 'link', 'show', 'lan'])).stdout;
    assert.doesNotMatch(lan, /[<,]UP[,>]/, 'not up before its rules and settings are there');
    for (const [what, argv, object] of [
      ['the VXLAN device', ['ip', '-n', fabric, 'link', 'del', 'v100'], 'link'],
      ['the bridge', ['ip', '-n', fabric, 'link', 'del', 'b100'], 'link'],
      ['lan', ['ip', '-n', bed.segmentNetns('office'), 'link', 'del', 'lan'], 'link'],
      ['the name', ['ip', 'netns', 'delete', fabric], 'netns'],
      ['an entry', ['bridge', '-n', fabric, 'fdb', 'flush', 'dev', 's100', 'master'], 'route'],
      ['the silence', ['nsenter', `--net=/run/netns/${fabric}`, '--', 'nft', 'delete', 'table', 'bridge', 'weir'], 'table'],
    ] as const) {
      await runCommand(argv);
      const repairs = await controller.repair();
      assert.ok(
        repairs.some((repair) => repair.object === object),
        `${what}: ${JSON.stringify(repairs)}`,
      );
      assert.deepEqual(await controller.repair(), [], what);
      await settled(bed, controller, 100, 21);
    }
    await bed.furnish(office);
    assert.ok(await bed.ping('192.168.1.100'));
    assert.equal(bed.daemonsOfOurs().length, 2);
  }),
);

test('a far host that has a decoy’s address or MAC keeps it', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    const { macs } = await bed.farKnows(100);
    await bed.host.ip(`link set e100 down\nlink set e100 address ${macs[3]}\nlink set e100 up\n`);
    await until('the MAC is left to it', async () => {
      await bed.host.run(['arping', '-c', '1', '-w', '1', '-A', '-I', 'e100', '192.168.1.9'], { anyCode: true });
      assert.deepEqual(await controller.repair(), []);
      return controller.status().lines.some((line) => /1 MACs are a far host's/.test(line));
    });
    await bed.host.ip('link set e100 down\n');
    await until('the MAC is announced again', async () => (await controller.repair()).length > 0);
    assert.ok(!controller.status().lines.some((line) => /far host's/.test(line)));
  }),
);

test('what was given back is no longer announced', { skip }, () =>
  withBed(async (bed) => {
    await bed.makeSegments(['office']);
    const given: { family: 4; first: bigint; last: bigint }[] = [];
    const controller = bed.controller({ withheld: () => given });
    await controller.apply(bed.desired([office]));
    await bed.openFar(100, '192.168.1.9/24');
    await settled(bed, controller, 100, 21);
    given.push({ family: 4, first: 0xc0a80164n, last: 0xc0a80165n });
    assert.equal((await controller.repair()).length, 1);
    await until('the far side forgets', async () => (await bed.farKnows(100)).addresses.length === 19);
  }),
);

test('a session over IPv6 carries routes of an IPv4 VTEP, inside one autonomous system', { skip }, () =>
  withBed(async (bed) => {
    const speaker = { asn: 65001, peer: 'fd50::2', peerAsn: 65001 };
    await bed.makeSegments(['office']);
    const controller = bed.controller();
    await controller.apply(bed.desired([office], speaker));
    await bed.openFar(100, '192.168.1.9/24', speaker);
    await settled(bed, controller, 100, 21);
    await bed.furnish(office);
    assert.ok(await bed.ping('192.168.1.100'));
  }),
);
