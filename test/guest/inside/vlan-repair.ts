// Repair where VLANs are: a link deleted inside its segment, a trunk that goes and comes back with all its segments, an
// interface whose rules died with it (kernels before 6.16), under a loop that hears of it by itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../../src/base/log.ts';
import { runCommand, type TestNamespace, until, withLab } from '../../../src/kernel/namespace-lab.ts';
import type { Repair } from '../../../src/plan/annex.ts';
import { segmentNetns, segmentTag } from '../../../src/plan/desired-segment.ts';
import { Reconciler } from '../../../src/plan/reconciler.ts';
import type { Trouble } from '../../../src/plan/repair-ledger.ts';
import { configurationOf, withBed } from '../../support/diversion-bed.ts';

/** The guest is many times slower than the machine. */
const withinMs = 30_000;

const configuration = configurationOf(`
diversions:
  - { name: dmz, kind: host, interface: eth0, decoys: [{ addresses: 10.99.64.0/24, persona: linux-server }] }
  - { name: floor-1, kind: network, trunk: trunk0, vlan: 110, address: 192.168.50.2/24, decoys: [{ addresses: 192.168.50.64/26, persona: linux-server }] }
  - { name: floor-2, kind: network, trunk: trunk0, vlan: 120, address: 192.168.50.2/24, decoys: [{ addresses: 192.168.50.64/26, persona: linux-server }] }
`);

const answers = (from: TestNamespace, ip: string): Promise<boolean> =>
  until(`${ip} answers`, async () => (await from.run(['ping', '-c1', '-W1', ip], { anyCode: true })).code === 0, withinMs);

test('VLAN links, a trunk and an interface come back, and their decoys with them', () =>
  withLab(async (lab) => {
    const far = await lab.namespace('far');
    const sensor = await lab.namespace('s');
    const trunk = async (): Promise<void> => {
      await lab.join({ namespace: far, link: 'far0' }, { namespace: sensor, link: 'trunk0' });
      for (const vlan of [110, 120]) {
        const host = hosts.get(vlan) as TestNamespace;
        await far.ip(`link add link far0 name v${vlan} netns ${host.name} type vlan id ${vlan}\n`);
        await host.ip(`addr add 192.168.50.9/24 dev v${vlan}\nlink set v${vlan} up\n`);
      }
    };
    const wire = (): Promise<void> =>
      lab.join(
        { namespace: far, link: 'far1', addresses: ['10.99.0.1/16'] },
        { namespace: sensor, link: 'eth0', addresses: ['10.99.0.2/16'] },
      );
    const hosts = new Map([
      [110, await lab.namespace('one')],
      [120, await lab.namespace('two')],
    ]);
    const one = hosts.get(110) as TestNamespace;
    const two = hosts.get(120) as TestNamespace;
    await trunk();
    await wire();
    await withBed(lab, sensor, async (bed) => {
      const { controller } = bed;
      await controller.apply(await controller.plan(configuration));
      const repairs: Repair[] = [];
      const troubles: Trouble[] = [];
      const reconciler = new Reconciler({
        repairables: [{ name: 'diversions', repair: (request) => controller.repair(request) }],
        log: silentLog,
        onRepair: (repair) => repairs.push(repair),
        onTrouble: (trouble) => troubles.push(trouble),
      });
      try {
        reconciler.watch(controller.networks());
        await reconciler.lookNow();
        const answering = async (): Promise<void> => {
          await answers(one, '192.168.50.77');
          await answers(two, '192.168.50.77');
          await answers(far, '10.99.64.7');
          await until('all is as applied', async () => (await controller.verify()).length === 0, withinMs);
        };
        await answering();
        assert.deepEqual(repairs, []);

        await runCommand(['ip', '-n', segmentNetns(segmentTag(bed.stateDirectory), 'floor-1'), 'link', 'del', 'lan']);
        await until('the link is mended', () => repairs.length > 0, withinMs);
        await answering();
        assert.deepEqual(
          repairs.splice(0).map(({ network, object }) => [network, object]),
          [['floor-1', 'link']],
        );

        await sensor.ip('link del trunk0\n');
        await until('it is told for both', () => troubles.length === 2, withinMs);
        await trunk();
        await until('both are mended', () => repairs.filter(({ object }) => object === 'link').length === 2, withinMs);
        await answering();

        repairs.length = 0;
        await sensor.ip('link del eth0\n');
        await wire();
        await until('it is mended', () => repairs.length > 0, withinMs);
        await answering();
      } finally {
        await reconciler.close();
      }
      await controller.down();
    });
  }));
