// Doubts about a plan on a machine as it is: a VPN's route in the decoys, a port published where nobody listens, both backends with a rule for
// one port; and none of them on a machine without. Nothing of it is changed, and no table of iptables-legacy is made by looking.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCommandRunner } from '../../src/kernel/command.ts';
import { type NamespaceLab, type TestNamespace, withLab } from '../../src/kernel/namespace-lab.ts';
import { readMissingNftFeatures } from '../../src/kernel/nft-features.ts';
import { observeKernel } from '../../src/kernel/observe.ts';
import { parseRange } from '../../src/model/address.ts';
import type { DecoyGroup } from '../../src/model/decoy.ts';
import type { DesiredState } from '../../src/plan/desired-state.ts';
import { preflightOf } from '../../src/programs/preflight.ts';
import { goldenPersonas } from '../support/golden-states.ts';
import { lacksKernelTests, lacksProgram } from '../support/namespace.ts';

const group = (kind: DecoyGroup['kind'], persona: string, ...ranges: string[]): DecoyGroup => ({
  diversion: kind === 'own' ? 'self' : 'dmz',
  kind,
  ranges: ranges.map((text) => parseRange(text) ?? assert.fail(text)),
  population: { seed: 1, shares: [{ persona, share: 10_000 }] },
  macs: {},
  place: { file: 'weir.yaml', line: 3 },
});

async function doubts(namespace: TestNamespace, ...groups: DecoyGroup[]): Promise<readonly string[]> {
  const desired = {
    groups,
    interfaces: { dmz: 'lan' },
    segments: [],
    personas: Object.values(goldenPersonas),
    guards: { ports: [], sources: [] },
  };
  const facts = await observeKernel(createCommandRunner(namespace.path), async () => undefined, []);
  return preflightOf(namespace.path)(desired as unknown as DesiredState, facts);
}

async function machine(lab: NamespaceLab): Promise<TestNamespace> {
  const host = await lab.namespace('host');
  const peer = await lab.namespace('peer');
  await lab.join({ namespace: host, link: 'lan', addresses: ['10.66.0.2/16'] }, { namespace: peer, link: 'wan' });
  return host;
}

test(
  'what a plan should mind is found in the kernel, and nothing where there is nothing',
  {
    skip: lacksKernelTests() || lacksProgram('iptables-legacy', 'iptables'),
  },
  () =>
    withLab(async (lab) => {
      const host = await machine(lab);
      const open = Object.values(goldenPersonas).find(({ tcp }) =>
        tcp.open.some(({ first, last }) => first <= 8080 && last >= 8080),
      );
      assert.ok(open, 'a persona with port 8080 open');
      const groups = [group('claimed', open.name, '10.66.1.0/24', '10.99.0.0/16'), group('own', open.name, '10.66.0.2')];
      const before = await host.snapshot();
      assert.deepEqual(await doubts(host, ...groups), []);
      assert.equal(await host.snapshot(), before, 'looking changes nothing');
      const { stdout } = await host.run(['cat', '/proc/net/ip_tables_names'], { anyCode: true });
      assert.equal(stdout, '', 'no table of iptables-legacy is made by looking');

      await host.run([
        'sh',
        '-ec',
        'ip tuntap add wg7 mode tun; ip addr add 10.200.0.1/32 dev wg7; ip link set wg7 up; ip route add 10.99.3.0/24 dev wg7; ' +
          'iptables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.66.0.9:80; ' +
          'iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.66.0.8:80',
      ]);
      const found = (await doubts(host, ...groups)).join('\n');
      assert.match(
        found,
        /decoys 10\.99\.3\.0\/24 of dmz are reached by the VPN on wg7 \(route 10\.99\.3\.0\/24 dev wg7.*exclude:/,
      );
      assert.match(found, /port 8080 of this machine is published by a rule, and no program listens there: .*management\.ports/);
      assert.match(found, /nft and iptables-legacy both send port 8080 elsewhere/);
      assert.equal(found.split('\n').length, 3, found);
      // The kernel of a test bed has what the rules are made of, and a part that does not exist is told from one that does.
      assert.deepEqual(await readMissingNftFeatures(createCommandRunner(host.path)), []);
    }),
);
