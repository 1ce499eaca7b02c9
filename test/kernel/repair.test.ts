// Repair around the edges: a namespace that truly died, an interface that was another for a while, somebody who is in the
// way or does not give up, decoys with devices of their own in a segment, and no repair of what was taken down.

import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '../../src/base/log.ts';
import { readOwnClaims } from '../../src/kernel/claim-link.ts';
import type { Repair } from '../../src/plan/annex.ts';
import type { DiversionController } from '../../src/plan/controller.ts';
import { segmentNetns, segmentTag } from '../../src/plan/desired-segment.ts';
import { Reconciler, type ReconcilerOptions } from '../../src/plan/reconciler.ts';
import type { Trouble } from '../../src/plan/repair-ledger.ts';
import { type Bed, configurationOf, touch, withBed } from '../support/diversion-bed.ts';
import { everybody, group } from '../support/golden-states.ts';
import { createSegment, lacksKernelTests, runCommand, type TestNamespace, until, withLab } from '../support/namespace.ts';
import { createUnderlay, hostBehind, vxlanSegment, withSegments } from '../support/segment-bed.ts';

const options = { skip: lacksKernelTests() };

interface Watched {
  readonly reconciler: Reconciler;
  readonly repairs: Repair[];
  readonly troubles: Trouble[];
}

/** Looks after a controller while `body` runs. */
async function looking(
  controller: DiversionController,
  body: (watched: Watched) => Promise<void>,
  more: Partial<ReconcilerOptions> = {},
): Promise<void> {
  const repairs: Repair[] = [];
  const troubles: Trouble[] = [];
  const reconciler = new Reconciler({
    repairables: [{ name: 'diversions', repair: (request) => controller.repair(request) }],
    log: silentLog,
    onRepair: (repair) => repairs.push(repair),
    onTrouble: (trouble) => troubles.push(trouble),
    ...more,
  });
  try {
    reconciler.watch(controller.networks());
    await reconciler.lookNow();
    assert.deepEqual(repairs, []);
    await body({ reconciler, repairs, troubles });
  } finally {
    await reconciler.close();
  }
}

const netnsOf = (bed: Bed, name: string): string => segmentNetns(segmentTag(bed.stateDirectory), name);
const tables = async (place: TestNamespace): Promise<string> => (await place.run(['nft', 'list', 'tables'])).stdout;

const home = configurationOf(`
diversions:
  - { name: dmz, kind: host, interface: sv, decoys: [{ addresses: 10.99.64.0/24, persona: all-open }] }
`);

test('a namespace that died is made again with all that was in it, and its decoys answer', options, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      await bed.controller.apply(await bed.controller.plan(withSegments([vxlanSegment('floor-1', { vni: 10 })])));
      const host = await hostBehind(lab, far, 'h', 10, ['192.168.50.9/24']);
      assert.equal(await touch(host, '192.168.50.77', 4), 'refused');
      // Whoever held it lets go, as when netd and the gateway are killed.
      bed.controller.close();
      await runCommand(['ip', 'netns', 'delete', netnsOf(bed, 'floor-1')]);
      const controller = bed.again();
      await controller.resume();
      await mends(controller, 'floor-1');
      await until('the decoy answers', async () => (await touch(host, '192.168.50.77', 4)) === 'refused');
      assert.deepEqual(await controller.verify(), []);
      await controller.down();
    });
    assert.equal(await sensor.snapshot(), before);
  }),
);

/**
 * Mends it and tells namespace and link, then finds nothing. The kernel takes its time to bury the old link: until then its
 * VNI is taken.
 */
async function mends(controller: DiversionController, network: string): Promise<void> {
  const all: Repair[] = [];
  await until('nothing is left to mend', async () => {
    const { repairs, failures } = await controller.repair();
    all.push(...repairs);
    for (const { message } of failures) assert.match(message, /already exists/);
    return repairs.length + failures.length === 0;
  });
  assert.deepEqual(
    all.map((repair) => [repair.network, repair.object]),
    [
      [network, 'netns'],
      [network, 'link'],
    ],
  );
}

test('an interface that went and came back has its decoys again', options, () =>
  withLab(async (lab) => {
    const { attacker, sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      await controller.apply(await controller.plan(home));
      await looking(controller, async ({ repairs, troubles }) => {
        await sensor.ip('link del sv\n');
        await until('it is told', () => troubles.length > 0);
        assert.match(troubles[0].message, /sv/);
        await lab.join(
          { namespace: attacker, link: 'av', addresses: ['10.99.0.1/16'] },
          { namespace: sensor, link: 'sv', addresses: ['10.99.0.2/16'] },
        );
        await until('it is mended', async () => (await controller.verify()).length === 0, 5000);
        // Kernels before 6.16 take the rules of the interface with it, later ones keep them for its return.
        await until('and told', () => repairs.length > 0);
        assert.match(await touch(attacker, '10.99.64.7', 80), /^diverted/);
        const { stdout } = await attacker.run(['ip', 'neigh', 'show', '10.99.64.7']);
        assert.match(stdout, /lladdr 00:/);
      });
      await controller.down();
    });
  }),
);

