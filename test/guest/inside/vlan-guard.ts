// What a plan refuses where VLANs exist already: one that carries the owner, one that is somebody's; and that a plan does not
// take Weir's own VLANs for somebody's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeirError } from '../../../src/base/errors.ts';
import { createCommandRunner } from '../../../src/kernel/command.ts';
import { readMissingFeatures } from '../../../src/kernel/features.ts';
import { readLinks } from '../../../src/kernel/link-state.ts';
import { until, withLab } from '../../../src/kernel/namespace-lab.ts';
import { configurationOf, withBed } from '../../support/diversion-bed.ts';

const floor = (vlan: number): string => `diversions:
  - name: floor
    kind: network
    trunk: eth1
    vlan: ${vlan}
    address: 192.168.110.2/24
    decoys: [{ addresses: 192.168.110.10-192.168.110.19, persona: nas }]
`;

test('VLANs of others on the trunk are left to them', () =>
  withLab(async (lab) => {
    const sensor = await lab.namespace('sensor');
    await sensor.ip(
      [
        'link add eth1 type veth peer name sw1',
        'link set eth1 up',
        'link set sw1 up',
        'link add link eth1 name office type vlan id 110',
        'addr add 10.5.0.1/24 dev office',
        'link set office up',
        'link add link eth1 name spare type vlan id 111',
        'link add link eth1 name provider type vlan proto 802.1ad id 112',
        '',
      ].join('\n'),
    );
    // The kernel says so a moment after the link is up; a snapshot before that would change by itself.
    await until('office is up', async () => / state UP /.test((await sensor.run(['ip', '-o', 'link', 'show', 'office'])).stdout));
    const runner = createCommandRunner(sensor.path);
    assert.deepEqual(await readMissingFeatures(runner, ['vlan', 'vxlan', 'macvlan', 'bridge', 'single-vxlan']), []);
    const links = new Map((await readLinks(runner)).map((link) => [link.name, link]));
    assert.deepEqual(
      ['office', 'spare', 'provider', 'eth1'].map((name) => [
        links.get(name)?.kind,
        links.get(name)?.parent,
        links.get(name)?.vlan,
      ]),
      [
        ['vlan', 'eth1', 110],
        ['vlan', 'eth1', 111],
        ['vlan', 'eth1', undefined],
        ['veth', 'sw1', undefined],
      ],
    );
    await withBed(lab, sensor, async ({ controller }) => {
      const before = await sensor.snapshot();
      const refusal = async (text: string, sshConnection?: string): Promise<string> => {
        try {
          await controller.plan(configurationOf(text), sshConnection === undefined ? {} : { sshConnection });
          return '';
        } catch (error) {
          assert.ok(error instanceof WeirError);
          return `${error.code}: ${error.message}`;
        }
      };
      assert.match(
        await refusal(floor(110), '203.0.113.9 5 10.5.0.1 22'),
        /^lock-out: .*VLAN 110 of eth1 \(office\) carries your own SSH/,
      );
      assert.match(await refusal(floor(111)), /^config-invalid: .*VLAN 111 of eth1 is in use: spare/);
      assert.equal(await sensor.snapshot(), before, 'a refused plan changes nothing');
      const plan = await controller.plan(configurationOf(floor(113)));
      await controller.apply(plan);
      assert.deepEqual((await controller.plan(configurationOf(floor(113)))).changes, []);
      await controller.down();
      assert.equal(await sensor.snapshot(), before);
    });
  }));
