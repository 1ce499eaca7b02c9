// What is read of links agrees with what was made, and missing kernel features are told without a trace.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { type KernelFeature, readMissingFeatures } from '../../src/kernel/features.ts';
import { readLinks } from '../../src/kernel/link-state.ts';
import { withLab } from '../../src/kernel/namespace-lab.ts';
import { lacksKernelTests } from '../support/namespace.ts';

const all: readonly KernelFeature[] = ['vlan', 'vxlan', 'macvlan', 'bridge', 'single-vxlan'];

test('the structure of links is read', { skip: lacksKernelTests() }, () =>
  withLab(async (lab) => {
    const host = await lab.namespace('host');
    const runner = createCommandRunner(host.path);
    const missing = await readMissingFeatures(runner, all);
    await host.ip(
      [
        'link add eth0 type veth peer name eth1',
        'link add br0 type bridge',
        'link set eth0 master br0 mtu 1400 alias spare',
        'link add vx10 type vxlan id 10 dstport 8472 local 192.0.2.1',
        'link set vx10 alias weir:ab12:floor',
        'link add mac0 link eth1 type macvlan mode bridge',
        ...(missing.includes('vlan') ? [] : ['link add link eth1 name tag0 type vlan id 110']),
      ].join('\n'),
    );
    const links = new Map((await readLinks(runner)).map((link) => [link.name, link]));
    const of = (name: string): Record<string, unknown> => {
      const { mtu, kind, master, parent, alias, vlan, vxlan } = links.get(name) ?? {};
      return JSON.parse(JSON.stringify({ mtu, kind, master, parent, alias, vlan, vxlan }));
    };
    assert.deepEqual(of('eth0'), { mtu: 1400, kind: 'veth', master: 'br0', parent: 'eth1', alias: 'spare' });
    assert.equal(of('br0').kind, 'bridge');
    assert.deepEqual(of('vx10').vxlan, { port: 8472, vni: 10 });
    assert.equal(of('vx10').alias, 'weir:ab12:floor');
    assert.equal(of('mac0').parent, 'eth1');
    assert.equal(of('lo').kind, undefined);
    if (!missing.includes('vlan')) assert.deepEqual([of('tag0').vlan, of('tag0').parent], [110, 'eth1']);
  }),
);

test(
  'missing features are those whose links the kernel refuses, and nothing is left of the attempt',
  { skip: lacksKernelTests() },
  () =>
    withLab(async (lab) => {
      const host = await lab.namespace('host');
      const before = await host.snapshot();
      const runner = createCommandRunner(host.path);
      const missing = await readMissingFeatures(runner, all);
      assert.ok(!missing.includes('vxlan') && !missing.includes('macvlan') && !missing.includes('bridge'), missing.join());
      // 802.1Q shows itself in /proc once it is there.
      assert.equal(missing.includes('vlan'), !existsSync('/proc/net/vlan'));
      assert.deepEqual(await readMissingFeatures(runner, ['vxlan']), []);
      assert.deepEqual(await readMissingFeatures(runner, []), []);
      assert.equal(await host.snapshot(), before);
    }),
);
