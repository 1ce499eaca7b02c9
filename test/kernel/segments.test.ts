// Network diversions over VXLAN with a real far end: decoys answer in segments that did not exist, equal addresses in two
// of them stay apart, changes and failures leave all or nothing, and taking down leaves no trace.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import test from 'node:test';
import { listNetns } from '../../src/kernel/netns.ts';
import { netnsPrefix, segmentTag } from '../../src/plan/desired-segment.ts';
import { type Bed, touch, withBed } from '../support/diversion-bed.ts';
import { group } from '../support/golden-states.ts';
import { lacksKernelTests, type TestNamespace, withLab } from '../support/namespace.ts';
import { createUnderlay, hostBehind, servers, vxlanSegment, withSegments } from '../support/segment-bed.ts';

const skip = lacksKernelTests();
const tagOf = ({ stateDirectory }: Bed): string => segmentTag(stateDirectory);
const namespacesOf = (bed: Bed): string[] => listNetns(netnsPrefix(tagOf(bed)));

const ping = async (from: TestNamespace, ip: string): Promise<boolean> =>
  (await from.run(['ping', '-c1', '-W2', ip], { anyCode: true })).code === 0;

const macAt = async (from: TestNamespace, ip: string): Promise<string> =>
  /lladdr (\S+)/.exec((await from.run(['ip', 'neigh', 'show', ip])).stdout)?.[1] ?? '';

test('decoys of two segments with equal addresses answer over VXLAN, each in its own, with MACs of their own', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const six = group('floor-1', 'claimed', ['fd50::10-fd50::20'], servers);
      const configuration = withSegments([
        vxlanSegment('floor-1', {
          vni: 10,
          addresses: ['192.168.50.2/24', 'fd50::2/64'],
          gateways: ['192.168.50.1'],
          groups: [group('floor-1', 'claimed', ['192.168.50.0/24'], servers), six],
        }),
        vxlanSegment('floor-2', {
          vni: 11,
          groups: [group('floor-2', 'claimed', ['192.168.50.77'], servers, { seed: 9 })],
        }),
      ]);
      const plan = await controller.plan(configuration);
      assert.match(
        plan.notes.join('\n'),
        /in floor-1: 192\.168\.50\.2 \(Weir's own address\), 192\.168\.50\.1 \(the gateway\), .*192\.168\.50\.255 \(the broadcast/,
      );
      await controller.apply(plan);
      assert.deepEqual(await controller.verify(), []);
      assert.deepEqual((await controller.plan(configuration)).changes, []);
      assert.deepEqual(
        controller.networks().map(({ name, interfaces }) => [name, interfaces]),
        [
          ['', {}],
          ['floor-1', { lan: { promiscuous: true, diversions: ['floor-1'] } }],
          ['floor-2', { lan: { promiscuous: true, diversions: ['floor-2'] } }],
        ],
      );
      const one = await hostBehind(lab, far, 'one', 10, ['192.168.50.1/24', 'fd50::1/64']);
      const two = await hostBehind(lab, far, 'two', 11, ['192.168.50.1/24']);
      assert.ok(await ping(one, '192.168.50.77'));
      assert.ok(await ping(two, '192.168.50.77'));
      assert.ok(await ping(one, '192.168.50.2'), "Weir's own address");
      assert.equal(await ping(two, '192.168.50.78'), false, 'a decoy of the other segment only');
      const macs = [await macAt(one, '192.168.50.77'), await macAt(two, '192.168.50.77')];
      assert.match(macs.join(), /^[0-9a-f:]{17},[0-9a-f:]{17}$/);
      assert.notEqual(macs[0], macs[1]);
      assert.equal(await touch(one, '192.168.50.77', 4), 'refused');
      await controller.down();
      assert.deepEqual(namespacesOf(bed), []);
      assert.equal(await sensor.snapshot(), before);
    });
  }),
);

test('without the state file, taking down goes by the marks', { skip }, () =>
  withLab(async (lab) => {
    const { sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      await bed.controller.apply(
        await bed.controller.plan(withSegments([vxlanSegment('floor-1', { vni: 10 }), vxlanSegment('floor-2', { vni: 11 })])),
      );
      assert.equal(namespacesOf(bed).length, 2);
      rmSync(bed.stateDirectory, { recursive: true });
      await bed.again().down();
      assert.deepEqual(namespacesOf(bed), []);
      assert.equal(await sensor.snapshot(), before);
    });
  }),
);

test('a segment over an IPv6 underlay carries both families, in packets as long as its MTU says', { skip }, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      const segment = vxlanSegment('floor-6', {
        vni: 16_777_215,
        local: 'fd99::2',
        remotes: ['fd99::1'],
        addresses: ['192.168.60.2/24', 'fd60::2/64'],
        groups: [group('floor-6', 'claimed', ['192.168.60.77', 'fd60::77'], servers)],
      });
      const plan = await controller.plan(withSegments([segment]));
      assert.equal(plan.desired.segments[0].mtu, 1430);
      await controller.apply(plan);
      const host = await hostBehind(lab, far, 'six', 16_777_215, ['192.168.60.1/24', 'fd60::1/64'], 'fd99::2');
      const whole = ['ping', '-c1', '-W2', '-M', 'do', '-s', String(1430 - 28), '192.168.60.77'];
      assert.equal((await host.run(whole, { anyCode: true })).code, 0);
      assert.equal((await host.run(['ping', '-c1', '-W2', 'fd60::2'], { anyCode: true })).code, 0, "Weir's own address");
      assert.equal(await touch(host, '192.168.60.77', 4), 'refused');
    });
  }),
);