test(
  'a VNI in somebody’s hands is told once and taken back as soon as it is free; other networks are mended meanwhile',
  options,
  () =>
    withLab(async (lab) => {
      const { sensor } = await createUnderlay(lab);
      await withBed(lab, sensor, async (bed) => {
        const { controller } = bed;
        await controller.apply(
          await controller.plan(withSegments([vxlanSegment('floor-1', { vni: 10 }), vxlanSegment('floor-2', { vni: 11 })])),
        );
        const inside = (name: string, argv: string[]): Promise<unknown> =>
          runCommand(['ip', 'netns', 'exec', netnsOf(bed, name), ...argv]);
        await inside('floor-1', ['ip', 'link', 'del', 'lan']);
        await sensor.ip('link add theirs type vxlan id 10 local 10.99.0.2 dstport 4789\n');
        await looking(controller, async ({ repairs, troubles, reconciler }) => {
          await until('the failure is told', () => troubles.length > 0, 5000);
          assert.match(troubles[0].message, /floor-1.*cannot be put back|cannot be put back.*floor-1/);
          await inside('floor-2', ['nft', 'flush', 'ruleset']);
          await until(
            'the other network is mended',
            () => repairs.some(({ network, object }) => network === 'floor-2' && object === 'table'),
            2000,
          );
          assert.ok(reconciler.status().reasons.length > 0);
          await sensor.ip('link del theirs\n');
          await until(
            'it is taken back',
            () => repairs.some(({ network, object }) => network === 'floor-1' && object === 'link'),
            3000,
          );
          await until('all is well', async () => (await controller.verify()).length === 0);
          await until('and nothing is said any more', () => reconciler.status().reasons.length === 0);
          assert.equal(troubles.length, 1);
        });
        await controller.down();
      });
    }),
);

test('who keeps changing an object is left to it for a minute, told once, while others are mended', options, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    await withBed(lab, sensor, async ({ controller }) => {
      await controller.apply(await controller.plan(home));
      await looking(
        controller,
        async ({ repairs, troubles }) => {
          for (let count = 1; count <= 3; count += 1) {
            await sensor.ip('link set sv promisc off\n');
            await until(`repair ${count}`, () => repairs.length === count, 3000);
          }
          assert.deepEqual(
            troubles.map(({ name }) => name),
            ['contended'],
          );
          await sensor.ip('link set sv promisc off\n');
          await sensor.run(['nft', 'delete', 'table', 'netdev', 'weir']);
          await until('the table is mended', async () => (await tables(sensor)).includes('netdev weir'), 3000);
          assert.deepEqual(
            repairs.map(({ object }) => object),
            ['link', 'link', 'link', 'table'],
          );
          assert.doesNotMatch((await sensor.run(['ip', 'link', 'show', 'sv'])).stdout, /PROMISC/);
        },
        { repairsPerMinute: 3 },
      );
      await controller.down();
    });
  }),
);

test('what waits for confirmation is mended, a rollback is not undone, and what was taken down stays so', options, () =>
  withLab(async (lab) => {
    const { sensor } = await createSegment(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async ({ controller }) => {
      await controller.apply(await controller.plan(home));
      const wider = configurationOf(`
diversions:
  - { name: dmz, kind: host, interface: sv, decoys: [{ addresses: [10.99.64.0/24, 10.99.66.0/24], persona: all-open }] }
`);
      await controller.apply(await controller.plan(wider), { confirmWithinMs: 60_000 });
      await looking(controller, async ({ repairs, reconciler }) => {
        await sensor.run(['ip', 'route', 'del', 'local', '10.99.66.0/24', 'table', 'local']);
        await until('it is mended', () => repairs.length === 1, 3000);
        await controller.rollback('a test');
        await reconciler.lookNow();
        assert.deepEqual(await controller.verify(), []);
        assert.equal(repairs.length, 1, 'a rollback is no damage');
        await controller.down();
        reconciler.watch([{ name: '', netns: sensor.path }]);
        await reconciler.lookNow();
        assert.equal(repairs.length, 1);
      });
    });
    assert.equal(await sensor.snapshot(), before);
  }),
);

test('decoys with a device or an address of their own come back with the link of their segment', options, () =>
  withLab(async (lab) => {
    const { far, sensor } = await createUnderlay(lab);
    const before = await sensor.snapshot();
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      const groups = [
        group('floor-1', 'claimed', ['192.168.50.70', 'fd50::70'], everybody('all-open'), { claim: 'macvlan' }),
        group('floor-1', 'claimed', ['192.168.50.71', 'fd50::71'], everybody('all-open'), { claim: 'address' }),
      ];
      const configuration = withSegments([
        vxlanSegment('floor-1', { vni: 10, addresses: ['192.168.50.2/24', 'fd50::2/64'], groups }),
      ]);
      await controller.apply(await controller.plan(configuration));
      assert.deepEqual((await controller.plan(configuration)).changes, []);
      const host = await hostBehind(lab, far, 'h', 10, ['192.168.50.9/24', 'fd50::9/64']);
      const path = `/run/netns/${netnsOf(bed, 'floor-1')}`;
      const answer = async (): Promise<void> => {
        for (const ip of ['192.168.50.70', '192.168.50.71', 'fd50::70', 'fd50::71'])
          await until(`${ip} answers`, async () => (await host.run(['ping', '-c1', '-W1', ip], { anyCode: true })).code === 0);
      };
      await answer();
      assert.equal(readOwnClaims(path).claims.length, 4);
      await looking(controller, async ({ repairs }) => {
        await runCommand(['ip', '-n', netnsOf(bed, 'floor-1'), 'link', 'del', 'lan']);
        await until('the link is mended', () => repairs.length > 0, 3000);
        assert.deepEqual(
          repairs.map(({ object }) => object),
          ['link'],
        );
        await answer();
        for (const { device } of readOwnClaims(path).claims)
          if (device) await runCommand(['ip', '-n', netnsOf(bed, 'floor-1'), 'link', 'set', device, 'down']);
        await until('the devices are mended', () => repairs.length > 1, 3000);
        await answer();
        await controller.withhold('floor-1', ['192.168.50.70', 'fd50::71'], 'a test');
        assert.equal(readOwnClaims(path).claims.length, 2);
      });
      await controller.down();
    });
    assert.equal(await sensor.snapshot(), before);
  }),
);
